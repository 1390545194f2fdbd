//! The CloudEvents envelope a published event travels in. Pure: what is in it depends on the arguments alone.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use outrigger_component_api::{Error, Result};
use outrigger_telemetry::trace::TraceContext;
use serde_json::value::{RawValue, to_raw_value};

/// Layotto's defaults for an event of ours.
pub(super) const SOURCE: &str = "runtime";
pub(super) const TYPE: &str = "com.runtime.event.sent";
/// Its defaults, Dapr's in fact, for an event that came with an envelope and lacks them.
pub(super) const FOREIGN_SOURCE: &str = "Dapr";
pub(super) const FOREIGN_TYPE: &str = "com.dapr.event.sent";
const SPEC_VERSION: &str = "1.0";
const TEXT: &str = "text/plain";
/// The body is the envelope.
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// What the application publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    pub data: Bytes,
    /// What `data` is; empty is `text/plain`.
    pub content_type: String,
    /// `ttlInSeconds`, `rawPayload`, `cloudevent.…`, and what is meant for the broker.
    pub metadata: BTreeMap<String, String>,
}

/// Where and when an event is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    /// The id of an event that brings none.
    pub(super) id: &'a str,
    pub(super) pubsub: &'a str,
    pub(super) topic: &'a str,
    pub(super) trace: Option<&'a TraceContext>,
    /// When it is no longer worth delivering, if the broker does not look after that itself.
    pub(super) expiration: Option<SystemTime>,
}

/// Content types, by what becomes of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    Text,
    Binary,
    CloudEvent,
}

impl Content {
    /// Parameters (`; charset=utf-8`) and case do not matter.
    pub(super) fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            CLOUD_EVENT => Self::CloudEvent,
            "application/json" => Self::Json,
            "application/octet-stream" | "application/cloudevents+protobuf" => Self::Binary,
            other if other.ends_with("+json") => Self::Json,
            _ => Self::Text,
        }
    }
}

/// The envelope as bytes.
pub(super) fn seal(publication: &Publication, about: &Circumstances<'_>) -> Result<Bytes> {
    let fields = match Content::of(&publication.content_type) {
        Content::CloudEvent => completed(&publication.data, about)?,
        content => enveloped(publication, content, about),
    };
    let fields = overridden(fields, &publication.metadata);
    let bytes = serde_json::to_vec(&fields).map_err(|error| {
        Error::internal("the event could not be put into its envelope").with_source(error)
    })?;
    Ok(bytes.into())
}

/// The fields of an event, each as it will be written.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

fn enveloped(publication: &Publication, content: Content, about: &Circumstances<'_>) -> Fields {
    let mut fields = Fields::new();
    let content_type = if publication.content_type.is_empty() { TEXT } else { &publication.content_type };
    for (name, value) in [("source", SOURCE), ("type", TYPE), ("datacontenttype", content_type)] {
        put(&mut fields, name, value);
    }
    put_data(&mut fields, content, &publication.data);
    fill(&mut fields, about);
    fields
}

/// JSON as it is, text as a string, the rest as base64. JSON that is none is a string, text that is none is base64:
/// no byte is lost.
pub(super) fn put_data(fields: &mut Fields, content: Content, data: &[u8]) {
    if content == Content::Json
        && let Ok(json) = serde_json::from_slice::<Box<RawValue>>(data)
    {
        fields.insert("data".to_owned(), json);
        return;
    }
    match std::str::from_utf8(data) {
        Ok(text) if content != Content::Binary => put(fields, "data", text),
        _ => put(fields, "data_base64", &BASE64.encode(data)),
    }
}

/// An event that came in its envelope: what is there stays, what is missing is filled in.
fn completed(body: &[u8], about: &Circumstances<'_>) -> Result<Fields> {
    let mut fields: Fields = serde_json::from_slice(body).map_err(|error| {
        Error::invalid(format!("the data is no cloud event in JSON: {error}"))
            .with("data_content_type", CLOUD_EVENT)
    })?;
    for (name, value) in [("source", FOREIGN_SOURCE), ("type", FOREIGN_TYPE)] {
        put_missing(&mut fields, name, value);
    }
    fill(&mut fields, about);
    Ok(fields)
}

