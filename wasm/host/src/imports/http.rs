//! Requests of functions, through `wasi:http/outgoing-handler`: to clusters, which are named where the host would be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use http_body_util::BodyExt as _;
use outrigger_blocks::function::Section;
use outrigger_blocks::{Body, BodyError, Deadline};
use outrigger_cluster::{Cluster, SendError, SendErrorKind, SendOptions};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::is_ours;
use crate::function::journal::Kind;
use crate::function::state::{Call, Guest};
use crate::limits::PIECE;

type Ending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Ending), Error>;

impl WasiHttpHooks for Guest {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _ending: Ending,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let admitted = self.admit(&request);
        Box::new(async move {
            let (call, cluster) = admitted?;
            send(&call, &cluster, request, options.unwrap_or_default()).await
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE
    }

    /// What a cluster is spoken to in is its own affair.
    fn default_scheme(&mut self) -> Option<http::uri::Scheme> {
        Some(http::uri::Scheme::HTTP)
    }
}

impl Guest {
    /// The cluster a request is for, which has to be granted. Codes have no words: these go to the function's log.
    fn admit(&mut self, request: &http::Request<WasiBody>) -> Result<(Call, Arc<Cluster>), Error> {
        let name = request.uri().authority().map_or("", http::uri::Authority::as_str);
        let journal = Arc::clone(&self.program.journal);
        let refused = |why: String, code: Error| {
            journal.write(Kind::Warn, &format!("wasi:http: {why}"));
            code
        };
        let call = self.operation().map_err(|error| {
            let code = Error::InternalError(Some(error.to_string()));
            refused(error.to_string(), code)
        })?;
        let granted = self.program.config.grants.check(Section::Http, name);
        granted.map_err(|error| refused(error.to_string(), Error::HttpRequestDenied))?;
        let cluster = self.program.clusters.load().get(name).cloned();
        let cluster = cluster
            .ok_or_else(|| refused(format!("there is no cluster '{name}'"), Error::DestinationNotFound))?;
        Ok((call, cluster))
    }
}

async fn send(
    call: &Call,
    cluster: &Cluster,
    mut request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Sent {
    // The cluster may be another sidecar.
    let ours: Vec<_> = request.headers().keys().filter(|name| is_ours(name)).cloned().collect();
    for name in ours {
        request.headers_mut().remove(name);
    }
    call.write_trace(request.headers_mut());
    request.extensions_mut().insert(call.chain.clone());
    // A cluster connects as its own settings say; whoever asks waits for both at most.
    let wait = options.connect_timeout.zip(options.first_byte_timeout).map(|(a, b)| a.saturating_add(b));
    let wait = wait.or(options.first_byte_timeout);
    let deadline = call.deadline.earlier(Deadline::after_opt(Instant::now(), wait));
    let how = SendOptions { deadline, retry: None };
    let answer = cluster.call(request.map(Body::wrap), call.trace.as_ref(), &how).await.map_err(failed)?;
    let pause = options.between_bytes_timeout;
    let answer = answer.map(|body| match pause {
        None => body.map_err(broken).boxed_unsync(),
        Some(pause) => Paced::new(body, pause).boxed_unsync(),
    });
    Ok((answer, Box::new(std::future::ready(Ok(())))))
}

/// The codes of the interface.
fn failed(error: SendError) -> Error {
    tracing::debug!(%error, "a function's request brought no answer");
    match error.kind {
        SendErrorKind::Timeout | SendErrorKind::TryTimeout => Error::HttpResponseTimeout,
        SendErrorKind::ConnectTimeout => Error::ConnectionTimeout,
        SendErrorKind::ConnectFailed => Error::ConnectionRefused,
        SendErrorKind::NoEndpoint
        | SendErrorKind::Unhealthy
        | SendErrorKind::BreakerOpen
        | SendErrorKind::NoConnection => Error::DestinationUnavailable,
        SendErrorKind::FunctionFailed => Error::HttpResponseIncomplete,
        SendErrorKind::Overflow => Error::ConnectionLimitReached,
        SendErrorKind::Loop => Error::LoopDetected,
        SendErrorKind::Tls => Error::TlsProtocolError,
        SendErrorKind::Protocol => Error::HttpProtocolError,
        SendErrorKind::Refused | SendErrorKind::ResetBeforeRequest | SendErrorKind::Reset => {
            Error::ConnectionTerminated
        }
        SendErrorKind::RequestBody => Error::InternalError(Some("the request's body broke off".to_owned())),
    }
}

fn broken(error: BodyError) -> Error {
    match error {
        BodyError::Idle => Error::ConnectionReadTimeout,
        BodyError::TooLarge => Error::HttpResponseBodySize(None),
        BodyError::Malformed(_) => Error::HttpProtocolError,
        BodyError::Disconnected | BodyError::Aborted | BodyError::Io(_) | BodyError::Other(_) => {
            Error::HttpResponseIncomplete
        }
    }
}

/// A body whose pieces have to come within some time of each other.
struct Paced {
    body: Body,
    pause: Duration,
    late: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl Paced {
    fn new(body: Body, pause: Duration) -> Self {
        Self { body, pause, late: Box::pin(tokio::time::sleep(pause)) }
    }
}

impl http_body::Body for Paced {
    type Data = bytes::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Error>>> {
        use std::task::Poll;
        let this = &mut *self;
        if let Poll::Ready(frame) = std::pin::Pin::new(&mut this.body).poll_frame(cx) {
            this.late.as_mut().reset(tokio::time::Instant::now() + this.pause);
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        this.late.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
