//! The smallest call. Start a sidecar, then `cargo run -p outrigger-sdk --example hello [COMPONENT [NAME]]`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().unwrap_or_else(|| "hello".to_owned());
    let name = arguments.next().unwrap_or_default();
    let client = Client::connect().await?;
    println!("{}", client.say_hello(component, name).await?);
    Ok(())
}
