//! What an attempt's end says: about the endpoint, and about trying again.

use std::time::Instant;

use http::HeaderName;
use outrigger_http::Response;
use outrigger_resilience::{Attempt, Deadline, RetryPolicy};

use crate::cluster::{Cluster, now};
use crate::error::{SendError, SendErrorKind};
use crate::gate::Verdict;
use crate::replay::Replay;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What the end of an attempt says about its endpoint; `None` when that was not to blame.
pub(crate) fn verdict_of(result: &Result<Response, SendError>, may_be_grpc: bool) -> Option<Verdict> {
    match result {
        Err(error) => verdict_of_error(error.kind),
        Ok(response) => Some(match response.head.status.as_u16() {
            502..=504 => Verdict::Gateway,
            500..=599 => Verdict::ServerError,
            _ if may_be_grpc => verdict_of_grpc(grpc_status(response)),
            _ => Verdict::Success,
        }),
    }
}

/// What a failure says about the endpoint.
pub(crate) fn verdict_of_error(kind: SendErrorKind) -> Option<Verdict> {
    match kind {
        SendErrorKind::ConnectFailed | SendErrorKind::ConnectTimeout | SendErrorKind::Tls => {
            Some(Verdict::Connect)
        }
        SendErrorKind::Reset
        | SendErrorKind::ResetBeforeRequest
        | SendErrorKind::Protocol
        | SendErrorKind::Timeout
        | SendErrorKind::TryTimeout => Some(Verdict::Gateway),
        SendErrorKind::FunctionFailed => Some(Verdict::ServerError),
        SendErrorKind::NoEndpoint
        | SendErrorKind::Unhealthy
        | SendErrorKind::Overflow
        | SendErrorKind::BreakerOpen
        | SendErrorKind::Refused
        | SendErrorKind::Loop
        | SendErrorKind::NoConnection
        | SendErrorKind::RequestBody => None,
    }
}

/// A gRPC answer without messages carries its status in the head: `UNAVAILABLE` is a gateway's error, and
/// `UNKNOWN`, `INTERNAL` and `DATA_LOSS` are the server's own.
fn verdict_of_grpc(status: Option<u8>) -> Verdict {
    match status {
        Some(14) => Verdict::Gateway,
        Some(2 | 13 | 15) => Verdict::ServerError,
        _ => Verdict::Success,
    }
}

fn grpc_status(response: &Response) -> Option<u8> {
    response.head.headers.get_str(&GRPC_STATUS)?.parse().ok()
}

/// What a retry policy is asked about; `None` when another attempt could not end differently.
fn attempt_of(result: &Result<Response, SendError>, policy: &RetryPolicy) -> Option<Attempt> {
    match result {
        Err(error) => error.kind.attempt(),
        // Without a list of codes the field is not worth looking for.
        Ok(response) => {
            let grpc = if policy.grpc.is_empty() { None } else { grpc_status(response) };
            Some(Attempt::Response { status: response.head.status.as_u16(), grpc })
        }
    }
}

impl Cluster {
    /// Counts an attempt.
    pub(crate) fn count(&self, result: &Result<Response, SendError>) {
        match result {
            Ok(response) => self.metrics.answered(response.head.status),
            Err(_) => self.metrics.errors.inc(),
        }
    }

    /// Whether another attempt is wanted, possible, in time and within the budget, asked in this order.
    pub(crate) fn should_retry(
        &self,
        result: &Result<Response, SendError>,
        policy: Option<&RetryPolicy>,
        attempts: u32,
        deadline: Deadline,
        replay: &Replay,
        now: Instant,
    ) -> bool {
        let Some(policy) = policy else { return false };
        let wanted = attempt_of(result, policy).is_some_and(|attempt| policy.wants(attempt));
        if !wanted || attempts > policy.attempts || !replay.is_ready() || deadline.is_past(now) {
            return false;
        }
        let granted = self.budget.withdraw(now);
        if !granted {
            self.metrics.retries_over_budget.inc();
        }
        granted
    }

    /// Waits before the same endpoint is asked again, or another one after an answer that says it is busy.
    pub(crate) async fn back_off(&self, policy: Option<&RetryPolicy>, retry: u32, deadline: Deadline) {
        let Some(policy) = policy else { return };
        let wait = policy.backoff.delay(retry, &mut fastrand::Rng::new());
        let wait = deadline.remaining(now()).map_or(wait, |left| wait.min(left));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Another endpoint may be asked at once when this one said nothing; one that answered is left in peace first.
pub(crate) fn needs_pause(result: &Result<Response, SendError>) -> bool {
    result.is_ok()
}
