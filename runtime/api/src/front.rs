//! The tower service of a listener: checks who comes in, finds the service that is meant, and answers what nobody
//! serves. Dispatch compares names rather than asking a router: the set is small and known here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use outrigger_blocks::Blocks;
use outrigger_proto::layotto::lifecycle_server::LifecycleServer;
use outrigger_proto::layotto::runtime_server::RuntimeServer;
use outrigger_proto::outrigger::actuator_server::ActuatorServer;
use outrigger_proto::outrigger::functions_server::FunctionsServer;
use outrigger_telemetry::Metrics;
use outrigger_telemetry::span::Tracer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, StdError};
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tower_service::Service;

use crate::access::{Access, Denied, Exposure};
use crate::actuator::Actuator;
use crate::functions::FunctionAdmin;
use crate::grpc::health::HealthService;
use crate::grpc::layotto::{self, LifecycleService, RuntimeService};
use crate::grpc::outrigger::{ActuatorService, FunctionsService};
use crate::grpc::reflection;
use crate::meter::Meter;
use crate::passing;
use crate::trace;

type Runtime = RuntimeServer<RuntimeService>;
type Health = HealthServer<HealthService>;
/// A service called too rarely to deserve a type of its own in the dispatch.
type Boxed = Box<dyn Fn(Request<Body>) -> Call + Send + Sync>;
type Call = BoxFuture<Response<Body>, Infallible>;

/// What holds for all API listeners.
#[derive(Clone)]
pub struct Rules {
    /// Who may come in.
    pub access: Access,
    /// The longest gRPC message, either way.
    pub max_message_bytes: usize,
}

impl From<Access> for Rules {
    /// With messages of 4 MiB, as gRPC has it everywhere.
    fn from(access: Access) -> Self {
        Self { access, max_message_bytes: 4 << 20 }
    }
}

/// A tonic server that takes and gives no longer messages than this.
macro_rules! within {
    ($bytes:expr, $server:expr) => {
        $server.max_decoding_message_size($bytes).max_encoding_message_size($bytes)
    };
}

/// Everything API listeners serve. One for the process; a reload that changes the rules makes another.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    access: Access,
    meter: Meter,
    tracer: Tracer,
    blocks: Arc<Blocks>,
    runtime: Runtime,
    others: Vec<(&'static str, Boxed)>,
}

impl Api {
    /// Serves these blocks, this actuator and these functions under these rules. Whoever needs no token to come in may
    /// not manage functions: to reach this port is enough to call them, not to change what runs in here.
    pub fn new(
        blocks: Arc<Blocks>,
        actuator: Arc<dyn Actuator>,
        functions: Arc<dyn FunctionAdmin>,
        rules: impl Into<Rules>,
        metrics: &Metrics,
    ) -> Self {
        let Rules { access, max_message_bytes: most } = rules.into();
        let meter = Meter::new(metrics);
        let health = HealthService {
            actuator: Arc::clone(&actuator),
            services: [
                Runtime::NAME,
                LifecycleServer::<LifecycleService>::NAME,
                ActuatorServer::<ActuatorService>::NAME,
                FunctionsServer::<FunctionsService>::NAME,
            ]
            .into(),
        };
        let functions = FunctionsService { functions, open: access.tokens.is_some() };
        let lifecycle = LifecycleService { blocks: Arc::clone(&blocks), meter: meter.clone() };
        let others = vec![
            boxed(within!(most, HealthServer::new(health))),
            boxed(within!(most, ActuatorServer::new(ActuatorService(actuator)))),
            boxed(within!(most, FunctionsServer::new(functions))),
            boxed(within!(most, LifecycleServer::new(lifecycle))),
            boxed(reflection::v1()),
            boxed(reflection::v1alpha()),
        ];
        let service = RuntimeService { blocks: Arc::clone(&blocks), meter: meter.clone() };
        let runtime = within!(most, RuntimeServer::new(service));
        let tracer = metrics.tracer().clone();
        Self(Arc::new(Shared { access, meter, tracer, blocks, runtime, others }))
    }

    /// The service of one listener.
    pub fn front(&self, exposure: Exposure) -> Front {
        Front { shared: Arc::clone(&self.0), exposure }
    }
}

