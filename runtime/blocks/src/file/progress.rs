//! Whether bytes move, and whose turn it is when they do not.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use outrigger_component_api::{Error, ErrorKind, FileBody, Result};
use outrigger_resilience::Deadline;
use tokio::time::{Instant, timeout, timeout_at};

/// What is seen of a body from outside while it is consumed.
#[derive(Default)]
struct Seen {
    pieces: AtomicU64,
    /// Somebody wants a piece and there is none.
    waits: AtomicBool,
}

struct Watched {
    body: FileBody,
    seen: Arc<Seen>,
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let piece = this.body.poll_next_unpin(context);
        this.seen.waits.store(piece.is_pending(), Ordering::Relaxed);
        if piece.is_ready() {
            this.seen.pieces.fetch_add(1, Ordering::Relaxed);
        }
        piece
    }
}

/// Runs what consumes a body until it is done, or until nothing has moved for `idle`. A caller who sends nothing has
/// gone; a consumer that takes nothing, or does not end after the last piece, has timed out.
pub(super) async fn watched<R, F: Future<Output = Result<R>>>(
    body: FileBody,
    idle: Duration,
    consume: impl FnOnce(FileBody) -> F,
) -> Result<R> {
    let seen = Arc::new(Seen::default());
    let body = Box::pin(Watched { body, seen: Arc::clone(&seen) });
    let mut work = pin!(consume(body));
    let mut before = 0;
    loop {
        if let Ok(result) = timeout(idle, &mut work).await {
            return result;
        }
        let now = seen.pieces.load(Ordering::Relaxed);
        if now == before {
            return Err(stalled(seen.waits.load(Ordering::Relaxed), idle));
        }
        before = now;
    }
}

fn stalled(waits: bool, idle: Duration) -> Error {
    let (kind, message) = match waits {
        true => (ErrorKind::Cancelled, "the caller stopped sending, and the file is given up"),
        false => (ErrorKind::Timeout, "the store stopped writing"),
    };
    Error::new(kind, message).with("idle", format_args!("{idle:?}"))
}

/// The same body, where no piece takes longer than `idle` and all end with the caller's deadline. An error ends it.
pub(super) fn timed(body: FileBody, idle: Duration, deadline: Deadline) -> FileBody {
    let deadline = deadline.instant().map(Instant::from_std);
    Box::pin(stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        let own = Instant::now() + idle;
        let until = deadline.map_or(own, |theirs| theirs.min(own));
        match timeout_at(until, body.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => {
                let limit = if until < own { "the caller's deadline" } else { "the component's timeout" };
                let error =
                    Error::new(ErrorKind::Timeout, "the file was not read in time").with("limit", limit);
                Some((Err(error), None))
            }
        }
    }))
}
