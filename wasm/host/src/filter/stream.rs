//! One request and its response, as a filter sees them.

use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use outrigger_http::{Authority, Chosen, FilterState, Headers, Request, RequestHead, ResponseHead, Upstream};
use outrigger_net::ConnInfo;
use tokio::task::JoinHandle;

use super::abi::{Action, Side};
use super::local::Local;
use super::measures::Observed;
use super::passing::Released;

/// A stream context.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Of which of the plugins in its instance.
    pub(crate) seat: usize,
    pub(crate) conn: Arc<ConnInfo>,
    pub(crate) route: Arc<str>,
    /// It is a connection: what its two sides say are the bodies, and there are no heads.
    pub(crate) is_connection: bool,
    pub(crate) started: SystemTime,
    pub(crate) request: Message<RequestHead>,
    pub(crate) response: Message<ResponseHead>,
    /// What the filter answers itself, until it is taken.
    pub(crate) local: Option<Local>,
    /// A second answer does not count, nor one after the response's head has left.
    pub(crate) answered: bool,
    /// What filters have set. It is the request's, if that has one.
    pub(crate) state: Option<Arc<FilterState>>,
    /// Where the filter wants the request to go.
    pub(crate) chosen: Option<Chosen>,
    /// When it is traced or timed.
    pub(crate) observed: Option<Box<Observed>>,
    /// Who answered it.
    pub(crate) upstream: Option<Arc<Upstream>>,
    pub(crate) life: Life,
    /// What waits for the filter to be done with it.
    pub(crate) reaper: Option<Reaper>,
}

/// The task that ends a stream a filter is never done with; it goes when the stream goes.
#[derive(Debug)]
pub(crate) struct Reaper(pub(crate) JoinHandle<()>);

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How far a context has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Open,
    /// The filter has been asked whether it is done.
    Ending,
    /// It is.
    Over,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Message<H> {
    pub(crate) head: Option<H>,
    /// It waits for what the filter makes of the body, and may be changed until then.
    pub(crate) head_waits: bool,
    /// Of the body, what the filter is being shown or holds back.
    pub(crate) body: Chunk,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) at: At,
    /// The filter has not yet said that it may go on.
    pub(crate) paused: bool,
    /// It has said so since it was last asked.
    pub(crate) resumed: bool,
    pub(crate) waker: Option<Waker>,
    /// Bytes of the body so far.
    pub(crate) size: u64,
}

/// Which part of a message the filter has, and so may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Nothing,
    Head,
    Body,
    Trailers,
}

impl At {
    /// The callback that shows it, as traces name it.
    fn callback(self, side: Side, of_connection: bool) -> &'static str {
        match (side, of_connection, self) {
            (Side::Request, true, Self::Body) => "downstream_data",
            (Side::Request, true, _) => "new_connection",
            (Side::Response, true, _) => "upstream_data",
            (Side::Request, false, Self::Body) => "request_body",
            (Side::Request, false, Self::Trailers) => "request_trailers",
            (Side::Request, false, _) => "request_headers",
            (Side::Response, false, Self::Body) => "response_body",
            (Side::Response, false, Self::Trailers) => "response_trailers",
            (Side::Response, false, _) => "response_headers",
        }
    }
}

/// Bytes that are shared until somebody changes them.
#[derive(Debug)]
pub(crate) enum Chunk {
    Shared(Bytes),
    Own(BytesMut),
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Shared(Bytes::new())
    }
}

impl Chunk {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn extend(&mut self, more: Bytes) {
        match self {
            Self::Shared(bytes) if bytes.is_empty() => *self = Self::Shared(more),
            Self::Shared(bytes) => {
                let mut own = BytesMut::with_capacity((bytes.len() + more.len()) * 2);
                own.extend_from_slice(bytes);
                own.extend_from_slice(&more);
                *self = Self::Own(own);
            }
            Self::Own(own) => own.extend_from_slice(&more),
        }
    }

