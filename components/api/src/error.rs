//! The one error of blocks and backends: a closed kind for programs, a message and context for people.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What blocks and backends return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn StdError + Send + Sync>;

/// Why an operation failed. The list is closed: each front door has one table from kind to its own codes, and the
/// compiler finds the rows that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// What was asked for is not there, and its absence is not an ordinary answer.
    NotFound,
    /// What was to be created is there already.
    Exists,
    /// A condition on the present value did not hold: a stale etag, or a first write that came second.
    Conflict,
    /// The system is not in the state the operation needs.
    FailedPrecondition,
    /// The request itself is wrong and will stay wrong.
    InvalidArgument,
    /// This backend cannot do that.
    Unsupported,
    /// We do not know who is calling.
    Unauthenticated,
    /// We know who is calling, and they may not.
    PermissionDenied,
    /// The configuration has no such component, or none of this block at all.
    NotConfigured,
    /// A limit on rate or concurrency was reached.
    RateLimited,
    /// The deadline passed; the operation may or may not have happened.
    Timeout,
    /// The caller went away.
    Cancelled,
    /// The backend cannot be reached or cannot serve at the moment.
    Unavailable,
    /// Stored data is damaged or lost.
    DataLoss,
    /// A defect in this program, or something none of the others describe.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables and their tests.
    pub const ALL: [Self; 15] = [
        Self::NotFound,
        Self::Exists,
        Self::Conflict,
        Self::FailedPrecondition,
        Self::InvalidArgument,
        Self::Unsupported,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotConfigured,
        Self::RateLimited,
        Self::Timeout,
        Self::Cancelled,
        Self::Unavailable,
        Self::DataLoss,
        Self::Internal,
    ];

    /// The kind as a metric label or log field: `snake_case`, stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::FailedPrecondition => "failed_precondition",
            Self::InvalidArgument => "invalid_argument",
            Self::Unsupported => "unsupported",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotConfigured => "not_configured",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data_loss",
            Self::Internal => "internal",
        }
    }

    /// Whether the same operation, unchanged, may succeed a moment later. Etag conflicts are permanent: the caller
    /// has to read again first.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout | Self::RateLimited)
    }

    /// Whether the backend, or a rule, does not let us. Its operator can put that right without our being told, so
    /// whoever waits for something keeps asking.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::PermissionDenied)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed block operation.
///
/// The kind is contract. The message is for people: lowercase, no full stop, and fit for the caller to see. What
/// only the operator should see (driver errors, paths) goes into the source, which is logged and never sent.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    permanent: bool,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self(Box::new(Inner {
            kind,
            message,
            context: Vec::new(),
            permanent: false,
            retry_after: None,
            source: None,
        }))
    }

    /// The answer to an operation the backend does not declare among its capabilities.
    pub fn unsupported(operation: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("this component does not support {operation}"))
    }

    /// The request is wrong and will stay wrong.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// A condition on the present value did not hold.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// The backend cannot serve at the moment.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A defect in this program.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds a field to the context; it is shown after the message, in the order added.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Keeps the error this one was made from.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Says when trying again may help. It is shown as `retry_in`.
    #[must_use]
    pub fn retry_in(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self.with("retry_in", format_args!("{wait:?}"))
    }

    /// Says that trying again will not help although the kind usually passes: a disk stays full until someone acts.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.permanent = true;
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence for people, without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The fields added with [`Error::with`].
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// When trying again may help, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same operation may succeed a moment later. Whether it may be *repeated* depends on the operation
    /// too, and the guard knows that.
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_transient() && !self.0.permanent
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_follows_the_message_and_the_source_stays_out_of_it() {
        let error = Error::conflict("etag is stale")
            .with("key", "cart")
            .with("operation", 2)
            .with_source(std::io::Error::other("driver detail"));
        assert_eq!(error.to_string(), "etag is stale (key=cart, operation=2)");
        assert!(error.source().is_some());
        assert_eq!(Error::internal("x").to_string(), "x");
    }

    #[test]
    fn only_passing_failures_are_retried() {
        let transient = [ErrorKind::RateLimited, ErrorKind::Timeout, ErrorKind::Unavailable];
        for kind in ErrorKind::ALL {
            assert_eq!(Error::new(kind, "x").is_retryable(), transient.contains(&kind), "{kind}");
            assert!(!Error::new(kind, "x").permanent().is_retryable());
        }
    }
}
