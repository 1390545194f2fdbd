//! The Rust client of Outrigger.
//!
//! ```no_run
//! use outrigger_sdk::{Client, Write};
//!
//! # async fn example() -> Result<(), outrigger_sdk::Error> {
//! let client = Client::connect().await?;
//! let carts = client.state("state");
//! carts.save(("cart-7", "two apples")).await?;
//! if let Some(cart) = carts.get("cart-7").await? {
//!     // Fails with `ErrorKind::Conflict` if somebody else wrote in between.
//!     carts.save(Write::new("cart-7", "three apples").if_match(&cart.etag)).await?;
//! }
//! # Ok(())
//! # }
//! ```

pub mod actuator;
mod client;
mod error;
mod options;
mod state;

pub use bytes::Bytes;
pub use client::Client;
pub use error::{Error, ErrorKind, Result};
pub use options::Options;
pub use state::{BulkEntry, Consistency, Delete, Entry, StateStore, Transaction, Write};
