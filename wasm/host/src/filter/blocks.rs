//! What Layotto's functions may call besides: the building blocks. A function has a thread of its own on which it waits
//! for the answer; a filter shares the one connections are served on, and so has none of this.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outrigger_blocks::{Blocks, Body, Caller, Deadline, Error, ErrorKind, GetOptions, Result};
use outrigger_telemetry::trace::TraceContext;
use tokio::runtime::Handle;
use tracing::Level;
use wasmtime::Module;

use super::abi::Status;
use super::exports::GET_ID;
use super::memory::{Answer, Guest, Place, Span, bytes, give, text};
use super::state::State;
use super::stream::Chunk;
use crate::layotto::LayottoGrants;

pub(crate) const GET_STATE: &str = "proxy_get_state";
pub(crate) const INVOKE_SERVICE: &str = "proxy_invoke_service";

/// What `InvokeService` gives another application when nobody says more.
const INVOKE: Duration = Duration::from_secs(3);
/// The largest answer of one, as of `InvokeService`.
const LARGEST: usize = 4 << 20;
/// Names the application to routes.
const ID: HeaderName = HeaderName::from_static("id");

/// The blocks, and the runtime they are asked on.
#[derive(Clone)]
pub(crate) struct Backing {
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) control: Handle,
}

/// What an instance of a function has besides what one of a filter has.
#[derive(Debug, Default)]
pub(crate) struct Acting {
    /// The buffer it writes its id to.
    pub(crate) data: Chunk,
    /// The request it is answering.
    pub(crate) call: Option<Asking>,
}

/// On whose behalf blocks are asked.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) deadline: Deadline,
    pub(crate) trace: Option<TraceContext>,
}

/// What `invoke_service` is given.
pub(crate) struct Invoked {
    pub(crate) id: Span,
    pub(crate) method: Span,
    pub(crate) body: Span,
}

/// Whether a module is what it is configured as: a filter, or a function with these grants.
pub(crate) fn may_link(module: &Module, grants: Option<&LayottoGrants>) -> Result<(), String> {
    let imports = |name: &str| module.imports().any(|import| import.name() == name);
    let Some(grants) = grants else {
        return match [GET_STATE, INVOKE_SERVICE].into_iter().find(|name| imports(name)) {
            Some(name) => {
                Err(format!("it imports `{name}`, which functions have: it belongs under `wasm.layotto`"))
            }
            None => Ok(()),
        };
    };
    if module.get_export(GET_ID).is_none() {
        return Err(format!("it is no function of Layotto's: it has no export `{GET_ID}`"));
    }
    for (name, granted, grant) in
        [(GET_STATE, &grants.state, "state"), (INVOKE_SERVICE, &grants.invoke, "invoke")]
    {
        if granted.is_empty() && imports(name) {
            return Err(format!("it imports `{name}` and is not granted any: see `grants.{grant}`"));
        }
    }
    Ok(())
}

pub(crate) fn get_state(guest: &mut Guest<'_>, store: Span, key: Span, place: Place) -> Answer {
    let (store, key) = (text(guest, store)?, text(guest, key)?);
    let state = guest.data_mut();
    let found = state.granted(|grants| &grants.state, "state", &store).and_then(|()| {
        state.wait(|blocks, asking| async move {
            blocks.state.get(&asking.caller(&blocks), &store, &key, GetOptions::default()).await
        })
    });
    let entry = found.map_err(|error| state.refused(GET_STATE, &error))?;
    // As in Layotto, a key that is not there has an empty value.
    give(guest, &entry.map(|entry| entry.value).unwrap_or_default(), place)
}

pub(crate) fn invoke_service(guest: &mut Guest<'_>, invoked: Invoked, place: Place) -> Answer {
    let (id, method) = (text(guest, invoked.id)?, text(guest, invoked.method)?);
    let body = bytes(guest, invoked.body)?;
    let state = guest.data_mut();
    let answered = state.granted(|grants| &grants.invoke, "invoke", &id).and_then(|()| {
        let request = request(&id, &method, body.into())?;
        state.wait(|blocks, mut asking| async move {
            asking.deadline = asking.deadline.earlier(Deadline::after(Instant::now(), INVOKE));
            invoke(&blocks, &asking, &id, request).await
        })
    });
    let body = answered.map_err(|error| state.refused(INVOKE_SERVICE, &error))?;
    give(guest, &body, place)
}

