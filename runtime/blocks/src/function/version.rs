//! One version of a function: what calls it, how often, and who is still at it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use outrigger_cluster::{Body, BodyError};
use tokio::sync::Notify;

use super::{Function, FunctionConfig};

/// Digits of a digest that name a version.
const ID: usize = 12;

/// One version, as long as anybody calls it or may.
pub(super) struct Version {
    /// The beginning of the digest.
    pub(super) id: Arc<str>,
    pub(super) sha256: Arc<str>,
    pub(super) config: Arc<FunctionConfig>,
    pub(super) function: Arc<dyn Function>,
    pub(super) since: SystemTime,
    calls: AtomicU64,
    errors: AtomicU64,
    in_flight: AtomicU64,
    idle: Notify,
}

/// How a version is being called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) in_flight: u64,
}

impl Version {
    pub(super) fn new(
        id: Arc<str>,
        sha256: Arc<str>,
        config: FunctionConfig,
        function: Arc<dyn Function>,
    ) -> Self {
        Self {
            id,
            sha256,
            config: Arc::new(config),
            function,
            since: SystemTime::now(),
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            idle: Notify::new(),
        }
    }

    /// Counts a call, which keeps the version alive until it is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(self))
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Acquire),
        }
    }

    /// Waits until no call is under way.
    pub(super) async fn idle(&self) {
        loop {
            // Registered before looking, so that the end of the last call in between is not missed.
            let idle = self.idle.notified();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A call of a version.
pub(super) struct UnderWay(Arc<Version>);

impl UnderWay {
    pub(super) fn function(&self) -> &dyn Function {
        &*self.0.function
    }

    /// The call failed.
    pub(super) fn failed(&self) {
        self.0.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The call lasts until the end of this body.
    pub(super) fn through(self, body: Body) -> Body {
        if body.as_full().is_some() { body } else { Body::wrap(Answer { body, _call: self }) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// A body that is still being made.
struct Answer {
    body: Body,
    _call: UnderWay,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn version_of(sha256: &str) -> Arc<str> {
    sha256.get(..ID).unwrap_or(sha256).into()
}