    /// Puts `new` in the place of `replaced` bytes from `start` on; what lies beyond the end is the end.
    pub(crate) fn splice(&mut self, start: usize, replaced: usize, new: &[u8]) {
        let old = self.as_slice();
        let start = start.min(old.len());
        let end = start.saturating_add(replaced).min(old.len());
        let (before, after) = (old.get(..start).unwrap_or_default(), old.get(end..).unwrap_or_default());
        let mut own = BytesMut::with_capacity(before.len() + new.len() + after.len());
        for part in [before, new, after] {
            own.extend_from_slice(part);
        }
        *self = Self::Own(own);
    }

    /// How long it will be after [`Self::splice`].
    pub(crate) fn spliced(&self, start: usize, replaced: usize, new: usize) -> usize {
        let start = start.min(self.len());
        let end = start.saturating_add(replaced).min(self.len());
        self.len() - (end - start) + new
    }

    pub(crate) fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes.freeze(),
        }
    }
}

impl<H> Default for Message<H> {
    fn default() -> Self {
        Self {
            head: None,
            head_waits: false,
            body: Chunk::default(),
            trailers: None,
            at: At::Nothing,
            paused: false,
            resumed: false,
            waker: None,
            size: 0,
        }
    }
}

impl<H: Clone> Message<H> {
    /// The head leaves, and the filter may still read it. Says whether the body is on its way already.
    fn let_go(&mut self, to: &mut H) -> bool {
        self.at = At::Nothing;
        if let Some(head) = &self.head {
            *to = head.clone();
        }
        std::mem::take(&mut self.head_waits)
    }
}

