//! Who may come in: a token where one is set, and never a web page.
//!
//! Listening on loopback keeps other machines out, but not the pages in this machine's browser: they can post to any
//! port, and by re-pointing their own name at 127.0.0.1 even read the answer. Browsers say where a request comes from
//! and by which name, so both are looked at.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, StatusCode, header};
use tonic::Code;

const TOKEN_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("outrigger-api-token"), HeaderName::from_static("dapr-api-token")];
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a listener can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// By address and port, and so by any name that resolves to it.
    Network,
    /// Through a Unix socket, where the authority is whatever the client made up.
    Socket,
}

/// The rules of all API listeners.
#[derive(Clone, Default)]
pub struct Access {
    /// What callers must present one of; `None` is no token. Where none is known yet, nobody is let in.
    pub tokens: Option<Vec<Token>>,
    /// Names, besides `localhost` and addresses, by which callers may reach us.
    pub hosts: Vec<String>,
}

/// A shared secret. It has no `Debug`.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

impl Token {
    /// An empty token would let everybody in and is none.
    pub fn new(token: &str) -> Option<Self> {
        (!token.is_empty()).then(|| Self(token.as_bytes().into()))
    }

    /// Compares in time that depends on lengths only.
    fn matches(&self, presented: &[u8]) -> bool {
        let differing = self.0.iter().zip(presented).fold(0, |sum, (a, b)| sum | (a ^ b));
        self.0.len() == presented.len() && std::hint::black_box(differing) == 0
    }
}

/// All are compared, so that the time does not tell which one it was.
fn any_matches(tokens: &[Token], presented: &[u8]) -> bool {
    tokens.iter().fold(false, |found, token| found | token.matches(presented))
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A browser sent it for a page of another site.
    Origin,
    /// It was meant for a name that is not ours.
    Host,
    /// No token, or a wrong one.
    Token,
}

impl Denied {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Host => "host",
            Self::Token => "token",
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Origin => "requests from web pages are refused (origin or sec-fetch-site header)",
            Self::Host => {
                "the request names a host that is not this sidecar: use its address, or add api.hosts"
            }
            Self::Token => "an API token is required: send it as outrigger-api-token or dapr-api-token",
        }
    }

    pub(crate) fn code(self) -> Code {
        match self {
            Self::Origin | Self::Host => Code::PermissionDenied,
            Self::Token => Code::Unauthenticated,
        }
    }

    pub(crate) fn http_status(self) -> StatusCode {
        match self {
            Self::Origin | Self::Host => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }
}

impl Access {
    /// Whether a request with this head may come in.
    pub fn check(
        &self,
        exposure: Exposure,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Denied> {
        self.check_origin(exposure, authority, headers)?;
        match &self.tokens {
            Some(tokens) if !presented(headers).any(|presented| any_matches(tokens, presented)) => {
                Err(Denied::Token)
            }
            _ => Ok(()),
        }
    }

    /// As [`Access::check`], for what is open to those without a token too: probes cannot send one.
    pub fn check_origin(
        &self,
        exposure: Exposure,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Denied> {
        if headers.contains_key(header::ORIGIN) || headers.get_all(FETCH_SITE).iter().any(is_foreign) {
            return Err(Denied::Origin);
        }
        if exposure == Exposure::Network {
            let host = headers.get(header::HOST).map(http::HeaderValue::to_str);
            let mut names = [authority.map(Ok), host].into_iter().flatten();
            if !names.all(|name| name.is_ok_and(|name| self.is_ours(name))) {
                return Err(Denied::Host);
            }
        }
        Ok(())
    }

    /// Takes off what let the request in: it is for nobody behind us.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        let Some(tokens) = &self.tokens else { return };
        TOKEN_HEADERS.iter().for_each(|name| drop(headers.remove(name)));
        let mut sent = headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer);
        if sent.any(|sent| any_matches(tokens, sent)) {
            headers.remove(header::AUTHORIZATION);
        }
    }

    /// An address cannot be re-pointed, `localhost` is this machine, and the rest has to be listed.
    fn is_ours(&self, authority: &str) -> bool {
        let host = without_port(authority);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        address.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
    }
}

/// `none` is a person typing an address, `same-origin` a page of our own.
fn is_foreign(fetch_site: &http::HeaderValue) -> bool {
    !matches!(fetch_site.as_bytes(), b"none" | b"same-origin")
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !host.ends_with(':') => {
            host
        }
        _ => authority,
    }
}

fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let own =
        TOKEN_HEADERS.into_iter().flat_map(|name| headers.get_all(name)).map(http::HeaderValue::as_bytes);
    own.chain(headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer))
}

fn bearer(value: &http::HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn pages_are_turned_away() {
        let check = |pairs: &[(&'static str, &str)], expected| {
            for exposure in [Exposure::Network, Exposure::Socket] {
                let access = Access { tokens: Some(vec![Token::new("t").unwrap()]), hosts: Vec::new() };
                let mut headers = headers(pairs);
                headers.append("outrigger-api-token", "t".parse().unwrap());
                assert_eq!(access.check(exposure, Some("localhost:1"), &headers), expected, "{pairs:?}");
            }
        };
        check(&[], Ok(()));
        check(&[("origin", "https://evil.example")], Err(Denied::Origin));
        check(&[("origin", "null")], Err(Denied::Origin));
        check(&[("sec-fetch-site", "cross-site")], Err(Denied::Origin));
        check(&[("sec-fetch-site", "same-site")], Err(Denied::Origin));
        check(&[("sec-fetch-site", "none")], Ok(()));
        check(&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], Err(Denied::Origin));
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let access = Access { tokens: None, hosts: vec!["sidecar.local".to_owned()] };
        let check = |name: &'static str, ours: bool| {
            let expected = if ours { Ok(()) } else { Err(Denied::Host) };
            let by_header = headers(&[("host", name)]);
            assert_eq!(access.check(Exposure::Network, Some(name), &HeaderMap::new()), expected, "{name}");
            assert_eq!(access.check(Exposure::Network, None, &by_header), expected, "{name} as host");
            assert_eq!(
                access.check(Exposure::Network, Some("127.0.0.1"), &by_header),
                expected,
                "{name} as second"
            );
            assert_eq!(
                access.check(Exposure::Socket, Some(name), &HeaderMap::new()),
                Ok(()),
                "{name} over a socket"
            );
        };
        for ours in ["localhost", "LOCALHOST:34904", "127.0.0.1:34904", "10.1.2.3", "[::1]:34904", "[::1]"] {
            check(ours, true);
        }
        check("sidecar.local:34904", true);
        for foreign in
            ["evil.example", "evil.example:34904", "localhost.evil.example", "127.0.0.1.evil.example", ""]
        {
            check(foreign, false);
        }
        assert_eq!(access.check(Exposure::Network, None, &HeaderMap::new()), Ok(()), "HTTP/1.0 names nobody");
    }

    #[test]
    fn the_token_is_taken_from_any_of_its_places() {
        let access = Access { tokens: Some(vec![Token::new("s3cret").unwrap()]), hosts: Vec::new() };
        let check = |pairs: &[(&'static str, &str)], welcome: bool| {
            let expected = if welcome { Ok(()) } else { Err(Denied::Token) };
            assert_eq!(access.check(Exposure::Network, None, &headers(pairs)), expected, "{pairs:?}");
        };
        check(&[("outrigger-api-token", "s3cret")], true);
        check(&[("dapr-api-token", "s3cret")], true);
        check(&[("authorization", "Bearer s3cret")], true);
        check(&[("authorization", "bearer s3cret")], true);
        check(&[("dapr-api-token", "wrong"), ("outrigger-api-token", "s3cret")], true);
        for wrong in ["s3cre", "s3cret0", "S3CRET", ""] {
            check(&[("dapr-api-token", wrong)], false);
        }
        check(&[], false);
        check(&[("authorization", "Basic s3cret")], false);
        check(&[("authorization", "s3cret")], false);
        let two = ["old", "new"].map(|token| Token::new(token).unwrap());
        let rotating = Access { tokens: Some(two.into()), hosts: Vec::new() };
        for (token, welcome) in [("old", true), ("new", true), ("oldnew", false), ("", false)] {
            let sent = headers(&[("dapr-api-token", token)]);
            assert_eq!(rotating.check(Exposure::Network, None, &sent).is_ok(), welcome, "{token}");
        }
        let unknown = Access { tokens: Some(Vec::new()), hosts: Vec::new() };
        for token in ["", "x"] {
            let sent = headers(&[("dapr-api-token", token)]);
            assert_eq!(unknown.check(Exposure::Network, None, &sent), Err(Denied::Token));
        }
        assert!(Token::new("").is_none());
        assert_eq!(
            access.check_origin(Exposure::Network, None, &HeaderMap::new()),
            Ok(()),
            "probes need none"
        );
    }
}
