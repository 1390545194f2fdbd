//! Events for whoever listens. Start a sidecar and the example `app`, then
//! `cargo run -p outrigger-sdk --example publish [BROKER]`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let broker = std::env::args().nth(1).unwrap_or_else(|| "pubsub".to_owned());
    let events = Client::connect().await?.pubsub(broker);
    for order in ["apples", "pears", "plums"] {
        events.publish("orders", order, "text/plain").await?;
        println!("published {order}");
    }
    Ok(())
}