impl<H> Message<H> {
    pub(crate) fn resume(&mut self) {
        (self.paused, self.resumed) = (false, true);
        self.wake();
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The head of either direction.
pub(crate) trait Head: Clone {
    /// It goes to the filter. What stays in its place says no more of it than the status.
    fn leave(&mut self) -> Self;
    fn headers(&self) -> &Headers;
}

impl Head for RequestHead {
    fn leave(&mut self) -> Self {
        std::mem::replace(self, Self::new(Method::GET, Authority::default(), Bytes::new()))
    }

    fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl Head for ResponseHead {
    fn leave(&mut self) -> Self {
        let stays = Self::new(self.status);
        std::mem::replace(self, stays)
    }

    fn headers(&self) -> &Headers {
        &self.headers
    }
}

pub(crate) fn length_of(headers: &Headers) -> Option<u64> {
    headers.get_str(&CONTENT_LENGTH).and_then(|length| length.parse().ok())
}

/// What both directions have alike.
pub(crate) trait Parts {
    fn head_waits(&mut self, waits: bool);
    fn does_head_wait(&self) -> bool;
    /// How long the head says the body is.
    fn length(&self) -> Option<u64>;
    fn body(&mut self) -> &mut Chunk;
    fn trailers(&mut self) -> &mut Option<HeaderMap>;
    /// So many bytes more of the body.
    fn size(&mut self, more: usize);
    fn show(&mut self, part: At);
    fn decide(&mut self, action: Action);
    fn is_paused(&self) -> bool;
    fn wait(&mut self, waker: &Waker);
    fn at(&self) -> At;
}

impl<H: Head> Parts for Message<H> {
    fn head_waits(&mut self, waits: bool) {
        self.head_waits = waits;
    }

    fn does_head_wait(&self) -> bool {
        self.head_waits
    }

    fn length(&self) -> Option<u64> {
        self.head.as_ref().and_then(|head| length_of(head.headers()))
    }

    fn body(&mut self) -> &mut Chunk {
        &mut self.body
    }

    fn trailers(&mut self) -> &mut Option<HeaderMap> {
        &mut self.trailers
    }

    fn size(&mut self, more: usize) {
        self.size += more as u64;
    }

    /// A part is about to be shown.
    fn show(&mut self, part: At) {
        (self.at, self.resumed) = (part, false);
    }

    /// What the filter wants done with the part it was shown.
    fn decide(&mut self, action: Action) {
        self.paused = action == Action::Pause && !self.resumed;
    }

    fn is_paused(&self) -> bool {
        self.paused
    }

    fn wait(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    fn at(&self) -> At {
        self.at
    }
}

impl Stream {
    /// A connection has no route.
    pub(crate) fn new(conn: Arc<ConnInfo>, route: Option<Arc<str>>, observed: Option<Box<Observed>>) -> Self {
        Self {
            seat: 0,
            conn,
            is_connection: route.is_none(),
            route: route.unwrap_or_default(),
            started: SystemTime::now(),
            request: Message::default(),
            response: Message::default(),
            local: None,
            answered: false,
            state: None,
            chosen: None,
            observed,
            upstream: None,
            life: Life::Open,
            reaper: None,
        }
    }

    /// The part of a message the filter has is held back by what it says of it.
    pub(crate) fn hold(&mut self, side: Side) {
        let part = self.message(side).at();
        if let Some(observed) = &mut self.observed {
            observed.held_by(part.callback(side, self.is_connection));
        }
    }

    /// For its trace.
    pub(crate) fn fail(&mut self, why: &impl ToString) {
        if let Some(observed) = &mut self.observed {
            observed.fail(why);
        }
    }

    /// Whatever waits for the filter looks again.
    pub(crate) fn wake(&mut self) {
        self.request.wake();
        self.response.wake();
    }

    pub(crate) fn message(&mut self, side: Side) -> &mut dyn Parts {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Whether a message goes on, or the filter answers itself; `None` while it holds the message back.
    pub(crate) fn released(&mut self, side: Side) -> Option<Released> {
        if let Some(local) = self.local.take() {
            return Some(Released::Answer(local));
        }
        (!self.message(side).is_paused()).then_some(Released::Go)
    }

    /// The request's head leaves for where the filter wants it to go. Says whether its body is on its way already.
    pub(crate) fn let_request_go(&mut self, request: &mut Request) -> bool {
        if let Some(chosen) = self.chosen.take() {
            request.ext.chosen = Some(Box::new(chosen));
        }
        self.request.let_go(&mut request.head)
    }

    /// The response's head leaves; from here on an answer of the filter's own comes too late.
    pub(crate) fn let_response_go(&mut self, head: &mut ResponseHead) -> bool {
        self.answered = true;
        self.response.let_go(head)
    }

    pub(crate) fn resume(&mut self, side: Side) {
        match side {
            Side::Request => self.request.resume(),
            Side::Response => self.response.resume(),
        }
    }

    /// The filter answers itself. Only the first answer counts.
    pub(crate) fn answer(&mut self, local: Local) {
        if !self.answered {
            if let Some(observed) = &mut self.observed {
                observed.answers(local.status());
            }
            (self.answered, self.local) = (true, Some(local));
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splicing_replaces_prepends_and_appends() {
        let check = |start, replaced, expected: &str| {
            let mut chunk = Chunk::Shared(Bytes::from_static(b"abcd"));
            let foretold = chunk.spliced(start, replaced, 2);
            chunk.splice(start, replaced, b"--");
            assert_eq!(chunk.len(), foretold);
            assert_eq!(chunk.as_slice(), expected.as_bytes(), "{start} {replaced}");
        };
        check(0, 0, "--abcd");
        check(0, 4, "--");
        check(0, usize::MAX, "--");
        check(4, 0, "abcd--");
        check(usize::MAX, usize::MAX, "abcd--");
        check(1, 2, "a--d");
    }

    #[test]
    fn resuming_before_the_pause_is_no_pause() {
        let mut message = Message::<RequestHead>::default();
        message.show(At::Head);
        message.resume();
        message.decide(Action::Pause);
        assert!(!message.paused);
        message.show(At::Body);
        message.decide(Action::Pause);
        assert!(message.paused);
    }
}
