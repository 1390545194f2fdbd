//! A component that changes while the sidecar runs. Start a sidecar, then
//! `cargo run -p outrigger-sdk --example lifecycle [COMPONENT]`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let component = std::env::args().nth(1).unwrap_or_else(|| "hello".to_owned());
    let client = Client::connect().await?;
    println!("{}", client.say_hello(&component, "eva").await?);
    client.apply_configuration("hellos", &component, [("hello", "goodbye")]).await?;
    println!("{}", client.say_hello(&component, "eva").await?);
    Ok(())
}
