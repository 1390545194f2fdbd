//! Reading bodies: by length, in chunks, or until the connection closes.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::frame::Incoming;
use super::io::COPY;
use super::parse::Limits;
use super::scan::{Scan, trailer_scan};
use crate::body::is_allowed_trailer;
use crate::config::Underscores;

/// Longest line that carries a chunk's size, its extensions included.
const MAX_SIZE_LINE: usize = 256;
/// What all extensions of one body may add up to: they carry nothing, and cost reading.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;
const MAX_TRAILER_BYTES: usize = 16 * 1024;
const MAX_TRAILERS: usize = 64;

/// The state of a body being read off a connection.
#[derive(Debug)]
pub(crate) enum Decoder {
    Done,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

#[derive(Debug)]
pub(crate) struct Chunked {
    at: At,
    extensions: usize,
}

#[derive(Debug)]
enum At {
    Size,
    Data(u64),
    DataEnd,
    Trailers(Scan),
}

/// What one step of decoding found.
#[derive(Debug)]
pub(crate) enum Step {
    /// The buffer is used up.
    More,
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl From<Incoming> for Decoder {
    fn from(framing: Incoming) -> Self {
        match framing {
            Incoming::None => Self::Done,
            Incoming::Length(length) => Self::Length(length),
            Incoming::Chunked => Self::Chunked(Chunked { at: At::Size, extensions: 0 }),
            Incoming::UntilClose => Self::UntilClose,
        }
    }
}

impl Decoder {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Bytes still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// All that is left of a body of known length, where all of it is in `buffer`. Little is copied, so that the buffer
    /// goes back to the thread and not along with the body.
    pub(crate) fn take_rest(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        let Self::Length(left) = self else { return None };
        let len = usize::try_from(*left).ok().filter(|len| *len <= buffer.len())?;
        *self = Self::Done;
        if len > COPY {
            return Some(buffer.split_to(len).freeze());
        }
        let rest = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
        buffer.advance(len);
        Some(rest)
    }

    /// Takes the next piece off the front of `buffer`. An error is a word for what was malformed.
    pub(crate) fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, &'static str> {
        match self {
            Self::Done => Ok(Step::End),
            Self::Length(left) => {
                let data = take(buffer, left);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(data.map_or(Step::More, Step::Data))
            }
            Self::UntilClose => {
                let mut left = u64::MAX;
                Ok(take(buffer, &mut left).map_or(Step::More, Step::Data))
            }
            Self::Chunked(chunked) => {
                let step = chunked.step(buffer)?;
                if matches!(step, Step::End | Step::Trailers(_)) {
                    *self = Self::Done;
                }
                Ok(step)
            }
        }
    }
}

fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    if buffer.is_empty() {
        return None;
    }
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left -= len as u64;
    Some(buffer.split_to(len).freeze())
}

impl Chunked {
    fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, &'static str> {
        loop {
            match &mut self.at {
                At::Size => match self.size(buffer)? {
                    None => return Ok(Step::More),
                    Some(0) => self.at = At::Trailers(trailer_scan()),
                    Some(size) => self.at = At::Data(size),
                },
                At::Data(left) => {
                    let Some(data) = take(buffer, left) else { return Ok(Step::More) };
                    if *left == 0 {
                        self.at = At::DataEnd;
                    }
                    return Ok(Step::Data(data));
                }
                At::DataEnd => match buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.at = At::Size;
                    }
                    [] | [b'\r'] => return Ok(Step::More),
                    _ => return Err("chunk_terminator"),
                },
                At::Trailers(scan) => return trailers(scan, buffer),
            }
        }
    }

    /// RFC 9112 §7.1: hexadecimal digits, extensions that are read over, CRLF.
    fn size(&mut self, buffer: &mut BytesMut) -> Result<Option<u64>, &'static str> {
        let window = buffer.get(..buffer.len().min(MAX_SIZE_LINE)).unwrap_or_default();
        // What cannot become a size is refused before its line is complete, and for the same reason as after.
        let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let plausible = digits <= 16 && matches!(window.get(digits), None | Some(b';' | b'\r' | b'\n'));
        if !plausible || (digits == 0 && !window.is_empty()) {
            return Err("chunk_size");
        }
        let Some(feed) = memchr::memchr(b'\n', window) else {
            return if window.len() == MAX_SIZE_LINE { Err("chunk_extension_too_long") } else { Ok(None) };
        };
        let Some((b'\r', line)) = window.get(..feed).unwrap_or_default().split_last() else {
            return Err("chunk_line_end");
        };
        let (size, extension) = line.split_at_checked(digits).ok_or("chunk_size")?;
        check_extension(extension)?;
        self.extensions += extension.len();
        if self.extensions > MAX_EXTENSION_BYTES {
            return Err("chunk_extension_too_long");
        }
        let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
        let size = size.filter(|size| i64::try_from(*size).is_ok()).ok_or("chunk_size")?;
        buffer.advance(feed + 1);
        Ok(Some(size))
    }
}

/// `;name` or `;name=value`, tokens or quoted strings, no whitespace.
fn check_extension(mut rest: &[u8]) -> Result<(), &'static str> {
    const BAD: &str = "chunk_extension";
    while let [b';', after @ ..] = rest {
        rest = after_token(after).ok_or(BAD)?;
        if let [b'=', value @ ..] = rest {
            rest = match value {
                [b'"', quoted @ ..] => after_quoted(quoted).ok_or(BAD)?,
                _ => after_token(value).ok_or(BAD)?,
            };
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(if rest.starts_with(b";") { BAD } else { "chunk_size" }) }
}

