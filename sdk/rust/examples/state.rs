//! State in five steps. Start a sidecar, then `cargo run -p outrigger-sdk --example state [STORE]`.

use std::time::Duration;

use outrigger_sdk::{Client, ErrorKind, Result, Write};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::args().nth(1).unwrap_or_else(|| "state".to_owned());
    let client = Client::connect().await?;
    let info = client.actuator().info().await?;
    println!("connected to {} {}", info.name, info.version);

    let carts = client.state(store);
    carts.save(("cart-7", "two apples")).await?;
    let cart = carts.get("cart-7").await?;
    println!("saved and read: {cart:?}");

    if let Some(cart) = cart {
        carts.save(Write::new("cart-7", "three apples").if_match(&cart.etag)).await?;
        let stale = carts.save(Write::new("cart-7", "lost update").if_match(&cart.etag)).await;
        match stale {
            Err(error) if error.kind() == ErrorKind::Conflict => println!("a stale etag is refused: {error}"),
            Err(error) => return Err(error),
            Ok(()) => println!("this store does not check etags"),
        }
    }

    let moved = carts.transaction().save(("order-7", "three apples")).delete("cart-7").commit().await;
    println!("moved in one transaction: {moved:?}");

    carts.save(Write::new("offer", "today only").ttl(Duration::from_secs(60))).await?;
    for found in carts.get_bulk(["cart-7", "order-7", "offer"], 3).await? {
        println!("{}: {:?}", found.key, found.entry?);
    }
    carts.delete_bulk(["order-7", "offer"]).await
}
