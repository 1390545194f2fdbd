//! What a subscriber is given: a message opened as the event it carries, or wrapped as one.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use outrigger_component_api::Message;
use outrigger_telemetry::trace::TraceContext;
use serde_json::value::RawValue;

use super::envelope::{Content, FOREIGN_SOURCE, FOREIGN_TYPE};

/// Metadata that says when a message without an envelope expires, RFC 3339.
pub(super) const EXPIRATION: &str = "expiration";
const BINARY: &str = "application/octet-stream";

/// An event as it is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub source: String,
    pub r#type: String,
    pub spec_version: String,
    /// What `data` is.
    pub content_type: String,
    pub data: Bytes,
    /// The subscription's broker and topic, whatever the envelope says: applications find their handler by these.
    pub pubsub: String,
    pub topic: String,
    /// What the broker carried beside the message.
    pub metadata: BTreeMap<String, String>,
    /// The publisher's place in a trace.
    pub trace: Option<TraceContext>,
    /// When it is no longer worth delivering.
    pub expiration: Option<SystemTime>,
    /// All of it as its publisher put it, where it came in an envelope.
    pub envelope: Option<Bytes>,
}

/// Opens a message. What is no CloudEvent, whatever it is, becomes the data of one; so does everything when the
/// subscription is `raw`.
pub(super) fn open(id: &str, message: Message, raw: bool) -> Event {
    let opened = if raw { None } else { parse(&message.data) };
    let opened = opened.map(|event| Event { envelope: Some(message.data.clone()), ..event });
    let mut event = opened.unwrap_or_else(|| wrapped(message.data));
    if event.id.is_empty() {
        id.clone_into(&mut event.id);
    }
    let beside = message.metadata.get(EXPIRATION).and_then(|time| time_of(time));
    event.expiration = event.expiration.or(beside);
    event.metadata = message.metadata;
    event
}

fn wrapped(data: Bytes) -> Event {
    Event {
        source: FOREIGN_SOURCE.to_owned(),
        r#type: FOREIGN_TYPE.to_owned(),
        spec_version: "1.0".to_owned(),
        content_type: BINARY.to_owned(),
        data,
        ..Event::default()
    }
}

/// The fields of an event, each as it was written.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// `None` unless it is a JSON object with a specversion, and data that can be read.
fn parse(bytes: &[u8]) -> Option<Event> {
    let fields: Fields<'_> = serde_json::from_slice(bytes).ok()?;
    let text = |name| text(&fields, name).unwrap_or_default();
    let spec_version = text("specversion");
    if spec_version.is_empty() {
        return None;
    }
    let content_type = text("datacontenttype");
    let data = data(&fields, &content_type)?;
    let trace = [text("traceparent"), text("traceid")].iter().find_map(|trace| TraceContext::parse(trace));
    Some(Event {
        id: text("id"),
        source: text("source"),
        r#type: text("type"),
        spec_version,
        content_type,
        data,
        trace: trace.map(|trace| trace.with_state(&text("tracestate"))),
        expiration: time_of(&text(EXPIRATION)),
        ..Event::default()
    })
}

