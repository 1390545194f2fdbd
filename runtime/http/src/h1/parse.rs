//! From the bytes of a head to its parts: httparse behind the scan, and the rules httparse does not know.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode, Version};

use super::frame::Incoming;
use super::refuse::Refusal;
use super::scan::Scan;
use crate::authority::Authority;
use crate::config::{ServerConfig, Underscores};
use crate::head::{RequestHead, ResponseHead, Scheme, Target, is_path_text};
use crate::headers::{Headers, WireHeaders};

/// The most fields any configuration allows; bounds a stack array that is never initialised.
pub(crate) const MAX_HEADERS: usize = 256;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head_bytes: usize,
    pub(crate) headers: usize,
    pub(crate) uri: usize,
    pub(crate) underscores: Underscores,
}

impl Limits {
    pub(crate) fn of(config: &ServerConfig) -> Self {
        Self {
            head_bytes: config.max_header_bytes,
            headers: config.max_headers.min(MAX_HEADERS),
            uri: config.max_uri_bytes,
            underscores: config.underscore_rule(),
        }
    }

    /// Longest first line: the target, and room for a method and a version around it.
    pub(crate) fn first_line(&self) -> usize {
        self.uri + 64
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::of(&ServerConfig::default())
    }
}

/// A request head and what its framing says about the bytes after it.
#[derive(Debug)]
pub(crate) struct ParsedRequest {
    pub(crate) head: RequestHead,
    pub(crate) body: Incoming,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
}

/// A response head, likewise; what its framing means depends on the request too (see `frame`).
#[derive(Debug)]
pub(crate) struct ParsedResponse {
    pub(crate) head: ResponseHead,
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) keep_alive: bool,
}

/// Takes a request head off the front of `buffer`, or says that more must be read.
pub(crate) fn request(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &Limits,
    scheme: Scheme,
) -> Result<Option<ParsedRequest>, Refusal> {
    let mut found = None;
    if scan.is_first_look() {
        found = request_head(buffer, Seen::Nothing, limits, scheme)?;
    }
    if found.is_none() {
        let Some(len) = scan.advance(buffer, limits)? else { return Ok(None) };
        found = request_head(buffer.get(..len).unwrap_or_default(), Seen::Scanned, limits, scheme)?;
    }
    *scan = Scan::default();
    Ok(found.map(|(len, parsed)| {
        buffer.advance(len);
        parsed
    }))
}

/// Takes a response head off the front of `buffer`, or says that more must be read.
pub(crate) fn response(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &Limits,
) -> Result<Option<ParsedResponse>, Refusal> {
    let mut found = None;
    if scan.is_first_look() {
        found = response_head(buffer, Seen::Nothing, limits)?;
    }
    if found.is_none() {
        let Some(len) = scan.advance(buffer, limits)? else { return Ok(None) };
        found = response_head(buffer.get(..len).unwrap_or_default(), Seen::Scanned, limits)?;
    }
    *scan = Scan::default();
    Ok(found.map(|(len, parsed)| {
        buffer.advance(len);
        parsed
    }))
}

/// What is known of the bytes to be parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// They begin with a message. Unless its head is whole and beyond doubt, as nearly all are, the scan is to decide.
    Nothing,
    /// They are a head that has passed the scan.
    Scanned,
}

