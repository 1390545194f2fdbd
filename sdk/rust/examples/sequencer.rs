//! Numbers that only grow. Start a sidecar, then `cargo run -p outrigger-sdk --example sequencer`.

use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::connect().await?;
    let ids = client.sequencer("sequencer");
    for _ in 0..5 {
        println!("order {}, ticket {}", ids.next_strong("orders").await?, ids.next("tickets").await?);
    }
    Ok(())
}
