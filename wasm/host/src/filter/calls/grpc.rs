//! gRPC calls and streams: HTTP/2 requests whose bodies are messages with a length before each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body::Frame;
use outrigger_cluster::{Body, BodyError, Cluster, SendOptions};
use tokio::sync::mpsc;

use super::super::abi::Status;
use super::super::map;
use super::super::memory::{Answer, Guest, Span, bytes, put_u32, text};
use super::super::state::Home;
use super::{Arrived, Fields, fields, request, timeout, trace_of};

/// Messages a stream may have waiting to be sent, whose bytes are at most one `max_buffer`.
const WAITING: usize = 64;

const OK: u32 = 0;
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// Which method, and what it is told first.
pub(crate) struct Called {
    pub(crate) upstream: Span,
    pub(crate) service: Span,
    pub(crate) method: Span,
    pub(crate) metadata: Span,
}

/// How a call has ended.
type Ended = (u32, String);

pub(crate) fn call(
    guest: &mut Guest<'_>,
    called: Called,
    message: Span,
    milliseconds: u32,
    token: u32,
) -> Answer {
    let message = bytes(guest, message)?;
    let message = framed(&guest.data().sendable(message)?);
    let (cluster, asked) = prepare(guest, called, Body::full(message))?;
    let state = guest.data_mut();
    let (limit, time) = (state.plan.max_buffer, timeout(milliseconds));
    let number = state.begin(None, |token, home| async move {
        let Some(cluster) = cluster else { return };
        let mut told = Unary(None);
        let ended = match tokio::time::timeout(time, exchange(&cluster, asked, limit, &mut told)).await {
            Ok(ended) => ended,
            Err(_) => (DEADLINE_EXCEEDED, "the call took too long".to_owned()),
        };
        let ended = match (ended, told.0) {
            ((OK, _), Some(message)) => Ok(message),
            ((OK, _), None) => Err((INTERNAL, "the answer held no message".to_owned())),
            (failed, _) => Err(failed),
        };
        if let Some(cell) = home.cell.upgrade() {
            let _ = cell.with(|vm| vm.grpc_call_ended(token, ended));
        }
    })?;
    Ok(put_u32(guest, token, number)?)
}

pub(crate) fn stream(guest: &mut Guest<'_>, called: Called, token: u32) -> Answer {
    let (frames, body) = Body::channel(WAITING);
    let (cluster, asked) = prepare(guest, called, body)?;
    let state = guest.data_mut();
    let limit = state.plan.max_buffer;
    let number = state.begin(Some(Sender::new(frames)), |token, home| async move {
        let Some(cluster) = cluster else { return };
        let ended = exchange(&cluster, asked, limit, &mut Streamed(token, home.clone())).await;
        if let Some(cell) = home.cell.upgrade() {
            let _ = cell.with(|vm| vm.grpc_stream_ended(token, ended));
        }
    })?;
    Ok(put_u32(guest, token, number)?)
}

pub(crate) fn send(guest: &mut Guest<'_>, token: u32, message: Span, end: bool) -> Answer {
    let message = bytes(guest, message)?;
    let state = guest.data_mut();
    let message = state.sendable(message)?;
    let open = state.calls.open.get_mut(&token).ok_or(Status::NotFound)?;
    let sender = open.sender.as_ref().ok_or(Status::BadArgument)?;
    sender.send(&message, state.plan.max_buffer)?;
    if end {
        open.sender = None;
    }
    Ok(())
}

/// Gives up; nothing more is heard of it.
pub(crate) fn cancel(guest: &mut Guest<'_>, token: u32) -> Answer {
    guest.data_mut().calls.open.remove(&token).map(drop).ok_or_else(|| Status::NotFound.into())
}

/// Says that there is no more to send; of a call with one message, gives it up.
pub(crate) fn close(guest: &mut Guest<'_>, token: u32) -> Answer {
    let calls = &mut guest.data_mut().calls;
    let open = calls.open.get_mut(&token).ok_or(Status::NotFound)?;
    if open.sender.take().is_none() {
        calls.open.remove(&token);
    }
    Ok(())
}

/// Where the messages of a stream go.
pub(super) struct Sender {
    frames: mpsc::Sender<Result<Frame<Bytes>, BodyError>>,
    /// Bytes of messages that have not been sent yet.
    waiting: Arc<AtomicUsize>,
}

/// A message that counts as waiting for as long as it is kept.
struct Waiting(Bytes, Arc<AtomicUsize>);

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Relaxed);
    }
}

impl Sender {
    fn new(frames: mpsc::Sender<Result<Frame<Bytes>, BodyError>>) -> Self {
        Self { frames, waiting: Arc::default() }
    }

    /// One message may always wait, however large it may be; more only while all of them are not larger than that.
    fn send(&self, message: &[u8], most: usize) -> Result<(), Status> {
        let message = framed(message);
        let before = self.waiting.fetch_add(message.len(), Relaxed);
        let fits = before == 0 || before + message.len() <= most;
        let waiting = Bytes::from_owner(Waiting(message, Arc::clone(&self.waiting)));
        if !fits {
            return Err(Status::InternalFailure);
        }
        self.frames.try_send(Ok(Frame::data(waiting))).map_err(|_| Status::InternalFailure)
    }
}