/// What every event has, unless it brought its own.
fn fill(fields: &mut Fields, about: &Circumstances<'_>) {
    let trace = about.trace.map(TraceContext::to_header);
    let own = [
        ("id", Some(about.id)),
        ("specversion", Some(SPEC_VERSION)),
        ("topic", Some(about.topic)),
        ("pubsubname", Some(about.pubsub)),
        // Older clients look for the trace under this name; it is there also when there is no trace.
        ("traceid", Some(trace.as_deref().unwrap_or_default())),
        ("traceparent", trace.as_deref()),
        ("tracestate", about.trace.and_then(|trace| trace.state.as_deref())),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            put_missing(fields, name, value);
        }
    }
    if let Some(expiration) = about.expiration {
        put_missing(fields, "expiration", &humantime::format_rfc3339_millis(expiration).to_string());
    }
}

/// Metadata `cloudevent.id` and the like say what a field shall be, whatever it is.
fn overridden(mut fields: Fields, metadata: &BTreeMap<String, String>) -> Fields {
    const FIELDS: [&str; 7] = ["id", "source", "type", "subject", "traceid", "traceparent", "tracestate"];
    for (name, value) in metadata {
        let field =
            name.strip_prefix("cloudevent.").and_then(|name| FIELDS.into_iter().find(|field| *field == name));
        if let Some(field) = field {
            put(&mut fields, field, value);
        }
    }
    fields
}

pub(super) fn put(fields: &mut Fields, name: &str, value: &str) {
    // A string always can be written.
    if let Ok(value) = to_raw_value(value) {
        fields.insert(name.to_owned(), value);
    }
}

fn put_missing(fields: &mut Fields, name: &str, value: &str) {
    let missing = |present: &RawValue| matches!(present.get(), "null" | "\"\"");
    if fields.get(name).is_none_or(|present| missing(present)) {
        put(fields, name, value);
    }
}

/// Whether metadata asks for bytes without an envelope.
pub(super) fn is_raw(metadata: &BTreeMap<String, String>) -> bool {
    let raw = metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case("rawPayload"));
    raw.is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case("true"))
}

