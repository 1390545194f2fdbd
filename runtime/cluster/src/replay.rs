//! Request bodies that can be sent again.
//!
//! What is in memory is cloned. A stream is recorded while it is sent, up to 64 KiB; past that it is let go and
//! the request can no longer be repeated.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use outrigger_http::{Body, BodyError};
use parking_lot::Mutex;

/// The most that is kept for another attempt.
pub(crate) const LIMIT: usize = 64 * 1024;

/// Hands out the body of each attempt.
pub(crate) enum Replay {
    /// In memory: as often as needed.
    Whole(Body),
    /// Streamed, and recorded on the way.
    Recorded(Arc<Mutex<Tape>>),
    /// Streamed once; `None` when it has been handed out.
    Once(Option<Body>),
}

/// A stream, what has been read of it, and whose turn it is.
pub(crate) struct Tape {
    source: Body,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    size: usize,
    ended: bool,
    broken: bool,
    /// More has been read than is kept.
    overrun: bool,
    attempt: u32,
}

impl Replay {
    /// `record` when the request may have to be repeated.
    pub(crate) fn new(body: Body, record: bool) -> Self {
        match body.try_clone() {
            Some(body) => Self::Whole(body),
            None if record => Self::Recorded(Arc::new(Mutex::new(Tape::new(body)))),
            None => Self::Once(Some(body)),
        }
    }

    /// The body for the next attempt; an earlier attempt's body fails from now on. `None` when it cannot be
    /// sent again.
    pub(crate) fn next(&mut self) -> Option<Body> {
        match self {
            Self::Whole(body) => body.try_clone(),
            Self::Once(body) => body.take(),
            Self::Recorded(tape) => {
                let mut inner = tape.lock();
                if inner.overrun || inner.broken {
                    return None;
                }
                inner.attempt += 1;
                let (attempt, tape) = (inner.attempt, Arc::clone(tape));
                Some(Body::wrap(Played { tape, attempt, position: 0, trailers_sent: false }))
            }
        }
    }

    /// Whether [`next`](Self::next) would give a body.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Once(body) => body.is_some(),
            Self::Recorded(tape) => {
                let tape = tape.lock();
                !tape.overrun && !tape.broken
            }
        }
    }
}

impl Tape {
    fn new(source: Body) -> Self {
        Self {
            source,
            frames: Vec::new(),
            trailers: None,
            size: 0,
            ended: false,
            broken: false,
            overrun: false,
            attempt: 0,
        }
    }

    /// Reads on, keeping what is read while there is room.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
        match &frame {
            None => self.ended = true,
            Some(Err(_)) => self.broken = true,
            Some(Ok(frame)) => self.keep(frame),
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            self.ended = true;
        }
        let Some(data) = frame.data_ref() else { return };
        self.size = self.size.saturating_add(data.len());
        if self.size > LIMIT {
            self.overrun = true;
            self.frames = Vec::new();
        } else if !data.is_empty() {
            // A copy: a slice would hold on to the whole read buffer it was cut from.
            self.frames.push(Bytes::copy_from_slice(data));
        }
    }
}

/// One attempt's reading of the tape.
struct Played {
    tape: Arc<Mutex<Tape>>,
    attempt: u32,
    position: usize,
    trailers_sent: bool,
}

