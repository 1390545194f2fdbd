//! A lock, and a write that only its holder gets through. Start a sidecar, then
//! `cargo run -p outrigger-sdk --example lock [LOCK [STATE]]`.

use std::time::Duration;

use outrigger_sdk::{Client, ErrorKind, Result, Write};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let lock = arguments.next().unwrap_or_else(|| "lock".to_owned());
    let state = arguments.next().unwrap_or_else(|| "state".to_owned());
    let client = Client::connect().await?;
    let (locks, state) = (client.lock(lock), client.state(state));
    let Some(first) = locks.try_lock("invoice-7", Duration::from_secs(3)).await? else {
        println!("somebody else holds invoice-7");
        return Ok(());
    };
    println!("held by {} with token {:?}", first.owner(), first.fencing_token());
    let second = locks.try_lock("invoice-7", Duration::from_secs(3)).await?;
    println!("a second holder: {}", second.is_some());

    // The first holder falls asleep, its time is up, and another one takes over.
    let second = loop {
        if let Some(lock) = locks.try_lock("invoice-7", Duration::from_secs(30)).await? {
            break lock;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for lock in [&second, &first] {
        let Some(token) = lock.fencing_token() else { continue };
        match state.save(Write::new("invoice-7", "paid").fence(token)).await {
            Ok(()) => println!("token {token} wrote"),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                println!("token {token} was refused: {error}")
            }
            Err(error) => return Err(error),
        }
    }
    println!("unlock by the first: {:?}, by the second: {:?}", first.unlock().await?, second.unlock().await?);
    Ok(())
}
