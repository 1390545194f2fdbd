//! Requests whose bodies stream, through `wasi:http/incoming-handler`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire};
use std::task::{Context, Poll, ready};

use ::http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use ::http::{Request, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use outrigger_blocks::{Body, BodyError, Caller, Error, Result};
use tokio::sync::oneshot;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, HyperOutgoingBody};
use wasmtime_wasi_http::p2::types::HostResponseOutparam;

use super::clock::in_time;
use super::exports::Exports;
use super::instance::Started;
use super::measures::Trigger;
use super::message;
use super::runner::{Runner, Work};
use super::state::Ctx;
use super::threads::Task;

type Answered = Result<Response<HyperOutgoingBody>, ErrorCode>;

struct Ask {
    request: Request<Incoming>,
    answer: oneshot::Sender<Answered>,
    broken: Arc<AtomicBool>,
}

impl Work for Ask {
    type Answer = ();

    async fn run(self, started: Started<'_>, exports: &Exports) -> wasmtime::Result<()> {
        let Started { store, inner } = started;
        let stream = exports.stream.as_ref();
        let stream = stream.ok_or_else(|| wasmtime::Error::msg("there is no `incoming-handler`"))?;
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, self.request)?;
        let answer = store.data_mut().http().new_response_outparam(self.answer)?;
        let handled = stream.load(&mut *store, &inner)?.call_handle(&mut *store, request, answer).await;
        handled.or_else(|error| exited(error, store.data_mut()))?;
        // Its client would take what there is of it for the whole, and the next call could go on writing.
        let left = store.data_mut().http().table.iter_mut().any(|entry| entry.is::<HostOutgoingBody>());
        if left { Err(wasmtime::Error::msg("it left a body unfinished")) } else { Ok(()) }
    }

    fn broken(&self) -> Option<Arc<AtomicBool>> {
        Some(Arc::clone(&self.broken))
    }
}

/// Commands end by exiting: with 0, after an answer, that is an end like any other. The instance is no more.
fn exited(error: wasmtime::Error, ctx: &mut Ctx) -> wasmtime::Result<()> {
    let is_well = error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0);
    if !is_well || ctx.http().table.iter_mut().any(|entry| entry.is::<HostResponseOutparam>()) {
        return Err(error);
    }
    ctx.guest.is_gone = true;
    Ok(())
}

pub(crate) async fn serve(
    runner: &Arc<Runner>,
    caller: &Caller<'_>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let function = &runner.program.name;
    let (mut head, body) = request.into_parts();
    if message::authority(&head).is_none() {
        head.headers.insert(HOST, HeaderValue::from_static("function"));
    }
    let entry = runner.enter(caller, Trigger::Http)?;
    let (answer, answered) = oneshot::channel();
    let broken = Arc::new(AtomicBool::new(false));
    let request = Request::from_parts(head, Incoming(body));
    let ask = Ask { request, answer, broken: Arc::clone(&broken) };
    let until = entry.until();
    let mut task = runner.begin(caller, entry, ask).await?;
    let answered = match in_time(until, first(answered, &mut task, function)).await {
        Ok(answered) => answered?,
        Err(late) => return Err(runner.give_up(task, &late)),
    };
    let answered = answered
        .map_err(|code| Error::internal(format!("function '{function}' answered with an error: {code:?}")))?;
    let (mut head, body) = answered.into_parts();
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    message::strip(&mut head.headers);
    let body = Outgoing { body, length, broken, task: Some(task) };
    Ok(Response::from_parts(head, Body::wrap(body)))
}

/// What it answers, which it may do long before it is through.
async fn first(
    mut answered: oneshot::Receiver<Answered>,
    task: &mut Task<()>,
    function: &str,
) -> Result<Answered> {
    let silent = || Error::internal(format!("function '{function}' gave no answer"));
    tokio::select! {
        biased;
        answered = &mut answered => match answered {
            Ok(answered) => Ok(answered),
            // It is going without having answered; the task says why.
            Err(_) => Err(task.await.err().unwrap_or_else(silent)),
        },
        ended = &mut *task => {
            ended?;
            answered.try_recv().map_err(|_| silent())
        }
    }
}

/// A request's body in the words of `wasi:http`.
struct Incoming(Body);

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| match error {
                BodyError::TooLarge => wasmtime_wasi_http::Error::HttpRequestBodySize(None),
                _ => wasmtime_wasi_http::Error::ConnectionTerminated,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The body of an answer while the function is at work on it. Dropped before its end, it ends the call.
struct Outgoing {
    body: HyperOutgoingBody,
    /// What is still to come, where that is known.
    length: Option<u64>,
    broken: Arc<AtomicBool>,
    task: Option<Task<()>>,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.length = this.length.map(|length| length.saturating_sub(sent));
                Poll::Ready(Some(Ok(frame)))
            }
            // A trap in the middle looks like an end, too.
            Some(Err(_)) => Poll::Ready(Some(Err(BodyError::Aborted))),
            None if this.broken.load(Acquire) => Poll::Ready(Some(Err(BodyError::Aborted))),
            None => {
                // It may have something left to do.
                this.task.take().into_iter().for_each(Task::detach);
                Poll::Ready(None)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