type Prepared = (Option<Arc<Cluster>>, Request<Body>);

fn prepare(guest: &mut Guest<'_>, called: Called, body: Body) -> Answer<Prepared> {
    let upstream = text(guest, called.upstream).map_err(|_| Status::ParseFailure)?;
    let (service, method) = (text(guest, called.service)?, text(guest, called.method)?);
    let metadata = bytes(guest, called.metadata)?;
    let cluster = guest.data().cluster(&upstream, Status::ParseFailure)?;
    let path = format!("/{service}/{method}");
    let mut pairs = map::decode(&metadata)?;
    pairs.retain(|(name, _)| !name.starts_with(b":"));
    pairs.extend([
        (b":method".as_slice(), b"POST".as_slice()),
        (b":path", path.as_bytes()),
        (b":authority", upstream.as_bytes()),
    ]);
    let mut asked = request(&pairs, body)?;
    guest.data().trace(&mut asked);
    *asked.version_mut() = Version::HTTP_2;
    asked.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    asked.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    Ok((cluster, asked))
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Who is told what comes, as it comes.
trait Told: Send {
    fn initial(&mut self, fields: Fields);
    fn message(&mut self, message: Bytes);
    fn trailing(&mut self, fields: Fields);
}

struct Unary(Option<Bytes>);

impl Told for Unary {
    fn initial(&mut self, _: Fields) {}

    fn message(&mut self, message: Bytes) {
        self.0.get_or_insert(message);
    }

    fn trailing(&mut self, _: Fields) {}
}

struct Streamed(u32, Home);

impl Streamed {
    fn tell(&self, export: Part, arrived: Arrived) {
        if let Some(cell) = self.1.cell.upgrade() {
            let _ = cell.with(|vm| vm.grpc_arrived(self.0, export, arrived));
        }
    }
}

/// Of a stream's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Initial,
    Message,
    Trailing,
}

impl Told for Streamed {
    fn initial(&mut self, headers: Fields) {
        self.tell(Part::Initial, Arrived { headers, ..Arrived::default() });
    }

    fn message(&mut self, body: Bytes) {
        self.tell(Part::Message, Arrived { body, ..Arrived::default() });
    }

    fn trailing(&mut self, trailers: Fields) {
        self.tell(Part::Trailing, Arrived { trailers, ..Arrived::default() });
    }
}

async fn exchange(cluster: &Arc<Cluster>, asked: Request<Body>, limit: usize, told: &mut impl Told) -> Ended {
    let trace = trace_of(&asked);
    let answer = match cluster.call(asked, trace.as_ref(), &SendOptions::default()).await {
        Ok(answer) => answer,
        Err(error) => return (UNAVAILABLE, error.to_string()),
    };
    let (head, mut body) = answer.into_parts();
    if head.status != http::StatusCode::OK {
        return (UNAVAILABLE, format!("answered with {}", head.status));
    }
    // An answer without messages has its status in the head.
    if let Some(ended) = status(&head.headers) {
        return ended;
    }
    told.initial(fields(&head.headers));
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => buffer.extend_from_slice(&data),
            Ok(Err(frame)) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                told.trailing(fields(&trailers));
                return status(&trailers).unwrap_or((UNKNOWN, "the answer has no status".to_owned()));
            }
            Err(error) => return (UNAVAILABLE, error.to_string()),
        }
        while let Some(message) = message(&mut buffer) {
            told.message(message);
        }
        if buffer.len() > limit {
            return (RESOURCE_EXHAUSTED, format!("a message is larger than {limit} bytes"));
        }
    }
    (UNKNOWN, "the answer has no status".to_owned())
}

/// The first message, when all of it is there.
fn message(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(*buffer.get(1..5)?.first_chunk()?) as usize;
    if buffer.len() - 5 < length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}

fn status(map: &HeaderMap) -> Option<Ended> {
    let status = map.get("grpc-status")?.to_str().ok()?.parse().unwrap_or(UNKNOWN);
    let message = map.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    Some((status, message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_to_be_sent_has_a_bound_in_bytes() {
        let (frames, mut body) = Body::channel(WAITING);
        let sender = Sender::new(frames);
        sender.send(&[0; 1000], 1000).unwrap();
        assert_eq!(sender.send(b"x", 1000), Err(Status::InternalFailure));
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(sender.send(b"x", 1000), Err(Status::InternalFailure), "it is kept still");
        drop(frame);
        assert_eq!((0..200).take_while(|_| sender.send(&[0; 95], 1000).is_ok()).count(), 10);
        while sender.waiting.load(Relaxed) > 0 {
            drop(body.frame().await.unwrap().unwrap());
        }
        assert_eq!((0..200).take_while(|_| sender.send(b"", 1000).is_ok()).count(), WAITING);
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut buffer = BytesMut::new();
        let sent = [framed(b"one"), framed(b""), framed(b"three")].concat();
        let mut got = Vec::new();
        for byte in sent {
            buffer.put_u8(byte);
            got.extend(message(&mut buffer));
        }
        assert_eq!(got, ["one", "", "three"]);
        buffer.put_slice(&[0, 255, 255, 255, 255]);
        assert_eq!(message(&mut buffer), None);
    }
}
