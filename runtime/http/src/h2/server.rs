//! Serves HTTP/2 connections.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outrigger_net::{ConnInfo, DrainWatch};
use tokio::io::{AsyncRead, AsyncWrite};

use super::convert;
use super::stream::{InFlight, Outbound, Progress, Stream};
use crate::body::Body;
use crate::config::ServerConfig;
use crate::head::Scheme;
use crate::message::{Handler, Request, RequestExt, Response};
use crate::reply;

type Failure = Box<dyn Error + Send + Sync>;

/// How long a client may take to leave after GOAWAY once nothing is in flight.
const PARTING: Duration = Duration::from_secs(5);

/// What all streams of a connection share.
struct Context<H> {
    handler: Arc<H>,
    info: Arc<ConnInfo>,
    config: Arc<ServerConfig>,
    drain: DrainWatch,
    in_flight: Arc<AtomicUsize>,
}

/// Serves streams until the client leaves, the connection has been idle for too long, or a drain has let what was in
/// flight finish.
pub(crate) async fn run<H: Handler>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    info: Arc<ConnInfo>,
    drain: DrainWatch,
    config: Arc<ServerConfig>,
    handler: Arc<H>,
) {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let context = Arc::new(Context {
        handler,
        info,
        config: Arc::clone(&config),
        drain: drain.clone(),
        in_flight: Arc::clone(&in_flight),
    });
    // Boxed, and written in place: hyper would carry what is large from hand to hand into the stream's task.
    let service = hyper::service::service_fn(move |request| {
        Box::into_pin(Box::write(Box::new_uninit(), answer(Arc::clone(&context), request)))
    });
    let mut connection = pin!(builder(&config).serve_connection(TokioIo::new(io), service));
    let mut draining = pin!(drain.draining());
    let mut going = false;
    // Idleness is looked at a few times per timeout; nothing has to be noted per request.
    let mut idle_rounds = 0;
    loop {
        let wait = if going { PARTING } else { config.idle_timeout / 4 };
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "http/2 connection failed");
                }
                return;
            }
            () = draining.as_mut(), if !going => {
                going = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(wait) => {
                let idle = in_flight.load(Ordering::Relaxed) == 0;
                idle_rounds = if idle { idle_rounds + 1 } else { 0 };
                if idle && going {
                    return;
                }
                if idle_rounds >= 4 {
                    going = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

fn builder(config: &ServerConfig) -> http2::Builder<TokioExecutor> {
    let h2 = &config.http2;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(h2.max_concurrent_streams)
        .initial_stream_window_size(h2.stream_window_bytes)
        .initial_connection_window_size(h2.connection_window_bytes)
        .max_send_buf_size(h2.max_send_buffer_bytes)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
        .header_table_size(4096)
        .auto_date_header(false)
        .enable_connect_protocol();
    builder
}

async fn answer<H: Handler>(
    context: Arc<Context<H>>,
    mut request: http::Request<Incoming>,
) -> Result<http::Response<Outbound>, Failure> {
    let in_flight = InFlight::new(&context.in_flight);
    let connect = *request.method() == Method::CONNECT;
    let upgrade = connect.then(|| hyper::upgrade::on(&mut request));
    let (parts, incoming) = request.into_parts();
    let scheme = if context.info.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let head = match convert::request_head(parts, &context.config, scheme) {
        Ok(head) => head,
        // Too much is answered; what could be read two ways is a malformed message (RFC 9113 §8.1.1).
        Err(refusal) if refusal.status == StatusCode::BAD_REQUEST => {
            tracing::debug!(reason = refusal.reason, "stream refused");
            return Err(h2::Error::from(h2::Reason::PROTOCOL_ERROR).into());
        }
        Err(refusal) => {
            let response = reply::local(refusal.status, refusal.reason, refusal.reason);
            return Ok(into_hyper(response, None, in_flight));
        }
    };
    let grpc = head.is_grpc();
    let has_body = !connect && !http_body::Body::is_end_stream(&incoming);
    let progress = has_body.then(Arc::<Progress>::default);
    let body = match &progress {
        Some(progress) => {
            // A gRPC call may be a subscription: the client is silent, and the server until it has something.
            let idle_timeout = (!grpc).then_some(context.config.body_idle_timeout);
            Body::h2(Stream::request(incoming, Arc::clone(progress), idle_timeout))
        }
        None => Body::empty(),
    };
    let request = Request { head, body, conn: Arc::clone(&context.info), ext: RequestExt::default() };
    let handled = AssertUnwindSafe(context.handler.handle(request)).catch_unwind().await;
    if let Some(progress) = &progress {
        progress.answered();
    }
    let mut response = handled.unwrap_or_else(|_| {
        tracing::error!(connection = context.info.id, "a request handler panicked");
        reply::local_for(grpc, StatusCode::INTERNAL_SERVER_ERROR, "panic", "internal error")
    });
    if let (Some(tunnel), Some(upgrade)) = (response.tunnel.take(), upgrade) {
        // RFC 8441 §5: what HTTP/1.1 says with 101 is a 200 here.
        response.head.status = StatusCode::OK;
        let drain = context.drain.clone();
        // Ends with its stream, and so at the latest with the connection.
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => crate::tunnel::bridge(TokioIo::new(upgraded), tunnel, &drain).await,
                Err(error) => tracing::debug!(%error, "tunnel was not opened"),
            }
        });
    }
    Ok(into_hyper(response, progress, in_flight))
}

fn into_hyper(
    response: Response,
    progress: Option<Arc<Progress>>,
    in_flight: InFlight,
) -> http::Response<Outbound> {
    let Response { head, body, record, .. } = response;
    let status = head.status;
    let mut headers = head.headers.into_map();
    convert::strip_connection(&mut headers);
    let mut converted = http::Response::new(Outbound::response(body, status, record, progress, in_flight));
    *converted.status_mut() = status;
    *converted.headers_mut() = headers;
    converted
}
