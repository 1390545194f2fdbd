//! Heads in the form they leave in: always from their parsed parts, with framing fields of our own.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};

use super::frame::Outgoing;
use crate::body::is_allowed_trailer;
use crate::head::{RequestHead, ResponseHead, Target};
use crate::headers::{Headers, write_line};

/// What to say about the connection after this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// What the version implies.
    Implied,
    Close,
    /// An HTTP/1.0 client asked for it.
    KeepAlive,
    /// Both sides change protocol after this.
    Upgrade,
}

/// Writes a request head in origin form (authority form for CONNECT), with `Host` first.
pub(crate) fn request(out: &mut BytesMut, head: &RequestHead, framing: Outgoing, persistence: Persistence) {
    out.put_slice(head.method.as_str().as_bytes());
    out.put_u8(b' ');
    match &head.target {
        Target::Authority => out.put_slice(head.authority.as_bytes()),
        _ => out.put_slice(head.target_bytes()),
    }
    out.put_slice(b" HTTP/1.1\r\nhost: ");
    out.put_slice(head.authority.as_bytes());
    out.put_slice(b"\r\n");
    fields(out, &head.headers, persistence, |name| is_framing(name) || name.eq_ignore_ascii_case(b"host"));
    framing_fields(out, framing, persistence);
}

/// Writes a final or informational response head.
pub(crate) fn response(out: &mut BytesMut, head: &ResponseHead, framing: Outgoing, persistence: Persistence) {
    status_line(out, head);
    // A description of a body that is not sent is the handler's: `Content-Length` in answer to HEAD.
    let described = framing == Outgoing::Described;
    fields(out, &head.headers, persistence, |name| {
        is_framing(name)
            && !(described && name.eq_ignore_ascii_case(b"content-length") && is_one_length(&head.headers))
    });
    framing_fields(out, framing, persistence);
}

fn is_one_length(headers: &Headers) -> bool {
    let mut lengths = headers.get_all(&http::header::CONTENT_LENGTH);
    lengths.next().is_some_and(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit))
        && lengths.next().is_none()
}

fn status_line(out: &mut BytesMut, head: &ResponseHead) {
    if head.status == StatusCode::OK && head.reason.is_none() {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(head.status.as_str().as_bytes());
    out.put_u8(b' ');
    match &head.reason {
        Some(reason) if reason.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f)) => {
            out.put_slice(reason)
        }
        _ => out.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    out.put_slice(b"\r\n");
}

fn fields(out: &mut BytesMut, headers: &Headers, persistence: Persistence, skip: impl Fn(&[u8]) -> bool) {
    let upgrading = persistence == Persistence::Upgrade;
    headers.write_lines(out, |name| !skip(name) && (upgrading || !name.eq_ignore_ascii_case(b"upgrade")));
}

/// Fields that belong to one connection or to one framing, and are never copied from another.
fn is_framing(name: &[u8]) -> bool {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match name.len() {
        10 => is(b"connection") || is(b"keep-alive"),
        14 => is(b"content-length") || is(b"http2-settings"),
        16 => is(b"proxy-connection"),
        17 => is(b"transfer-encoding"),
        _ => false,
    }
}

fn framing_fields(out: &mut BytesMut, framing: Outgoing, persistence: Persistence) {
    match framing {
        Outgoing::None | Outgoing::Described | Outgoing::UntilClose => {}
        Outgoing::Length(length) => {
            out.put_slice(b"content-length: ");
            out.put_slice(itoa::Buffer::new().format(length).as_bytes());
            out.put_slice(b"\r\n");
        }
        Outgoing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.put_slice(match persistence {
        Persistence::Implied => b"\r\n",
        Persistence::Close => b"connection: close\r\n\r\n",
        Persistence::KeepAlive => b"connection: keep-alive\r\n\r\n",
        Persistence::Upgrade => b"connection: upgrade\r\n\r\n",
    });
}

/// The line before a chunk's data.
pub(crate) fn chunk_size(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (size >> (place * 4)) & 0xf;
        out.put_u8(DIGITS.get(digit).copied().unwrap_or_default());
    }
    out.put_slice(b"\r\n");
}

/// The last chunk, with the trailers that may follow a body.
pub(crate) fn last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if is_allowed_trailer(name.as_str().as_bytes()) {
            write_line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.put_slice(b"\r\n");
}

/// Persistence for a request we send: kept open unless it changes the protocol.
pub(crate) fn request_persistence(head: &RequestHead) -> Persistence {
    let upgrading = head.headers.contains(&http::header::UPGRADE)
        && head.method != Method::CONNECT
        && head.version != Version::HTTP_10;
    if upgrading && head.upgrade().is_some() { Persistence::Upgrade } else { Persistence::Implied }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};

    #[test]
    fn framing_is_never_copied() {
        let mut head = RequestHead::new(Method::POST, "h".parse().unwrap(), "/p");
        head.headers.append(&HOST, "evil").unwrap();
        head.headers.append(&CONTENT_LENGTH, "5").unwrap();
        head.headers.append(&TRANSFER_ENCODING, "chunked").unwrap();
        head.headers.append(&CONNECTION, "close, x").unwrap();
        let mut out = BytesMut::new();
        request(&mut out, &head, Outgoing::Length(2), Persistence::Implied);
        assert_eq!(out, "POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n");
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for size in [0, 1, 9, 15, 16, 255, 256, 4096, 65_535, 1 << 40] {
            let mut out = BytesMut::new();
            chunk_size(&mut out, size);
            assert_eq!(out, format!("{size:x}\r\n"));
        }
    }

    #[test]
    fn a_reason_cannot_split_the_response() {
        let mut head = ResponseHead::new(StatusCode::NOT_FOUND);
        head.reason = Some("x\r\nSet-Cookie: a".into());
        let mut out = BytesMut::new();
        response(&mut out, &head, Outgoing::Length(0), Persistence::Close);
        assert_eq!(out, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn head_keeps_the_length_it_describes() {
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.append(&CONTENT_LENGTH, "42").unwrap();
        let mut out = BytesMut::new();
        response(&mut out, &head, Outgoing::Described, Persistence::Implied);
        assert_eq!(out, "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n");
        head.headers.append(&CONTENT_LENGTH, "43").unwrap();
        out.clear();
        response(&mut out, &head, Outgoing::Described, Persistence::Implied);
        assert_eq!(out, "HTTP/1.1 200 OK\r\n\r\n");
    }
}
