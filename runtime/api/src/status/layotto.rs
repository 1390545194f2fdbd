//! The Layotto dialect's codes.
//!
//! Where Layotto itself answers UNKNOWN (a `||` in a key, a failing bulk delete, anything about configuration), and INTERNAL for a secret that is not
//! there, the code that says more is used: its SDKs do not look at these.

use outrigger_blocks::{Error, ErrorKind};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::Block;

/// Trailer that carries the kind, of which there are more than codes.
pub const REASON: &str = "x-outrigger-reason";

/// The table.
pub fn code(block: Block, kind: ErrorKind) -> Code {
    match (block, kind) {
        // Whatever is wrong about it, as in Layotto; the trailer tells what.
        (
            Block::Binding,
            ErrorKind::NotConfigured
            | ErrorKind::NotFound
            | ErrorKind::FailedPrecondition
            | ErrorKind::InvalidArgument
            | ErrorKind::Unsupported,
        ) => Code::Internal,
        (Block::Invoke | Block::Function, ErrorKind::NotConfigured) => Code::NotFound,
        (_, ErrorKind::NotConfigured) => Code::InvalidArgument,
        (Block::Lifecycle | Block::PubSub, ErrorKind::FailedPrecondition) => Code::InvalidArgument,
        (_, ErrorKind::NotFound) => Code::NotFound,
        (_, ErrorKind::Exists) => Code::AlreadyExists,
        (_, ErrorKind::Conflict) => Code::Aborted,
        (_, ErrorKind::FailedPrecondition) => Code::FailedPrecondition,
        (_, ErrorKind::InvalidArgument) => Code::InvalidArgument,
        (Block::Lifecycle, ErrorKind::Unsupported) => Code::InvalidArgument,
        (_, ErrorKind::Unsupported) => Code::Unimplemented,
        (_, ErrorKind::Unauthenticated) => Code::Unauthenticated,
        (_, ErrorKind::PermissionDenied) => Code::PermissionDenied,
        (_, ErrorKind::RateLimited) => Code::ResourceExhausted,
        (_, ErrorKind::Timeout) => Code::DeadlineExceeded,
        (_, ErrorKind::Cancelled) => Code::Cancelled,
        (_, ErrorKind::Unavailable) => Code::Unavailable,
        (_, ErrorKind::DataLoss) => Code::DataLoss,
        (_, ErrorKind::Internal) => Code::Internal,
    }
}

