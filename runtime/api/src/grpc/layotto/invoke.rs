//! `InvokeService` in the Layotto dialect: an HTTP request out of a message, and a message out of the answer.
//!
//! Metadata become headers, the header `id` names the application, and 2xx is a success whose headers come back as
//! metadata. Everything else is `UNAVAILABLE`, as in Layotto, but with the status (`http-status`), the headers and the
//! beginning of the body at hand. A call without a verb is a GET, and one without a limit has three seconds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use outrigger_blocks::{Body, Caller, Deadline, Error, ErrorKind};
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::http_extension::Verb;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use super::RuntimeService;
use crate::status::{self, Block};

/// Milliseconds a caller gives the other application.
const TIMEOUT: &str = "rpc_request_timeout";
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(3000);
/// Names the application, in Layotto's routes and for applications that stand for several.
const ID: HeaderName = HeaderName::from_static("id");
/// Tells an answer's status where the code cannot.
const HTTP_STATUS: &str = "http-status";
/// As much as one message may carry.
const LARGEST: usize = 4 << 20;
/// How much of an unsuccessful answer's body is told.
const TOLD: usize = 1024;

impl RuntimeService {
    pub(super) async fn invoke(
        &self,
        request: Request<proto::InvokeServiceRequest>,
    ) -> Result<Response<proto::InvokeResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let timeout = timeout(&metadata).map_err(error)?;
        let caller = self.caller(&metadata)?;
        let deadline = caller.deadline.earlier(Deadline::after(Instant::now(), timeout));
        let caller = Caller { deadline, ..caller };
        let proto::InvokeServiceRequest { id, message } = message;
        let message = message.ok_or_else(|| error(Error::invalid("message is missing")))?;
        let asked = asked(&id, message, metadata.into_headers()).map_err(error)?;
        let answer = self.blocks.invoke.call(&caller, &id, asked).await.map_err(error)?;
        let (head, body) = answer.into_parts();
        let body = within(deadline, body.collect(LARGEST)).await.map_err(|it| error(it.with("app", &id)))?;
        if !head.status.is_success() {
            return Err(unsuccessful(&id, head.status, head.headers, &body));
        }
        Ok(answered(head.headers, body))
    }
}

fn timeout(metadata: &MetadataMap) -> Result<Duration, Error> {
    let Some(value) = metadata.get(TIMEOUT) else { return Ok(DEFAULT_TIMEOUT) };
    let milliseconds = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|ms| *ms > 0);
    let wrong = || Error::invalid(format!("metadata {TIMEOUT} is not a number of milliseconds above 0"));
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

fn asked(
    id: &str,
    message: proto::CommonInvokeRequest,
    metadata: HeaderMap,
) -> Result<http::Request<Body>, Error> {
    let proto::CommonInvokeRequest { method, data, content_type, http_extension } = message;
    let extension = http_extension.unwrap_or_default();
    let mut request = http::Request::new(Body::full(data.unwrap_or_default().value));
    *request.method_mut() = verb(extension.verb)?;
    *request.uri_mut() = uri(&method, &extension.querystring)?;
    let headers = request.headers_mut();
    headers.extend(metadata.into_iter().scan(None, passed).flatten());
    headers.insert(
        ID,
        HeaderValue::from_str(id).map_err(|_| Error::invalid("id has characters no header can have"))?,
    );
    if !content_type.is_empty() {
        let content_type = HeaderValue::from_str(&content_type);
        let wrong = |_| Error::invalid("message.content_type has characters no header can have");
        headers.insert(CONTENT_TYPE, content_type.map_err(wrong)?);
    }
    Ok(request)
}

/// What of the call's metadata means something to the other application.
#[expect(clippy::option_option, reason = "what `scan` asks for: to go on, and with nothing or something")]
fn passed(
    last: &mut Option<HeaderName>,
    (name, value): (Option<HeaderName>, HeaderValue),
) -> Option<Option<(HeaderName, HeaderValue)>> {
    if name.is_some() {
        *last = name;
    }
    let name = last.clone();
    Some(name.filter(|name| !is_ours(name)).map(|name| (name, value)))
}

/// What is about the call to us, or about one connection.
fn is_ours(name: &HeaderName) -> bool {
    const HOP: [&str; 6] = ["te", "connection", "keep-alive", "transfer-encoding", "upgrade", "trailer"];
    let text = name.as_str();
    [CONTENT_TYPE, CONTENT_LENGTH, HOST, USER_AGENT, ID].contains(name)
        || text == TIMEOUT
        || text.starts_with("grpc-")
        || text.starts_with("outrigger-")
        || text.starts_with("dapr-")
        || text.ends_with("-bin")
        || HOP.contains(&text)
}

fn verb(verb: i32) -> Result<Method, Error> {
    Ok(match Verb::try_from(verb) {
        Ok(Verb::None | Verb::Get) => Method::GET,
        Ok(Verb::Head) => Method::HEAD,
        Ok(Verb::Post) => Method::POST,
        Ok(Verb::Put) => Method::PUT,
        Ok(Verb::Delete) => Method::DELETE,
        Ok(Verb::Options) => Method::OPTIONS,
        Ok(Verb::Patch) => Method::PATCH,
        Ok(Verb::Connect | Verb::Trace) => {
            return Err(Error::invalid(
                "message.http_extension.verb is one that only proxies are asked with",
            ));
        }
        Err(_) => return Err(Error::invalid(format!("message.http_extension.verb {verb} does not exist"))),
    })
}

