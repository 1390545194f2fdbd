//! The listeners that run, and how a new configuration takes their place without disturbing what stays the same.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use outrigger_http::Problem;
use outrigger_net::tls::TlsAcceptor;
use outrigger_net::{
    Acceptor, AcceptorHandle, AcceptorStats, Address, Drain, Listener, Service, SocketOptions, Workers,
};
use outrigger_telemetry::Metrics;
use tracing::info;

use crate::access_logs::AccessLogs;
use crate::compile::Proxy;
use crate::config::ListenerConfig;
use crate::l4::L4;
use crate::l7::L7;
use crate::serving::{CompiledListener, Speaks};

/// How long connections of a listener that is gone may go on before they are cut.
const FAREWELL: Duration = Duration::from_secs(600);

/// All sockets the proxy listens on.
pub struct Listeners {
    workers: Arc<Workers>,
    metrics: Metrics,
    logs: AccessLogs,
    running: BTreeMap<Arc<str>, Running>,
}

/// One listener for the admin dump.
#[derive(Debug, Clone)]
pub struct ListenerStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// With the port the system gave.
    pub address: Address,
    /// Whether TLS is terminated there.
    pub tls: bool,
    pub stats: AcceptorStats,
}

struct Running {
    config: ListenerConfig,
    acceptor: AcceptorHandle,
    serving: Serving,
}

enum Serving {
    Http(Arc<L7>),
    Stream(Arc<L4>),
}

impl Listeners {
    /// No listeners yet.
    pub fn new(workers: Arc<Workers>, metrics: Metrics) -> Self {
        Self { workers, metrics, logs: AccessLogs::default(), running: BTreeMap::new() }
    }

    /// Makes `proxy` what runs. New sockets are bound first: when one cannot be, nothing changes. Listeners that stay
    /// swap what new requests and connections are decided by; those that are gone stop accepting at once and let their
    /// connections end. Call it on the control runtime.
    ///
    /// An address that only changes hands (a listener renamed, TLS turned on) can be bound only once it is free, so
    /// for a moment nobody listens there.
    ///
    /// # Errors
    /// The addresses that could not be bound.
    pub async fn apply(&mut self, proxy: &Proxy) -> Result<(), Vec<Problem>> {
        let missing = || proxy.listeners.iter().filter(|(name, listener)| !self.has(name, &listener.config));
        let (handed_over, new): (Vec<_>, Vec<_>) =
            missing().partition(|(_, listener)| self.holds(&listener.config.address));
        let mut bound = bind(new)?;
        self.logs.open(proxy).await?;
        self.close_gone(proxy).await;
        bound.extend(bind(handed_over)?);
        for (name, listener) in &proxy.listeners {
            match bound.remove(name) {
                None => self.update(name, listener),
                Some(socket) => self
                    .start(name, listener, socket)
                    .map_err(|error| vec![Problem::new(format!("listeners.{name}"), error.to_string())])?,
            }
        }
        Ok(())
    }

    /// Names, addresses and connections.
    pub fn status(&self) -> impl Iterator<Item = ListenerStatus> {
        self.running.iter().map(|(name, running)| ListenerStatus {
            name: Arc::clone(name),
            address: running.acceptor.address().clone(),
            tls: running.acceptor.tls().is_some(),
            stats: running.acceptor.stats(),
        })
    }

    /// Where the listener called `name` can be reached.
    pub fn address(&self, name: &str) -> Option<&Address> {
        self.running.get(name).map(|running| running.acceptor.address())
    }

    /// Stops accepting everywhere, asks connections to end, and waits for them at most for `deadline`; then those that
    /// are left are cut. Says how many those were.
    pub async fn drain(self, deadline: Duration) -> usize {
        let leaving = self
            .running
            .into_values()
            .map(|running| async move { running.close().await.wait(deadline).await });
        let left = futures_util::future::join_all(leaving).await.into_iter().sum();
        self.logs.close().await;
        left
    }

    /// Whether the listener called `name` runs in a way that can become `config` in place.
    fn has(&self, name: &str, config: &ListenerConfig) -> bool {
        self.running.get(name).is_some_and(|running| running.can_become(config))
    }

    fn holds(&self, address: &Address) -> bool {
        self.running.values().any(|running| running.config.address == *address && !has_any_port(address))
    }

