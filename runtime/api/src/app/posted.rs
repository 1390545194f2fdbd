//! Events of topics for an application that speaks HTTP, as Dapr brings them: each is posted to its subscription's path,
//! and the answer says what became of it.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use outrigger_blocks::{Answer, AppEvents, Body, Deadline, Error, Event, Topic};
use tonic::async_trait;
use tonic::codegen::StdError as BoxedError;
use tower_service::Service;

use super::http::{HttpApp, put_trace, refused, request};

const CLOUD_EVENT: HeaderValue = HeaderValue::from_static("application/cloudevents+json");
/// What metadata may add to a request's head: servers refuse large ones.
const METADATA: usize = 4 << 10;
/// Headers that say something about the request or who it is from: no publisher writes these.
const RESERVED: [&str; 13] = [
    "authorization",
    "baggage",
    "connection",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
const RESERVED_PREFIXES: [&str; 6] = ["content-", "dapr-", "grpc-", "proxy-", "trace", "x-"];

#[async_trait]
impl<S> AppEvents for HttpApp<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxedError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// It is given what the configuration says.
    async fn topics(&self, _: Deadline) -> Result<Vec<Topic>, Error> {
        Ok(Vec::new())
    }

    async fn deliver(
        &self,
        topic: &Topic,
        event: &Event,
        _: u32,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let path = topic.route.as_deref().unwrap_or("/");
        let mut request = request(Method::POST, path, event.to_json()?)?;
        *request.headers_mut() = headers(event);
        let (status, body) = self.call(request, deadline).await?;
        answer(status, &body, path, event)
    }

    /// Another one would want nothing else.
    async fn gone(&self) {
        std::future::pending().await
    }
}

/// What the broker carried beside the event, as far as headers can, and what it always has.
fn headers(event: &Event) -> HeaderMap {
    let mut headers: HeaderMap = metadata(event).collect();
    headers.insert(CONTENT_TYPE, CLOUD_EVENT);
    put_trace(&mut headers, event.trace.as_ref());
    headers
}

fn metadata(event: &Event) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let mut room = METADATA;
    event.metadata.iter().filter_map(move |(name, value)| {
        let name = HeaderName::try_from(name).ok().filter(|name| !is_reserved(name.as_str()))?;
        let value = HeaderValue::try_from(value).ok()?;
        room = room.checked_sub(name.as_str().len() + value.len())?;
        Some((name, value))
    })
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// What the application said. A path it does not know will not be known the next time either.
fn answer(status: StatusCode, body: &[u8], path: &str, event: &Event) -> Result<Answer, Error> {
    if status.is_success() {
        return Ok(said(body));
    }
    if status == StatusCode::NOT_FOUND {
        let (id, topic) = (event.id.as_str(), event.topic.as_str());
        tracing::warn!(id, topic, path, "the application has no such path; the event is given up on");
        return Ok(Answer::Drop);
    }
    Err(refused(status, body))
}

/// `{"status": "SUCCESS"}`, `RETRY` or `DROP`. An answer that does not speak of it is a success, a word of a later
/// version a retry.
fn said(body: &[u8]) -> Answer {
    let body = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    match body.get("status").and_then(serde_json::Value::as_str) {
        None | Some("") => Answer::Success,
        Some(word) if word.eq_ignore_ascii_case("SUCCESS") => Answer::Success,
        Some(word) if word.eq_ignore_ascii_case("DROP") => Answer::Drop,
        Some(_) => Answer::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(metadata: &[(&str, &str)]) -> Event {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Event { metadata: metadata.collect(), ..Event::default() }
    }

    #[test]
    fn answers_say_what_became_of_an_event() {
        let check = |status: u16, body: &str, expected: Option<Answer>| {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = answer(status, body.as_bytes(), "/", &event(&[]));
            assert_eq!(answer.ok(), expected, "{status} {body}");
        };
        for body in
            ["", "ok", "{}", "[]", "7", "{\"status\":7}", "{\"status\":\"\"}", "{\"status\":\"SUCCESS\"}"]
        {
            check(200, body, Some(Answer::Success));
        }
        check(204, "", Some(Answer::Success));
        check(299, "{\"status\": \"RETRY\", \"more\": 1}", Some(Answer::Retry));
        check(200, "{\"status\":\"DROP\"}", Some(Answer::Drop));
        check(200, "{\"status\":\"drop\"}", Some(Answer::Drop));
        check(200, "{\"status\":\"LATER\"}", Some(Answer::Retry));
        check(404, "{\"status\":\"SUCCESS\"}", Some(Answer::Drop));
        for status in [302, 400, 403, 405, 429, 500, 503] {
            check(status, "{\"status\":\"SUCCESS\"}", None);
        }
    }

    #[test]
    fn metadata_becomes_headers_where_it_may() {
        let long = "x".repeat(METADATA);
        let event = event(&[
            ("deadLetterReason", "retries exhausted"),
            ("shop", "7"),
            ("long", &long),
            ("not a name", "x"),
            ("breaks", "a\r\nhost: b"),
            ("Authorization", "Bearer x"),
            ("dapr-api-token", "x"),
            ("Content-Length", "0"),
            ("traceparent", "x"),
            ("Host", "x"),
        ]);
        let headers = headers(&event);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "deadletterreason", "shop"]);
        assert_eq!(headers["deadletterreason"], "retries exhausted");
    }
}
