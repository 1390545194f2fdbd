//! Between HTTP/2 messages as hyper has them and ours.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Uri;
use http::{Method, Version};

use crate::authority::Authority;
use crate::config::{ServerConfig, Underscores};
use crate::h1::Refusal;
use crate::head::{RequestHead, Scheme, Target};

/// A request head as HTTP/1.1 would have been understood, or why not.
///
/// h2 has refused malformed pseudo-headers, upper-case names and connection fields already.
pub(super) fn request_head(
    parts: http::request::Parts,
    config: &ServerConfig,
    scheme: Scheme,
) -> Result<RequestHead, Refusal> {
    let http::request::Parts { method, uri, mut headers, extensions, .. } = parts;
    check_fields(&mut headers, config)?;
    let protocol = extensions.get::<hyper::ext::Protocol>().map(|protocol| protocol.as_str().into());
    let authority = authority(&uri, &headers)?;
    headers.remove(HOST);
    let target = target(&method, &uri, protocol.is_some(), config)?;
    Ok(RequestHead {
        method,
        target,
        version: Version::HTTP_2,
        headers: headers.into(),
        scheme,
        authority,
        protocol,
    })
}

fn check_fields(headers: &mut HeaderMap, config: &ServerConfig) -> Result<(), Refusal> {
    let crumbs = headers.get_all(COOKIE).iter().count();
    if crumbs > config.http2.max_cookie_crumbs {
        return Err(Refusal::COOKIE_CRUMBS);
    }
    // Crumbs are one field in pieces, and are counted as one.
    if headers.len() - crumbs.saturating_sub(1) > config.max_headers {
        return Err(Refusal::TOO_MANY_HEADERS);
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > config.max_header_bytes {
        return Err(Refusal::HEAD_TOO_LARGE);
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(Refusal::CONTENT_LENGTH_REPEATED);
    }
    if headers
        .get(CONTENT_LENGTH)
        .is_some_and(|value| value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(Refusal::CONTENT_LENGTH);
    }
    let underscores = config.underscore_rule();
    if underscores != Underscores::Allow {
        let odd: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
        if !odd.is_empty() && underscores == Underscores::Reject {
            return Err(Refusal::UNDERSCORE);
        }
        for name in odd {
            headers.remove(name);
        }
    }
    if crumbs > 1 {
        join_cookies(headers);
    }
    Ok(())
}

/// RFC 9113 §8.2.3: one field again before it reaches anything that is not HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(b"; ".as_slice()))) {
        headers.insert(COOKIE, joined);
    }
}

/// `:authority` and `Host` name the same host, or only one is there.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::HOST_REPEATED);
    }
    let parse =
        |bytes: &[u8]| Authority::parse(Bytes::copy_from_slice(bytes)).map_err(|_| Refusal::HOST_INVALID);
    let named = uri.authority().map(|named| parse(named.as_str().as_bytes())).transpose()?;
    let host = host.map(|host| parse(host.as_bytes())).transpose()?;
    match (named, host) {
        (Some(named), Some(host)) if named != host => Err(Refusal::HOST_MISMATCH),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(Refusal::HOST_MISSING),
    }
}

fn target(method: &Method, uri: &Uri, extended: bool, config: &ServerConfig) -> Result<Target, Refusal> {
    if *method == Method::CONNECT && !extended {
        return Ok(Target::Authority);
    }
    let text = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if text.len() > config.max_uri_bytes {
        return Err(Refusal::URI_TOO_LONG);
    }
    if text == "*" {
        return if *method == Method::OPTIONS { Ok(Target::Asterisk) } else { Err(Refusal::TARGET) };
    }
    if !text.starts_with('/') || !crate::head::is_path_text(text.as_bytes()) {
        return Err(Refusal::TARGET);
    }
    if text.contains("%00") {
        return Err(Refusal::TARGET_NUL);
    }
    Ok(Target::Origin(Bytes::copy_from_slice(text.as_bytes())))
}

/// Takes off what has no meaning in HTTP/2 (RFC 9113 §8.2.2), also fields `Connection` names.
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    // Looking at each name costs less than looking for five: usually there is none.
    if !headers.keys().any(is_connection_field) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn is_connection_field(name: &HeaderName) -> bool {
    [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, fields: &[(&'static str, &str)]) -> Result<RequestHead, Refusal> {
        let mut request = http::Request::builder().uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request_head(request.body(()).unwrap().into_parts().0, &ServerConfig::default(), Scheme::Http)
    }

    #[test]
    fn authority_and_host_must_agree() {
        assert_eq!(head("http://a.example/x?y", &[]).unwrap().path_and_query(), "/x?y");
        assert_eq!(head("http://A.example/", &[("host", "a.example")]).unwrap().authority(), "a.example");
        assert_eq!(head("/", &[("host", "a")]).unwrap().authority(), "a");
        assert_eq!(head("http://a/", &[("host", "b")]).unwrap_err(), Refusal::HOST_MISMATCH);
        assert_eq!(head("http://a/", &[("host", "a"), ("host", "a")]).unwrap_err(), Refusal::HOST_REPEATED);
        assert_eq!(head("/", &[]).unwrap_err(), Refusal::HOST_MISSING);
    }

    #[test]
    fn what_belongs_to_one_connection_is_taken_off() {
        let check = |fields: &[(&'static str, &str)], left: &[&str]| {
            let field = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            };
            let mut headers: HeaderMap = fields.iter().map(field).collect();
            strip_connection(&mut headers);
            assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), left, "{fields:?}");
        };
        check(&[("x", "1"), ("te", "trailers")], &["x", "te"]);
        check(&[("connection", "x, close"), ("x", "1"), ("y", "2")], &["y"]);
        for name in ["keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            check(&[(name, "1"), ("y", "2")], &["y"]);
        }
    }

    #[test]
    fn fields_are_held_to_the_same_rules() {
        let check = |fields: &[(&'static str, &str)], expected| {
            assert_eq!(head("http://a/", fields).unwrap_err(), expected)
        };
        check(&[("content-length", "1"), ("content-length", "1")], Refusal::CONTENT_LENGTH_REPEATED);
        check(&[("content-length", "+1")], Refusal::CONTENT_LENGTH);
        check(&[("a_b", "1")], Refusal::UNDERSCORE);
        check(&[("x", "1"); 101], Refusal::TOO_MANY_HEADERS);
        check(&[("cookie", "1"); 201], Refusal::COOKIE_CRUMBS);
        check(&[("x", "1".repeat(50_000).as_str())], Refusal::HEAD_TOO_LARGE);
        assert_eq!(head("http://a/%00", &[]).unwrap_err(), Refusal::TARGET_NUL);
        let joined = head("http://a/", &[("cookie", "a=1"), ("cookie", "b=2")]).unwrap();
        assert_eq!(joined.headers.get(&COOKIE), Some(b"a=1; b=2".as_slice()));
    }
}
