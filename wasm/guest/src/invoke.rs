//! Called by name: by applications and other functions.

pub use crate::bindgen::invoke::exports::outrigger::functions::invoke::{Answer, Call};

use crate::{Failure, value};

/// Answers calls.
pub trait Handler {
    /// A failure is answered with 500 and its text.
    fn handle(call: Call) -> Result<Answer, Failure>;
}

impl Call {
    /// The first value of the metadata under a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.metadata, name)
    }

    /// The data, read as JSON.
    ///
    /// # Errors
    /// It is something else.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.data)
    }
}

impl Answer {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content_type: "text/plain; charset=utf-8".to_owned(), data: text.into().into_bytes() }
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// The value cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json(value: &impl serde::Serialize) -> serde_json::Result<Self> {
        Ok(Self { content_type: "application/json".to_owned(), data: serde_json::to_vec(value)? })
    }
}
