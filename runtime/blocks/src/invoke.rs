//! Invoke: requests to applications by their ids, to the one beside us and to those beside other sidecars.
//!
//! A request is passed on as it is, body and all, and nothing is read ahead of either side. Between two sidecars it
//! carries the id it is for, who asks, and a mark that keeps it from being passed on a second time.

mod target;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use outrigger_cluster::{Body, SendError, SendErrorKind, SendOptions};
use outrigger_component_api::{Error, ErrorKind, Result, async_trait};

pub use target::{Callers, Place, SharedToken, Speaks, Target};
pub(crate) use target::{is_ambiguous, matches};

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::registry::RegistryComponent;
use crate::stores::Stores;

/// The header that names the application a request is for, to a sidecar.
pub const APP: HeaderName = HeaderName::from_static("dapr-app-id");
/// The header that names the application that asks.
pub const CALLER: HeaderName = HeaderName::from_static("dapr-caller-app-id");
/// Marks a request another sidecar has passed on.
const PASSED_ON: HeaderName = HeaderName::from_static("outrigger-passed-on");
/// What a sidecar may ask for, and takes off a request before the application sees it.
const TOKEN: HeaderName = HeaderName::from_static("dapr-api-token");

/// Who answers for which id.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// The target of an id, for somebody. An id nobody answers for is [`NotConfigured`](ErrorKind::NotConfigured).
    async fn find(&self, caller: &Caller<'_>, app: &str) -> Result<Arc<Target>>;
}

/// The invoke block.
#[derive(Default)]
pub struct Invoke {
    /// Where sidecars of other hosts are found; the directory asks them.
    pub registries: Arc<Stores<RegistryComponent>>,
    directory: OnceLock<Arc<dyn Directory>>,
}

impl Invoke {
    /// Where applications are found; the first one given stays.
    pub fn ask(&self, directory: Arc<dyn Directory>) {
        let _first_stays = self.directory.set(directory);
    }

    /// Sends a request to an application and returns when the head of its answer is there. An answer of any status is
    /// an answer. Dropping the answer's body cancels the request.
    pub async fn call(
        &self,
        caller: &Caller<'_>,
        app: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>> {
        let nobody =
            || Error::new(ErrorKind::FailedPrecondition, "there is no way to other applications here");
        if app.is_empty() {
            return Err(Error::invalid("the id of the application is empty"));
        }
        let target = found(caller, self.directory.get().ok_or_else(nobody)?.find(caller, app)).await?;
        let request = prepared(caller, app, &target, request)?;
        let request = &Mutex::new(Some(request));
        let call = Call { op: &target.op, class: Class::Stream, caller };
        let how = SendOptions { deadline: caller.deadline, retry: None };
        let send = |cluster: Arc<outrigger_cluster::Cluster>| async move {
            let request = request.lock().unwrap_or_else(PoisonError::into_inner).take();
            let request = request.ok_or_else(|| Error::internal("a request was to be sent twice"))?;
            let sent = cluster.call(request, caller.trace.as_ref(), &how).await;
            sent.map_err(|error| failed(error).with("app", app))
        };
        let cluster = Arc::clone(&target.cluster);
        target.guard.run(call, |_| async { Ok(cluster) }, send).await
    }
}

/// Whoever waits for a registry waits no longer than for the call.
async fn found(
    caller: &Caller<'_>,
    looking: impl Future<Output = Result<Arc<Target>>>,
) -> Result<Arc<Target>> {
    let Some(deadline) = caller.deadline.instant() else { return looking.await };
    let late = |_| Error::new(ErrorKind::Timeout, "the app was not found in time");
    tokio::time::timeout_at(deadline.into(), looking).await.map_err(late)?
}

/// Whether the target takes this request, and what is written on it for the way.
fn prepared(
    caller: &Caller<'_>,
    app: &str,
    target: &Target,
    mut request: Request<Body>,
) -> Result<Request<Body>> {
    // The other side is called by the name of the machine we share, as in Layotto, or is found by address.
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = path.into();
    let headers = request.headers_mut();
    headers.insert(http::header::HOST, HeaderValue::from_static("localhost"));
    let passed_on = headers.remove(PASSED_ON).is_some();
    headers.remove(APP);
    headers.remove(TOKEN);
    let named = headers.remove(CALLER).filter(|_| passed_on);
    let from = named.unwrap_or_else(|| value(caller.app_id));
    match &target.place {
        Place::App { speaks, callers } => {
            callers.check(&from, app, request.uri().path())?;
            speaks.check(app, request.headers())?;
            if !from.is_empty() {
                request.headers_mut().insert(CALLER, from);
            }
        }
        Place::Sidecar { .. } if passed_on => {
            let message = format!("app '{app}' is not beside this sidecar; a request is passed on only once");
            return Err(Error::unavailable(message));
        }
        Place::Sidecar { token } => {
            let headers = request.headers_mut();
            headers.insert(APP, value(app));
            headers.insert(CALLER, from);
            headers.insert(PASSED_ON, HeaderValue::from_static("1"));
            headers.extend(token.load().as_ref().map(|token| (TOKEN, value(token.expose()))));
        }
    }
    Ok(request)
}

/// An id with characters no header can carry names nobody.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether a request is a gRPC call.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn failed(error: SendError) -> Error {
    // A function was called by one that waits for it, and it says who is in whose way.
    let told = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Error>());
    if let (SendErrorKind::Loop, Some(told)) = (error.kind, told) {
        return Error::new(told.kind(), told.message().to_owned());
    }
    let kind = match error.kind {
        SendErrorKind::Timeout | SendErrorKind::TryTimeout => ErrorKind::Timeout,
        SendErrorKind::RequestBody => ErrorKind::Cancelled,
        SendErrorKind::Overflow => ErrorKind::RateLimited,
        SendErrorKind::FunctionFailed => ErrorKind::Internal,
        SendErrorKind::NoEndpoint
        | SendErrorKind::Unhealthy
        | SendErrorKind::BreakerOpen
        | SendErrorKind::Loop
        | SendErrorKind::NoConnection
        | SendErrorKind::ConnectFailed
        | SendErrorKind::ConnectTimeout
        | SendErrorKind::Tls
        | SendErrorKind::Refused
        | SendErrorKind::ResetBeforeRequest
        | SendErrorKind::Reset
        | SendErrorKind::Protocol => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("the app was not reached: {}", error.kind)).with_source(error)
}

#[cfg(test)]
mod tests;
