//! Functions that do as the test says, found by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http::Response;
use outrigger_cluster::{Body, Clusters, Context, LocalCall, SendError, SendErrorKind, Service, Services};
use parking_lot::Mutex;
use serde_json::Value;

use crate::world::{context, recompile};

type Answer = Result<Response<Body>, SendError>;
type Script = dyn Fn(LocalCall, Arc<Counts>) -> BoxFuture<'static, Answer> + Send + Sync;

/// What happened to the calls of a function.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: AtomicUsize,
    /// Calls that were ended before they did.
    pub(super) cancelled: AtomicUsize,
}

struct Scripted(Box<Script>, Arc<Counts>);

#[async_trait]
impl Service for Scripted {
    async fn call(&self, call: LocalCall) -> Answer {
        self.1.calls.fetch_add(1, SeqCst);
        (self.0)(call, Arc::clone(&self.1)).await
    }
}

/// Whatever is deployed.
#[derive(Default)]
pub(super) struct Shelf(Mutex<HashMap<String, Arc<Scripted>>>);

impl Services for Shelf {
    fn find(&self, name: &str) -> Option<Arc<dyn Service>> {
        self.0.lock().get(name).map(|service| Arc::clone(service) as _)
    }
}

impl Shelf {
    pub(super) fn deploy<F>(
        &self,
        name: &str,
        script: impl Fn(LocalCall, Arc<Counts>) -> F + Send + Sync + 'static,
    ) -> Arc<Counts>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let counts = Arc::new(Counts::default());
        let script: Box<Script> = Box::new(move |call, counts| Box::pin(script(call, counts)));
        self.0.lock().insert(name.to_owned(), Arc::new(Scripted(script, Arc::clone(&counts))));
        counts
    }

    /// One that answers with a status and `ok`.
    pub(super) fn answering(&self, name: &str, status: u16) -> Arc<Counts> {
        self.deploy(name, move |_, _| async move { answer(status, Body::full("ok")) })
    }

    /// One that fails like this.
    pub(super) fn failing(&self, name: &str, kind: SendErrorKind) -> Arc<Counts> {
        self.deploy(name, move |_, _| async move { Err(SendError::new(kind)) })
    }

    /// One that never answers.
    pub(super) fn hanging(&self, name: &str) -> Arc<Counts> {
        self.deploy(name, |_, counts| async move {
            let _cancelled = Cancelled(counts);
            std::future::pending().await
        })
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.lock().remove(name);
    }
}

/// Counts a call that is dropped.
pub(super) struct Cancelled(pub(super) Arc<Counts>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, SeqCst);
    }
}

pub(super) fn answer(status: u16, body: Body) -> Answer {
    Ok(Response::builder().status(status).body(body).unwrap())
}

pub(super) fn with(shelf: &Arc<Shelf>) -> Context {
    Context { services: Arc::clone(shelf) as _, ..context() }
}

pub(super) fn compile(shelf: &Arc<Shelf>, json: Value) -> Clusters {
    recompile(json, &Clusters::empty(with(shelf)))
}
