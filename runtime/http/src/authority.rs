//! Host and port of a request, validated and in one canonical spelling.

use bytes::Bytes;

/// `host[:port]`, lower case, without a trailing dot, checked against RFC 3986 §3.2 (no user information).
///
/// Routing, logs and upstream requests all read this one value, so no two of them can disagree about the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Authority {
    text: Bytes,
    /// Length of the host part of `text`.
    host_len: u16,
}

/// Not `host[:port]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid host: expected a name or address and an optional port")]
pub struct InvalidAuthority;

/// Names longer than DNS allows are refused outright.
const MAX_HOST: usize = 255;

impl Authority {
    /// Parses and canonicalises; shares `bytes` when the spelling is canonical already, as it nearly always is.
    pub fn parse(bytes: Bytes) -> Result<Self, InvalidAuthority> {
        let (host_len, port) = split(&bytes)?;
        let host = bytes.get(..host_len).unwrap_or_default();
        let canonical = !host.ends_with(b".") && !host.iter().any(u8::is_ascii_uppercase);
        let text = if canonical && port.is_none_or(|port| !port.is_empty()) {
            bytes
        } else {
            let host = host.strip_suffix(b".").unwrap_or(host);
            if host.is_empty() {
                return Err(InvalidAuthority);
            }
            let mut text = host.to_ascii_lowercase();
            if let Some(port) = port.filter(|port| !port.is_empty()) {
                text.push(b':');
                text.extend_from_slice(port);
            }
            return Ok(Self { host_len: u16::try_from(host.len()).unwrap_or_default(), text: text.into() });
        };
        Ok(Self { text, host_len: u16::try_from(host_len).unwrap_or_default() })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The canonical `host[:port]`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Without the port; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.as_str().get(..self.host_len.into()).unwrap_or_default()
    }

    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.as_str().get(usize::from(self.host_len) + 1..)?.parse().ok()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The same bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.text.clone()
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Authority {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, InvalidAuthority> {
        Self::parse(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// Length of the host, and the port's digits if there is a colon.
fn split(bytes: &[u8]) -> Result<(usize, Option<&[u8]>), InvalidAuthority> {
    let host_len = match bytes.first() {
        Some(b'[') => {
            let end = memchr::memchr(b']', bytes).ok_or(InvalidAuthority)?;
            let inside = bytes
                .get(1..end)
                .and_then(|inside| std::str::from_utf8(inside).ok())
                .ok_or(InvalidAuthority)?;
            inside.parse::<std::net::Ipv6Addr>().map_err(|_| InvalidAuthority)?;
            end + 1
        }
        Some(_) => {
            let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
            let host = bytes.get(..end).unwrap_or_default();
            if !is_name(host) {
                return Err(InvalidAuthority);
            }
            end
        }
        None => return Err(InvalidAuthority),
    };
    if host_len > MAX_HOST {
        return Err(InvalidAuthority);
    }
    match bytes.get(host_len..).unwrap_or_default() {
        [] => Ok((host_len, None)),
        [b':', port @ ..] if is_port(port) => Ok((host_len, Some(port))),
        _ => Err(InvalidAuthority),
    }
}

/// One or more labels; empty ones, which no name has, would leave a dot behind when the last is taken off.
fn is_name(host: &[u8]) -> bool {
    !host.is_empty()
        && host.iter().all(|byte| is_name_byte(*byte))
        && !host.windows(2).any(|two| two == b"..")
}

/// Unreserved characters and sub-delims of a registered name. Percent-encoded names are refused: they have two
/// spellings, and nothing real uses them.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        )
}

fn is_port(digits: &[u8]) -> bool {
    digits.is_empty()
        || (digits.len() <= 5
            && digits.iter().all(u8::is_ascii_digit)
            && digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 65535)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_canonical() {
        let check = |text: &'static str, expected: &str, host: &str, port| {
            let authority = Authority::parse(Bytes::from_static(text.as_bytes())).unwrap();
            assert_eq!(
                (authority.as_str(), authority.host(), authority.port()),
                (expected, host, port),
                "{text}"
            );
        };
        check("a.example", "a.example", "a.example", None);
        check("A.Example:80", "a.example:80", "a.example", Some(80));
        check("a.example.", "a.example", "a.example", None);
        check("a.example.:8080", "a.example:8080", "a.example", Some(8080));
        check("a.example:", "a.example", "a.example", None);
        check("[::1]:443", "[::1]:443", "[::1]", Some(443));
        check("[2001:DB8::1]", "[2001:db8::1]", "[2001:db8::1]", None);
        check("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1", Some(1));
        check("my_service", "my_service", "my_service", None);
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        let long = "a".repeat(256);
        let bad = [
            "",
            ":80",
            ".",
            "a..",
            "a..example",
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:99999",
            "a:-1",
            "a:+1",
            "a:80:80",
            "[::1",
            "::1",
            "[::g]",
            "[::1]x",
            "a,b",
            "a%41",
            "a\u{e9}",
            "a#b",
            "a?b",
            "a\\b",
            "[]",
            "[fe80::1%25eth0]",
            "a:000080",
            "\"a\"",
            "<a>",
            &long,
        ];
        for text in bad {
            assert_eq!(
                Authority::parse(Bytes::copy_from_slice(text.as_bytes())),
                Err(InvalidAuthority),
                "{text}"
            );
        }
    }
}