impl Seen {
    /// The length of the head the parser has taken, or `None` when it has to be scanned first.
    fn length(
        self,
        status: Result<httparse::Status<usize>, Refusal>,
        bytes: &[u8],
        fields: &[httparse::Header<'_>],
        limits: &Limits,
    ) -> Result<Option<usize>, Refusal> {
        match (self, status) {
            (Self::Scanned, status) => status.map(|_| Some(bytes.len())),
            (Self::Nothing, Ok(httparse::Status::Complete(len))) => {
                let head = bytes.get(..len).unwrap_or_default();
                Ok(would_pass_scan(head, fields, limits).then_some(len))
            }
            (Self::Nothing, _) => Ok(None),
        }
    }
}

/// Whether the scan would find nothing wrong with a head that the parser has taken. The parser allows no line that is
/// not a field, no fold, and no line break inside a field; what it does allow is a line feed alone.
fn would_pass_scan(head: &[u8], fields: &[httparse::Header<'_>], limits: &Limits) -> bool {
    let at = |field: &httparse::Header<'_>| field.name.as_ptr() as usize - head.as_ptr() as usize;
    let after_crlf = |field| head.get(..at(field)).is_some_and(|before| before.ends_with(b"\r\n"));
    let first_line = fields.first().map_or(head.len(), at);
    head.ends_with(b"\r\n\r\n")
        && fields.iter().all(after_crlf)
        // An empty line before the message: only one is allowed, and the caller has taken it.
        && !head.starts_with(b"\r")
        && !head.starts_with(b"\n")
        && head.len() <= limits.head_bytes
        && first_line <= limits.first_line()
        && fields.len() <= limits.headers
}

/// What is kept of a head is copied out of the read buffer, which is free for the next message at once.
/// With the head's length; `None` when it has to be scanned first.
fn request_head(
    bytes: &[u8],
    seen: Seen,
    limits: &Limits,
    scheme: Scheme,
) -> Result<Option<(usize, ParsedRequest)>, Refusal> {
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(bytes, &mut slots);
    let status = status.map_err(|error| refuse_request(error, bytes));
    let Some(len) = seen.length(status, bytes, parsed.headers, limits)? else { return Ok(None) };
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::REQUEST_LINE);
    };
    if target.len() > limits.uri {
        return Err(Refusal::URI_TOO_LONG);
    }
    let version = if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::METHOD)?;
    let mut fields = Fields::default();
    let mut headers = WireHeaders::over(bytes.get(..len).unwrap_or_default());
    fields.read(parsed.headers, bytes, limits, &mut headers)?;
    let mut headers = Headers::Wire(headers);
    if fields.h2c {
        strip_h2c(&mut headers);
    }

    let (target, named) = request_target(&method, Bytes::copy_from_slice(target.as_bytes()), scheme)?;
    let authority = authority(named.as_ref().map(|named| &named.authority), fields.host, version)?;
    let body = fields.request_body(version)?;
    let upgrade = fields.upgrade && headers.contains(&http::header::UPGRADE);
    if body != Incoming::None && upgrade {
        return Err(Refusal::UPGRADE_WITH_BODY);
    }
    if body != Incoming::None && method == Method::CONNECT {
        return Err(Refusal::CONNECT_WITH_BODY);
    }
    let expects_continue = match fields.expect {
        Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => return Err(Refusal::EXPECTATION),
        // RFC 9110 §10.1.1: an expectation in HTTP/1.0 is ignored.
        Some(_) => version == Version::HTTP_11 && body != Incoming::None,
        None => false,
    };
    if body == Incoming::None && fields.expect.is_some() {
        // Nothing to wait for (RFC 9110 §10.1.1), and servers differ in what they make of it.
        headers.remove(&http::header::EXPECT);
    }
    let head = RequestHead {
        method,
        target,
        version,
        headers,
        scheme: named.map_or(scheme, |named| named.scheme),
        authority,
        protocol: None,
    };
    Ok(Some((len, ParsedRequest { head, body, keep_alive: fields.keep_alive(version), expects_continue })))
}

/// With the head's length; `None` when it has to be scanned first.
fn response_head(
    bytes: &[u8],
    seen: Seen,
    limits: &Limits,
) -> Result<Option<(usize, ParsedResponse)>, Refusal> {
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut slots)
        .map_err(refuse_response);
    let Some(len) = seen.length(status, bytes, parsed.headers, limits)? else { return Ok(None) };
    let (Some(minor), Some(code)) = (parsed.version, parsed.code) else { return Err(Refusal::STATUS_LINE) };
    let version = if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let status = StatusCode::from_u16(code).map_err(|_| Refusal::STATUS_LINE)?;
    if code > 599 {
        return Err(Refusal::STATUS_LINE);
    }
    let mut fields = Fields::default();
    let mut headers = WireHeaders::over(bytes.get(..len).unwrap_or_default());
    // Names with underscores come from our own side here, and are its own business.
    fields.read(
        parsed.headers,
        bytes,
        &Limits { underscores: Underscores::Allow, ..*limits },
        &mut headers,
    )?;
    let (length, chunked) = fields.framing(version)?;
    let reason = parsed
        .reason
        .filter(|reason| !reason.is_empty() && Some(*reason) != status.canonical_reason())
        .map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    let head = ResponseHead { status, version, headers: Headers::Wire(headers), reason };
    Ok(Some((len, ParsedResponse { head, length, chunked, keep_alive: fields.keep_alive(version) })))
}

