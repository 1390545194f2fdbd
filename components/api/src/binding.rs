//! The bindings block: calls out to another system, and events that come in from one.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Component, Delivery, Error, Result};

/// Another system, reached by operations it names.
#[async_trait]
pub trait OutputBinding: Component {
    /// The operations there are.
    fn operations(&self) -> &'static [&'static str];

    /// Runs one operation. One that does not exist is [`InvalidArgument`](crate::ErrorKind::InvalidArgument); see
    /// [`unknown_operation`].
    async fn invoke(&self, request: BindingRequest) -> Result<BindingResponse>;
}

/// Events from another system.
#[async_trait]
pub trait InputBinding: Component {
    /// Starts listening. Events wait for their settlement one at a time.
    async fn open(&self) -> Result<Box<dyn BindingEvents>>;
}

/// What an input binding yields.
#[async_trait]
pub trait BindingEvents: Send + 'static {
    /// The next event. Waits for one; dropping the future loses nothing.
    async fn next(&mut self) -> Result<Delivery>;
}

/// What an output binding is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingRequest {
    pub operation: String,
    pub data: Bytes,
    pub metadata: BTreeMap<String, String>,
}

/// What it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingResponse {
    pub data: Bytes,
    pub metadata: BTreeMap<String, String>,
    /// Why the other system refused, in words, if it did: then data and metadata are its refusal.
    pub refused: Option<String>,
}

/// The error for an operation a binding does not have.
pub fn unknown_operation(operation: &str, known: &[&str]) -> Error {
    let known = known.join(", ");
    match operation {
        "" => Error::invalid(format!("operation is empty; there are: {known}")),
        other => Error::invalid(format!("operation '{other}' does not exist here; there are: {known}")),
    }
}
