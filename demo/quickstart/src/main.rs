//! The application of the quickstart. It serves the shop's backends and walks through what the sidecar beside it
//! does: each step prints what really happened, and the first that is not as expected ends the walk.

mod http;
mod shop;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_sdk::{Client, ErrorKind, Write};

use shop::Shop;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let shop = Shop::open([port("V1_PORT", 9001)?, port("V2_PORT", 9002)?, port("PAYMENT_PORT", 9003)?])?;
    let (web, admin) = (port("WEB_PORT", 8080)?, port("ADMIN_PORT", 34999)?);
    state().await.context("state")?;
    actuator(admin).context("actuator")?;
    retry(web, &shop).context("retry")?;
    split(web).context("split")?;
    println!("done: every step was as expected");
    Ok(())
}

/// Saves an order, reads it back, and lets two writers meet.
async fn state() -> Result<()> {
    println!("1. state, over gRPC, in the embedded store");
    let orders = Client::connect().await?.state("orders");
    orders.save(("order-1", "two apples")).await?;
    let order = orders.get("order-1").await?.context("the order is not there")?;
    println!("   saved order-1, and read back {:?} with etag {}", text(&order.value), order.etag);
    ensure!(order.value == "two apples", "another value came back");
    orders.save(Write::new("order-1", "three apples").if_match(&order.etag)).await?;
    println!("   a write that knows the etag: saved");
    let late = orders.save(Write::new("order-1", "no apples").if_match(&order.etag)).await;
    let refusal = late.err().context("a write with an outdated etag was not refused")?;
    println!("   a write with the outdated etag: refused, {:?}: {refusal}", refusal.kind());
    ensure!(refusal.kind() == ErrorKind::Conflict, "refused for another reason");
    let order = orders.get("order-1").await?.context("the order is gone")?;
    println!("   the order is {:?}", text(&order.value));
    ensure!(order.value == "three apples", "the refused write changed something");
    orders.delete("order-1").await?;
    ensure!(orders.get("order-1").await?.is_none(), "the order is still there");
    println!("   deleted");
    Ok(())
}

/// Asks the sidecar how it is, until it is well.
fn actuator(admin: u16) -> Result<()> {
    println!("2. actuator");
    let since = Instant::now();
    let answer = loop {
        let answer = http::get(admin, "/actuator/health/readiness")?;
        if answer.status == 200 || since.elapsed() > PATIENCE {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    println!("   GET /actuator/health/readiness: {} {}", answer.status, answer.body.trim());
    ensure!(answer.status == 200 && answer.body.contains("UP"), "the sidecar is not ready");
    Ok(())
}

/// The payment service refuses every second request; through the proxy, none fails.
fn retry(web: u16, shop: &Shop) -> Result<()> {
    const REQUESTS: u64 = 10;
    println!("3. a proxied request, with a retry");
    let mut good = 0;
    for _ in 0..REQUESTS {
        good += u64::from(http::get(web, "/payment")?.status == 200);
    }
    let (asked, refused) =
        (shop.payment.asked.load(Ordering::Relaxed), shop.payment.refused.load(Ordering::Relaxed));
    println!(
        "   {REQUESTS} requests: {good} answered with 200; the backend was asked {asked} times and refused {refused}"
    );
    ensure!(good == REQUESTS, "{} requests failed", REQUESTS - good);
    ensure!(refused > 0 && asked == REQUESTS + refused, "nothing was retried");
    Ok(())
}

/// Counts which version answers.
fn split(web: u16) -> Result<()> {
    println!("4. a weighted split, 70 to 30");
    let (mut v1, mut v2) = (0, 0);
    for _ in 0..100 {
        match http::get(web, "/")?.body.as_str() {
            "v1" => v1 += 1,
            "v2" => v2 += 1,
            other => anyhow::bail!("an unexpected answer: {other:?}"),
        }
    }
    println!("   100 requests: v1 answered {v1}, v2 answered {v2}");
    // Chance alone leaves this range less than once in 100,000 runs.
    ensure!((50..=90).contains(&v1), "this is not 70 to 30");
    Ok(())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// A port from the environment, or the one of `outrigger.yaml`.
fn port(variable: &str, default: u16) -> Result<u16> {
    std::env::var(variable)
        .map_or(Ok(default), |value| value.parse().with_context(|| format!("{variable}={value}")))
}

/// How long any single wait of the walk may take.
const PATIENCE: Duration = Duration::from_secs(30);