/// A random UUID, version 4.
pub(super) fn new_id() -> String {
    let random = fastrand::u128(..) & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let hex = format!("{random:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn sealed(publication: &Publication, trace: Option<&TraceContext>) -> Result<Value> {
        let expiration = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        let expiration = expiration.filter(|_| publication.metadata.contains_key("ttlInSeconds"));
        let about = Circumstances { id: "the-id", pubsub: "events", topic: "orders", trace, expiration };
        seal(publication, &about).map(|bytes| serde_json::from_slice(&bytes).expect("an envelope is JSON"))
    }

    fn publication(content_type: &str, data: impl AsRef<[u8]>, metadata: &[(&str, &str)]) -> Publication {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Publication {
            data: Bytes::copy_from_slice(data.as_ref()),
            content_type: content_type.to_owned(),
            metadata: metadata.collect(),
        }
    }

    #[test]
    fn data_is_put_as_its_content_type_says() {
        let check = |content_type: &str, data: &[u8], kind: &str, field: &str, expected: Value| {
            let expected = json!({
                "id": "the-id", "specversion": "1.0", "source": "runtime", "type": "com.runtime.event.sent",
                "datacontenttype": kind, "topic": "orders", "pubsubname": "events", "traceid": "", field: expected,
            });
            assert_eq!(
                sealed(&publication(content_type, data, &[]), None).unwrap(),
                expected,
                "{content_type}"
            );
        };
        check("", b"hello", "text/plain", "data", json!("hello"));
        check("text/plain", b"", "text/plain", "data", json!(""));
        check("text/xml; charset=utf-8", "<ä/>".as_bytes(), "text/xml; charset=utf-8", "data", json!("<ä/>"));
        check(
            "application/json",
            br#"{"b": [1, null], "a": "x"}"#,
            "application/json",
            "data",
            json!({"b": [1, null], "a": "x"}),
        );
        check("application/json", b"\"text\"", "application/json", "data", json!("text"));
        check("Application/JSON; charset=utf-8", b"7", "Application/JSON; charset=utf-8", "data", json!(7));
        check("application/vnd.shop+json", b"[]", "application/vnd.shop+json", "data", json!([]));
        check("application/json", b"{not json", "application/json", "data", json!("{not json"));
        check("application/json", b"", "application/json", "data", json!(""));
        check(
            "application/octet-stream",
            b"\x00\xff",
            "application/octet-stream",
            "data_base64",
            json!("AP8="),
        );
        check(
            "application/octet-stream",
            b"text",
            "application/octet-stream",
            "data_base64",
            json!("dGV4dA=="),
        );
        check("text/plain", b"\xff", "text/plain", "data_base64", json!("/w=="));
        check("application/json", b"\xff", "application/json", "data_base64", json!("/w=="));
        check("image/png", b"\x89PNG", "image/png", "data_base64", json!("iVBORw=="));
    }

    #[test]
    fn json_travels_as_it_was_written() {
        let written = br#"{"z":1.10,"a":12345678901234567890123}"#;
        let about = Circumstances { id: "i", pubsub: "p", topic: "t", trace: None, expiration: None };
        let bytes = seal(&publication("application/json", written, &[]), &about).unwrap();
        let bytes = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(bytes.contains(std::str::from_utf8(written).unwrap()), "{bytes}");
    }

    #[test]
    fn an_event_keeps_what_it_brought() {
        let check = |body: Value, expected: Value| {
            let publication =
                publication("application/cloudevents+json; charset=utf-8", body.to_string(), &[]);
            assert_eq!(sealed(&publication, None).unwrap(), expected);
        };
        check(
            json!({}),
            json!({
                "id": "the-id", "specversion": "1.0", "source": "Dapr", "type": "com.dapr.event.sent",
                "topic": "orders", "pubsubname": "events", "traceid": "",
            }),
        );
        let whole = json!({
            "id": "mine", "specversion": "1.0", "source": "/me", "type": "order", "topic": "elsewhere",
            "pubsubname": "other", "traceid": "t", "datacontenttype": "application/json", "data": {"a": 1},
            "time": "2020-01-01T00:00:00Z", "extension": true,
        });
        check(whole.clone(), whole);
        check(
            json!({"id": "", "source": null, "type": "order", "data": null}),
            json!({
                "id": "the-id", "specversion": "1.0", "source": "Dapr", "type": "order", "data": null,
                "topic": "orders", "pubsubname": "events", "traceid": "",
            }),
        );
        for body in ["", "[]", "7", "{", "\"text\"", "\u{0}"] {
            let error = sealed(&publication(CLOUD_EVENT, body, &[]), None).unwrap_err();
            assert_eq!(error.kind(), outrigger_component_api::ErrorKind::InvalidArgument, "{body}: {error}");
        }
    }

    #[test]
    fn trace_expiry_and_overrides_are_fields() {
        let trace = TraceContext::parse(TRACE).unwrap().with_state("vendor=1");
        let metadata = [
            ("ttlInSeconds", "1"),
            ("cloudevent.id", "order-7"),
            ("cloudevent.subject", "seven"),
            ("cloudevent.data", "not a field to set"),
            ("other", "for the broker"),
        ];
        let event = sealed(&publication("", "x", &metadata), Some(&trace)).unwrap();
        let expected = json!({
            "id": "order-7", "specversion": "1.0", "source": "runtime", "type": "com.runtime.event.sent",
            "datacontenttype": "text/plain", "topic": "orders", "pubsubname": "events", "data": "x",
            "traceid": TRACE, "traceparent": TRACE, "tracestate": "vendor=1", "subject": "seven",
            "expiration": "1970-01-01T00:00:01.500Z",
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn ids_are_random_uuids() {
        let id = new_id();
        let shape: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(new_id(), id);
    }
}
