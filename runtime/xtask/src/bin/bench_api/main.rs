//! The moving parts of `cargo xtask bench api`: a bare tonic server over a store (the control), a client that loads
//! either it or the sidecar, the same load on a store in this process, and events from publisher to subscriber. One
//! thread each.

mod bare;
mod control;
mod events;
mod load;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use outrigger_component_api::{Backend, BuildContext, StateStore};
use outrigger_memory::MemoryStateBackend;
use outrigger_sqlite::SqliteStateBackend;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serves State over gRPC with nothing between tonic and the store.
    Control {
        #[command(flatten)]
        store: Store,
        #[arg(long)]
        tcp: SocketAddr,
        #[arg(long)]
        unix: PathBuf,
    },
    /// Calls a server and prints what it saw, as JSON.
    Load {
        /// `http://host:port` or `unix:/path`.
        #[arg(long)]
        endpoint: String,
        #[command(flatten)]
        plan: load::Plan,
    },
    /// Calls a store in this process.
    Direct {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        plan: load::Plan,
    },
    /// Publishes events, receives them, and prints what it saw, as JSON.
    Events(events::Plan),
    /// Has a server write and read one key in each of these stores, so that it is connected to them.
    Touch {
        #[arg(long)]
        endpoint: String,
        stores: Vec<String>,
    },
}

/// Which store, and where it keeps its data: in a file, or in a Redis at `host:port`.
#[derive(Args)]
struct Store {
    #[arg(long)]
    store: Kind,
    #[arg(long)]
    at: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Memory,
    Sqlite,
    Redis,
}

impl Store {
    /// The backend as the sidecar builds it; of Redis the commands alone.
    async fn open(&self) -> Result<Arc<dyn StateStore>> {
        let context = BuildContext::default();
        let store = match self.store {
            Kind::Memory => MemoryStateBackend::build(Default::default(), &context).await,
            Kind::Sqlite => {
                let config = serde_json::from_value(serde_json::json!({ "path": self.at }))?;
                SqliteStateBackend::build(config, &context).await
            }
            Kind::Redis => return Ok(Arc::new(bare::Redis::connect(&self.at).await?)),
        };
        store.map_err(|error| anyhow::anyhow!("{error}"))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Options::parse().role {
        Role::Control { store, tcp, unix } => control::serve(store.open().await?, tcp, &unix).await,
        Role::Load { endpoint, plan } => load::run(&plan, load::Remote::connect(&endpoint).await?).await,
        Role::Direct { store, plan } => load::run(&plan, load::Direct::new(store.open().await?)).await,
        Role::Events(plan) => events::run(&plan).await,
        Role::Touch { endpoint, stores } => load::touch(&endpoint, stores).await,
    }
}
