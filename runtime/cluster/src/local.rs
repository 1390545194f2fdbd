//! Services of this process that an endpoint may name in place of an address: functions. What they are is not known
//! here.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Request, Response};
use outrigger_http::{Body, RequestHead};
use outrigger_resilience::Deadline;
use outrigger_telemetry::trace::TraceContext;

use crate::error::SendError;

/// Finds services by their names.
pub trait Services: Send + Sync + 'static {
    /// The one that has the name at this moment. Asked for each attempt, by workers: it must not wait.
    fn find(&self, name: &str) -> Option<Arc<dyn Service>>;
}

/// What answers requests in this process.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers a request with the head of a response. Dropping the future, or the response's body, ends the call.
    ///
    /// # Errors
    /// The kind says what the cluster makes of it:
    /// [`Refused`](crate::SendErrorKind::Refused) for a request that was not looked at,
    /// [`ConnectFailed`](crate::SendErrorKind::ConnectFailed) while there is nobody to look at any,
    /// [`TryTimeout`](crate::SendErrorKind::TryTimeout) for one that took too long, and
    /// [`FunctionFailed`](crate::SendErrorKind::FunctionFailed).
    async fn call(&self, call: LocalCall) -> Result<Response<Body>, SendError>;
}

/// A request to a service.
#[derive(Debug)]
pub struct LocalCall {
    /// With an absolute URI, and the extensions of one that was made in this process. Its body is no connection's: any thread may read it.
    pub request: Request<Body>,
    /// Until when the head of the response must have come.
    pub deadline: Deadline,
    /// The attempt's place in a trace, when there is one.
    pub trace: Option<TraceContext>,
}

/// No services.
pub(crate) struct NoServices;

impl Services for NoServices {
    fn find(&self, _: &str) -> Option<Arc<dyn Service>> {
        None
    }
}

/// Whether what is asked for is a connection that carries anything: CONNECT, or a WebSocket. A service has none.
pub(crate) fn wants_connection(head: &RequestHead) -> bool {
    let upgrade = || head.upgrade().is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    head.method == Method::CONNECT || upgrade()
}

/// In words for the operator.
pub(crate) fn nobody(name: &str) -> String {
    format!("there is no function '{name}'")
}
