//! The heads of requests and responses: what routing, filters and both codecs look at.

use bytes::Bytes;
use http::{Method, StatusCode, Version};

use crate::authority::Authority;
use crate::headers::Headers;

/// Everything of a request before its body.
#[derive(Debug, Clone)]
pub struct RequestHead {
    pub method: Method,
    pub target: Target,
    pub version: Version,
    pub headers: Headers,
    /// The scheme the client used to reach us, or the one its absolute-form target names.
    pub scheme: Scheme,
    /// Canonical host and port: of `:authority`, of an absolute-form target, or of `Host`. Empty when an HTTP/1.0
    /// request had none.
    pub authority: Authority,
    /// `:protocol` of an extended CONNECT (RFC 8441), for example `websocket`.
    pub protocol: Option<Box<str>>,
}

/// Everything of a response before its body.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub version: Version,
    pub headers: Headers,
    /// The reason phrase as received; `None` means the usual one.
    pub reason: Option<Bytes>,
}

/// The request target, byte for byte as received (RFC 9112 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`
    Origin(Bytes),
    /// `http://host/path?query`; holds the part after the authority, never empty.
    Absolute { path_and_query: Bytes },
    /// `host:port`, with CONNECT.
    Authority,
    /// `*`, with OPTIONS.
    Asterisk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The path or query offered holds bytes that may not appear in a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid request path: it must start with / and hold only visible ASCII without #")]
pub struct InvalidPath;

impl RequestHead {
    /// A head to start from when we are the ones asking; headers are empty.
    #[must_use]
    pub fn new(method: Method, authority: Authority, path_and_query: impl Into<Bytes>) -> Self {
        Self {
            method,
            target: Target::Origin(path_and_query.into()),
            version: Version::HTTP_11,
            headers: Headers::new(),
            scheme: Scheme::Http,
            authority,
            protocol: None,
        }
    }

    /// Path and query as one piece: `*` for asterisk form, empty for CONNECT.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        // Targets are visible ASCII: the parser and `set_path_and_query` see to it.
        std::str::from_utf8(self.target_bytes()).unwrap_or_default()
    }

    pub(crate) fn target_bytes(&self) -> &[u8] {
        match &self.target {
            Target::Origin(path_and_query) | Target::Absolute { path_and_query } => path_and_query,
            Target::Asterisk => b"*",
            Target::Authority => b"",
        }
    }

    /// The path, percent-encoding untouched.
    #[must_use]
    pub fn path(&self) -> &str {
        let all = self.path_and_query();
        memchr::memchr(b'?', all.as_bytes()).and_then(|end| all.get(..end)).unwrap_or(all)
    }

    /// What follows `?`, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        let all = self.path_and_query();
        memchr::memchr(b'?', all.as_bytes()).and_then(|end| all.get(end + 1..))
    }

    /// Canonical `host[:port]`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Replaces path and query; the target becomes origin form.
    pub fn set_path_and_query(&mut self, path_and_query: impl Into<Bytes>) -> Result<(), InvalidPath> {
        let path_and_query = path_and_query.into();
        if !path_and_query.starts_with(b"/") || !is_path_text(&path_and_query) {
            return Err(InvalidPath);
        }
        self.target = Target::Origin(path_and_query);
        Ok(())
    }

    /// Replaces the path and keeps the query.
    pub fn set_path(&mut self, path: &str) -> Result<(), InvalidPath> {
        if path.contains('?') {
            return Err(InvalidPath);
        }
        let whole = match self.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        self.set_path_and_query(whole)
    }

    /// Whether this asks for a tunnel: CONNECT, or an HTTP/1.1 upgrade.
    #[must_use]
    pub fn wants_tunnel(&self) -> bool {
        self.method == Method::CONNECT || self.upgrade().is_some()
    }

    /// The protocol an HTTP/1.1 client asks to switch to: `Upgrade` named by `Connection`.
    #[must_use]
    pub fn upgrade(&self) -> Option<&str> {
        if self.version != Version::HTTP_11 {
            return None;
        }
        let upgrade = self.headers.get_str(&http::header::UPGRADE)?;
        self.headers.has_token(&http::header::CONNECTION, "upgrade").then_some(upgrade)
    }

    /// Whether the call is gRPC, by its content type.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.headers.get(&http::header::CONTENT_TYPE).is_some_and(is_grpc_type)
    }
}

impl ResponseHead {
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self { status, version: Version::HTTP_11, headers: Headers::new(), reason: None }
    }
}

/// `application/grpc`, alone or followed by `+` or `;`.
fn is_grpc_type(value: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    match value.split_at_checked(GRPC.len()) {
        Some((kind, rest)) => {
            kind.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        }
        None => false,
    }
}

/// Visible ASCII without `#`: what a target may hold on the wire.
pub(crate) fn is_path_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &'static str) -> RequestHead {
        RequestHead::new(Method::GET, Authority::default(), target)
    }

    #[test]
    fn path_and_query_are_split_at_the_first_question_mark() {
        let check = |target, path, query| {
            let head = head(target);
            assert_eq!((head.path(), head.query()), (path, query), "{target}");
        };
        check("/", "/", None);
        check("/a?b", "/a", Some("b"));
        check("/a?", "/a", Some(""));
        check("/a?b?c", "/a", Some("b?c"));
        check("/%2F/../x?y=%00", "/%2F/../x", Some("y=%00"));
    }

    #[test]
    fn set_path_keeps_the_query_and_refuses_what_would_split_a_line() {
        let mut head = head("/a?b=1");
        head.set_path("/new").unwrap();
        assert_eq!(head.path_and_query(), "/new?b=1");
        for bad in ["new", "/a b", "/a\r\nX: y", "/a#f", "/a?c", "", "/\u{e9}"] {
            assert_eq!(head.set_path(bad), Err(InvalidPath), "{bad:?}");
        }
        assert_eq!(head.path_and_query(), "/new?b=1");
    }

    #[test]
    fn grpc_is_recognised_by_content_type() {
        let check = |kind: &str, expected| {
            let mut head = head("/");
            head.headers.set(&http::header::CONTENT_TYPE, kind).unwrap();
            assert_eq!(head.is_grpc(), expected, "{kind}");
        };
        check("application/grpc", true);
        check("Application/gRPC+proto", true);
        check("application/grpc; charset=x", true);
        check("application/grpc-web", false);
        check("application/json", false);
    }
}
