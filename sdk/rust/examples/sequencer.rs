//! Numbers that only grow. Start a sidecar, then `cargo run -p outrigger-sdk --example sequencer [STORE]`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::args().nth(1).unwrap_or_else(|| "sequencer".to_owned());
    let client = Client::connect().await?;
    let ids = client.sequencer(store);
    for _ in 0..5 {
        println!("order {}, ticket {}", ids.next_strong("orders").await?, ids.next("tickets").await?);
    }
    Ok(())
}
