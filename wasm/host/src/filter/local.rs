//! An answer a filter gives itself.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use outrigger_http::{Body, Response, ResponseHead, reply};

use super::abi::Status;
use super::map::Pair;

#[derive(Debug)]
pub(crate) struct Local {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// What a gRPC client is told; without it, what fits the status.
    grpc: Option<u32>,
}

impl Local {
    pub(crate) fn new(
        status: u32,
        headers: &[Pair<'_>],
        body: Vec<u8>,
        grpc: Option<u32>,
    ) -> Result<Self, Status> {
        let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
        let status =
            status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or(Status::BadArgument)?;
        Ok(Self { status, headers: fields(headers)?, body, grpc })
    }

    /// For a request of which the filter would hold back more than it may.
    pub(crate) fn too_large() -> Self {
        let body = b"the request is too large to be looked at\n".to_vec();
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, headers: HeaderMap::new(), body, grpc: None }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// As a response, for a gRPC client in its own terms.
    pub(crate) fn into_response(self, is_grpc: bool) -> Response {
        let Self { status, mut headers, body, grpc } = self;
        if is_grpc {
            let text = String::from_utf8_lossy(&body);
            let mut response = reply::local_for(true, status, "filter", &text);
            let mut map = std::mem::take(&mut response.head.headers).into_map();
            headers.remove(CONTENT_TYPE);
            map.extend(headers);
            if let Some(grpc) = grpc {
                map.insert(HeaderName::from_static("grpc-status"), grpc.into());
            }
            response.head.headers = map.into();
            return response;
        }
        if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        let mut head = ResponseHead::new(status);
        head.headers = headers.into();
        Response::new(head, Body::full(body))
    }
}

/// How the answer is framed is the codec's.
fn fields(pairs: &[Pair<'_>]) -> Result<HeaderMap, Status> {
    let mut map = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        if name.starts_with(b":") {
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?;
        if ![CONTENT_LENGTH, TRANSFER_ENCODING, HOST].contains(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(status: u32, headers: &[Pair<'_>], grpc: Option<u32>) -> Result<Response, Status> {
        Local::new(status, headers, b"no".to_vec(), grpc).map(|local| local.into_response(grpc.is_some()))
    }

    #[test]
    fn an_answer_has_what_the_filter_said_and_our_framing() {
        let response = local(403, &[(b"X-Why", b"because"), (b"content-length", b"99")], None).unwrap();
        assert_eq!(response.head.status, 403);
        assert_eq!(response.head.headers.len(), 2, "{:?}", response.head);
        assert_eq!(response.body.as_full().unwrap(), "no");
        let response = local(403, &[(b"x-why", b"because")], Some(16)).unwrap();
        let headers = response.head.headers.into_map();
        assert_eq!((response.head.status.as_u16(), &headers["grpc-status"]), (200, &HeaderValue::from(16)));
        assert_eq!(
            (headers["x-why"].as_bytes(), headers["grpc-message"].as_bytes()),
            (b"because".as_slice(), b"no".as_slice())
        );
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for status in [0, 99, 100, 101, 199, 600, 70_000] {
            assert_eq!(local(status, &[], None).unwrap_err(), Status::BadArgument, "{status}");
        }
        assert_eq!(local(200, &[(b"a b", b"")], None).unwrap_err(), Status::BadArgument);
        assert_eq!(local(200, &[(b"a", b"x\ny")], None).unwrap_err(), Status::BadArgument);
    }
}
