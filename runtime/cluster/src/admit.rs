//! What every call passes first and last: breaker and limits.

use std::time::Instant;

use http::StatusCode;
use outrigger_resilience::{Outcome, Permit};

use crate::cluster::{Cluster, now};
use crate::error::{Fault, SendError, SendErrorKind};
use crate::usage::Ticket;

impl Cluster {
    /// Asks the breaker, when there is one.
    pub(crate) fn admit(&self, now: Instant) -> Result<Option<Permit<'_>>, SendError> {
        let Some(breaker) = &self.breaker else { return Ok(None) };
        breaker.admit(now).map(Some).map_err(|refused| {
            let mut error = SendError::new(SendErrorKind::BreakerOpen);
            error.retry_after = Some(refused.retry_in);
            error
        })
    }

    /// A place among the requests in progress.
    pub(crate) fn enter(&self) -> Result<Ticket, SendError> {
        self.usage.enter().ok_or_else(|| self.overflow())
    }

    pub(crate) fn overflow(&self) -> SendError {
        self.metrics.overflows.inc();
        SendError::new(SendErrorKind::Overflow)
    }

    /// Tells the breaker how the call ended; what we or the client did says nothing about the upstream.
    pub(crate) fn settle(
        &self,
        permit: Option<Permit<'_>>,
        result: Result<Option<StatusCode>, SendErrorKind>,
    ) {
        let Some(permit) = permit else { return };
        let outcome = match result {
            Ok(Some(StatusCode::TOO_MANY_REQUESTS)) => Outcome::Throttled,
            Ok(Some(status)) if status.is_server_error() => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(kind) if kind.fault() == Fault::Upstream => Outcome::Failure,
            Err(_) => return,
        };
        permit.record(outcome, now());
    }
}