    async fn close_gone(&mut self, proxy: &Proxy) {
        let stays = |name: &Arc<str>, running: &Running| {
            proxy.listeners.get(name).is_some_and(|listener| running.can_become(&listener.config))
        };
        let gone: Vec<_> = self.running.extract_if(.., |name, running| !stays(name, running)).collect();
        for (name, running) in gone {
            info!(listener = %name, address = %running.acceptor.address(), "no longer listening");
            tokio::spawn(running.close().await.wait(FAREWELL));
        }
    }

    fn update(&mut self, name: &str, new: &CompiledListener) {
        let Some(running) = self.running.get_mut(name) else { return };
        running.acceptor.set_limits(new.config.limits);
        if let (Some(tls), Some(config)) = (running.acceptor.tls(), &new.tls) {
            tls.replace(Arc::clone(config));
        }
        match (&running.serving, &new.speaks) {
            (Serving::Http(l7), Speaks::Http(listener)) => l7.replace(Arc::clone(listener)),
            (Serving::Stream(l4), Speaks::Stream(listener)) => l4.replace(Arc::clone(listener)),
            (_, speaks) => {
                running.serving = Serving::new(speaks);
                running.acceptor.replace(running.serving.service());
            }
        }
        running.config = new.config.clone();
    }

    fn start(&mut self, name: &Arc<str>, new: &CompiledListener, listener: Listener) -> io::Result<()> {
        let serving = Serving::new(&new.speaks);
        let acceptor = Acceptor {
            name: Arc::clone(name),
            listener,
            workers: Arc::clone(&self.workers),
            service: serving.service(),
            limits: new.config.limits,
            tls: new.tls.clone().map(TlsAcceptor::new),
            drain: Drain::new(),
        };
        let acceptor = acceptor.spawn(&self.metrics)?;
        info!(listener = %name, address = %acceptor.address(), "listening");
        self.running.insert(Arc::clone(name), Running { config: new.config.clone(), acceptor, serving });
        Ok(())
    }
}

/// Binds all or none.
fn bind<'p>(
    listeners: impl IntoIterator<Item = (&'p Arc<str>, &'p CompiledListener)>,
) -> Result<HashMap<Arc<str>, Listener>, Vec<Problem>> {
    let (mut bound, mut problems) = (HashMap::new(), Vec::new());
    for (name, listener) in listeners {
        let options = SocketOptions { reuse_port: listener.config.reuse_port, ..SocketOptions::default() };
        match Listener::bind(&listener.config.address, &options) {
            Ok(socket) => drop(bound.insert(Arc::clone(name), socket)),
            Err(error) => problems.push(Problem::new(format!("listeners.{name}.address"), error.to_string())),
        }
    }
    if problems.is_empty() { Ok(bound) } else { Err(problems) }
}

fn has_any_port(address: &Address) -> bool {
    matches!(address, Address::Tcp(tcp) if tcp.port() == 0)
}

impl Running {
    /// Whether the socket, and what it does before anything is spoken, stay the same.
    fn can_become(&self, new: &ListenerConfig) -> bool {
        let socket =
            |config: &ListenerConfig| (config.address.clone(), config.reuse_port, config.tls.is_some());
        socket(&self.config) == socket(new)
    }

    /// Stops accepting and asks the connections to end.
    async fn close(self) -> Farewell {
        let drain = self.acceptor.drain().clone();
        self.acceptor.close().await;
        drain.start();
        Farewell { drain, serving: self.serving }
    }
}

/// Connections of a listener that is gone.
struct Farewell {
    drain: Drain,
    serving: Serving,
}

impl Farewell {
    /// Waits, then cuts what is left; says how many connections that was.
    async fn wait(self, deadline: Duration) -> usize {
        let left = self.drain.wait(deadline).await;
        if let Serving::Stream(l4) = &self.serving {
            l4.cut();
        }
        left
    }
}

impl Serving {
    fn new(speaks: &Speaks) -> Self {
        match speaks {
            Speaks::Http(listener) => Self::Http(Arc::new(L7::new(Arc::clone(listener)))),
            Speaks::Stream(listener) => Self::Stream(Arc::new(L4::new(Arc::clone(listener)))),
        }
    }

    fn service(&self) -> Arc<dyn Service> {
        match self {
            Self::Http(l7) => Arc::clone(l7) as Arc<dyn Service>,
            Self::Stream(l4) => Arc::clone(l4) as Arc<dyn Service>,
        }
    }
}
