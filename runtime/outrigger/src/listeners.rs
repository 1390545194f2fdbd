//! The open listeners, and how they follow the configuration: new ones open before anything changes, old ones close
//! after, those that stay are not touched.

mod wanted;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;
use outrigger_net::{
    Acceptor, AcceptorHandle, AcceptorStats, Address, Drain, Listener, SocketOptions, tls::TlsAcceptor,
};
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    app::App,
    config::{Loaded, Problems},
};
use wanted::{Terms, Wanted};

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

/// A listener as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// What it serves: `api`, `admin` or `proxy`.
    pub kind: &'static str,
    pub name: Arc<str>,
    /// With the port the system gave.
    #[serde(serialize_with = "display")]
    pub address: Address,
    /// Whether TLS is spoken there.
    pub tls: bool,
    pub connections: usize,
    pub accepted: u64,
}

impl From<outrigger_proxy::ListenerStatus> for Status {
    fn from(listener: outrigger_proxy::ListenerStatus) -> Self {
        let AcceptorStats { active, accepted } = listener.stats;
        let (name, address, tls) = (listener.name, listener.address, listener.tls);
        Self { kind: "proxy", name, address, tls, connections: active, accepted }
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
    wanted: BTreeMap<Wanted, Terms>,
    fresh: Vec<(Wanted, Listener)>,
    /// What can be opened only once a listener that is there now has left its address.
    handed_over: Vec<Wanted>,
}

/// Whether what a configuration says of our own listeners could be done. Nothing is opened.
pub fn check(loaded: &Loaded) -> Result<(), Problems> {
    wanted::wanted(loaded).map(drop)
}

impl Listeners {
    /// Opens what `loaded` asks for and is not open yet. When one cannot be opened, nothing has changed.
    pub fn plan(&self, loaded: &Loaded) -> Result<Plan, Problems> {
        let wanted = wanted::wanted(loaded)?;
        let (mut fresh, mut problems) = (Vec::new(), Vec::new());
        let missing = wanted.iter().filter(|(listener, _)| !self.open.lock().contains_key(listener));
        let (handed_over, new): (Vec<_>, Vec<_>) =
            missing.partition(|(listener, _)| self.is_left(&listener.address, &wanted));
        for (listener, terms) in new {
            match Listener::bind(&listener.address, &SocketOptions::default()) {
                Ok(socket) => fresh.push((listener.clone(), socket)),
                Err(error) => {
                    problems.push(loaded.problem(&format!("{}.address", terms.path), error.to_string()));
                }
            }
        }
        let handed_over = handed_over.into_iter().map(|(listener, _)| listener.clone()).collect();
        if problems.is_empty() {
            Ok(Plan { wanted, fresh, handed_over })
        } else {
            Err(Problems::sorted(problems))
        }
    }

    /// Whether the address is that of a listener that leaves: one with another name, or spoken to otherwise.
    fn is_left(&self, address: &Address, wanted: &BTreeMap<Wanted, Terms>) -> bool {
        let open = self.open.lock();
        open.iter().any(|(listener, handle)| handle.address() == address && !wanted.contains_key(listener))
    }

    /// Serves what the plan opened, changes the terms of what stays, and closes what it leaves out: connections there
    /// may finish in the background.
    pub async fn follow(&self, plan: Plan, app: &App) -> anyhow::Result<()> {
        for (listener, handle) in &*self.open.lock() {
            if let Some(terms) = plan.wanted.get(listener) {
                change(handle, listener, terms, app);
            }
        }
        for (listener, socket) in plan.fresh {
            self.open(listener, socket, &plan.wanted, app)?;
        }
        for (listener, handle) in self.take(|open| !plan.wanted.contains_key(open)) {
            tracing::info!(name = %listener.name, address = %listener.address, "listener closes");
            let drain = stop(handle).await;
            app.control.spawn(async move { drain.wait(LINGER).await });
        }
        for listener in plan.handed_over {
            let socket = Listener::bind(&listener.address, &SocketOptions::default())?;
            self.open(listener, socket, &plan.wanted, app)?;
        }
        Ok(())
    }

    fn open(
        &self,
        listener: Wanted,
        socket: Listener,
        wanted: &BTreeMap<Wanted, Terms>,
        app: &App,
    ) -> anyhow::Result<()> {
        let terms = wanted.get(&listener).with_context(|| format!("no terms for {}", listener.address))?;
        let acceptor = Acceptor {
            name: Arc::clone(&listener.name),
            listener: socket,
            workers: Arc::clone(&app.workers),
            service: app.doors.service(listener.kind, &listener.address, &terms.http),
            limits: terms.limits,
            tls: terms.tls.clone().map(TlsAcceptor::new),
            drain: Drain::new(),
        };
        let handle = acceptor.spawn(&app.metrics).with_context(|| format!("serving {}", listener.address))?;
        self.open.lock().insert(listener, handle);
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
            let (address, tls) = (handle.address().clone(), wanted.encrypted);
            Status { kind, name, address, tls, connections: active, accepted }
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

/// New connections are served on these terms.
fn change(handle: &AcceptorHandle, listener: &Wanted, terms: &Terms, app: &App) {
    handle.set_limits(terms.limits);
    if let (Some(tls), Some(config)) = (handle.tls(), &terms.tls) {
        tls.replace(Arc::clone(config));
    }
    handle.replace(app.doors.service(listener.kind, &listener.address, &terms.http));
}

async fn close(handle: AcceptorHandle, deadline: Duration) -> usize {
    stop(handle).await.wait(deadline).await
}

/// Nobody listens there any more, and the connections are asked to end.
async fn stop(handle: AcceptorHandle) -> Drain {
    let drain = handle.drain().clone();
    handle.close().await;
    drain.start();
    drain
}
