//! One direction of a pair: reads, writes what it read, passes the end on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer;

#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Held only while something is in it.
    held: Option<Held>,
    /// Something was written that may sit in the writer.
    unflushed: bool,
    state: State,
    /// Bytes the writer has taken.
    pub(super) moved: u64,
}

#[derive(Debug)]
struct Held {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Reading,
    /// The reader has ended; the writer is to be told.
    Ending,
    Ended,
}

pub(super) enum Failed {
    Read(io::Error),
    Write(io::Error),
}

impl Direction {
    pub(super) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Moves what can be moved; ready when the reader has ended and the writer was told. With `last` it is not told,
    /// as it is about to be closed.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        last: bool,
    ) -> Poll<Result<(), Failed>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write(cx, writer))?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(self.poll_end(cx, writer, last))?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Reading => {
                    if self.poll_read(cx, reader)?.is_pending() {
                        if self.unflushed {
                            ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Failed::Write)?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn poll_write<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Failed>>
    where
        W: AsyncWrite + Unpin,
    {
        while let Some(held) = &mut self.held {
            let rest = held.buffer.get(held.start..held.end).unwrap_or_default();
            if rest.is_empty() {
                self.held.take().into_iter().for_each(|held| buffer::give(held.buffer));
                break;
            }
            let n = ready!(Pin::new(&mut *writer).poll_write(cx, rest)).map_err(Failed::Write)?;
            if n == 0 {
                return Poll::Ready(Err(Failed::Write(io::ErrorKind::WriteZero.into())));
            }
            held.start += n;
            self.moved += n as u64;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read<R>(&mut self, cx: &mut Context<'_>, reader: &mut R) -> Poll<Result<(), Failed>>
    where
        R: AsyncRead + Unpin,
    {
        let mut buffer = buffer::take(self.moved);
        let mut into = ReadBuf::new(&mut buffer);
        let polled = Pin::new(reader).poll_read(cx, &mut into);
        let end = into.filled().len();
        match polled {
            Poll::Ready(Ok(())) if end > 0 => {
                self.held = Some(Held { buffer, start: 0, end });
                return Poll::Ready(Ok(()));
            }
            _ => buffer::give(buffer),
        }
        ready!(polled).map_err(Failed::Read)?;
        self.state = State::Ending;
        Poll::Ready(Ok(()))
    }

    fn poll_end<W>(&mut self, cx: &mut Context<'_>, writer: &mut W, last: bool) -> Poll<Result<(), Failed>>
    where
        W: AsyncWrite + Unpin,
    {
        let writer = Pin::new(writer);
        let told = if last { ready!(writer.poll_flush(cx)) } else { ready!(writer.poll_shutdown(cx)) };
        match told {
            // The reader of this half was gone already; what it still sends is the other direction's matter.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            told => Poll::Ready(told.map_err(Failed::Write)),
        }
    }
}
