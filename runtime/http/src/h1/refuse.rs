//! Why a message was refused.

use http::StatusCode;

/// A message we will not interpret: the status to answer with, and a word for logs and `x-outrigger-reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub status: StatusCode,
    pub reason: &'static str,
}

macro_rules! refusals {
    ($($name:ident = $status:ident $reason:literal;)*) => {
        impl Refusal {
            $(pub(crate) const $name: Self = Self { status: StatusCode::$status, reason: $reason };)*
        }
    };
}

refusals! {
    BARE_LF = BAD_REQUEST "bare_lf";
    OBS_FOLD = BAD_REQUEST "obs_fold";
    LEADING_WHITESPACE = BAD_REQUEST "whitespace_before_headers";
    REQUEST_LINE = BAD_REQUEST "request_line";
    STATUS_LINE = BAD_REQUEST "status_line";
    HEADER_SYNTAX = BAD_REQUEST "header_syntax";
    METHOD = BAD_REQUEST "method";
    TARGET = BAD_REQUEST "target";
    TARGET_NUL = BAD_REQUEST "target_nul";
    TARGET_FRAGMENT = BAD_REQUEST "target_fragment";
    HOST_MISSING = BAD_REQUEST "host_missing";
    HOST_REPEATED = BAD_REQUEST "host_repeated";
    HOST_INVALID = BAD_REQUEST "host_invalid";
    HOST_MISMATCH = BAD_REQUEST "host_mismatch";
    CONTENT_LENGTH = BAD_REQUEST "content_length";
    CONTENT_LENGTH_REPEATED = BAD_REQUEST "content_length_repeated";
    TRANSFER_ENCODING = BAD_REQUEST "transfer_encoding";
    TRANSFER_ENCODING_HTTP10 = BAD_REQUEST "transfer_encoding_http10";
    LENGTH_AND_ENCODING = BAD_REQUEST "content_length_and_transfer_encoding";
    UPGRADE_WITH_BODY = BAD_REQUEST "upgrade_with_body";
    CONNECT_WITH_BODY = BAD_REQUEST "connect_with_body";
    UNDERSCORE = BAD_REQUEST "underscore_in_header_name";
    COOKIE_CRUMBS = REQUEST_HEADER_FIELDS_TOO_LARGE "too_many_cookies";
    EXPECTATION = EXPECTATION_FAILED "expectation";
    URI_TOO_LONG = URI_TOO_LONG "uri_too_long";
    TOO_MANY_HEADERS = REQUEST_HEADER_FIELDS_TOO_LARGE "too_many_headers";
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large";
    VERSION = HTTP_VERSION_NOT_SUPPORTED "http_version";
    HEADER_TIMEOUT = REQUEST_TIMEOUT "header_timeout";
}
