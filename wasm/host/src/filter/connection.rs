//! A connection on its way through one filter: two streams whose bytes it is shown before anybody reads them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use outrigger_http::Duplex;
use outrigger_http::chain::Tap;
use outrigger_net::ConnInfo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::abi::Side;
use super::measures::Hold;
use super::passing::Exchange;
use crate::plugin::Plugin;

/// What is read at once.
const PIECE: usize = 16 << 10;

/// A connection in the hands of a plugin. `None` when the plugin has failed and lets connections pass.
#[derive(Debug)]
pub(crate) struct Line(Option<Arc<Exchange>>);

/// One end, as whoever carries the connection reads it.
struct Tapped {
    exchange: Arc<Exchange>,
    side: Side,
    inner: Box<dyn Duplex>,
    /// Let go by the filter, and not read yet.
    out: Bytes,
    /// The filter holds back what has come.
    held: bool,
    /// It does so because the filter says so, and not because it is about to be asked.
    hold: Option<Hold>,
    /// The filter knows that nothing more will come.
    ended: bool,
    piece: Vec<u8>,
}

/// What a filter says of what it holds.
enum Word {
    Go(Bytes),
    Hold { full: bool },
    Close,
}

impl Line {
    /// `None` when the connection is to be closed.
    pub(crate) fn open(plugin: &Arc<Plugin>, conn: &Arc<ConnInfo>) -> Option<Self> {
        let begun = plugin.cell().map(|cell| (Arc::clone(cell), cell.connect(plugin, conn)));
        let Some((cell, Ok(context))) = begun else {
            return plugin.is_open().then_some(Self(None));
        };
        let exchange = Arc::new(Exchange { plugin: Arc::clone(plugin), cell, context });
        let closed = exchange.cell.look(context, |stream| stream.answered);
        (closed == Ok(false)).then_some(Self(Some(exchange)))
    }
}

impl Tap for Line {
    fn between(self: Box<Self>, client: Box<dyn Duplex>, server: Box<dyn Duplex>) -> [Box<dyn Duplex>; 2] {
        let Some(exchange) = self.0 else { return [client, server] };
        let tapped = |side, inner| {
            let exchange = Arc::clone(&exchange);
            // A filter that is asked to wait from the beginning holds back what has not come yet.
            let held = exchange.cell.look(exchange.context, |stream| stream.message(side).is_paused());
            let held = held.unwrap_or_default();
            Box::new(Tapped {
                exchange,
                side,
                inner,
                out: Bytes::new(),
                held,
                hold: None,
                ended: false,
                piece: Vec::new(),
            })
        };
        [tapped(Side::Request, client), tapped(Side::Response, server)]
    }
}

impl Tapped {
    /// Shows the filter what has come, together with what it holds.
    fn show(&mut self, data: Bytes) -> io::Result<()> {
        let (context, side, end) = (self.exchange.context, self.side, data.is_empty());
        let shown = self.exchange.cell.about(context, |vm| vm.body(context, side, data.clone(), end));
        self.ended |= end;
        match shown {
            Ok(()) => self.held = true,
            // What it held is lost with it.
            Err(_) if self.exchange.plugin.is_open() && !self.held => self.out = data,
            Err(_) => return Err(closed()),
        }
        Ok(())
    }

    fn word(&self, cx: &mut Context<'_>) -> Word {
        let limit = self.exchange.plugin.max_buffer();
        let looked = self.exchange.cell.look(self.exchange.context, |stream| {
            let is_closed = stream.answered;
            let message = stream.message(self.side);
            message.wait(cx.waker());
            match (is_closed, message.is_paused()) {
                (true, _) => Word::Close,
                (false, true) => Word::Hold { full: message.body().len() >= limit },
                (false, false) => Word::Go(message.body().take()),
            }
        });
        // An instance that has failed has nothing to say, unless it held something.
        let gone =
            if self.exchange.plugin.is_open() && !self.held { Word::Go(Bytes::new()) } else { Word::Close };
        looked.unwrap_or(gone)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed by a filter")
}

impl AsyncRead for Tapped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.out.is_empty() {
                let size = this.out.len().min(buf.remaining());
                buf.put_slice(this.out.get(..size).unwrap_or_default());
                this.out.advance(size);
                return Poll::Ready(Ok(()));
            }
            match this.word(cx) {
                Word::Close => return Poll::Ready(Err(closed())),
                Word::Go(bytes) => {
                    (this.out, this.held, this.hold) = (bytes, false, None);
                    if !this.out.is_empty() {
                        continue;
                    }
                }
                Word::Hold { full } => {
                    this.exchange.hold(this.side, &mut this.hold);
                    // More would be more than it may hold: the sender waits.
                    if full || this.ended {
                        return Poll::Pending;
                    }
                }
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            this.piece.resize(PIECE, 0);
            let mut piece = ReadBuf::new(&mut this.piece);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut piece);
            let data = Bytes::copy_from_slice(piece.filled());
            // A silent connection holds no memory.
            this.piece = Vec::new();
            ready!(read)?;
            this.show(data)?;
        }
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        let Exchange { cell, context, .. } = &*self.exchange;
        // One that fails here has been told of by the cell.
        let _ = cell.about(*context, |vm| vm.disconnected(*context, self.side, self.ended));
    }
}
