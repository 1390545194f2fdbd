//! What filters may ask of the connection a request went by.

use std::net::SocketAddr;

use outrigger_net::Stream;

/// Noted once for a connection. A function has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Via {
    pub(super) local: Option<SocketAddr>,
    pub(super) tls_version: Option<&'static str>,
}

impl Via {
    pub(super) fn of(stream: &Stream) -> Self {
        Self { local: stream.local(), tls_version: stream.tls_version() }
    }
}
