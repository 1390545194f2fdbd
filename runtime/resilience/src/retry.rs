//! Which failures are worth another attempt.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Backoff;

/// When and how often to try again.
///
/// A request that did not leave this process (no connection, refused stream) may always be repeated safely;
/// the other conditions repeat something the upstream may have seen, and are the operator's to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts after the first one. Default 1.
    pub attempts: u32,
    /// The conditions. Default `connect_failure`, `refused_stream`, `reset_before_request`.
    pub on: Vec<RetryOn>,
    /// Further HTTP statuses worth a retry. Default none.
    pub statuses: Vec<u16>,
    /// gRPC status codes worth a retry, by number, when they arrive in the response head. Default none.
    pub grpc: Vec<u8>,
    /// Time for one attempt to bring a response head. Default: the request's own deadline.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub per_try_timeout: Option<Duration>,
    /// The wait before each retry.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::ResetBeforeRequest],
            statuses: Vec::new(),
            grpc: Vec::new(),
            per_try_timeout: None,
            backoff: Backoff::default(),
        }
    }
}

/// A class of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// No connection: refused, unreachable, TLS failed, timed out.
    ConnectFailure,
    /// HTTP/2 `REFUSED_STREAM`, or a stream above the last one of a GOAWAY: not processed by definition.
    RefusedStream,
    /// The upstream went away, or the attempt timed out, before a response head.
    Reset,
    /// The connection was lost before a byte of the request was written.
    ResetBeforeRequest,
    /// 502, 503, 504, and `reset`.
    GatewayError,
    /// Any 5xx, and `reset`.
    #[serde(rename = "5xx")]
    ServerError,
}

/// How an attempt ended, as far as retrying is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// No connection.
    ConnectFailure,
    /// The upstream said that it did not process the request.
    RefusedStream,
    /// Lost before a byte of the request was written.
    ResetBeforeRequest,
    /// Lost, or timed out, before the response head.
    Reset,
    /// A response head with this HTTP status and, when it is a gRPC trailers-only answer, its code.
    Response {
        /// The HTTP status.
        status: u16,
        /// `grpc-status` of the head.
        grpc: Option<u8>,
    },
}

impl RetryPolicy {
    /// Whether `attempt` ended in one of the conditions.
    pub fn wants(&self, attempt: Attempt) -> bool {
        match attempt {
            Attempt::Response { status, grpc } => self.wants_response(status, grpc),
            lost => self.on.iter().any(|on| on.covers(lost)),
        }
    }

    fn wants_response(&self, status: u16, grpc: Option<u8>) -> bool {
        let by_class = |on: &RetryOn| match on {
            RetryOn::GatewayError => matches!(status, 502..=504),
            RetryOn::ServerError => matches!(status, 500..=599),
            _ => false,
        };
        grpc.is_some_and(|code| code != 0 && self.grpc.contains(&code))
            || (status >= 500 && self.on.iter().any(by_class))
            || self.statuses.contains(&status)
    }

    /// What is wrong with this policy: `(field, message)` for each mistake.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for status in self.statuses.iter().filter(|status| !(200..=599).contains(*status)) {
            problems.push(("statuses", format!("{status} is not a status a retry could follow (200..599)")));
        }
        for code in self.grpc.iter().filter(|code| !(1..=16).contains(*code)) {
            problems.push(("grpc", format!("{code} is not a gRPC error code (1..16)")));
        }
        if self.per_try_timeout == Some(Duration::ZERO) {
            problems.push(("per_try_timeout", "must be above 0".to_owned()));
        }
        if self.backoff.max < self.backoff.base {
            problems.push(("backoff.max", "must not be below backoff.base".to_owned()));
        }
        problems
    }
}

impl RetryOn {
    /// Wider conditions include narrower ones: whoever repeats a reset request repeats an unsent one.
    fn covers(self, attempt: Attempt) -> bool {
        match attempt {
            Attempt::ConnectFailure => {
                matches!(self, Self::ConnectFailure | Self::GatewayError | Self::ServerError)
            }
            Attempt::RefusedStream => self == Self::RefusedStream || self.covers(Attempt::Reset),
            Attempt::ResetBeforeRequest => self == Self::ResetBeforeRequest || self.covers(Attempt::Reset),
            Attempt::Reset => matches!(self, Self::Reset | Self::GatewayError | Self::ServerError),
            Attempt::Response { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on: &[RetryOn]) -> RetryPolicy {
        RetryPolicy { on: on.to_vec(), ..Default::default() }
    }

    #[test]
    fn conditions_cover_what_they_say() {
        use Attempt::{ConnectFailure as C, RefusedStream as R, Reset as X, ResetBeforeRequest as B};
        let check = |on, expected: [bool; 4]| {
            let policy = policy(&[on]);
            assert_eq!([C, R, B, X].map(|attempt| policy.wants(attempt)), expected, "{on:?}");
        };
        check(RetryOn::ConnectFailure, [true, false, false, false]);
        check(RetryOn::RefusedStream, [false, true, false, false]);
        check(RetryOn::ResetBeforeRequest, [false, false, true, false]);
        check(RetryOn::Reset, [false, true, true, true]);
        check(RetryOn::GatewayError, [true, true, true, true]);
        check(RetryOn::ServerError, [true, true, true, true]);
    }

    #[test]
    fn responses_are_judged_by_status_and_code() {
        let check = |policy: &RetryPolicy, status, grpc, expected| {
            assert_eq!(policy.wants(Attempt::Response { status, grpc }), expected, "{status} {grpc:?}");
        };
        let gateway = policy(&[RetryOn::GatewayError]);
        check(&gateway, 503, None, true);
        check(&gateway, 500, None, false);
        check(&gateway, 200, None, false);
        let any = policy(&[RetryOn::ServerError]);
        check(&any, 500, None, true);
        check(&any, 499, None, false);
        let listed = RetryPolicy { statuses: vec![429], grpc: vec![14], ..policy(&[]) };
        check(&listed, 429, None, true);
        check(&listed, 503, None, false);
        check(&listed, 200, Some(14), true);
        check(&listed, 200, Some(13), false);
        check(&listed, 200, Some(0), false);
    }

    #[test]
    fn reads_the_documented_form() {
        let text = r#"{"attempts":2,"on":["connect_failure","refused_stream","gateway_error","reset","5xx"],
                       "per_try_timeout":"2s","backoff":{"base":"10ms"}}"#;
        let policy: RetryPolicy = serde_json::from_str(text).unwrap();
        assert_eq!(policy.attempts, 2);
        assert_eq!(policy.on.last(), Some(&RetryOn::ServerError));
        assert_eq!(policy.per_try_timeout, Some(Duration::from_secs(2)));
        assert_eq!(
            policy.backoff,
            Backoff { base: Duration::from_millis(10), max: Duration::from_millis(250) }
        );
        assert!(serde_json::from_str::<RetryPolicy>(r#"{"atempts":2}"#).is_err());
    }

    #[test]
    fn mistakes_name_their_field() {
        let bad = RetryPolicy {
            statuses: vec![42],
            grpc: vec![0, 17],
            per_try_timeout: Some(Duration::ZERO),
            backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_millis(1) },
            ..Default::default()
        };
        let fields: Vec<_> = bad.problems().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["statuses", "grpc", "grpc", "per_try_timeout", "backoff.max"]);
        assert!(RetryPolicy::default().problems().is_empty());
    }
}
