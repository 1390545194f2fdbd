//! Sets, adds and removes header fields.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Problem;
use crate::head::{RequestHead, ResponseHead};
use crate::headers::Headers;
use crate::message::Response;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeadersConfig {
    pub request: HeaderEdits,
    pub response: HeaderEdits,
}

/// Removed first, then set, then added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Replaces every field of that name.
    pub set: BTreeMap<String, String>,
    /// Adds a field beside those of that name.
    pub add: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct HeadersFilter {
    request: Edits,
    response: Edits,
}

#[derive(Debug, Clone)]
struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl HeadersFilter {
    pub(crate) fn compile(config: &HeadersConfig) -> Result<Self, Problem> {
        Ok(Self {
            request: Edits::compile(&config.request).map_err(|problem| problem.within("request"))?,
            response: Edits::compile(&config.response).map_err(|problem| problem.within("response"))?,
        })
    }

    pub(crate) fn request(&self, head: &mut RequestHead) -> Option<Response> {
        self.request.apply(&mut head.headers);
        None
    }

    pub(crate) fn response(&self, head: &mut ResponseHead) {
        self.response.apply(&mut head.headers);
    }
}

impl Edits {
    fn compile(config: &HeaderEdits) -> Result<Self, Problem> {
        let pairs = |map: &BTreeMap<String, String>, kind: &str| -> Result<Vec<_>, Problem> {
            map.iter()
                .map(|(key, text)| pair(key, text).map_err(|why| Problem::new(format!("{kind}.{key}"), why)))
                .collect()
        };
        let remove = config.remove.iter().enumerate();
        let remove =
            remove.map(|(index, key)| name(key).map_err(|why| Problem::new(format!("remove.{index}"), why)));
        Ok(Self {
            remove: remove.collect::<Result<_, _>>()?,
            set: pairs(&config.set, "set")?,
            add: pairs(&config.add, "add")?,
        })
    }

    fn apply(&self, headers: &mut Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.set_value(name, value);
        }
        for (name, value) in &self.add {
            headers.append_value(name, value);
        }
    }
}

fn pair(key: &str, text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let value =
        HeaderValue::from_str(text).map_err(|_| "the value may hold visible ASCII, spaces and tabs only")?;
    Ok((name(key)?, value))
}

/// Fields that frame or route a message are the codec's.
fn name(key: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| format!("{key:?} is not a header name"))?;
    let ours = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
    ];
    if ours.contains(&name.as_str()) {
        return Err(format!(
            "{name} frames or routes the message and cannot be edited; a route's rewrite changes the host"
        ));
    }
    Ok(name)
}
