//! Where a body ends: the decisions of RFC 9112 §6.3, for what we read and for what we write.

use http::{Method, StatusCode, Version};

use super::parse::ParsedResponse;

/// How the body of a message being read is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incoming {
    None,
    Length(u64),
    Chunked,
    /// Responses only: the connection ends with it.
    UntilClose,
}

/// How the body of a message being written is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// No body and no framing field: 1xx, 204, a request that has none.
    None,
    /// A body that is described but not sent: HEAD, 304. The fields the handler set stand.
    Described,
    Length(u64),
    Chunked,
    UntilClose,
}

/// What follows a response head, given the request it answers.
pub(crate) fn response_body(response: &ParsedResponse, method: &Method) -> Incoming {
    if !may_have_body(method, response.head.status) {
        return Incoming::None;
    }
    match (response.chunked, response.length) {
        (true, _) => Incoming::Chunked,
        (false, Some(0)) => Incoming::None,
        (false, Some(length)) => Incoming::Length(length),
        (false, None) => Incoming::UntilClose,
    }
}

/// Whether a connection can be trusted after this response: one that promises a body where there can be none may
/// send it all the same, and it would be read as the next response.
pub(crate) fn is_consistent(response: &ParsedResponse) -> bool {
    let bodiless = response.head.status.is_informational() || response.head.status == StatusCode::NO_CONTENT;
    !bodiless || (!response.chunked && response.length.is_none_or(|length| length == 0))
}

pub(crate) fn may_have_body(method: &Method, status: StatusCode) -> bool {
    *method != Method::HEAD
        && !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
        && !(*method == Method::CONNECT && status.is_success())
}

/// How to frame a response to a client that spoke `version`.
pub(crate) fn of_response(
    method: &Method,
    version: Version,
    status: StatusCode,
    exact: Option<u64>,
) -> Outgoing {
    if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        Outgoing::Described
    } else if !may_have_body(method, status) {
        Outgoing::None
    } else {
        match exact {
            Some(length) => Outgoing::Length(length),
            None if version == Version::HTTP_11 => Outgoing::Chunked,
            None => Outgoing::UntilClose,
        }
    }
}

/// How to frame a request. One whose method usually has a body says so even when there is none.
pub(crate) fn of_request(method: &Method, exact: Option<u64>) -> Outgoing {
    match exact {
        Some(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Outgoing::None,
        Some(length) => Outgoing::Length(length),
        None => Outgoing::Chunked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_framed_for_who_asked() {
        let check = |method, version, status, exact, expected| {
            assert_eq!(of_response(&method, version, StatusCode::from_u16(status).unwrap(), exact), expected);
        };
        check(Method::GET, Version::HTTP_11, 200, Some(3), Outgoing::Length(3));
        check(Method::GET, Version::HTTP_11, 200, Some(0), Outgoing::Length(0));
        check(Method::GET, Version::HTTP_11, 200, None, Outgoing::Chunked);
        check(Method::GET, Version::HTTP_10, 200, None, Outgoing::UntilClose);
        check(Method::HEAD, Version::HTTP_11, 200, Some(3), Outgoing::Described);
        check(Method::GET, Version::HTTP_11, 304, None, Outgoing::Described);
        check(Method::GET, Version::HTTP_11, 204, Some(0), Outgoing::None);
        check(Method::CONNECT, Version::HTTP_11, 200, None, Outgoing::None);
        check(Method::CONNECT, Version::HTTP_11, 403, Some(2), Outgoing::Length(2));
    }

    #[test]
    fn requests_without_a_body_say_so_where_one_is_usual() {
        assert_eq!(of_request(&Method::GET, Some(0)), Outgoing::None);
        assert_eq!(of_request(&Method::POST, Some(0)), Outgoing::Length(0));
        assert_eq!(of_request(&Method::GET, Some(2)), Outgoing::Length(2));
        assert_eq!(of_request(&Method::GET, None), Outgoing::Chunked);
    }
}
