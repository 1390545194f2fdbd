//! Events over one stream. Start a sidecar, then `cargo run -p outrigger-sdk --example pubsub [BROKER]`.

use outrigger_sdk::{Client, Outcome, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let broker = std::env::args().nth(1).unwrap_or_else(|| "pubsub".to_owned());
    let client = Client::connect().await?;
    let events = client.pubsub(broker);
    let mut orders = events.subscribe("orders").await?;
    for order in ["apples", "pears", "plums"] {
        events.publish("orders", order, "text/plain").await?;
    }
    let mut seen = 0;
    while seen < 3 {
        let Some(event) = orders.next().await? else { break };
        println!("{} {}", event.id, String::from_utf8_lossy(&event.data));
        orders.settle(&event, Outcome::Done).await?;
        seen += 1;
    }
    Ok(())
}
