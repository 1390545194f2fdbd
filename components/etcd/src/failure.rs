//! The one file that names the client's errors and turns them into ours.

use etcd_client::Error as Driver;
use outrigger_component_api::{Error, ErrorKind};
use tonic::Code;

/// What an error of the client means to a caller. Its own text becomes the source, for the log.
pub(crate) fn from_etcd(error: &Driver) -> Error {
    let (kind, message) = match error {
        Driver::GRpcStatus(status) => meaning(status.code(), status.message()),
        Driver::TransportError(_) | Driver::IoError(_) => (ErrorKind::Unavailable, UNREACHABLE),
        Driver::WatchError(_) | Driver::LeaseKeepAliveError(_) => {
            (ErrorKind::Unavailable, "etcd ended a stream")
        }
        _ => (ErrorKind::Internal, FAILED),
    };
    let ours = Error::new(kind, message).with_source(told(error));
    let full =
        matches!(error, Driver::GRpcStatus(status) if status.message().contains("database space exceeded"));
    if full { ours.permanent() } else { ours }
}

const UNREACHABLE: &str = "etcd cannot be reached";
const FAILED: &str = "etcd failed in a way it should not";
const REFUSED: &str = "etcd refuses the user: check username and password";

/// etcd says much by code and the rest by words that have not changed since version 3.0.
fn meaning(code: Code, words: &str) -> (ErrorKind, &'static str) {
    let has = |text: &str| words.contains(text);
    match code {
        Code::Unauthenticated => (ErrorKind::Unauthenticated, REFUSED),
        Code::InvalidArgument if has("authentication failed") => (ErrorKind::Unauthenticated, REFUSED),
        Code::InvalidArgument if has("user name is empty") => {
            (ErrorKind::Unauthenticated, "etcd wants a user: give username and password")
        }
        Code::FailedPrecondition if has("authentication is not enabled") => {
            (ErrorKind::FailedPrecondition, "etcd knows no users: remove username and password")
        }
        Code::PermissionDenied => (ErrorKind::PermissionDenied, "etcd does not let this user at the key"),
        Code::InvalidArgument if has("request is too large") => {
            (ErrorKind::InvalidArgument, "the value is larger than etcd takes")
        }
        Code::InvalidArgument if has("too many operations") => {
            (ErrorKind::InvalidArgument, "these are more changes than etcd takes at once")
        }
        Code::ResourceExhausted if has("database space exceeded") => {
            (ErrorKind::Unavailable, "etcd is full: its space quota is reached")
        }
        Code::ResourceExhausted if has("too many requests") => {
            (ErrorKind::RateLimited, "etcd has too much to do")
        }
        Code::ResourceExhausted | Code::OutOfRange if has("message") => {
            (ErrorKind::InvalidArgument, "the value is larger than a message may be")
        }
        Code::DeadlineExceeded => (ErrorKind::Timeout, "etcd did not answer in time"),
        Code::Unavailable if has("request timed out") => (ErrorKind::Timeout, "etcd did not agree in time"),
        // Unknown and cancelled are what the transport makes of a connection that breaks under a call.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Aborted => {
            (ErrorKind::Unavailable, "etcd cannot be reached, or has no leader")
        }
        Code::Internal if has("h2") || has("stream") => (ErrorKind::Unavailable, UNREACHABLE),
        _ => (ErrorKind::Internal, FAILED),
    }
}

/// Whether a connection that brought this error is better replaced: by one to another member, or to the same again.
pub(crate) fn breaks(error: &Driver) -> bool {
    let ours = from_etcd(error);
    matches!(ours.kind(), ErrorKind::Unavailable | ErrorKind::Unauthenticated)
}

/// Whether a key was to keep a value it does not have.
pub(crate) fn is_missing_key(error: &Driver) -> bool {
    matches!(error, Driver::GRpcStatus(status) if status.message().contains("key not found"))
}

/// Whether a lease has ended.
pub(crate) fn is_missing_lease(error: &Driver) -> bool {
    let words = match error {
        Driver::GRpcStatus(status) => status.message(),
        Driver::LeaseKeepAliveError(words) => words,
        _ => return false,
    };
    words.contains("lease not found")
}

/// The error with the causes it hides.
fn told(error: &Driver) -> String {
    let mut text = error.to_string();
    let mut cause = match error {
        Driver::GRpcStatus(status) => std::error::Error::source(status),
        Driver::TransportError(error) => std::error::Error::source(error),
        _ => None,
    };
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says_has_a_kind() {
        let check = |code: Code, words: &str, kind: ErrorKind, replaced: bool| {
            let error = Driver::GRpcStatus(tonic::Status::new(code, words));
            assert_eq!((from_etcd(&error).kind(), breaks(&error)), (kind, replaced), "{code:?} {words}");
        };
        check(Code::Unavailable, "etcdserver: no leader", ErrorKind::Unavailable, true);
        check(Code::Unavailable, "etcdserver: request timed out", ErrorKind::Timeout, false);
        check(Code::Unknown, "transport error", ErrorKind::Unavailable, true);
        check(Code::Unauthenticated, "etcdserver: invalid auth token", ErrorKind::Unauthenticated, true);
        let failed = "etcdserver: authentication failed, invalid user ID or password";
        check(Code::InvalidArgument, failed, ErrorKind::Unauthenticated, true);
        check(Code::PermissionDenied, "etcdserver: permission denied", ErrorKind::PermissionDenied, false);
        check(Code::InvalidArgument, "etcdserver: request is too large", ErrorKind::InvalidArgument, false);
        check(Code::ResourceExhausted, "etcdserver: too many requests", ErrorKind::RateLimited, false);
        check(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
            ErrorKind::Unavailable,
            true,
        );
        check(Code::DeadlineExceeded, "", ErrorKind::Timeout, false);
        check(Code::DataLoss, "etcdserver: corrupt", ErrorKind::Internal, false);
    }
}
