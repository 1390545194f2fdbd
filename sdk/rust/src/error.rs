//! Why a call failed.

use tonic::{Code, Status};

/// What the calls of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reasons a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// What was to be created is there already.
    Exists,
    /// Somebody else wrote first: read again, then decide.
    Conflict,
    /// Nothing of this kind is configured, or the system is in no state to do this.
    FailedPrecondition,
    /// The request is wrong and will stay wrong.
    InvalidArgument,
    /// The configuration has no component of this name.
    NotConfigured,
    /// The component cannot do this, or the sidecar does not have it.
    Unsupported,
    /// The sidecar wants a token, or another one.
    Unauthenticated,
    /// The component is not open to this application.
    PermissionDenied,
    /// Too much at once.
    RateLimited,
    /// Time was up; what was asked for may have happened or not.
    Timeout,
    /// The call was given up.
    Cancelled,
    /// The sidecar, or what stands behind it, cannot be reached at the moment.
    Unavailable,
    /// Stored data is damaged.
    DataLoss,
    /// Something else.
    Internal,
}

impl ErrorKind {
    /// By the sidecar's own word for it, of which there are more than gRPC codes.
    fn from_reason(reason: &str) -> Option<Self> {
        Some(match reason {
            "not_found" => Self::NotFound,
            "exists" => Self::Exists,
            "conflict" => Self::Conflict,
            "failed_precondition" => Self::FailedPrecondition,
            "invalid_argument" => Self::InvalidArgument,
            "not_configured" => Self::NotConfigured,
            "unsupported" => Self::Unsupported,
            "unauthenticated" => Self::Unauthenticated,
            "permission_denied" => Self::PermissionDenied,
            "rate_limited" => Self::RateLimited,
            "timeout" => Self::Timeout,
            "cancelled" => Self::Cancelled,
            "unavailable" => Self::Unavailable,
            "data_loss" => Self::DataLoss,
            "internal" => Self::Internal,
            _ => return None,
        })
    }

    fn from_code(code: Code) -> Self {
        match code {
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::Exists,
            Code::Aborted => Self::Conflict,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::InvalidArgument | Code::OutOfRange => Self::InvalidArgument,
            Code::Unimplemented => Self::Unsupported,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::RateLimited,
            Code::DeadlineExceeded => Self::Timeout,
            Code::Cancelled => Self::Cancelled,
            Code::Unavailable => Self::Unavailable,
            Code::DataLoss => Self::DataLoss,
            Code::Ok | Code::Unknown | Code::Internal => Self::Internal,
        }
    }
}

/// A failed call: a kind for programs, a message for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// No connection to the sidecar.
    pub(crate) fn unreachable(endpoint: &str, source: tonic::transport::Error) -> Self {
        let message = format!("no sidecar at {endpoint}: is outrigger running?");
        Self { kind: ErrorKind::Unavailable, message, source: Some(Box::new(source)) }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let reason = status.metadata().get("x-outrigger-reason").and_then(|reason| reason.to_str().ok());
        let kind = match reason.and_then(ErrorKind::from_reason) {
            Some(kind) => kind,
            // The channel calls its own timeout a cancellation.
            None if timed_out_here(&status) => ErrorKind::Timeout,
            None => ErrorKind::from_code(status.code()),
        };
        let message = match status.message() {
            "" => format!("{:?}", status.code()),
            message => message.to_owned(),
        };
        Self { kind, message, source: Some(Box::new(status)) }
    }
}

fn timed_out_here(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sidecars_word_says_more_than_the_code() {
        let mut status = Status::invalid_argument("state store 'x' is not configured");
        assert_eq!(Error::from(status.clone()).kind(), ErrorKind::InvalidArgument);
        status.metadata_mut().insert("x-outrigger-reason", "not_configured".parse().unwrap());
        let error = Error::from(status.clone());
        assert_eq!(error.kind(), ErrorKind::NotConfigured);
        assert_eq!(error.to_string(), "state store 'x' is not configured");
        status.metadata_mut().insert("x-outrigger-reason", "a_word_of_the_future".parse().unwrap());
        assert_eq!(Error::from(status).kind(), ErrorKind::InvalidArgument);
    }
}
