//! The sequencer block: numbers that only grow.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Component, Error, ErrorKind, Key, Result};

/// Gives out numbers, one sequence a key. The first number of a sequence is 1, or one more than
/// [`NextOptions::bigger_than`].
#[async_trait]
pub trait Sequencer: Component {
    /// What this sequencer honours. The suite holds it to its word.
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities::default()
    }

    /// A number larger than every number of the sequence that was given out before this call began. A number is given
    /// out once, also across restarts; one whose caller went away is lost. At the end of the range:
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition).
    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64>;

    /// `size` numbers in a row, none of which is given out to anybody else, and all larger than every number given out
    /// before this call began. A size of 0 is [`InvalidArgument`](crate::ErrorKind::InvalidArgument), one that does
    /// not fit into what is left of the range [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition).
    async fn segment(&self, _key: &Key, _size: u32, _options: NextOptions) -> Result<Segment> {
        Err(Error::unsupported("segments"))
    }
}

/// What a sequencer honours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SequencerCapabilities {
    /// `segment` works.
    pub segments: bool,
    /// [`NextOptions::bigger_than`] is honoured; without it, asking for it is
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    pub bigger_than: bool,
    /// Numbers given out stay given out when this process ends.
    pub persistent: bool,
}

/// Options of [`Sequencer`]'s methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextOptions {
    /// The sequence goes on above this number if it is not there yet; 0 and less ask for nothing.
    pub bigger_than: i64,
}

/// Numbers in a row, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub first: i64,
    pub last: i64,
}

impl Segment {
    /// The segment that follows `last`, the last number of a sequence that was given out (0 of a new one).
    pub fn after(last: i64, size: u32, options: NextOptions) -> Result<Self> {
        if size == 0 {
            return Err(Error::invalid("a segment has at least one number"));
        }
        let last = last.max(options.bigger_than);
        let end = last.checked_add(size.into()).ok_or_else(|| {
            Error::new(ErrorKind::FailedPrecondition, "the sequence is used up: no larger number can be told")
        })?;
        Ok(Self { first: last + 1, last: end })
    }
}