/// The fields that decide framing, routing and the life of the connection.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    encoding: Option<Encoding>,
    expect: Option<&'a [u8]>,
    close: bool,
    keep: bool,
    upgrade: bool,
    h2c: bool,
}

#[derive(PartialEq, Eq)]
enum Encoding {
    Chunked,
}

impl<'a> Fields<'a> {
    fn read(
        &mut self,
        parsed: &[httparse::Header<'a>],
        bytes: &[u8],
        limits: &Limits,
        headers: &mut WireHeaders,
    ) -> Result<(), Refusal> {
        let origin = bytes.as_ptr() as usize;
        for field in parsed {
            let name = field.name.as_bytes();
            if limits.underscores != Underscores::Allow && memchr::memchr(b'_', name).is_some() {
                if limits.underscores == Underscores::Drop {
                    continue;
                }
                return Err(Refusal::UNDERSCORE);
            }
            self.note(name, field.value)?;
            // Both point into `bytes`; an empty value may point anywhere, and needs no position.
            let value_at = if field.value.is_empty() { 0 } else { field.value.as_ptr() as usize - origin };
            headers.push_span(field.name.as_ptr() as usize - origin, name.len(), value_at, field.value.len());
        }
        Ok(())
    }

    /// Told apart by length first: most fields cost one comparison.
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Refusal> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => return once(&mut self.host, value, Refusal::HOST_REPEATED),
            6 if is(b"expect") => self.expect = Some(value),
            7 if is(b"upgrade") => self.h2c |= members(value).any(|token| token.eq_ignore_ascii_case(b"h2c")),
            10 if is(b"connection") => {
                for token in members(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if is(b"content-length") => {
                let length = content_length(value).ok_or(Refusal::CONTENT_LENGTH)?;
                return once(&mut self.length, length, Refusal::CONTENT_LENGTH_REPEATED);
            }
            14 if is(b"http2-settings") => self.h2c = true,
            17 if is(b"transfer-encoding") => {
                // `chunked`, once, alone: any other coding or repetition is read differently by somebody.
                let chunked = value.eq_ignore_ascii_case(b"chunked").then_some(Encoding::Chunked);
                let chunked = chunked.ok_or(Refusal::TRANSFER_ENCODING)?;
                return once(&mut self.encoding, chunked, Refusal::TRANSFER_ENCODING);
            }
            _ => {}
        }
        Ok(())
    }

    /// Length and whether it is chunked; never both, and no transfer coding before HTTP/1.1.
    fn framing(&self, version: Version) -> Result<(Option<u64>, bool), Refusal> {
        match (self.length, &self.encoding) {
            (Some(_), Some(_)) => Err(Refusal::LENGTH_AND_ENCODING),
            (_, Some(_)) if version != Version::HTTP_11 => Err(Refusal::TRANSFER_ENCODING_HTTP10),
            (length, encoding) => Ok((length, encoding.is_some())),
        }
    }

    /// A request without either has no body: there are no close-delimited requests.
    fn request_body(&self, version: Version) -> Result<Incoming, Refusal> {
        Ok(match self.framing(version)? {
            (_, true) => Incoming::Chunked,
            (None | Some(0), false) => Incoming::None,
            (Some(length), false) => Incoming::Length(length),
        })
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep)
    }
}

fn once<T>(slot: &mut Option<T>, value: T, repeated: Refusal) -> Result<(), Refusal> {
    if slot.replace(value).is_some() { Err(repeated) } else { Ok(()) }
}

/// RFC 9112 §6.2: digits and nothing else, within what a file offset can hold.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().filter(|length| i64::try_from(*length).is_ok())
}

fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// What an absolute-form or authority-form target names.
struct Named {
    authority: Authority,
    scheme: Scheme,
}

fn request_target(
    method: &Method,
    target: Bytes,
    scheme: Scheme,
) -> Result<(Target, Option<Named>), Refusal> {
    if memchr::memchr(b'#', &target).is_some() {
        return Err(Refusal::TARGET_FRAGMENT);
    }
    if !is_path_text(&target) {
        return Err(Refusal::TARGET);
    }
    if memchr::memmem::find(&target, b"%00").is_some() {
        return Err(Refusal::TARGET_NUL);
    }
    if *method == Method::CONNECT {
        let authority = Authority::parse(target).map_err(|_| Refusal::TARGET)?;
        authority.port().ok_or(Refusal::TARGET)?;
        return Ok((Target::Authority, Some(Named { authority, scheme })));
    }
    match target.first() {
        Some(b'/') => Ok((Target::Origin(target), None)),
        Some(b'*') if target.len() == 1 && *method == Method::OPTIONS => Ok((Target::Asterisk, None)),
        _ => absolute_form(&target).map(|(target, named)| (target, Some(named))),
    }
}