impl http_body::Body for Played {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut tape = this.tape.lock();
        if tape.attempt != this.attempt {
            return Poll::Ready(Some(Err(BodyError::Aborted)));
        }
        if let Some(frame) = tape.frames.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
        }
        if tape.ended {
            let trailers = tape.trailers.clone().filter(|_| !this.trailers_sent);
            this.trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(tape.poll_source(cx));
        this.position = tape.frames.len();
        this.trailers_sent |= tape.trailers.is_some();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let tape = self.tape.lock();
        let played = self.position >= tape.frames.len() && (tape.trailers.is_none() || self.trailers_sent);
        played && (tape.ended || tape.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // What remains of the source, plus what of the tape has not been played yet.
        let tape = self.tape.lock();
        let kept: usize = tape.frames.iter().skip(self.position).map(Bytes::len).sum();
        let rest = tape.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept as u64);
        // A body whose length is known is framed by it, and then HTTP/1 has no room for trailers.
        let trailers = tape.trailers.is_some() && !self.trailers_sent;
        if let Some(upper) = rest.upper().filter(|_| !trailers) {
            hint.set_upper(upper + kept as u64);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    async fn stream(frames: &[&'static str], trailer: bool) -> Body {
        let (sender, body) = Body::channel(frames.len() + 1);
        for frame in frames {
            sender.send(Ok(Frame::data(Bytes::from_static(frame.as_bytes())))).await.unwrap();
        }
        if trailer {
            let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("t"))]);
            sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        }
        body
    }

    /// Reads up to `count` frames, trailers shown as `+`.
    async fn read(body: &mut Body, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            match body.frame().await {
                None => break,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                    Err(_) => text.push('+'),
                },
                Some(Err(error)) => return format!("{text}!{error}"),
            }
        }
        text
    }

    #[tokio::test]
    async fn a_stream_is_played_again_from_the_start_and_goes_on_where_it_stopped() {
        let mut replay = Replay::new(stream(&["ab", "cd", "ef"], true).await, true);
        let mut first = replay.next().unwrap();
        assert_eq!(read(&mut first, 2).await, "abcd");
        let mut second = replay.next().unwrap();
        assert_eq!(read(&mut second, 9).await, "abcdef+");
        assert!(read(&mut first, 1).await.starts_with('!'), "an earlier attempt may not read on");
        assert_eq!(read(&mut replay.next().unwrap(), 9).await, "abcdef+", "trailers are played again too");
    }

    /// Knows that nothing is left once it is over, as a body that was chunked does.
    struct Chunked(Body, bool);

    impl http_body::Body for Chunked {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let this = self.get_mut();
            let frame = ready!(Pin::new(&mut this.0).poll_frame(cx));
            this.1 = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
            Poll::Ready(frame)
        }

        fn size_hint(&self) -> SizeHint {
            if self.1 { SizeHint::with_exact(0) } else { SizeHint::default() }
        }
    }

    #[tokio::test]
    async fn a_length_is_told_only_where_no_trailers_follow() {
        for (trailer, again) in [(false, Some(4)), (true, None)] {
            let source = Body::wrap(Chunked(stream(&["ab", "cd"], trailer).await, false));
            let mut replay = Replay::new(source, true);
            let mut first = replay.next().unwrap();
            assert_eq!(first.size_hint().exact(), None);
            read(&mut first, 9).await;
            assert_eq!(replay.next().unwrap().size_hint().exact(), again);
        }
    }

    #[tokio::test]
    async fn past_the_limit_there_is_no_second_time() {
        static BIG: &str = include_str!("replay.rs");
        let frames = [BIG; LIMIT / 4096];
        let mut replay = Replay::new(stream(&frames, false).await, true);
        let all = read(&mut replay.next().unwrap(), frames.len()).await;
        assert_eq!(all.len(), BIG.len() * frames.len(), "it is sent in full all the same");
        assert!(!replay.is_ready());
        assert!(replay.next().is_none());
    }

    #[tokio::test]
    async fn without_recording_only_bodies_in_memory_can_be_repeated() {
        let mut whole = Replay::new(Body::full("abc"), false);
        for _ in 0..3 {
            assert_eq!(read(&mut whole.next().unwrap(), 2).await, "abc");
        }
        let mut once = Replay::new(stream(&["a"], false).await, false);
        assert!(once.is_ready() && once.next().is_some());
        assert!(!once.is_ready() && once.next().is_none());
    }

    #[tokio::test]
    async fn a_client_that_failed_is_not_repeated() {
        let (sender, body) = Body::channel(1);
        sender.send(Err(BodyError::Disconnected)).await.unwrap();
        let mut replay = Replay::new(body, true);
        assert!(read(&mut replay.next().unwrap(), 1).await.starts_with('!'));
        assert!(!replay.is_ready());
    }
}
