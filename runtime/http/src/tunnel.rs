//! Joins a client to the far end of a tunnel.

use outrigger_net::DrainWatch;
use outrigger_net::copy::{CopyOptions, bidirectional};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::message::Tunnel;

/// Copies both ways until both sides have ended, one fails, or the tunnel has been idle for too long. A drain waits
/// for it.
pub(crate) async fn bridge<S: AsyncRead + AsyncWrite + Unpin>(client: S, tunnel: Tunnel, drain: &DrainWatch) {
    let _held = drain.hold();
    let options = CopyOptions { idle_timeout: tunnel.idle_timeout, ..CopyOptions::default() };
    let stats = bidirectional(client, tunnel.io, &options).await;
    tracing::debug!(sent = stats.b_to_a, received = stats.a_to_b, reason = ?stats.reason, "tunnel ended");
}
