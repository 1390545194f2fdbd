//! Called for events of topics.

pub use crate::bindgen::event::exports::outrigger::functions::event::{Answer, CloudEvent as Event};

use crate::Failure;

/// Handles events.
pub trait Handler {
    /// A failure is written to the function's log, and the event is delivered again.
    fn handle(event: Event) -> Result<Answer, Failure>;
}

impl Event {
    /// The data, read as JSON.
    ///
    /// # Errors
    /// It is something else.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.data)
    }
}

#[doc(hidden)]
pub fn answer<H: Handler>(event: Event) -> Answer {
    H::handle(event).unwrap_or_else(|failure| {
        eprintln!("{failure}");
        Answer::Retry
    })
}
