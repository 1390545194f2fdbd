//! Answers that need no backend.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode};
use outrigger_http::{Body, Problem, RequestHead, Response, ResponseHead};

use super::PathChange;
use crate::config::RespondConfig;
use crate::route::Choice;

#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) status: StatusCode,
    pub(crate) scheme: Option<Box<str>>,
    pub(crate) host: Option<Box<str>>,
    pub(crate) port: Option<u16>,
    pub(crate) path: PathChange,
}

impl Redirect {
    pub(crate) fn response(&self, head: &RequestHead, choice: Choice) -> Response {
        let mut response = Response::status(self.status);
        // Everything in it comes from the configuration or from a parsed head: visible ASCII.
        let _ = response.head.headers.set(&LOCATION, self.location(head, choice));
        response
    }

    fn location(&self, head: &RequestHead, choice: Choice) -> String {
        let asked = head.scheme.as_str();
        let scheme = self.scheme.as_deref().unwrap_or(asked);
        let host = self.host.as_deref().unwrap_or_else(|| head.authority.host());
        let port =
            self.port.or_else(|| head.authority.port().filter(|_| scheme == asked && self.host.is_none()));
        let is_usual = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)));
        let port = port.filter(|_| !is_usual).map(|port| format!(":{port}")).unwrap_or_default();
        let path = self.path.apply(head.path(), choice);
        let path = path.as_deref().unwrap_or_else(|| head.path());
        let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

/// A fixed response.
#[derive(Debug)]
pub(crate) struct Respond {
    head: ResponseHead,
    body: bytes::Bytes,
}

impl Respond {
    pub(crate) fn new(config: &RespondConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let status =
            StatusCode::from_u16(config.status).ok().filter(|_| (200..=599).contains(&config.status));
        if status.is_none() {
            problems.push(Problem::new("status", format!("{} is not between 200 and 599", config.status)));
        }
        let mut head = ResponseHead::new(status.unwrap_or_default());
        if !config.body.is_empty() {
            head.headers.set_static(&CONTENT_TYPE, "text/plain; charset=utf-8");
        }
        for (text, value) in &config.headers {
            match field(text, value) {
                Ok((name, value)) => head.headers.set_value(&name, &value),
                Err(message) => problems.push(Problem::new(format!("headers.{text}"), message)),
            }
        }
        let body = bytes::Bytes::copy_from_slice(config.body.as_bytes());
        if problems.is_empty() { Ok(Self { head, body }) } else { Err(problems) }
    }

    pub(crate) fn response(&self) -> Response {
        Response::new(self.head.clone(), Body::full(self.body.clone()))
    }
}

fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))?;
    // The codec frames the response.
    if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TRAILER].contains(&name) {
        return Err(format!("`{name}` belongs to the framing of the response and cannot be set"));
    }
    let value = HeaderValue::from_str(value)
        .map_err(|_| "a header value may hold only visible ASCII, spaces and tabs".to_owned())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::authority;
    use outrigger_http::Scheme;

    #[test]
    fn a_redirect_keeps_what_it_does_not_change() {
        let plain = || Redirect {
            status: StatusCode::FOUND,
            scheme: None,
            host: None,
            port: None,
            path: PathChange::Keep,
        };
        let check = |redirect: Redirect, expected: &str| {
            let mut head =
                RequestHead::new(http::Method::GET, authority("a.example:8080").unwrap(), "/v1/x?q=1");
            head.scheme = Scheme::Http;
            let choice = Choice { route: 0, prefix_segments: Some(1) };
            let response = redirect.response(&head, choice);
            assert_eq!(response.head.headers.get_str(&LOCATION), Some(expected));
        };
        check(plain(), "http://a.example:8080/v1/x?q=1");
        check(Redirect { scheme: Some("https".into()), ..plain() }, "https://a.example/v1/x?q=1");
        check(Redirect { host: Some("b.example".into()), ..plain() }, "http://b.example/v1/x?q=1");
        check(Redirect { port: Some(80), ..plain() }, "http://a.example/v1/x?q=1");
        check(
            Redirect { path: PathChange::Prefix("/v2".into()), ..plain() },
            "http://a.example:8080/v2/x?q=1",
        );
    }

    #[test]
    fn a_fixed_response_is_checked() {
        let config = RespondConfig { status: 99, ..RespondConfig::default() };
        assert_eq!(Respond::new(&config).unwrap_err()[0].path, "status");
        let config = RespondConfig {
            headers: [("content-length".to_owned(), "1".to_owned())].into(),
            ..RespondConfig::default()
        };
        assert_eq!(Respond::new(&config).unwrap_err()[0].path, "headers.content-length");
        let config = RespondConfig { status: 200, body: "ok".into(), ..RespondConfig::default() };
        let response = Respond::new(&config).unwrap().response();
        assert_eq!(response.body.as_full().unwrap(), "ok");
    }
}