fn absolute_form(target: &Bytes) -> Result<(Target, Named), Refusal> {
    let colon = memchr::memmem::find(target, b"://").ok_or(Refusal::TARGET)?;
    let scheme = match target.get(..colon).unwrap_or_default() {
        name if name.eq_ignore_ascii_case(b"http") => Scheme::Http,
        name if name.eq_ignore_ascii_case(b"https") => Scheme::Https,
        _ => return Err(Refusal::TARGET),
    };
    let rest = target.slice(colon + 3..);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = Authority::parse(rest.slice(..end)).map_err(|_| Refusal::TARGET)?;
    let path_and_query = match rest.get(end) {
        Some(b'/') => rest.slice(end..),
        None => Bytes::from_static(b"/"),
        // `http://host?query`: the path is empty, and `/` stands for it.
        Some(_) => [b"/", rest.get(end..).unwrap_or_default()].concat().into(),
    };
    Ok((Target::Absolute { path_and_query }, Named { authority, scheme }))
}

/// RFC 9112 §3.2: exactly one valid Host in HTTP/1.1, and it agrees with what the target names.
fn authority(named: Option<&Authority>, host: Option<&[u8]>, version: Version) -> Result<Authority, Refusal> {
    let host = match host {
        // Empty is how a client says that what it asks for has no host.
        Some([]) => Some(Authority::default()),
        Some(host) => {
            Some(Authority::parse(Bytes::copy_from_slice(host)).map_err(|_| Refusal::HOST_INVALID)?)
        }
        None if version == Version::HTTP_11 => return Err(Refusal::HOST_MISSING),
        None => None,
    };
    match (named, host) {
        (Some(named), Some(host)) if *named != host => Err(Refusal::HOST_MISMATCH),
        (_, Some(host)) => Ok(host),
        (Some(named), None) => Ok(named.clone()),
        (None, None) => Ok(Authority::default()),
    }
}

/// An h2c upgrade is never passed on (a backend that takes it would be spoken to past us); other offers stay.
fn strip_h2c(headers: &mut Headers) {
    use http::header::{CONNECTION, UPGRADE};
    let kept: Vec<Vec<u8>> = headers
        .list(&UPGRADE)
        .filter(|token| !token.eq_ignore_ascii_case(b"h2c"))
        .map(<[u8]>::to_vec)
        .collect();
    headers.remove(&UPGRADE);
    headers.remove(&http::HeaderName::from_static("http2-settings"));
    let options: Vec<Vec<u8>> = headers
        .list(&CONNECTION)
        .filter(|token| !token.eq_ignore_ascii_case(b"http2-settings"))
        .filter(|token| !(kept.is_empty() && token.eq_ignore_ascii_case(b"upgrade")))
        .map(<[u8]>::to_vec)
        .collect();
    headers.remove(&CONNECTION);
    for (name, members) in [(UPGRADE, kept), (CONNECTION, options)] {
        if !members.is_empty() {
            // Pieces of values that were valid are valid.
            let _ = headers.set(&name, members.join(b", ".as_slice()));
        }
    }
}

fn refuse_request(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::Version if names_other_version(bytes) => Refusal::VERSION,
        httparse::Error::Version | httparse::Error::Token | httparse::Error::Status => Refusal::REQUEST_LINE,
        httparse::Error::TooManyHeaders => Refusal::TOO_MANY_HEADERS,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Refusal::HEADER_SYNTAX
        }
    }
}

/// Whether the first line ends in `HTTP/` digit `.` digit: a version we do not speak rather than nonsense.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = memchr::memchr(b'\r', bytes).and_then(|end| bytes.get(..end)).unwrap_or_default();
    let Some((_, version)) = line.split_last_chunk::<9>() else { return false };
    matches!(version, [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() && !matches!([*major, *minor], [b'1', b'0' | b'1']))
}

fn refuse_response(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::TOO_MANY_HEADERS,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Refusal::HEADER_SYNTAX
        }
        _ => Refusal::STATUS_LINE,
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
