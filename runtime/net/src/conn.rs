//! An accepted connection and who serves it.

use std::pin::Pin;
use std::sync::Arc;

use crate::frames::FloodCounters;
use crate::{Address, DrainWatch, Peer, Stream, tls::TlsInfo};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is known of a connection for as long as it lives.
#[derive(Debug)]
pub struct ConnInfo {
    /// Unique in this process.
    pub id: u64,
    /// Our end: the address the client reached, also when the listener is bound to all of them.
    pub local: Address,
    pub peer: Peer,
    pub tls: Option<TlsInfo>,
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
}

/// A connection as a [`Service`] gets it, after the TLS handshake where the listener asks for one.
#[derive(Debug)]
pub struct Accepted {
    pub stream: Stream,
    pub info: Arc<ConnInfo>,
    pub drain: DrainWatch,
    /// Where the frame accountant of an HTTP/2 connection counts.
    pub floods: Arc<FloodCounters>,
}

/// Serves the connections of a listener. One box a connection is the price of swapping it on reload.
pub trait Service: Send + Sync + 'static {
    /// Ends when the connection has ended: until then it counts against the limits and is waited for by the drain.
    /// Runs on the connection's worker.
    fn serve(self: Arc<Self>, conn: Accepted) -> BoxFuture<'static, ()>;
}

impl<F, Fut> Service for F
where
    F: Fn(Accepted) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn serve(self: Arc<Self>, conn: Accepted) -> BoxFuture<'static, ()> {
        Box::pin(self(conn))
    }
}
