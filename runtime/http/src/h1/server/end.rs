//! How a connection ends, or gets to its next request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use outrigger_net::{Rewind, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Connection, Shared};
use crate::h1::frame::Outgoing;
use crate::h1::io::{Queue, Sink};
use crate::h1::refuse::Refusal;
use crate::h1::write::{self, Persistence};
use crate::message::Tunnel;
use crate::reply;

/// How long an unread request body, or a client that does not close, is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// As much is read over from a client that is being turned away.
const LINGER_BYTES: usize = 256 * 1024;

impl Connection {
    /// After a response: reads over a little of what is left of the request body, for at most a second.
    pub(super) async fn finish_request_body(&mut self) -> bool {
        if self.shared.revoke() {
            return true;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut drained = 0;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(reached) = self.shared.poll_drain(cx, &mut drained) {
                return Poll::Ready(reached);
            }
            self.timer.poll(cx, deadline).map(|()| false)
        })
        .await
    }

    /// Answers what could not be understood, and closes: whatever follows it cannot be understood either.
    pub(super) async fn refuse(&mut self, refusal: Refusal) {
        tracing::debug!(connection = self.info.id, reason = refusal.reason, "request refused");
        let response = reply::local_for(false, refusal.status, refusal.reason, refusal.reason);
        let mut queue = Queue::default();
        let body = response.body.as_full().cloned().unwrap_or_default();
        write::response(
            queue.head(),
            &response.head,
            Outgoing::Length(body.len() as u64),
            Persistence::Close,
        );
        queue.push(body, b"");
        let deadline = Instant::now() + self.config.write_stall_timeout;
        let written = std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = (&*self.shared).poll_queue(cx, &mut queue) {
                return Poll::Ready(done.is_ok());
            }
            self.timer.poll(cx, deadline).map(|()| false)
        })
        .await;
        if written {
            self.linger().await;
        }
    }

    /// Ends our half and reads over what still arrives: closing with unread bytes would reset the connection, and a
    /// reset may overtake the response (RFC 9112 §9.6).
    pub(super) async fn linger(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut read = 0;
        let mut ended = false;
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if !ended {
                // The client will see the end of the stream either way.
                ended = Pin::new(&mut state.io.stream).poll_shutdown(cx).is_ready();
            }
            while read < LINGER_BYTES {
                state.io.read.clear();
                match state.io.poll_fill(cx) {
                    Poll::Ready(Ok(count @ 1..)) => read += count,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {
                        drop(state);
                        return self.timer.poll(cx, deadline);
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Carries bytes between the client and the far end of the tunnel until both are done.
    pub(super) async fn bridge(self, tunnel: Tunnel) {
        self.shared.revoke();
        let prefix = self.shared.lock().io.read.split().freeze();
        let client = Rewind::new(prefix, SharedStream { shared: self.shared });
        crate::tunnel::bridge(client, tunnel, &self.drain).await;
    }
}

/// The client's stream, once it carries raw bytes.
struct SharedStream {
    shared: std::sync::Arc<Shared>,
}

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream(&self.shared, |stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_stream(&self.shared, |stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream(&self.shared, |stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream(&self.shared, |stream| stream.poll_shutdown(cx))
    }
}

fn on_stream<T>(shared: &Shared, act: impl FnOnce(Pin<&mut Stream>) -> T) -> T {
    act(Pin::new(&mut shared.lock().io.stream))
}
