//! Secrets of a store. Start a sidecar, then `cargo run -p outrigger-sdk --example secrets STORE KEY`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let store = arguments.next().unwrap_or_else(|| "env".to_owned());
    let key = arguments.next().unwrap_or_else(|| "HOME".to_owned());
    let client = Client::connect().await?;
    for (name, value) in client.secrets(store).get(key).await? {
        println!("{name}: {} characters", value.chars().count());
    }
    Ok(())
}
