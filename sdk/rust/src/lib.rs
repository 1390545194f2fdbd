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
pub mod app;
mod binding;
mod client;
pub mod configuration;
mod error;
mod file;
mod hello;
pub mod invoke;
mod lock;
mod options;
pub mod pubsub;
mod secrets;
mod sequencer;
mod state;

pub use app::{App, BindingEvent};
pub use binding::{Binding, BindingResponse};
pub use bytes::Bytes;
pub use client::Client;
pub use configuration::Configuration;
pub use error::{Error, ErrorKind, Result};
pub use file::{FileInfo, FilePage, FileReader, FileStore, FileWriter};
pub use invoke::Call;
pub use lock::{Held, Lock, LockStore};
pub use options::Options;
pub use pubsub::{Event, Outcome, PubSub, Settler, SubscribeOptions, Subscription};
pub use secrets::{Secret, SecretStore};
pub use sequencer::Sequencer;
pub use state::{BulkEntry, Consistency, Delete, Entry, StateStore, Transaction, Write};
