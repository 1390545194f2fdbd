//! An event as one JSON document, for an application that is not given its parts.

use bytes::Bytes;
use outrigger_component_api::{Error, Result};

use super::envelope::{Content, Fields, put, put_data};
use super::event::Event;

impl Event {
    /// The CloudEvent in its structured JSON form: what the publisher put into the envelope, extensions included, with
    /// the subscription's names. What came without an envelope gets one, and its bytes are base64.
    pub fn to_json(&self) -> Result<Bytes> {
        let mut fields = match &self.envelope {
            Some(envelope) => serde_json::from_slice(envelope).map_err(unwritten)?,
            None => self.wrapping(),
        };
        for (name, value) in [("id", &self.id), ("pubsubname", &self.pubsub), ("topic", &self.topic)] {
            put(&mut fields, name, value);
        }
        serde_json::to_vec(&fields).map(Bytes::from).map_err(unwritten)
    }

    fn wrapping(&self) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in [
            ("specversion", &self.spec_version),
            ("source", &self.source),
            ("type", &self.r#type),
            ("datacontenttype", &self.content_type),
        ] {
            put(&mut fields, name, value);
        }
        put_data(&mut fields, Content::Binary, &self.data);
        fields
    }
}

fn unwritten(error: serde_json::Error) -> Error {
    Error::internal("the event could not be written as JSON").with_source(error)
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::Message;
    use serde_json::{Value, json};

    use super::super::event::open;

    fn written(body: &[u8], raw: bool) -> Value {
        let mut event = open("broker-id", Message::new(body.to_vec()), raw);
        (event.pubsub, event.topic) = ("events".to_owned(), "orders".to_owned());
        serde_json::from_slice(&event.to_json().unwrap()).unwrap()
    }

    #[test]
    fn everything_the_publisher_put_in_is_there() {
        let body = json!({
            "specversion": "1.0", "id": "7", "source": "/shop", "type": "order", "subject": "s", "time": "2020-01-01T00:00:00Z",
            "datacontenttype": "application/json", "data": {"a": [1, null]}, "shopid": 12, "flag": true,
            "traceparent": "t", "topic": "elsewhere", "pubsubname": "other",
        });
        let mut expected = body.clone();
        (expected["topic"], expected["pubsubname"]) = ("orders".into(), "events".into());
        assert_eq!(written(body.to_string().as_bytes(), false), expected);
    }

    #[test]
    fn json_stays_as_it_was_written_and_a_missing_id_is_the_brokers() {
        let data = r#"{"z":1.10,"a":12345678901234567890123}"#;
        let body = format!(r#"{{"specversion":"1.0","id":"","data":{data}}}"#);
        let event = open("broker-id", Message::new(body), false);
        let text = String::from_utf8(event.to_json().unwrap().to_vec()).unwrap();
        assert!(text.contains(data) && text.contains(r#""id":"broker-id""#), "{text}");
    }

    #[test]
    fn what_has_no_envelope_gets_one() {
        let check = |body: &[u8], raw: bool, base64: &str| {
            let expected = json!({
                "specversion": "1.0", "id": "broker-id", "source": "Dapr", "type": "com.dapr.event.sent", "topic": "orders",
                "pubsubname": "events", "datacontenttype": "application/octet-stream", "data_base64": base64,
            });
            assert_eq!(written(body, raw), expected);
        };
        check(b"\x00\xff", false, "AP8=");
        check(b"", false, "");
        check(br#"{"specversion":"1.0"}"#, true, "eyJzcGVjdmVyc2lvbiI6IjEuMCJ9");
    }
}
