//! The open listeners, and how they follow the configuration: new ones open before anything changes, old ones close
//! after, those that stay are not touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use outrigger_net::{
    Acceptor, AcceptorHandle, AcceptorStats, Address, Drain, Listener, ListenerLimits, SocketOptions,
};
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    app::App,
    config::{Config, Loaded, Problems},
};

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Api,
    Admin,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Admin => "admin",
        }
    }
}

/// A listener as configured. Equal means: leave it open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    kind: Kind,
    name: Arc<str>,
    address: Address,
    /// Where the configuration says so.
    path: String,
}

/// A listener as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// What it serves: `api`, `admin` or `proxy`.
    pub kind: &'static str,
    pub name: Arc<str>,
    /// With the port the system gave.
    #[serde(serialize_with = "display")]
    pub address: Address,
    pub connections: usize,
    pub accepted: u64,
}

impl From<outrigger_proxy::ListenerStatus> for Status {
    fn from(listener: outrigger_proxy::ListenerStatus) -> Self {
        let AcceptorStats { active, accepted } = listener.stats;
        let (name, address) = (listener.name, listener.address);
        Self { kind: "proxy", name, address, connections: active, accepted }
    }
}

fn display<S: serde::Serializer>(address: &Address, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}

/// A connection that does not end is no longer waited for after this when its listener left the configuration.
const LINGER: Duration = Duration::from_secs(30);

/// All open listeners.
#[derive(Default)]
pub struct Listeners {
    open: Mutex<BTreeMap<Wanted, AcceptorHandle>>,
}

/// The sockets a configuration needs, opened but not yet served.
pub struct Plan {
    wanted: BTreeSet<Wanted>,
    fresh: Vec<(Wanted, Listener)>,
}

impl Listeners {
    /// Opens what `loaded` asks for and is not open yet. When one cannot be opened, nothing has changed.
    pub fn plan(&self, loaded: &Loaded) -> Result<Plan, Problems> {
        let wanted = wanted(&loaded.config);
        let (mut fresh, mut problems) = (Vec::new(), Vec::new());
        for listener in wanted.iter().filter(|w| !self.open.lock().contains_key(w)) {
            match Listener::bind(&listener.address, &SocketOptions::default()) {
                Ok(socket) => fresh.push((listener.clone(), socket)),
                Err(error) => problems.push(loaded.problem(&listener.path, error.to_string())),
            }
        }
        if problems.is_empty() { Ok(Plan { wanted, fresh }) } else { Err(Problems::sorted(problems)) }
    }

    /// Serves what the plan opened, and closes what it leaves out: connections there may finish in the background.
    pub async fn follow(&self, plan: Plan, app: &App) -> anyhow::Result<()> {
        for (listener, socket) in plan.fresh {
            let acceptor = Acceptor {
                name: Arc::clone(&listener.name),
                listener: socket,
                workers: Arc::clone(&app.workers),
                service: app.doors.service(listener.kind, &listener.address),
                limits: ListenerLimits::default(),
                tls: None,
                drain: Drain::new(),
            };
            let handle =
                acceptor.spawn(&app.metrics).with_context(|| format!("serving {}", listener.address))?;
            self.open.lock().insert(listener, handle);
        }
        for (listener, handle) in self.take(|open| !plan.wanted.contains(open)) {
            tracing::info!(name = %listener.name, address = %listener.address, "listener closes");
            app.control.spawn(close(handle, LINGER));
        }
        Ok(())
    }

    fn take(&self, which: impl Fn(&Wanted) -> bool) -> Vec<(Wanted, AcceptorHandle)> {
        let mut open = self.open.lock();
        let gone: Vec<Wanted> = open.keys().filter(|w| which(w)).cloned().collect();
        gone.into_iter().filter_map(|w| open.remove_entry(&w)).collect()
    }

    /// Every listener there is.
    pub fn all(&self) -> Vec<Status> {
        let status = |(wanted, handle): (&Wanted, &AcceptorHandle)| {
            let AcceptorStats { active, accepted } = handle.stats();
            let (kind, name) = (wanted.kind.as_str(), Arc::clone(&wanted.name));
            Status { kind, name, address: handle.address().clone(), connections: active, accepted }
        };
        self.open.lock().iter().map(status).collect()
    }

    /// Closes all listeners of a kind and waits for their connections. Says how many had to be cut off.
    pub async fn drain(&self, kind: Kind, deadline: Duration) -> usize {
        let closing: Vec<_> =
            self.take(|open| open.kind == kind).into_iter().map(|(_, h)| close(h, deadline)).collect();
        futures_util::future::join_all(closing).await.into_iter().sum()
    }
}

async fn close(handle: AcceptorHandle, deadline: Duration) -> usize {
    let drain = handle.drain().clone();
    handle.close().await;
    drain.start();
    drain.wait(deadline).await
}

fn wanted(config: &Config) -> BTreeSet<Wanted> {
    let api = config.api.listeners.iter().map(|(name, listener)| Wanted {
        kind: Kind::Api,
        name: name.as_str().into(),
        address: listener.address.clone(),
        path: format!("api.listeners.{name}.address"),
    });
    let admin = config.admin.address.iter().map(|address| Wanted {
        kind: Kind::Admin,
        name: "admin".into(),
        address: address.clone(),
        path: "admin.address".to_owned(),
    });
    api.chain(admin).collect()
}
