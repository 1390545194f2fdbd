//! Why an operation on a block failed, and what handlers fail with.

pub use crate::bindgen::imports::outrigger::functions::types::{Code, Error};

/// What handlers fail with: any error, or a text.
pub type Failure = Box<dyn std::error::Error>;

/// The outcome of an operation on a block.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the operation may succeed when it is tried again, unchanged.
    pub fn is_passing(&self) -> bool {
        matches!(self.code, Code::Unavailable | Code::Timeout | Code::RateLimited)
    }
}