/// `outrigger.v1.Functions` for a listener that is there to manage.
pub fn functions_service<B>(
    functions: Arc<dyn FunctionAdmin>,
) -> impl Service<
    Request<B>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send,
> + NamedService
+ Clone
+ Send
+ Sync
+ use<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    FunctionsServer::new(FunctionsService { functions, open: true })
}

fn boxed<S>(service: S) -> (&'static str, Boxed)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync,
    S: 'static,
    S::Future: Send + 'static,
{
    (S::NAME, Box::new(move |request| Box::pin(service.clone().call(request))))
}

/// The tower service of one listener. Always ready; cloning is cheap.
#[derive(Clone)]
pub struct Front {
    shared: Arc<Shared>,
    exposure: Exposure,
}

impl<B> Service<Request<B>> for Front
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Reply {
        let shared = &*self.shared;
        let path = request.uri().path();
        let service =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
        if let Err(denied) = shared.admit(self.exposure, service, &request) {
            shared.meter.refused(denied.reason());
            return Reply::Ready(Some(refusal(denied, is_grpc(&request))));
        }
        let served = match (is_grpc(&request), shared.find(service)) {
            (true, Some(served)) => Some(served),
            _ if passing::target(request.headers()).is_some() => None,
            (true, None) => return Reply::Ready(Some(shared.unserved(service))),
            (false, _) => return Reply::Ready(Some(not_grpc(&request))),
        };
        shared.access.strip(request.headers_mut());
        let span = trace::begin(&shared.tracer, &mut request);
        let call = match served {
            Some(Served::Runtime(runtime)) => runtime.clone().call(request),
            Some(Served::Other(call)) => call(request.map(Body::new)),
            None => passing::pass(&shared.blocks, &shared.meter, request),
        };
        Reply::Call(match span {
            None => call,
            Some(span) => Box::pin(async { call.await.map(|response| trace::end(span, response)) }),
        })
    }
}

/// What a service's name leads to.
enum Served<'s> {
    Runtime(&'s Runtime),
    Other(&'s Boxed),
}

impl Shared {
    /// Probes of orchestrators cannot send a token, and what they learn is one word.
    fn admit<B>(&self, exposure: Exposure, service: &str, request: &Request<B>) -> Result<(), Denied> {
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        if service == Health::NAME {
            self.access.check_origin(exposure, authority, request.headers())
        } else {
            self.access.check(exposure, authority, request.headers())
        }
    }

    fn find(&self, service: &str) -> Option<Served<'_>> {
        if service == Runtime::NAME {
            return Some(Served::Runtime(&self.runtime));
        }
        let mut others = self.others.iter();
        others.find(|(name, _)| *name == service).map(|(_, call)| Served::Other(call))
    }

    fn unserved(&self, service: &str) -> Response<Body> {
        if let Some(message) = layotto::later(service) {
            return Status::unimplemented(message).into_http();
        }
        let served: Vec<_> =
            std::iter::once(Runtime::NAME).chain(self.others.iter().map(|(name, _)| *name)).collect();
        let message = format!("service '{service}' is not served here; there are: {}", served.join(", "));
        Status::unimplemented(message).into_http()
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    // Not gRPC-Web, which begins the same: its callers are pages.
    let rest = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}

/// In the caller's own protocol: gRPC clients show a gRPC message, everybody else shows a body.
fn refusal(denied: Denied, grpc: bool) -> Response<Body> {
    if grpc {
        Status::new(denied.code(), denied.message()).into_http()
    } else {
        plain(denied.http_status(), denied.message())
    }
}

fn not_grpc<B>(request: &Request<B>) -> Response<Body> {
    match *request.method() {
        Method::POST => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this port speaks gRPC (application/grpc)"),
        _ => plain(StatusCode::NOT_FOUND, "this port speaks gRPC; health and metrics are on the admin port"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let text = http_body_util::Full::new(Bytes::from_static(text.as_bytes()));
    let mut response = Response::new(Body::new(text));
    *response.status_mut() = status;
    let content_type = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// The answer of a [`Front`]: under way, or known at once.
pub enum Reply {
    Call(Call),
    Ready(Option<Response<Body>>),
}

impl Future for Reply {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Call(call) => call.as_mut().poll(context),
            Self::Ready(response) => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after it is done")))
            }
        }
    }
}
