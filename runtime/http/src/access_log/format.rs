//! Compiles a log format into items, and writes a line from them without allocating.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use http::header::HeaderName;

use super::AccessLogConfig;
use crate::record::{Record, Sent};

#[derive(Debug)]
pub(super) struct Compiled {
    items: Vec<Item>,
    json: bool,
}

#[derive(Debug)]
pub(super) enum Item {
    Literal(String),
    Field(&'static str, Field),
    Header(HeaderName),
    /// What a filter has set.
    State(String),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Time,
    Method,
    Path,
    Protocol,
    Host,
    Status,
    Bytes,
    Received,
    DurationMs,
    Peer,
    Listener,
    Route,
    Cluster,
    Upstream,
    Attempts,
    Reason,
    Outcome,
    RequestId,
}

const FIELDS: &[(&str, Field)] = &[
    ("time", Field::Time),
    ("method", Field::Method),
    ("path", Field::Path),
    ("protocol", Field::Protocol),
    ("host", Field::Host),
    ("status", Field::Status),
    ("bytes", Field::Bytes),
    ("received", Field::Received),
    ("duration_ms", Field::DurationMs),
    ("peer", Field::Peer),
    ("listener", Field::Listener),
    ("route", Field::Route),
    ("cluster", Field::Cluster),
    ("upstream", Field::Upstream),
    ("attempts", Field::Attempts),
    ("reason", Field::Reason),
    ("outcome", Field::Outcome),
    ("request_id", Field::RequestId),
];

impl Compiled {
    pub(super) fn new(config: &AccessLogConfig) -> Result<Self, String> {
        if config.json {
            let items = FIELDS.iter().map(|(name, field)| Item::Field(name, *field)).collect();
            return Ok(Self { items, json: true });
        }
        let mut items = Vec::new();
        let mut rest = config.format.as_str();
        while let Some((literal, after)) = rest.split_once("%{") {
            let (name, after) = after.split_once('}').ok_or("a %{ is not closed by }")?;
            if !literal.is_empty() {
                items.push(Item::Literal(literal.to_owned()));
            }
            items.push(item(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            items.push(Item::Literal(rest.to_owned()));
        }
        Ok(Self { items, json: false })
    }

    pub(super) fn line(&self, out: &mut String, record: &Record, sent: &Sent, took: Duration) {
        for (index, item) in self.items.iter().enumerate() {
            match item {
                Item::Literal(text) => out.push_str(text),
                Item::Header(name) => escaped(out, record.request.headers.get(name), false),
                Item::State(name) => {
                    let value = record.state.as_ref().and_then(|state| state.dotted(name));
                    escaped(out, value.as_deref(), false);
                }
                Item::Field(name, field) if self.json => {
                    // Writing to a string does not fail.
                    let _ = write!(out, "{}\"{name}\":", if index == 0 { '{' } else { ',' });
                    field.write(out, record, sent, took, true);
                }
                Item::Field(_, field) => field.write(out, record, sent, took, false),
            }
        }
        out.push_str(if self.json { "}\n" } else { "\n" });
    }
}

fn item(name: &str) -> Result<Item, String> {
    if let Some(header) = name.strip_prefix("header:") {
        let header = HeaderName::from_bytes(header.as_bytes())
            .map_err(|_| format!("{header:?} is not a header name"))?;
        return Ok(Item::Header(header));
    }
    if let Some(name) = name.strip_prefix("filter_state:") {
        let set = name.strip_prefix("wasm.").filter(|name| !name.is_empty());
        return set.map(|set| Item::State(set.to_owned())).ok_or_else(|| {
            format!("%{{filter_state:{name}}} names nothing: what a filter sets as `x` is `wasm.x`")
        });
    }
    let known = FIELDS.iter().find(|(known, _)| *known == name);
    known.map(|(name, field)| Item::Field(name, *field)).ok_or_else(|| {
        let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
        format!(
            "unknown placeholder %{{{name}}}; known are {}, header:NAME and filter_state:wasm.NAME",
            names.join(", ")
        )
    })
}

impl Field {
    fn write(self, out: &mut String, record: &Record, sent: &Sent, took: Duration, json: bool) {
        let request = &record.request;
        let mut number = |value: u64| out.push_str(itoa::Buffer::new().format(value));
        match self {
            Self::Status => return number(sent.status.as_u16().into()),
            Self::Bytes => return number(sent.body_bytes),
            Self::Received => return number(sent.received_bytes),
            Self::Attempts => return number(record.attempts.into()),
            Self::DurationMs => {
                let micros = took.as_micros();
                // Writing to a string does not fail.
                let _ = write!(out, "{}.{:03}", micros / 1000, micros % 1000);
                return;
            }
            _ => {}
        }
        let text = match self {
            Self::Method => Some(request.method.as_str()),
            Self::Path => Some(record.path_and_query()),
            Self::Protocol => Some(protocol(request.version)),
            Self::Host => Some(request.authority()),
            Self::Listener => Some(&*record.conn.listener),
            Self::Route => record.route.as_deref(),
            Self::Cluster => record.cluster.as_deref(),
            Self::Upstream => record.upstream.as_deref(),
            Self::Reason => record.reason,
            Self::Outcome => Some(sent.outcome.as_str()),
            Self::RequestId => request.headers.get_str(&HeaderName::from_static("x-request-id")),
            _ => return self.write_made(out, record, json),
        };
        escaped(out, text.map(str::as_bytes), json);
    }

    /// Values that have to be formatted first.
    fn write_made(self, out: &mut String, record: &Record, json: bool) {
        let quote = if json { "\"" } else { "" };
        // Writing to a string does not fail.
        let _ = match (self, record.conn.peer.ip()) {
            (Self::Peer, Some(ip)) => write!(out, "{quote}{ip}{quote}"),
            (Self::Peer, None) => write!(out, "{quote}unix{quote}"),
            _ => write!(out, "{quote}{}{quote}", timestamp(SystemTime::now())),
        };
    }
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// What came from outside cannot end the line, close a quote or move the terminal's cursor. Nothing is `-`.
fn escaped(out: &mut String, value: Option<&[u8]>, json: bool) {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        out.push_str(if json { "null" } else { "-" });
        return;
    };
    let quote = if json { "\"" } else { "" };
    out.push_str(quote);
    let clean = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    match std::str::from_utf8(value) {
        Ok(text) if value.iter().all(clean) => out.push_str(text),
        _ => {
            for byte in value {
                // Writing to a string does not fail.
                let _ = match byte {
                    byte if clean(byte) => write!(out, "{}", char::from(*byte)),
                    byte => write!(out, "\\u{:04x}", byte),
                };
            }
        }
    }
    out.push_str(quote);
}

/// RFC 3339 in UTC with milliseconds.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to a civil date, after H. Hinnant's `civil_from_days`.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339() {
        let check = |seconds, expected: &str| {
            assert_eq!(timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(seconds)), expected)
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_123, "2000-02-29T00:00:00.123Z");
        check(1_767_225_599_999, "2025-12-31T23:59:59.999Z");
    }

    #[test]
    fn outside_text_is_escaped() {
        let check = |value: Option<&[u8]>, json, expected: &str| {
            let mut out = String::new();
            escaped(&mut out, value, json);
            assert_eq!(out, expected);
        };
        check(None, false, "-");
        check(None, true, "null");
        check(Some(b"a\"b\\c\x1b[0m\xff"), true, "\"a\\u0022b\\u005cc\\u001b[0m\\u00ff\"");
        check(Some(b"a\r\nb"), false, "a\\u000d\\u000ab");
    }
}
