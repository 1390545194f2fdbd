//! Calls to applications and functions by name.

use crate::bindgen::imports::outrigger::functions::invocation as wit;
use crate::{Metadata, Result, value};

pub use wit::Response;

/// A call to an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    verb: String,
    method: String,
    headers: Metadata,
    body: Vec<u8>,
}

impl Request {
    /// A call without a body; `method` is the path and query, without the slash in front.
    pub fn get(method: impl Into<String>) -> Self {
        Self { verb: "GET".to_owned(), method: method.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A call with one.
    pub fn post(method: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { verb: "POST".to_owned(), body: body.into(), ..Self::get(method) }
    }

    /// The same with another verb.
    #[must_use]
    pub fn verb(mut self, verb: impl Into<String>) -> Self {
        self.verb = verb.into();
        self
    }

    /// The same with a header more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Calls the application, or the function, of that id.
    pub fn call(self, app: &str) -> Result<Response> {
        let Self { verb, method, headers, body } = self;
        wit::call(app, &wit::Request { verb, method, headers, body })
    }
}

impl Response {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// Whether the status says so.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// It is something else.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}
