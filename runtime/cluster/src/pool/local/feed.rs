//! A request's body handed to another thread. It is read where its connection lives, by whoever waits for the answer;
//! the other thread gets pieces.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use outrigger_http::{Body, BodyError};
use tokio::sync::mpsc;

/// Pieces under way.
const PIECES: usize = 4;

/// Reads as fast as the other side takes it. Dropped before the end, the other side's body fails.
pub(super) struct Feed(Option<Feeding>);

struct Feeding {
    task: Pin<Box<dyn Future<Output = bool> + Send>>,
    /// The body broke off.
    failed: bool,
    done: bool,
}

enum Piece {
    Frame(Frame<Bytes>),
    Failed(BodyError),
    End,
}

impl Feed {
    /// The body for the other side, and what feeds it. One that is in memory needs nothing.
    pub(super) fn of(source: Body) -> (Self, Body) {
        if source.as_full().is_some() {
            return (Self(None), source);
        }
        let (sender, receiver) = mpsc::channel(PIECES);
        let fed = Body::wrap(Fed { receiver, hint: source.size_hint(), ended: false });
        let task = Box::pin(feed(source, sender));
        (Self(Some(Feeding { task, failed: false, done: false })), fed)
    }

    /// Goes on, as far as that is possible at the moment.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let Some(feeding) = self.0.as_mut().filter(|feeding| !feeding.done) else { return };
        if let Poll::Ready(failed) = feeding.task.as_mut().poll(cx) {
            (feeding.failed, feeding.done) = (failed, true);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.0.as_ref().is_some_and(|feeding| feeding.failed)
    }
}

/// Returns whether the body failed. Whoever has read enough ends it.
async fn feed(mut source: Body, to: mpsc::Sender<Piece>) -> bool {
    loop {
        let frame = tokio::select! {
            biased;
            () = to.closed() => return false,
            frame = source.frame() => frame,
        };
        let (piece, failed) = match frame {
            Some(Ok(frame)) => (Piece::Frame(frame), None),
            Some(Err(error)) => (Piece::Failed(error), Some(true)),
            None => (Piece::End, Some(false)),
        };
        let taken = to.send(piece).await.is_ok();
        match failed {
            Some(failed) => return failed,
            None if !taken => return false,
            None => {}
        }
    }
}

/// What the other side reads.
struct Fed {
    receiver: mpsc::Receiver<Piece>,
    hint: SizeHint,
    ended: bool,
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(this.receiver.poll_recv(cx)) {
            Some(Piece::Frame(frame)) => {
                let read = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.hint = less(&this.hint, read);
                Some(Ok(frame))
            }
            Some(Piece::End) => {
                this.ended = true;
                None
            }
            Some(Piece::Failed(error)) => {
                this.ended = true;
                Some(Err(error))
            }
            // Nobody reads it any more: what has come is not all of it.
            None => {
                this.ended = true;
                Some(Err(BodyError::Aborted))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

fn less(hint: &SizeHint, read: u64) -> SizeHint {
    let mut left = SizeHint::new();
    let upper = hint.upper().map(|upper| upper.saturating_sub(read));
    left.set_lower(hint.lower().saturating_sub(read).min(upper.unwrap_or(u64::MAX)));
    if let Some(upper) = upper {
        left.set_upper(upper);
    }
    left
}
