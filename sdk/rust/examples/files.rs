//! Files in a store. Start a sidecar, then `cargo run -p outrigger-sdk --example files STORE`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::args().nth(1).unwrap_or_else(|| "files".to_owned());
    let client = Client::connect().await?;
    let files = client.files(store);
    files.put("reports/today.txt", "all is well\n".repeat(10_000)).await?;
    println!("{:?}", files.stat("reports/today.txt").await?);
    println!("{:?}", files.list("reports", 10, "").await?);
    let content = files.get("reports/today.txt").await?.read_to_end().await?;
    println!("{} bytes came back", content.len());
    files.delete("reports/today.txt").await
}
