//! An application that is called back for each event. Start it beside the sidecar:
//! `outrigger run -- cargo run -p outrigger-sdk --example app [BROKER]`, then run the example `publish`.

use outrigger_sdk::{App, Outcome, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let port = std::env::var("APP_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(9999);
    let broker = std::env::args().nth(1).unwrap_or_else(|| "pubsub".to_owned());
    let app = App::new().topic(broker, "orders", |event| async move {
        println!("{} {}", event.id, String::from_utf8_lossy(&event.data));
        Outcome::Done
    });
    println!("waiting for orders on port {port}");
    app.serve(([127, 0, 0, 1], port).into()).await
}