/// A string under a JSON content type stays JSON; under any other it is the text itself.
fn data(fields: &Fields<'_>, content_type: &str) -> Option<Bytes> {
    if let Some(encoded) = text(fields, "data_base64") {
        return BASE64.decode(encoded).ok().map(Bytes::from);
    }
    let Some(value) = fields.get("data").map(|value| value.get()).filter(|value| *value != "null") else {
        return Some(Bytes::new());
    };
    let is_json = matches!(Content::of(content_type), Content::Json | Content::CloudEvent);
    match serde_json::from_str::<String>(value) {
        Ok(text) if !is_json => Some(text.into()),
        _ => Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn text(fields: &Fields<'_>, name: &str) -> Option<String> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

fn time_of(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::envelope::{Circumstances, Publication, seal};
    use super::*;

    fn opened(body: impl AsRef<[u8]>) -> Event {
        open("broker-id", Message::new(Bytes::copy_from_slice(body.as_ref())), false)
    }

    #[test]
    fn what_was_sealed_opens_to_the_same() {
        let check = |content_type: &str, data: &[u8]| {
            let publication = Publication {
                data: Bytes::copy_from_slice(data),
                content_type: content_type.to_owned(),
                metadata: BTreeMap::new(),
            };
            let about = Circumstances { id: "i", pubsub: "p", topic: "t", trace: None, expiration: None };
            let event = opened(seal(&publication, &about).unwrap());
            assert_eq!((event.id.as_str(), event.content_type.as_str()), ("i", content_type));
            assert_eq!((event.source.as_str(), event.r#type.as_str()), ("runtime", "com.runtime.event.sent"));
            assert_eq!(event.data, data, "{content_type}");
            assert_eq!((event.spec_version.as_str(), event.trace, event.expiration), ("1.0", None, None));
        };
        check("text/plain", b"hello");
        check("text/plain", b"");
        check("text/plain", b"\xff\x00");
        check("text/plain", b"\"quoted\" and \\ and \n");
        check("application/json", br#"{"z": 1.10, "a": [12345678901234567890123]}"#);
        check("application/json", b"\"text\"");
        check("application/octet-stream", b"\x00\xff");
        check("image/png", b"\x89PNG");
    }

    #[test]
    fn what_is_no_event_is_wrapped() {
        let bodies: [&[u8]; 14] = [
            b"",
            b"plain text",
            b"\xff\x00\xfe",
            b"null",
            b"7",
            b"[]",
            b"{}",
            b"{\"id\": \"x\"}",
            b"{\"specversion\": 1.0}",
            b"{\"specversion\": \"\"}",
            b"{\"specversion\": \"1.0\", \"data_base64\": \"no base64!\"}",
            b"{\"specversion\": \"1.0\"",
            b"{\"specversion\": \"1.0\"} trailing",
            b"{\"specversion\": {}}",
        ];
        for body in bodies {
            let event = opened(body);
            assert_eq!(event.data, body);
            assert_eq!((event.id.as_str(), event.content_type.as_str()), ("broker-id", BINARY));
            assert_eq!((event.source.as_str(), event.r#type.as_str()), ("Dapr", "com.dapr.event.sent"));
        }
        let deep = "[".repeat(100_000);
        assert_eq!(opened(format!("{{\"specversion\":\"1.0\",\"data\":{deep}")).content_type, BINARY);
    }

    #[test]
    fn a_raw_subscription_is_given_the_bytes() {
        let body = json!({"specversion": "1.0", "id": "x", "data": "y"}).to_string();
        let event = open("broker-id", Message::new(body.clone()), true);
        assert_eq!((event.id.as_str(), event.data.as_ref()), ("broker-id", body.as_bytes()));
    }

    #[test]
    fn odd_fields_are_read_as_far_as_they_go() {
        let check = |body: Value, id: &str, source: &str, data: &[u8]| {
            let event = opened(body.to_string());
            assert_eq!((event.id.as_str(), event.source.as_str(), event.data.as_ref()), (id, source, data));
        };
        check(json!({"specversion": "1.0"}), "broker-id", "", b"");
        check(json!({"specversion": "0.3", "id": 7, "source": {}, "data": null}), "broker-id", "", b"");
        check(json!({"specversion": "1.0", "id": "x", "data": {"a": 1}}), "x", "", b"{\"a\":1}");
        check(
            json!({"specversion": "1.0", "id": "x", "data_base64": "AP8=", "data": 1}),
            "x",
            "",
            b"\x00\xff",
        );
        check(
            json!({"specversion": "1.0", "id": "x", "datacontenttype": "application/json", "data": "{bad"}),
            "x",
            "",
            b"\"{bad\"",
        );
    }

    #[test]
    fn trace_and_expiration_come_out_again() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let event = |field: &str| json!({"specversion": "1.0", field: trace, "tracestate": "a=1", "expiration": "1970-01-01T00:00:07Z"});
        for field in ["traceparent", "traceid"] {
            let event = opened(event(field).to_string());
            assert_eq!(event.trace.as_ref().map(TraceContext::to_header).as_deref(), Some(trace));
            assert_eq!(event.trace.and_then(|trace| trace.state).as_deref(), Some("a=1"));
            assert_eq!(event.expiration, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)));
        }
        let beside = BTreeMap::from([(EXPIRATION.to_owned(), "1970-01-01T00:00:09Z".to_owned())]);
        let raw = open("id", Message { metadata: beside, ..Message::new("raw") }, true);
        assert_eq!(raw.expiration, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
        assert_eq!(opened(json!({"specversion": "1.0", "expiration": "soon"}).to_string()).expiration, None);
    }
}
