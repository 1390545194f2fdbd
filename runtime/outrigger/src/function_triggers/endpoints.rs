//! Functions as clusters see them: services of this process, found by name for each attempt.

use std::sync::{Arc, Weak};

use http::Response;
use outrigger_blocks::{Blocks, Caller, Error, ErrorKind, function::Door};
use outrigger_cluster::{Body, LocalCall, SendError, SendErrorKind, Service, Services};
use outrigger_component_api::async_trait;

/// The functions of this process behind one door.
pub struct Endpoints {
    /// Whoever answers for ids is part of the blocks, and asks here.
    blocks: Weak<Blocks>,
    door: Door,
}

impl Endpoints {
    pub fn new(blocks: &Arc<Blocks>, door: Door) -> Self {
        Self { blocks: Arc::downgrade(blocks), door }
    }
}

impl Services for Endpoints {
    fn find(&self, name: &str) -> Option<Arc<dyn Service>> {
        let blocks = self.blocks.upgrade()?;
        let there = blocks.functions.has(name);
        there.then(|| Arc::new(Endpoint { blocks, name: name.into(), door: self.door }) as _)
    }
}

struct Endpoint {
    blocks: Arc<Blocks>,
    name: Box<str>,
    door: Door,
}

#[async_trait]
impl Service for Endpoint {
    async fn call(&self, call: LocalCall) -> Result<Response<Body>, SendError> {
        let LocalCall { mut request, deadline, trace } = call;
        let chain = request.extensions_mut().remove().unwrap_or_default();
        let caller = &Caller { app_id: self.blocks.app_id(), deadline, trace, chain };
        self.blocks.functions.serve(&self.name, caller, self.door, request).await.map_err(failed)
    }
}

/// What a cluster makes of it: busy is asked elsewhere, absent is like nobody listening, a request that the function cannot
/// be given is the client's fault, functions that wait for each other are a loop, and whatever else ended without an answer is the function's.
fn failed(error: Error) -> SendError {
    let kind = match error.kind() {
        ErrorKind::Timeout => SendErrorKind::TryTimeout,
        ErrorKind::RateLimited => SendErrorKind::Refused,
        ErrorKind::Unavailable | ErrorKind::NotConfigured => SendErrorKind::ConnectFailed,
        ErrorKind::InvalidArgument => SendErrorKind::RequestBody,
        ErrorKind::FailedPrecondition => SendErrorKind::Loop,
        _ => SendErrorKind::FunctionFailed,
    };
    SendError::with_source(kind, error)
}

#[cfg(test)]
mod tests;
