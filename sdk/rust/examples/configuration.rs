//! Configuration that changes while the application watches. Start a sidecar, then
//! `cargo run -p outrigger-sdk --example configuration [STORE]`.

use outrigger_sdk::configuration::Item;
use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::args().nth(1).unwrap_or_else(|| "configuration".to_owned());
    let client = Client::connect().await?;
    let settings = client.configuration(store, "shop");
    settings.save([Item::new("colour", "blue")]).await?;
    println!("now: {:?}", settings.get(["colour"]).await?);

    let mut changes = settings.watch(["colour"]).await?;
    let operator = settings.clone();
    let operator = tokio::spawn(async move {
        for colour in ["red", "green"] {
            operator.save([Item::new("colour", colour)]).await?;
        }
        operator.delete(["colour"]).await
    });
    while let Some(items) = changes.next().await? {
        println!("changed: {items:?}");
        if items.iter().any(|item| item.content.is_empty()) {
            break;
        }
    }
    operator.await.expect("the operator does not panic")
}