/// The error as it goes out: message and context, never the source.
pub fn status(block: Block, error: &Error) -> Status {
    let mut reason = MetadataMap::new();
    reason.insert(REASON, MetadataValue::from_static(error.kind().as_str()));
    super::hint(error, &mut reason);
    Status::with_metadata(code(block, error.kind()), error.to_string(), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_known_kind_is_unknown() {
        for kind in ErrorKind::ALL {
            for block in Block::ALL {
                let code = code(block, kind);
                assert!(!matches!(code, Code::Ok | Code::Unknown), "{block:?} {kind}");
            }
        }
    }

    #[test]
    fn state_answers_as_layotto_documents() {
        let check = |kind, expected| assert_eq!(code(Block::State, kind), expected, "{kind}");
        check(ErrorKind::FailedPrecondition, Code::FailedPrecondition); // no store at all
        check(ErrorKind::NotConfigured, Code::InvalidArgument); // unknown store
        check(ErrorKind::Conflict, Code::Aborted); // etag mismatch
        check(ErrorKind::InvalidArgument, Code::InvalidArgument); // etag malformed
        check(ErrorKind::Unsupported, Code::Unimplemented); // store without transactions
        check(ErrorKind::Internal, Code::Internal);
    }

    #[test]
    fn secrets_and_hello_answer_as_layotto_documents() {
        let check = |block, kind, expected| assert_eq!(code(block, kind), expected, "{block:?} {kind}");
        check(Block::Secrets, ErrorKind::FailedPrecondition, Code::FailedPrecondition); // no store at all
        check(Block::Secrets, ErrorKind::NotConfigured, Code::InvalidArgument); // unknown store
        check(Block::Secrets, ErrorKind::Internal, Code::Internal);
        check(Block::Secrets, ErrorKind::NotFound, Code::NotFound);
        check(Block::Hello, ErrorKind::NotConfigured, Code::InvalidArgument);
        for absent in [ErrorKind::NotConfigured, ErrorKind::FailedPrecondition, ErrorKind::Unsupported] {
            check(Block::Lifecycle, absent, Code::InvalidArgument); // component absent or not dynamic
        }
    }

    #[test]
    fn invoke_and_bindings_answer_as_layotto_documents() {
        let check = |block, kind, expected| assert_eq!(code(block, kind), expected, "{block:?} {kind}");
        check(Block::Invoke, ErrorKind::NotConfigured, Code::NotFound); // no such app
        check(Block::Invoke, ErrorKind::Timeout, Code::DeadlineExceeded);
        check(Block::Invoke, ErrorKind::Unavailable, Code::Unavailable);
        check(Block::Invoke, ErrorKind::InvalidArgument, Code::InvalidArgument);
        check(Block::Invoke, ErrorKind::Internal, Code::Internal);
        for wrong in [ErrorKind::NotConfigured, ErrorKind::InvalidArgument, ErrorKind::FailedPrecondition] {
            check(Block::Binding, wrong, Code::Internal); // unknown binding, empty or unknown operation
        }
        check(Block::Binding, ErrorKind::Timeout, Code::DeadlineExceeded);
    }

    #[test]
    fn files_answer_as_layotto_documents() {
        let check = |kind, expected| assert_eq!(code(Block::File, kind), expected, "{kind}");
        check(ErrorKind::InvalidArgument, Code::InvalidArgument);
        check(ErrorKind::NotConfigured, Code::InvalidArgument); // unknown store
        check(ErrorKind::NotFound, Code::NotFound);
        check(ErrorKind::Exists, Code::AlreadyExists);
        check(ErrorKind::DataLoss, Code::DataLoss); // expired
        check(ErrorKind::PermissionDenied, Code::PermissionDenied);
        check(ErrorKind::Internal, Code::Internal);
    }

    #[test]
    fn events_answer_as_layotto_documents() {
        let check = |kind, expected| assert_eq!(code(Block::PubSub, kind), expected, "{kind}");
        check(ErrorKind::FailedPrecondition, Code::InvalidArgument); // no component at all
        check(ErrorKind::NotConfigured, Code::InvalidArgument); // unknown component
        check(ErrorKind::InvalidArgument, Code::InvalidArgument); // empty topic
        check(ErrorKind::PermissionDenied, Code::PermissionDenied); // topic scopes
        check(ErrorKind::Internal, Code::Internal); // failed publish
        check(ErrorKind::RateLimited, Code::ResourceExhausted); // full
        check(ErrorKind::Unavailable, Code::Unavailable); // broker away
    }

    #[test]
    fn locks_and_sequences_answer_as_layotto_documents() {
        for block in [Block::Lock, Block::Sequencer, Block::Configuration] {
            let check = |kind, expected| assert_eq!(code(block, kind), expected, "{block:?} {kind}");
            check(ErrorKind::FailedPrecondition, Code::FailedPrecondition); // none configured
            check(ErrorKind::NotConfigured, Code::InvalidArgument); // unknown store
            check(ErrorKind::InvalidArgument, Code::InvalidArgument); // empty fields, expire ≤ 0, `||`
            check(ErrorKind::Unsupported, Code::Unimplemented); // a store that cannot be written or watched
            check(ErrorKind::Unavailable, Code::Unavailable);
        }
    }

    #[test]
    fn the_source_stays_here_and_the_kind_goes_along() {
        let error =
            Error::internal("could not read").with("key", "cart").with_source("/secret/path".to_owned());
        let status = status(Block::State, &error);
        assert_eq!(status.message(), "could not read (key=cart)");
        assert_eq!(status.metadata().get(REASON).unwrap(), "internal");
        assert!(!format!("{status:?}").contains("/secret"));
    }
}
