//! Calls to applications and functions by name, as functions make them: with whole bodies.

use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use outrigger_blocks::function::Section;
use outrigger_blocks::{Body, BodyError, Deadline, Error, ErrorKind, Result};

use super::Answer;
use super::bindings::invocation::{Host, Request, Response};
use super::error::{answer, invalid};
use super::is_ours;
use super::metadata::Metadata;
use crate::function::message;
use crate::function::state::Guest;

impl Host for Guest {
    async fn call(&mut self, app: String, request: Request) -> Answer<Response> {
        answer(call(self, &app, request).await)
    }
}

async fn call(guest: &mut Guest, app: &str, request: Request) -> Result<Response> {
    let call = guest.on_part(Section::Invoke, app, &request.method)?;
    let mut request = decode(request)?;
    call.write_trace(request.headers_mut());
    request.extensions_mut().insert(call.chain.clone());
    let answered = call.blocks.invoke.call(&call.caller(), app, request).await?;
    let (head, body) = answered.into_parts();
    let largest = guest.program.config.max_body;
    let body = whole(body, call.deadline, largest).await.map_err(|error| error.with("app", app))?;
    Ok(Response { status: head.status.as_u16(), headers: told(&head.headers), body: body.into() })
}

fn decode(Request { verb, method, headers, body }: Request) -> Result<http::Request<Body>> {
    let mut request = http::Request::new(Body::full(body));
    *request.method_mut() =
        Method::from_bytes(verb.as_bytes()).map_err(|_| invalid(format!("verb '{verb}' is none of HTTP")))?;
    *request.uri_mut() = uri(&method)?;
    message::few(&headers).map_err(|why| invalid(format!("a call has {why}")))?;
    for (name, value) in headers {
        let wrong = |_| invalid(format!("header '{name}' has characters no header can have"));
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(()))?;
        // How the body is framed is the connection's, and where it goes the name's.
        if field != CONTENT_LENGTH && field != HOST && !is_ours(&field) {
            let value = HeaderValue::from_str(&value).map_err(|_| wrong(()))?;
            request.headers_mut().append(field, value);
        }
    }
    Ok(request)
}

fn uri(method: &str) -> Result<Uri> {
    let path = method.strip_prefix('/').unwrap_or(method);
    if path.starts_with('/') {
        return Err(invalid("method begins with two slashes"));
    }
    format!("/{path}").parse().map_err(|_| invalid(format!("method '{method}' makes no path")))
}

async fn whole(body: Body, deadline: Deadline, largest: usize) -> Result<Bytes> {
    let late = || Error::new(ErrorKind::Timeout, "the app's answer did not come whole in time");
    let body = match deadline.remaining(Instant::now()) {
        None => body.collect(largest).await,
        Some(left) => tokio::time::timeout(left, body.collect(largest)).await.map_err(|_| late())?,
    };
    body.map_err(|error| match error {
        BodyError::TooLarge => {
            Error::internal(format!("the app's answer is larger than {largest} bytes (`max_body`)"))
        }
        other => Error::unavailable("the app's answer broke off").with_source(other),
    })
}

fn told(headers: &HeaderMap) -> Metadata {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(verb: &str, method: &str, headers: &[(&str, &str)]) -> Result<http::Request<Body>> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        decode(Request { verb: verb.to_owned(), method: method.to_owned(), headers, body: b"x".to_vec() })
    }

    #[test]
    fn a_call_is_a_request() {
        let request = asked("POST", "orders/7?x=1", &[("a", "1"), ("A", "2"), ("host", "evil")]).unwrap();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string().as_str()),
            ("POST", "/orders/7?x=1")
        );
        assert_eq!(request.headers().get_all("a").iter().count(), 2);
        assert!(request.headers().get(HOST).is_none());
        assert_eq!(asked("GET", "", &[]).unwrap().uri(), "/");
        assert_eq!(asked("GET", "/a", &[]).unwrap().uri(), "/a");
    }

    #[test]
    fn nobody_calls_in_the_name_of_another() {
        let said = ["outrigger-passed-on", "Dapr-Caller-App-Id", "dapr-app-id", "dapr-api-token", "x-dapr"];
        let request = asked("GET", "", &said.map(|name| (name, "1"))).unwrap();
        assert_eq!(request.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-dapr"]);
    }

    #[test]
    fn what_is_no_request_is_refused_with_what_is_wrong() {
        let check = |verb: &str, method: &str, headers: &[(&str, &str)], names: &str| {
            let error = asked(verb, method, headers).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.message().contains(names), "{error}");
        };
        check("A B", "", &[], "verb 'A B'");
        check("", "", &[], "verb ''");
        check("GET", "//evil.example/x", &[], "two slashes");
        check("GET", "a b", &[], "'a b'");
        check("GET", "a", &[("a b", "1")], "header 'a b'");
        check("GET", "a", &[("a", "1\r\nb: 2")], "header 'a'");
        let many: Vec<_> = (0..30_000).map(|n| format!("x{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
        check("GET", "a", &many, "30000 headers of");
    }
}