fn uri(method: &str, query: &str) -> Result<Uri, Error> {
    let path = method.strip_prefix('/').unwrap_or(method);
    let query = query.strip_prefix('?').unwrap_or(query);
    let both = match query {
        "" => format!("/{path}"),
        query if path.contains('?') => format!("/{path}&{query}"),
        query => format!("/{path}?{query}"),
    };
    if both.starts_with("//") {
        return Err(Error::invalid("message.method begins with two slashes"));
    }
    both.parse().map_err(|_| Error::invalid("message.method and querystring make no path").with("path", both))
}

async fn within(
    deadline: Deadline,
    body: impl Future<Output = Result<Bytes, outrigger_blocks::BodyError>>,
) -> Result<Bytes, Error> {
    let late = || Error::new(ErrorKind::Timeout, "the app's answer did not come whole in time");
    let body = match deadline.remaining(Instant::now()) {
        None => body.await,
        Some(left) => tokio::time::timeout(left, body).await.map_err(|_| late())?,
    };
    body.map_err(|error| match error {
        outrigger_blocks::BodyError::TooLarge => {
            Error::internal("the app's answer is larger than 4 MiB, which is the most a message carries")
        }
        other => Error::unavailable("the app's answer broke off").with_source(other),
    })
}

fn answered(headers: HeaderMap, body: Bytes) -> Response<proto::InvokeResponse> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut message = proto::InvokeResponse { content_type: content_type.to_owned(), ..Default::default() };
    // An `Any` without a type: only its value is looked at.
    message.data.get_or_insert_default().value = body.into();
    let mut response = Response::new(message);
    *response.metadata_mut() = told(headers);
    response
}

/// The answer's headers as metadata. Those that gRPC frames its own answer with stay away, and so does the length,
/// which is another one now.
fn told(headers: HeaderMap) -> MetadataMap {
    let kept = headers.into_iter().scan(None, passed).flatten();
    let kept = kept.filter(|(name, _)| name.as_str() != "date");
    let mut map = HeaderMap::new();
    map.extend(kept);
    MetadataMap::from_headers(map)
}

fn unsuccessful(id: &str, status: http::StatusCode, headers: HeaderMap, body: &Bytes) -> Status {
    let text = String::from_utf8_lossy(body.get(..TOLD).unwrap_or(body));
    let message = format!("app '{id}' answered {}: {text}", status.as_u16());
    let mut metadata = told(headers);
    for (name, value) in [(status::layotto::REASON, "http_status"), (HTTP_STATUS, status.as_str())] {
        if let Ok(value) = value.parse() {
            metadata.insert(name, value);
        }
    }
    Status::with_metadata(Code::Unavailable, message, metadata)
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Invoke, &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_query_make_a_path() {
        let check = |method, query, expected| {
            assert_eq!(uri(method, query).unwrap().to_string(), expected, "{method} {query}");
        };
        check("hello", "", "/hello");
        check("/hello", "", "/hello");
        check("", "", "/");
        check("a/b%20c", "x=1&y=2", "/a/b%20c?x=1&y=2");
        check("a?x=1", "?y=2", "/a?x=1&y=2");
        for (method, query) in [("a b", ""), ("//evil.example/x", ""), ("a\r\nb", ""), ("a", "b c")] {
            uri(method, query).unwrap_err();
        }
    }

    #[test]
    fn what_is_about_the_call_to_us_is_not_passed_on() {
        let mut metadata = HeaderMap::new();
        for (name, value) in [
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("authorization", "Basic x"),
            ("traceparent", "t"),
            ("grpc-timeout", "1S"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "grpc-go"),
            ("rpc_request_timeout", "10"),
            ("dapr-api-token", "secret"),
            ("outrigger-passed-on", "1"),
            ("id", "another"),
            ("key-bin", "AAA"),
        ] {
            metadata.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let asked = asked("orders", proto::CommonInvokeRequest::default(), metadata).unwrap();
        let mut names: Vec<_> =
            asked.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        names.sort_unstable();
        let expected = [
            ("authorization", "Basic x"),
            ("id", "orders"),
            ("traceparent", "t"),
            ("x-tenant", "a"),
            ("x-tenant", "b"),
        ];
        assert_eq!(names, expected);
        assert_eq!(asked.method(), Method::GET);
    }

    #[test]
    fn the_limit_is_three_seconds_unless_told() {
        let read = |value: Option<&'static str>| {
            let mut metadata = MetadataMap::new();
            value.map(|value| metadata.insert(TIMEOUT, value.parse().unwrap()));
            timeout(&metadata).ok()
        };
        assert_eq!(read(None), Some(Duration::from_secs(3)));
        assert_eq!(read(Some("250")), Some(Duration::from_millis(250)));
        for wrong in ["0", "-1", "soon", "1.5", ""] {
            assert_eq!(read(Some(wrong)), None, "{wrong}");
        }
    }
}