/// What the gRPC API makes of such a call: a GET with a body, and the application's id in a header.
fn request(id: &str, method: &str, body: Bytes) -> Result<http::Request<Body>> {
    let path = format!("/{}", method.strip_prefix('/').unwrap_or(method));
    let mut request = http::Request::new(Body::full(body));
    *request.uri_mut() = path.parse().map_err(|_| Error::invalid("the method makes no path"))?;
    let value = HeaderValue::from_str(id);
    let value = value.map_err(|_| Error::invalid("the id has characters no header can have"))?;
    request.headers_mut().insert(ID, value);
    Ok(request)
}

async fn invoke(blocks: &Blocks, asking: &Asking, id: &str, request: http::Request<Body>) -> Result<Bytes> {
    let answer = blocks.invoke.call(&asking.caller(blocks), id, request).await?;
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return Err(Error::unavailable(format!("the app '{id}' answered {}", head.status)));
    }
    let broken = |error| Error::unavailable(format!("the answer of the app '{id}' broke off: {error}"));
    body.collect(LARGEST).await.map_err(broken)
}

impl Asking {
    fn caller<'a>(&self, blocks: &'a Blocks) -> Caller<'a> {
        Caller { deadline: self.deadline, trace: self.trace.clone(), ..Caller::new(blocks.app_id()) }
    }
}

impl State {
    pub(crate) fn acting(&self) -> Result<&Acting, Status> {
        self.acting.as_ref().ok_or(Status::NotFound)
    }

    pub(crate) fn acting_mut(&mut self) -> Result<&mut Acting, Status> {
        self.acting.as_mut().ok_or(Status::NotFound)
    }

    fn granted(
        &self,
        names: impl FnOnce(&LayottoGrants) -> &Vec<String>,
        grant: &str,
        name: &str,
    ) -> Result<()> {
        let granted = self.plan.grants.as_deref().map(names);
        if granted.is_some_and(|names| names.iter().any(|one| one == name || one == "*")) {
            return Ok(());
        }
        let message = format!("'{name}' is not granted: see `grants.{grant}`");
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }

    /// Asks the blocks on behalf of the request that is being answered, and waits until its deadline.
    fn wait<T, F>(&self, ask: impl FnOnce(Arc<Blocks>, Asking) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let asking = self.acting.as_ref().and_then(|acting| acting.call.clone());
        let (Some(Backing { blocks, control }), Some(asking)) = (&self.services.backing, asking) else {
            let message = "blocks can be asked only while a request is answered";
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        };
        let left = asking.deadline.remaining(Instant::now()).unwrap_or(Duration::MAX);
        let asked = ask(Arc::clone(blocks), asking);
        let (tell, told) = sync_channel(1);
        let task = control.spawn(async move {
            // Nobody listens when the deadline has passed.
            let _ = tell.send(asked.await);
        });
        told.recv_timeout(left).unwrap_or_else(|_| {
            task.abort();
            Err(Error::new(ErrorKind::Timeout, "there was no answer in time"))
        })
    }

    /// Tells the log why, as proxy-wasm has numbers only.
    fn refused(&mut self, call: &str, error: &Error) -> Status {
        self.write(Level::WARN, format!("{call}: {error}").as_bytes());
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotConfigured => Status::NotFound,
            ErrorKind::InvalidArgument => Status::BadArgument,
            _ => Status::InternalFailure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_a_service_is_what_the_grpc_api_makes_of_it() {
        let check = |method: &str, path: &str| {
            let request = request("id_2", method, Bytes::from_static(b"book1")).unwrap();
            assert_eq!((request.method(), request.uri().path()), (&http::Method::GET, path));
            assert_eq!(request.headers()["id"], "id_2");
        };
        check("", "/");
        check("stock", "/stock");
        check("/stock", "/stock");
        for (id, method) in [("a\nb", ""), ("a", "no path")] {
            assert_eq!(request(id, method, Bytes::new()).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
