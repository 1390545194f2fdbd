//! The life of a request to an upstream: admit, pick, exchange, judge, and perhaps again.

use std::sync::Arc;
use std::time::Instant;

use outrigger_http::{Request, Response};
use outrigger_resilience::{Deadline, RetryPolicy};

use crate::cluster::{Cluster, now};
use crate::endpoint::Endpoint;
use crate::error::SendError;
use crate::judge::{needs_pause, verdict_of};
use crate::pick::Tried;
use crate::pool::Exchange;
use crate::replay::Replay;
use crate::spans::end;
use crate::trial::Trial;

/// How one request is to be sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendOptions<'a> {
    /// Until when a response head must have come, over all attempts. The body is the caller's to watch.
    pub deadline: Deadline,
    /// When to try again. `None`: only what never reached an endpoint, or found a pooled connection closed, is
    /// repeated.
    pub retry: Option<&'a RetryPolicy>,
}

/// What became of a request, for logs.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The endpoint that answered, or failed last.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Attempts made.
    pub attempts: u32,
}

impl Cluster {
    /// Sends a request and waits for the response head. Dropping the future cancels the request upstream; so
    /// does dropping the response's body.
    ///
    /// # Errors
    /// The last attempt's failure. A response of any status is not an error.
    pub async fn send(&self, mut request: Request, how: &SendOptions<'_>) -> Result<Response, SendError> {
        self.send_reporting(&mut request, how, &mut Report::default()).await
    }

    /// [`send`](Self::send), and says where the request went. The body is taken out of the request, which is otherwise
    /// left as it is: passed by value, it would be moved, and have room, once in every layer above.
    ///
    /// # Errors
    /// As for `send`.
    pub async fn send_reporting(
        &self,
        request: &mut Request,
        how: &SendOptions<'_>,
        report: &mut Report,
    ) -> Result<Response, SendError> {
        let started = now();
        let permit = self.admit(started)?;
        if !self.is_resolved() {
            self.wait_resolved(how.deadline).await?;
        }
        let result = self.attempts(request, how, started, report).await;
        let ended = result.as_ref().map(|response| Some(response.head.status)).map_err(|error| error.kind);
        self.settle(permit, ended);
        result
    }

    async fn attempts(
        &self,
        request: &mut Request,
        how: &SendOptions<'_>,
        started: Instant,
        report: &mut Report,
    ) -> Result<Response, SendError> {
        let policy = how.retry.filter(|policy| policy.attempts > 0);
        if policy.is_some() {
            self.budget.deposit(started);
        }
        let Request { head, body, ext, .. } = request;
        let mut replay = Replay::new(std::mem::take(body), policy.is_some());
        let (mut tried, mut at) = (Tried::new(), started);
        let mut failed: Option<Result<Response, SendError>> = None;
        loop {
            let picked = match self.pick(Some(head), &tried, ext.chosen.as_deref(), at) {
                Ok(picked) => picked,
                // Nobody is left to ask: the answer of the last one who was is better than none.
                Err(kind) => return failed.unwrap_or_else(|| Err(SendError::new(kind))),
            };
            let mut trial = Trial::new(self, picked);
            if let Some(last) = failed.take() {
                let pause = trial.again || needs_pause(&last);
                // Its connection is free for others from here on.
                drop(last);
                self.metrics.retries.inc();
                if pause {
                    self.back_off(policy, report.attempts, how.deadline).await;
                    at = now();
                }
            }
            report.attempts += 1;
            report.endpoint = Some(Arc::clone(&trial.endpoint));
            let span = self.span(ext.trace.as_deref(), head, report);
            let exchange = Exchange {
                cluster: self,
                endpoint: &trial.endpoint,
                head,
                ext,
                span: span.as_ref(),
                started: at,
                attempt: Deadline::after_opt(at, policy.and_then(|policy| policy.per_try_timeout)),
                total: how.deadline,
            };
            let result = exchange.run(&mut replay).await;
            at = now();
            self.count(&result);
            if let Some(span) = span {
                end(span, &result);
            }
            let verdict = verdict_of(&result, trial.endpoint.identity().http2);
            if let Some(verdict) = verdict.filter(|_| result.is_ok() || !self.is_absent(&trial.endpoint)) {
                trial.judge(verdict, at);
            }
            if !self.should_retry(&result, policy, report.attempts, how.deadline, &replay, at) {
                return result;
            }
            tried.push(Arc::clone(&trial.endpoint));
            failed = Some(result);
        }
    }
}
