//! Responses we give ourselves, in the language of whoever asked.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::body::Body;
use crate::head::{RequestHead, ResponseHead};
use crate::message::Response;

/// Names why we answered and not the upstream.
pub const REASON: HeaderName = HeaderName::from_static("x-outrigger-reason");

/// A plain text response. `reason` is a stable word for machines, `text` a sentence for people.
#[must_use]
pub fn local(status: StatusCode, reason: &'static str, text: &str) -> Response {
    let mut head = ResponseHead::new(status);
    head.headers.set_static(&REASON, reason);
    head.headers.set_static(&CONTENT_TYPE, "text/plain; charset=utf-8");
    Response::new(head, Body::full(format!("{text}\n")))
}

/// The same for the client behind `request`: a gRPC client gets a gRPC status.
#[must_use]
pub fn to(request: &RequestHead, status: StatusCode, reason: &'static str, text: &str) -> Response {
    local_for(request.is_grpc(), status, reason, text)
}

/// [`to`] where the request is gone already.
#[must_use]
pub fn local_for(grpc: bool, status: StatusCode, reason: &'static str, text: &str) -> Response {
    if !grpc {
        return local(status, reason, text);
    }
    let mut map = HeaderMap::with_capacity(4);
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    map.insert("grpc-status", HeaderValue::from_static(grpc_status(status)));
    if let Ok(message) = HeaderValue::from_str(&percent_encode(text)) {
        map.insert("grpc-message", message);
    }
    map.insert(REASON, HeaderValue::from_static(reason));
    let mut head = ResponseHead::new(StatusCode::OK);
    head.headers = map.into();
    Response::new(head, Body::empty())
}

/// The gRPC status for a failure of our own. Where we know more than the generic table of the gRPC documentation
/// (a deadline passed, a limit was hit), the status says so.
fn grpc_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 431 | 414 | 500 => "13",
        401 => "16",
        403 => "7",
        404 | 405 | 501 => "12",
        408 | 504 => "4",
        413 | 429 => "8",
        502 | 503 => "14",
        _ => "2",
    }
}

/// The gRPC protocol's encoding of `grpc-message`: space to `~` except `%` as they are.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte.into()),
            // Writing to a string does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn grpc_clients_get_a_grpc_status() {
        let mut request = RequestHead::new(Method::POST, "h".parse().unwrap(), "/a.B/C");
        request.headers.set(&CONTENT_TYPE, "application/grpc+proto").unwrap();
        let response = to(&request, StatusCode::SERVICE_UNAVAILABLE, "no_endpoint", "no endpoint: 100%\n");
        assert_eq!(response.head.status, 200);
        let map = response.head.headers.into_map();
        assert_eq!(map["grpc-status"], "14");
        assert_eq!(map["grpc-message"], "no endpoint: 100%25%0A");
        assert_eq!(map["x-outrigger-reason"], "no_endpoint");
        assert!(response.body.is_empty());
    }

    #[test]
    fn others_get_plain_text() {
        let request = RequestHead::new(Method::GET, "h".parse().unwrap(), "/");
        let response = to(&request, StatusCode::NOT_FOUND, "no_route", "no route matches");
        assert_eq!(response.head.status, 404);
        assert_eq!(response.head.headers.get(&REASON), Some(b"no_route".as_slice()));
        assert_eq!(response.body.as_full().unwrap(), "no route matches\n");
    }
}
