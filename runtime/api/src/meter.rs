//! Counting what the front doors themselves refuse; what reaches a component is counted by the blocks.

use outrigger_telemetry::{Counter, Family, Metrics};
use tonic::Code;

/// The metric families of the front doors. Only failures are counted, so a lookup by label costs nobody who succeeds.
#[derive(Clone)]
pub(crate) struct Meter {
    refused: Family<Counter>,
    errors: Family<Counter>,
}

impl Meter {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            refused: metrics.counter(
                "outrigger_api_refused_total",
                "Requests turned away before they were looked at",
                &["reason"],
            ),
            errors: metrics.counter(
                "outrigger_api_errors_total",
                "Calls answered with an error, by gRPC code",
                &["dialect", "op", "code"],
            ),
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.with(&[reason]).inc();
    }

    pub(crate) fn error(&self, dialect: &'static str, op: &'static str, code: Code) {
        self.errors.with(&[dialect, op, code_name(code)]).inc();
    }
}

/// The code as the gRPC documentation writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
