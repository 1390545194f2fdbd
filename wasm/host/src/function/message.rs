//! HTTP messages as functions see them.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use outrigger_blocks::{Body, BodyError, Deadline, Error, ErrorKind, Result};

use crate::limits::{MAP_BYTES, MAP_PAIRS};

/// Names and values, as WIT has them.
pub(crate) type Metadata = Vec<(String, String)>;

/// What belongs to a connection and not to a message, or is for us to say.
const OURS: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    TRAILER,
    CONTENT_LENGTH,
];

/// Values that are no text have what is none replaced.
pub(crate) fn metadata(headers: &HeaderMap) -> Metadata {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Path and query.
pub(crate) fn path(head: &Parts) -> String {
    head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned()
}

/// Host and port the client asked for.
pub(crate) fn authority(head: &Parts) -> Option<String> {
    let host = || head.headers.get(HOST).and_then(|host| host.to_str().ok()).map(ToOwned::to_owned);
    head.uri.authority().map(ToString::to_string).or_else(host)
}

/// Headers of a guest's become a map only when there is room in it.
///
/// # Errors
/// More or larger ones than a map may have.
pub(crate) fn few(headers: &Metadata) -> std::result::Result<(), String> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() <= MAP_PAIRS && bytes <= MAP_BYTES {
        return Ok(());
    }
    let count = headers.len();
    Err(format!("{count} headers of {bytes} bytes; {MAP_PAIRS} of {MAP_BYTES} are allowed"))
}

/// The head of an answer.
///
/// # Errors
/// One that is none.
pub(crate) fn head(function: &str, status: u16, headers: Metadata) -> Result<Response<()>> {
    let wrong = |what: String| Error::internal(format!("function '{function}' answered with {what}"));
    let status = StatusCode::from_u16(status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let mut answer = Response::new(());
    few(&headers).map_err(wrong)?;
    *answer.status_mut() = status.ok_or_else(|| wrong("a status that is none from 200 to 599".to_owned()))?;
    for (name, value) in headers {
        let bad = || wrong(format!("a header that is none: {name:?}"));
        let name = HeaderName::try_from(&name).map_err(|_| bad())?;
        let value = HeaderValue::try_from(value).map_err(|_| bad())?;
        if !OURS.contains(&name) {
            answer.headers_mut().append(name, value);
        }
    }
    Ok(answer)
}

/// Takes out what is for us to say.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in &OURS {
        headers.remove(name);
    }
}

/// All of a body; none when it is longer than it may be.
pub(crate) async fn whole(body: Body, max: usize, until: Deadline) -> Result<Option<Vec<u8>>> {
    let late = || Error::new(ErrorKind::Timeout, "the request's body did not come before the deadline");
    let body = body.collect(max);
    let body = match until.instant() {
        Some(at) => tokio::time::timeout_at(at.into(), body).await.map_err(|_| late())?,
        None => body.await,
    };
    match body {
        Ok(body) => Ok(Some(body.into())),
        Err(BodyError::TooLarge) => Ok(None),
        Err(error) => {
            let ended = Error::new(ErrorKind::Cancelled, "the request's body broke off");
            Err(ended.with_source(error))
        }
    }
}

/// The answer to a request whose body is longer than it may be.
pub(crate) fn too_large(max: usize) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("a body may have {max} bytes\n")));
    *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    answer
}

/// # Errors
/// A message that is longer than it may be.
pub(crate) fn bounded(what: &str, length: usize, max: usize) -> Result<()> {
    if length <= max {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} has {length} bytes; {max} are allowed (`max_body`)")))
}

/// # Errors
/// An answer that is longer than it may be.
pub(crate) fn answerable(function: &str, length: usize, max: usize) -> Result<()> {
    let message =
        || format!("function '{function}' answered with {length} bytes; {max} are allowed (`max_body`)");
    if length <= max { Ok(()) } else { Err(Error::internal(message())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_head_is_refused() {
        let check = |status, name: &str, value: &str, expected: Option<&str>| {
            let headers = vec![(name.to_owned(), value.to_owned())];
            match (head("f", status, headers), expected) {
                (Ok(answer), None) => assert_eq!(answer.status().as_u16(), status),
                (Err(error), Some(expected)) => assert!(error.message().contains(expected), "{error}"),
                (answer, expected) => panic!("{answer:?}, not {expected:?}"),
            }
        };
        check(200, "X-Some", "é", None);
        check(599, "x", "", None);
        check(199, "x", "", Some("status"));
        check(600, "x", "", Some("status"));
        check(200, "a b", "", Some("\"a b\""));
        check(200, "x", "a\nb", Some("\"x\""));
    }

    #[test]
    fn a_head_has_as_many_headers_as_there_is_room_for() {
        let head = |count: usize, length: usize| {
            let named = |n| (format!("x{n}"), "v".repeat(length));
            head("f", 200, (0..count).map(named).collect()).map(|answer| answer.headers().len())
        };
        assert_eq!(head(MAP_PAIRS, 1).unwrap(), MAP_PAIRS);
        for (count, length) in [(MAP_PAIRS + 1, 1), (30_000, 0), (1000, MAP_BYTES / 1000)] {
            let error = head(count, length).unwrap_err();
            assert!(error.message().contains(&format!("{count} headers of")), "{error}");
        }
    }

    #[test]
    fn what_is_ours_to_say_is_left_out() {
        let headers = [("Content-Length", "1"), ("connection", "close"), ("x-a", "1"), ("x-a", "2")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let answer = head("f", 200, headers).unwrap();
        assert_eq!(
            metadata(answer.headers()),
            [("x-a", "1"), ("x-a", "2")].map(|(n, v)| (n.into(), v.into()))
        );
    }

    #[tokio::test]
    async fn a_body_is_taken_whole_or_not_at_all() {
        let take = async |max| whole(Body::full("12345"), max, Deadline::NEVER).await.unwrap();
        assert_eq!((take(5).await, take(4).await), (Some(b"12345".to_vec()), None));
        let (sender, body) = Body::channel(1);
        sender.try_send(Err(BodyError::Disconnected)).unwrap();
        assert_eq!(whole(body, 5, Deadline::NEVER).await.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
