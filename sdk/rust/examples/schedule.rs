//! An application that is called by a schedule. Start it beside the sidecar:
//! `outrigger run -c FILE -- cargo run -p outrigger-sdk --example schedule BINDING [CALLS]`, where BINDING is a component
//! of the type `bindings.cron`. It ends after so many calls, if it is told a number.

use std::sync::atomic::{AtomicU32, Ordering};

use outrigger_sdk::{App, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let port = std::env::var("APP_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(9999);
    let mut arguments = std::env::args().skip(1);
    let binding = arguments.next().unwrap_or_else(|| "tick".to_owned());
    let most = arguments.next().and_then(|calls| calls.parse().ok()).unwrap_or(u32::MAX);
    let (done, mut ended) = tokio::sync::watch::channel(false);
    let calls = AtomicU32::new(0);
    let app = App::new().binding(binding.as_str(), move |event| {
        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
        let at = event.metadata.get("readTimeUTC").map_or("no time", String::as_str);
        println!("{} {call} at {at}", event.binding);
        let _nobody_waits = done.send(call >= most);
        async { Ok::<_, String>(()) }
    });
    println!("waiting for {binding} on port {port}");
    tokio::select! {
        served = app.serve(([127, 0, 0, 1], port).into()) => served,
        _ = ended.wait_for(|ended| *ended) => Ok(()),
    }
}
