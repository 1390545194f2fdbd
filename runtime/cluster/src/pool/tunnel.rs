//! A tunnel that counts as a request in progress for as long as it is open.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use outrigger_http::{Duplex, Tunnel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) fn guarded<G: Send + Unpin + 'static>(tunnel: Tunnel, guard: G) -> Tunnel {
    let idle_timeout = tunnel.idle_timeout;
    let mut guarded = Tunnel::new(Guarded { io: tunnel.into_inner(), _guard: guard });
    guarded.idle_timeout = idle_timeout;
    guarded
}

struct Guarded<G> {
    io: Box<dyn Duplex>,
    _guard: G,
}

impl<G: Unpin> AsyncRead for Guarded<G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<G: Unpin> AsyncWrite for Guarded<G> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