fn after_token(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|byte| is_token(**byte)).count();
    if len == 0 { None } else { bytes.get(len..) }
}

fn after_quoted(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match bytes {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'\t' | b' '..=b'~', rest @ ..] | [b'\t' | b' '..=b'~', rest @ ..] => rest,
            _ => return None,
        };
    }
}

/// RFC 9110 §5.6.2.
#[inline]
pub(crate) fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^'..=b'`' | b'|' | b'~')
}

fn trailers(scan: &mut Scan, buffer: &mut BytesMut) -> Result<Step, &'static str> {
    let limits = Limits {
        head_bytes: MAX_TRAILER_BYTES,
        headers: MAX_TRAILERS,
        uri: 0,
        underscores: Underscores::Allow,
    };
    let Some(len) = scan.advance(buffer, &limits).map_err(|refusal| refusal.reason)? else {
        return Ok(Step::More);
    };
    let section = buffer.split_to(len).freeze();
    if len == 2 {
        return Ok(Step::End);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&section, &mut fields) else {
        return Err("trailer_syntax");
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields.iter().filter(|field| is_allowed_trailer(field.name.as_bytes())) {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "trailer_syntax")?;
        let value =
            HeaderValue::from_maybe_shared(section.slice_ref(field.value)).map_err(|_| "trailer_syntax")?;
        map.append(name, value);
    }
    Ok(if map.is_empty() { Step::End } else { Step::Trailers(map) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes, handing over `step` bytes at a time.
    fn decode(text: &[u8], step: usize) -> Result<(Vec<u8>, Option<HeaderMap>, usize), &'static str> {
        let mut decoder = Decoder::from(Incoming::Chunked);
        let (mut body, mut buffer, mut fed) = (Vec::new(), BytesMut::new(), 0);
        loop {
            match decoder.step(&mut buffer)? {
                Step::More if fed == text.len() => return Err("incomplete"),
                Step::More => {
                    let end = (fed + step).min(text.len());
                    buffer.extend_from_slice(&text[fed..end]);
                    fed = end;
                }
                Step::Data(data) => body.extend_from_slice(&data),
                Step::Trailers(map) => return Ok((body, Some(map), buffer.len() + text.len() - fed)),
                Step::End => return Ok((body, None, buffer.len() + text.len() - fed)),
            }
        }
    }

    #[test]
    fn chunks_are_read_the_same_however_they_arrive() {
        let check = |text: &str, expected: Result<(&str, usize), &'static str>| {
            for step in [1, 2, 3, 1000] {
                let found = decode(text.as_bytes(), step)
                    .map(|(body, _, left)| (String::from_utf8(body).unwrap(), left));
                assert_eq!(found, expected.map(|(body, left)| (body.to_owned(), left)), "{text:?} by {step}");
            }
        };
        check("0\r\n\r\n", Ok(("", 0)));
        check("3\r\nabc\r\n0\r\n\r\nnext", Ok(("abc", 4)));
        check("3\r\nabc\r\n00a\r\n0123456789\r\n000\r\n\r\n", Ok(("abc0123456789", 0)));
        check("A;x;y=z;q=\"a b\\\"\"\r\n0123456789\r\n0\r\n\r\n", Ok(("0123456789", 0)));
        check("3\r\nabc\r\n0\r\nX: y\r\n\r\n", Ok(("abc", 0)));
        check("3\nabc\r\n0\r\n\r\n", Err("chunk_line_end"));
        check("3\r\nabc\n0\r\n\r\n", Err("chunk_terminator"));
        check("3\r\nabcd\r\n0\r\n\r\n", Err("chunk_terminator"));
        check("3\r\nabc\r\n0\r\n\n", Err("bare_lf"));
        check("3\r\nabc\r\n0\r\nX : y\r\n\r\n", Err("trailer_syntax"));
        check("3\r\nabc\r\n0\r\n X: y\r\n\r\n", Err("whitespace_before_headers"));
    }

    #[test]
    fn sizes_are_plain_hexadecimal() {
        for bad in [
            "",
            " 3",
            "3 ",
            "+3",
            "-3",
            "0x3",
            "3 ;a",
            "3; a",
            "3;",
            "3;=b",
            "3;a=",
            "3;a=\"",
            "g",
            "3,3",
            "11111111111111111",
            "ffffffffffffffff",
            "3\t",
            "3\r",
            "3;a\u{0}",
            "3;a=\u{e9}",
        ] {
            let text = format!("{bad}\r\nabc\r\n0\r\n\r\n");
            for step in [1, 1000] {
                assert!(decode(text.as_bytes(), step).is_err(), "{bad:?} by {step}");
            }
        }
    }

    #[test]
    fn extensions_are_bounded() {
        let line = format!("1;{}\r\n", "a".repeat(300));
        assert_eq!(decode(line.as_bytes(), 1000), Err("chunk_extension_too_long"));
        let many = format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(100);
        assert_eq!(decode(many.as_bytes(), 1000), Err("chunk_extension_too_long"));
    }

    #[test]
    fn trailers_that_would_change_meaning_are_left_out() {
        let (_, map, _) = decode(b"0\r\nContent-Length: 5\r\nX-Sum: 1\r\nHost: a\r\n\r\n", 1000).unwrap();
        let map = map.unwrap();
        assert_eq!((map.len(), map.get("x-sum").unwrap().as_bytes()), (1, b"1".as_slice()));
        assert_eq!(decode(b"0\r\nContent-Length: 5\r\n\r\n", 1000).unwrap().1, None);
    }
}
