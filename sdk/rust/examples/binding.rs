//! One operation of an output binding. Start a sidecar, then
//! `cargo run -p outrigger-sdk --example binding BINDING OPERATION [DATA]`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "web".to_owned());
    let operation = arguments.next().unwrap_or_else(|| "get".to_owned());
    let data = arguments.next().unwrap_or_default();
    let client = Client::connect().await?;
    let answer = client.binding(name).invoke(operation, data, [("path", "/")]).await?;
    println!("{:?}\n{}", answer.metadata, String::from_utf8_lossy(&answer.data));
    Ok(())
}
