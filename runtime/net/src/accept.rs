//! The acceptor: takes a listener's connections and gives each to the worker with fewest.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger_telemetry::{Counter, Gauge, Metrics};
use parking_lot::RwLock;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::frames::FloodCounters;
use crate::limits::{Gate, Permit};
use crate::tls::{TlsAcceptor, TlsInfo};
use crate::{
    Accepted, Address, ConnInfo, Drain, Listener, ListenerLimits, Peer, Service, Stream, Workers, sys,
};

/// What an acceptor needs to run. `spawn` starts it on the runtime it is called from: the control runtime.
pub struct Acceptor {
    /// The listener's name in the configuration; labels its metrics.
    pub name: Arc<str>,
    pub listener: Listener,
    pub workers: Arc<Workers>,
    pub service: Arc<dyn Service>,
    pub limits: ListenerLimits,
    /// Handshakes happen on the worker.
    pub tls: Option<TlsAcceptor>,
    /// Counts the connections and tells them to end. Accepting itself ends with [`AcceptorHandle::close`].
    pub drain: Drain,
}

/// A running acceptor. Dropping it closes the listener; connections live on.
pub struct AcceptorHandle {
    shared: Arc<Shared>,
    address: Address,
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Numbers for the actuator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptorStats {
    /// Connections now.
    pub active: usize,
    /// Connections since the start.
    pub accepted: u64,
}

struct Shared {
    name: Arc<str>,
    workers: Arc<Workers>,
    service: RwLock<Arc<dyn Service>>,
    gate: Arc<Gate>,
    tls: Option<TlsAcceptor>,
    drain: Drain,
    counted: Counted,
    floods: Arc<FloodCounters>,
    /// The connections' metric; not the gate's count, which one scrape of all listeners should not have to know.
    active: Gauge,
}

/// What happens while accepting, as metrics.
struct Counted {
    accepted: Counter,
    source_limit: Counter,
    handshake_failed: Counter,
    paused_full: Counter,
    paused_descriptors: Counter,
    paused_error: Counter,
}

impl Counted {
    fn new(metrics: &Metrics, name: &str) -> Self {
        let accepted =
            metrics.counter("outrigger_connections_accepted_total", "Connections accepted.", &["listener"]);
        let refused = metrics.counter(
            "outrigger_connections_refused_total",
            "Connections closed before they were served.",
            &["listener", "reason"],
        );
        let paused = metrics.counter(
            "outrigger_accept_paused_total",
            "Times accepting paused.",
            &["listener", "reason"],
        );
        Self {
            accepted: accepted.with(&[name]),
            source_limit: refused.with(&[name, "source_limit"]),
            handshake_failed: refused.with(&[name, "tls_handshake"]),
            paused_full: paused.with(&[name, "max_connections"]),
            paused_descriptors: paused.with(&[name, "descriptors"]),
            paused_error: paused.with(&[name, "error"]),
        }
    }
}

impl Acceptor {
    /// Starts accepting.
    pub fn spawn(self, metrics: &Metrics) -> io::Result<AcceptorHandle> {
        let address = self.listener.local_address().clone();
        let active = metrics.gauge("outrigger_connections_active", "Connections now.", &["listener"]);
        let shared = Arc::new(Shared {
            counted: Counted::new(metrics, &self.name),
            floods: Arc::new(FloodCounters::new(metrics)),
            active: active.with(&[&self.name]),
            name: self.name,
            workers: self.workers,
            service: RwLock::new(self.service),
            gate: Arc::new(Gate::new(self.limits)),
            tls: self.tls,
            drain: self.drain,
        });
        let accepting = Accepting {
            socket: sys::register(self.listener)?,
            address: address.clone(),
            descriptors: descriptor_ceiling()?,
            shared: Arc::clone(&shared),
        };
        let (close, closed) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                // Also when the handle was dropped.
                _ = closed => {}
                () = accepting.run() => {}
            }
        });
        Ok(AcceptorHandle { shared, address, close, task })
    }
}

impl AcceptorHandle {
    /// What is listened on, with the port the system gave.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves connections from now on with `service`; those that live keep the old one.
    pub fn replace(&self, service: Arc<dyn Service>) {
        *self.shared.service.write() = service;
    }

    /// Holds from now on; connections above a lower limit are not cut.
    pub fn set_limits(&self, limits: ListenerLimits) {
        self.shared.gate.set_limits(limits);
    }

    /// The TLS side, to swap certificates.
    pub fn tls(&self) -> Option<&TlsAcceptor> {
        self.shared.tls.as_ref()
    }

    pub fn drain(&self) -> &Drain {
        &self.shared.drain
    }

    pub fn stats(&self) -> AcceptorStats {
        AcceptorStats { active: self.shared.gate.active(), accepted: self.shared.counted.accepted.value() }
    }

    /// Stops accepting and closes the listening socket. Connections live on; see [`Drain`] for those.
    pub async fn close(self) {
        // An error means the task has ended already.
        let _ = self.close.send(());
        if let Err(error) = self.task.await {
            tracing::error!(listener = %self.shared.name, %error, "acceptor failed");
        }
    }
}

/// Descriptors in use above which no connection is accepted: the rest is for upstreams, files and logs.
fn descriptor_ceiling() -> io::Result<u64> {
    Ok(sys::nofile_limit()? / 10 * 9)
}

