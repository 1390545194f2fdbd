//! From errors to codes: one table for each dialect, and nowhere else.

pub mod layotto;

use outrigger_blocks::Error;
use tonic::metadata::{MetadataMap, MetadataValue};

/// Trailer by which gRPC's own retries learn how long to wait.
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Tells when trying again may help, where that is known.
fn hint(error: &Error, trailers: &mut MetadataMap) {
    if let Some(wait) = error.retry_after() {
        // Rounded up: who asks a moment too early is refused again.
        let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        trailers.insert(PUSHBACK, MetadataValue::from(millis));
    }
}

/// The building block an error came from; dialects answer the same kind differently for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    State,
    Secrets,
    Configuration,
    Lock,
    Sequencer,
    Hello,
    Lifecycle,
    File,
    PubSub,
    Invoke,
    Binding,
    Function,
}

impl Block {
    /// Every block, for the tests of the tables.
    #[cfg(test)]
    const ALL: [Self; 12] = [
        Self::State,
        Self::Secrets,
        Self::Configuration,
        Self::Lock,
        Self::Sequencer,
        Self::Hello,
        Self::Lifecycle,
        Self::File,
        Self::PubSub,
        Self::Invoke,
        Self::Binding,
        Self::Function,
    ];
}
