//! The smallest call. Start a sidecar, then `cargo run -p outrigger-sdk --example hello [NAME]`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let client = Client::connect().await?;
    println!("{}", client.say_hello("hello", name).await?);
    Ok(())
}
