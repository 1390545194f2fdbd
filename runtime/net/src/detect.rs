//! Which protocol a client speaks, from its first bytes.
//!
//! Only for listeners that ask: a client of a server-first protocol (MySQL, SMTP) sends nothing until it is greeted,
//! and detecting it costs the whole timeout.

mod hello;

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use hello::ClientHello;

/// What was read is enough to tell, or more than anybody needs to say who they are.
pub const MAX_PREFIX: usize = 16 * 1024;

/// The HTTP/2 connection preface.
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tls(ClientHello),
    Http1,
    Http2,
    /// None of these, or nothing was said in time.
    Unknown,
}

/// Reads until the protocol is known, the client has ended, or `timeout` has passed, and gives what was read, to be
/// put in front again with [`crate::Rewind`].
pub async fn detect<S>(stream: &mut S, timeout: Duration) -> io::Result<(Protocol, Bytes)>
where
    S: AsyncRead + Unpin,
{
    let mut prefix = BytesMut::new();
    let reading = async {
        loop {
            prefix.reserve(1024);
            if stream.read_buf(&mut prefix).await? == 0 {
                return io::Result::Ok(Protocol::Unknown);
            }
            if let Some(protocol) = look(&prefix) {
                return Ok(protocol);
            }
        }
    };
    let protocol = tokio::time::timeout(timeout, reading).await.unwrap_or(Ok(Protocol::Unknown))?;
    Ok((protocol, prefix.freeze()))
}

/// What these first bytes are; `None` when it takes more of them to tell.
pub fn look(bytes: &[u8]) -> Option<Protocol> {
    let known = match bytes {
        [] => None,
        [hello::HANDSHAKE_RECORD, ..] => match hello::parse(bytes) {
            hello::Parsed::Hello(hello) => Some(Protocol::Tls(hello)),
            hello::Parsed::More => None,
            hello::Parsed::Malformed => Some(Protocol::Unknown),
        },
        _ if bytes.starts_with(HTTP2_PREFACE) => Some(Protocol::Http2),
        _ if HTTP2_PREFACE.starts_with(bytes) => None,
        _ => look_http1(bytes),
    };
    known.or_else(|| (bytes.len() >= MAX_PREFIX).then_some(Protocol::Unknown))
}

/// A request line. `GET /` is enough; with another method or form of target its end has to be seen, as other
/// protocols also begin with a word and a space.
fn look_http1(bytes: &[u8]) -> Option<Protocol> {
    const LONGEST_METHOD: usize = 32;
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let method = bytes.iter().take_while(|b| is_token(b)).count();
    if method > LONGEST_METHOD {
        return Some(Protocol::Unknown);
    }
    let (word, rest) = bytes.split_at_checked(method)?;
    match rest {
        [] => None,
        [b' '] => None,
        [b' ', b'/', ..] if is_known_method(word) => Some(Protocol::Http1),
        [b' ', target @ ..] if method > 0 => {
            let Some(end) = target.iter().position(|b| *b == b'\n') else {
                return target.iter().any(u8::is_ascii_control).then(|| only_cr_at_end(target)).flatten();
            };
            let line = target.get(..end)?;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let is_http = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
            Some(if is_http { Protocol::Http1 } else { Protocol::Unknown })
        }
        _ => Some(Protocol::Unknown),
    }
}

/// An unfinished line with control bytes in it is no request line, unless the only one is the CR before its LF.
fn only_cr_at_end(target: &[u8]) -> Option<Protocol> {
    let line = target.strip_suffix(b"\r").unwrap_or(target);
    line.iter().any(u8::is_ascii_control).then_some(Protocol::Unknown)
}

fn is_known_method(word: &[u8]) -> bool {
    const METHODS: [&[u8]; 8] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"];
    METHODS.contains(&word)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<Protocol>) {
        assert_eq!(look(bytes), expected, "{}", bytes.escape_ascii());
        if expected.is_none() {
            return;
        }
        // However the bytes are split, no earlier part says something else.
        for end in 0..bytes.len() {
            let part = look(&bytes[..end]);
            assert!(part.is_none() || part == expected, "{} at {end}: {part:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn http_is_told_from_what_resembles_it() {
        check(b"", None);
        check(HTTP2_PREFACE, Some(Protocol::Http2));
        check(b"PRI * HTTP/2.0\r\n\r\nS", None);
        check(b"PRI * HTTP/2.0\r\n\r\nSX", Some(Protocol::Unknown));
        check(b"GE", None);
        check(b"GET /", Some(Protocol::Http1));
        check(b"POST /a HTTP/1.1\r\n", Some(Protocol::Http1));
        check(b"GET key\r\n", Some(Protocol::Unknown));
        check(b"SET /a b\r\n", Some(Protocol::Unknown));
        check(b"PURGE /a HTTP/1.1\r\n", Some(Protocol::Http1));
        check(b"PURGE /a HTTP/1.1\r", None);
        check(b"CONNECT a:443 HTTP/1.1\r\n", Some(Protocol::Http1));
        check(b"OPTIONS * HTTP/1.0\r\n", Some(Protocol::Http1));
        check(b"*1\r\n$4\r\nPING\r\n", Some(Protocol::Unknown));
        check(b"PING\r\n", Some(Protocol::Unknown));
        check(b"SSH-2.0-OpenSSH_9\r\n", Some(Protocol::Unknown));
        check(b" GET / HTTP/1.1\r\n", Some(Protocol::Unknown));
        check(b"HELO x\0y", Some(Protocol::Unknown));
        check(&[b'A'; 33], Some(Protocol::Unknown));
        check(&[0xff, 0x00], Some(Protocol::Unknown));
        let endless = [b"WORD ".as_slice(), &[b'a'; MAX_PREFIX]].concat();
        assert_eq!(look(&endless), Some(Protocol::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_unknown_when_time_is_up() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(b"GE").await.unwrap();
        let (protocol, prefix) = detect(&mut server, Duration::from_secs(1)).await.unwrap();
        assert_eq!((protocol, prefix.as_ref()), (Protocol::Unknown, b"GE".as_slice()));
    }

    #[tokio::test]
    async fn what_was_read_is_given_back() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").await.unwrap();
        let (protocol, prefix) = detect(&mut server, Duration::from_secs(1)).await.unwrap();
        assert_eq!(
            (protocol, prefix.as_ref()),
            (Protocol::Http1, b"GET / HTTP/1.1\r\nhost: a\r\n".as_slice())
        );
        drop(client);
        assert_eq!(detect(&mut server, Duration::from_secs(1)).await.unwrap().0, Protocol::Unknown);
    }
}
