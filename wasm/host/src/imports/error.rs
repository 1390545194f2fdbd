//! Errors of blocks as functions see them.

use outrigger_blocks::{Error, ErrorKind, Result};

use super::bindings::types;

/// What a function is answered. The outer error ends it.
pub(super) type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

/// Hands an answer over: kind, and what people may see.
#[expect(clippy::unnecessary_wraps, reason = "what a door returns")]
pub(super) fn answer<T>(result: Result<T>) -> Answer<T> {
    Ok(result.map_err(|error| types::Error { code: code(error.kind()), message: error.to_string() }))
}

fn code(kind: ErrorKind) -> types::Code {
    match kind {
        ErrorKind::NotFound => types::Code::NotFound,
        ErrorKind::Exists => types::Code::Exists,
        ErrorKind::Conflict => types::Code::Conflict,
        ErrorKind::FailedPrecondition => types::Code::FailedPrecondition,
        ErrorKind::InvalidArgument => types::Code::InvalidArgument,
        ErrorKind::Unsupported => types::Code::Unsupported,
        ErrorKind::Unauthenticated => types::Code::Unauthenticated,
        ErrorKind::PermissionDenied => types::Code::PermissionDenied,
        ErrorKind::NotConfigured => types::Code::NotConfigured,
        ErrorKind::RateLimited => types::Code::RateLimited,
        ErrorKind::Timeout => types::Code::Timeout,
        ErrorKind::Cancelled => types::Code::Cancelled,
        ErrorKind::Unavailable => types::Code::Unavailable,
        ErrorKind::DataLoss => types::Code::DataLoss,
        ErrorKind::Internal => types::Code::Internal,
    }
}

/// A list or a text a function gave that is not what it has to be.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_code_of_its_name() {
        for kind in ErrorKind::ALL {
            let shown = format!("{:?}", code(kind));
            let name = shown.rsplit("::").next().unwrap().to_ascii_lowercase();
            assert_eq!(name, kind.as_str().replace('_', ""));
        }
    }

    #[test]
    fn the_source_of_an_error_is_not_for_functions() {
        let error =
            Error::unavailable("away").with("store", "cart").with_source(std::io::Error::other("10.0.0.7"));
        let told = answer::<()>(Err(error)).unwrap().unwrap_err();
        assert_eq!((told.code, told.message.as_str()), (types::Code::Unavailable, "away (store=cart)"));
    }
}
