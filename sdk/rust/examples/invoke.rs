//! A method of another application. Start its sidecar and ours, then
//! `cargo run -p outrigger-sdk --example invoke APP METHOD [DATA]`.

use outrigger_sdk::invoke::Call;
use outrigger_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let app = arguments.next().unwrap_or_else(|| "echo".to_owned());
    let method = arguments.next().unwrap_or_else(|| "hello".to_owned());
    let mut call = Call::new(app, method);
    if let Some(data) = arguments.next() {
        call = call.data(data, "text/plain");
    }
    let answer = Client::connect().await?.invoke(call).await?;
    println!("{}: {}", answer.content_type, String::from_utf8_lossy(&answer.data));
    Ok(())
}