struct Accepting {
    socket: AsyncFd<Listener>,
    address: Address,
    descriptors: u64,
    shared: Arc<Shared>,
}

impl Accepting {
    async fn run(self) {
        let mut rest = Backoff::default();
        loop {
            if self.shared.gate.is_full() {
                self.shared.counted.paused_full.inc();
                self.shared.gate.room().await;
            }
            match self.socket.async_io(Interest::READABLE, |listener| sys::accept(listener.as_fd())).await {
                Ok((socket, peer)) => {
                    rest = Backoff::default();
                    let crowded = self.is_crowded(&socket);
                    self.place(socket, peer);
                    if crowded {
                        self.wait_for_descriptors().await;
                    }
                }
                // The client was gone before we came; the next one is not.
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    self.shared.counted.paused_error.inc();
                    rest.wait(&self.shared.name, &error).await;
                }
            }
        }
    }

    /// The system hands out the lowest free descriptor, so a high one says how many are in use.
    fn is_crowded(&self, descriptor: &OwnedFd) -> bool {
        u64::try_from(descriptor.as_raw_fd()).is_ok_and(|fd| fd >= self.descriptors)
    }

    async fn wait_for_descriptors(&self) {
        self.shared.counted.paused_descriptors.inc();
        tracing::warn!(listener = %self.shared.name, ceiling = self.descriptors, "too few descriptors left to accept");
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            match self.socket.get_ref().as_fd().try_clone_to_owned() {
                Ok(probe) if !self.is_crowded(&probe) => return,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Gives the connection to the worker with fewest.
    fn place(&self, socket: OwnedFd, peer: Option<SocketAddr>) {
        let shared = &self.shared;
        shared.counted.accepted.inc();
        let (worker, load) = shared.workers.least();
        let hold = shared.drain.watch().hold();
        let Some(permit) = shared.gate.admit(peer.map(|peer| peer.ip()), load, hold) else {
            shared.counted.source_limit.inc();
            return;
        };
        let arrived =
            Arrived { socket, peer, bound: self.address.clone(), permit, shared: Arc::clone(shared) };
        shared.workers.spawn_on(worker, arrived.serve());
        shared.workers.announce();
    }
}

/// Errors `accept` reports on behalf of a connection, see accept(2).
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let network_error = matches!(
        error.raw_os_error(),
        Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::ENETDOWN | libc::EHOSTDOWN)
    );
    network_error
        || matches!(
            error.kind(),
            Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::HostUnreachable
        )
}

/// Waits longer each time accepting fails, as when descriptors are out (EMFILE): 10 ms doubling to 1 s.
#[derive(Default)]
struct Backoff {
    times: u32,
}

impl Backoff {
    async fn wait(&mut self, listener: &str, error: &io::Error) {
        let wait = Duration::from_millis(10 << self.times.min(7)).min(Duration::from_secs(1));
        if self.times == 0 {
            tracing::warn!(listener, %error, "accepting failed; trying again until it works");
        }
        self.times += 1;
        tokio::time::sleep(wait).await;
    }
}

/// A connection on its way to its worker.
struct Arrived {
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    bound: Address,
    permit: Permit,
    shared: Arc<Shared>,
}

impl Arrived {
    /// Runs on the worker, whose reactor the socket joins here for the first time.
    async fn serve(self) {
        let Self { socket, peer, bound, permit, shared } = self;
        let _active = Active::new(&shared.active);
        let (stream, local, peer) = match open(socket, peer, bound) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(listener = %shared.name, %error, "connection was gone before it was served");
                return;
            }
        };
        let (stream, tls) = match &shared.tls {
            None => (stream, None),
            // Boxed, so that a handshake's state is not carried for the connection's life.
            Some(tls) => match Box::pin(tls.accept(stream)).await {
                Ok(stream) => {
                    let info = TlsInfo::of(&stream);
                    (stream, info)
                }
                Err(error) => {
                    shared.counted.handshake_failed.inc();
                    tracing::debug!(listener = %shared.name, %peer, %error, "tls handshake failed");
                    return;
                }
            },
        };
        let info = Arc::new(ConnInfo { id: next_id(), local, peer, tls, listener: Arc::clone(&shared.name) });
        let drain = shared.drain.watch();
        let floods = Arc::clone(&shared.floods);
        let service = Arc::clone(&shared.service.read());
        drop(shared);
        service.serve(Accepted { stream, info, drain, floods }).await;
        // Here and not with the service, which could lose it on the way.
        drop(permit);
    }
}

/// Counts one connection in the gauge, on the shard of the worker it lives on.
struct Active(Gauge);

impl Active {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn open(socket: OwnedFd, peer: Option<SocketAddr>, bound: Address) -> io::Result<(Stream, Address, Peer)> {
    match (bound, peer) {
        (Address::Tcp(bound), Some(peer)) => {
            let tcp = TcpStream::from_std(socket.into())?;
            // Costs a system call only where the listener's own address does not say it.
            let local = if bound.ip().is_unspecified() { tcp.local_addr()? } else { bound };
            Ok((Stream::Tcp(tcp), Address::Tcp(local), Peer::Tcp(peer)))
        }
        (Address::Tcp(_), None) => Err(io::ErrorKind::NotConnected.into()),
        (bound @ Address::Unix(_), _) => {
            Ok((Stream::Unix(UnixStream::from_std(socket.into())?), bound, Peer::Unix))
        }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
