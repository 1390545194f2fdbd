//! The parser as tests and fuzzers see it: bytes in, what we understood out.

use bytes::BytesMut;
use http::Method;

use super::chunk::{Decoder, Step};
use super::frame;
use super::io::Queue;
use super::parse::{self, Limits};
use super::refuse::Refusal;
use super::scan::Scan;
use super::write::{self, Persistence};
use crate::config::ServerConfig;
use crate::head::Scheme;

pub mod corpus;

/// One request of a stream, as the server face reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub method: Method,
    pub path_and_query: String,
    pub authority: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// What the client face would send for it.
    pub forwarded: Vec<u8>,
}

/// How a stream of requests ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Everything was read.
    Clean,
    /// The last message is not complete.
    Partial,
    Refused(&'static str),
}

impl End {
    /// Whether both readings ended alike. Of two faults in one message (a bare line feed in a target that is too long)
    /// the one named may be either, since only the second reading can stop before the other has arrived.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::Refused(_), Self::Refused(_)))
    }
}

/// Reads a connection's worth of bytes, given `step` bytes at a time.
#[must_use]
pub fn read_all(data: &[u8], step: usize) -> (Vec<Read>, End) {
    let limits = Limits::of(&ServerConfig::default());
    let (mut buffer, mut rest, mut scan, mut read) = (BytesMut::new(), data, Scan::default(), Vec::new());
    let mut leading = true;
    loop {
        if buffer.is_empty() && rest.is_empty() {
            return (read, End::Clean);
        }
        if leading && buffer.starts_with(b"\r\n") {
            let _ = buffer.split_to(2);
            leading = false;
        }
        let parsed = if buffer.is_empty() || (leading && buffer.as_ref() == b"\r") {
            Ok(None)
        } else {
            parse::request(&mut buffer, &mut scan, &limits, Scheme::Http)
        };
        let parsed = match parsed {
            Ok(Some(parsed)) => parsed,
            Ok(None) if feed(&mut buffer, &mut rest, step) => continue,
            Ok(None) => return (read, if buffer.is_empty() { End::Clean } else { End::Partial }),
            Err(Refusal { reason, .. }) => return (read, End::Refused(reason)),
        };
        leading = true;
        let mut decoder = Decoder::from(parsed.body);
        let mut body = Vec::new();
        loop {
            match decoder.step(&mut buffer) {
                Ok(Step::End | Step::Trailers(_)) => break,
                Ok(Step::Data(data)) => body.extend_from_slice(&data),
                Ok(Step::More) if feed(&mut buffer, &mut rest, step) => {}
                Ok(Step::More) => return (read, End::Partial),
                Err(reason) => return (read, End::Refused(reason)),
            }
        }
        let head = parsed.head;
        let exact = decoder_length(parsed.body);
        let mut queue = Queue::default();
        let mut copy = head.clone();
        crate::forward::strip_hop_by_hop(&mut copy.headers, true);
        write::request(
            queue.head(),
            &copy,
            frame::of_request(&copy.method, exact),
            write::request_persistence(&copy),
        );
        let mut forwarded = queue.small.to_vec();
        if exact.is_some() {
            forwarded.extend_from_slice(&body);
        } else {
            chunked(&mut forwarded, &body);
        }
        let fields = head
            .headers
            .iter()
            .map(|(name, value)| (String::from_utf8_lossy(name).to_lowercase(), value.to_vec()))
            .collect();
        let closes = !parsed.keep_alive;
        read.push(Read {
            path_and_query: head.path_and_query().to_owned(),
            authority: head.authority().to_owned(),
            method: head.method,
            fields,
            body,
            forwarded,
        });
        if closes {
            return (read, End::Clean);
        }
    }
}

fn decoder_length(framing: frame::Incoming) -> Option<u64> {
    match framing {
        frame::Incoming::None => Some(0),
        frame::Incoming::Length(length) => Some(length),
        frame::Incoming::Chunked | frame::Incoming::UntilClose => None,
    }
}

fn chunked(out: &mut Vec<u8>, body: &[u8]) {
    let mut encoded = BytesMut::new();
    if !body.is_empty() {
        write::chunk_size(&mut encoded, body.len());
        encoded.extend_from_slice(body);
        encoded.extend_from_slice(b"\r\n");
    }
    write::last_chunk(&mut encoded, None);
    out.extend_from_slice(&encoded);
}

fn feed(buffer: &mut BytesMut, rest: &mut &[u8], step: usize) -> bool {
    let (next, after) = rest.split_at_checked(step.min(rest.len())).unwrap_or((rest, &[]));
    buffer.extend_from_slice(next);
    *rest = after;
    !next.is_empty()
}

/// Reads `data` as requests and as a response, in one piece and byte by byte.
///
/// # Panics
/// When the two readings differ, when what we would forward is not read back as what we read, or when the parser
/// panics itself: each is a bug a fuzzer is to find.
pub fn fuzz_h1(data: &[u8]) {
    let whole = read_all(data, data.len().max(1));
    let (read, end) = read_all(data, 1);
    assert_eq!(whole.0, read, "what is read depends on how the bytes arrive");
    assert!(whole.1.agrees_with(&end), "the end depends on how the bytes arrive: {:?} or {end:?}", whole.1);
    for request in &whole.0 {
        let (again, end) = read_all(&request.forwarded, usize::MAX);
        let same = matches!(again.as_slice(), [one] if one.method == request.method
            && one.path_and_query == request.path_and_query
            && one.authority == request.authority
            && one.body == request.body);
        assert!(same && end == End::Clean, "not read back as it was: {request:?} became {again:?}, {end:?}");
    }
    let mut buffer = BytesMut::from(data);
    let limits = Limits::of(&ServerConfig::default());
    if let Ok(Some(parsed)) = parse::response(&mut buffer, &mut Scan::default(), &limits) {
        let mut decoder = Decoder::from(frame::response_body(&parsed, &Method::GET));
        while let Ok(Step::Data(_)) = decoder.step(&mut buffer) {}
        let framing =
            frame::of_response(&Method::GET, parsed.head.version, parsed.head.status, parsed.length);
        let mut out = BytesMut::new();
        write::response(&mut out, &parsed.head, framing, Persistence::Implied);
        let again = parse::response(&mut out, &mut Scan::default(), &limits);
        assert!(
            matches!(again, Ok(Some(again)) if again.head.status == parsed.head.status),
            "response not read back"
        );
    }
}
