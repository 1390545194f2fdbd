//! Events for others.

use crate::Result;
use crate::bindgen::imports::outrigger::functions::pubsub as wit;

/// Publishes bytes; returns when the broker has them.
pub fn publish(component: &str, topic: &str, data: &[u8], content_type: &str) -> Result<()> {
    publish_with(component, topic, data, content_type, &[])
}

/// The same with metadata for the component.
pub fn publish_with(
    component: &str,
    topic: &str,
    data: &[u8],
    content_type: &str,
    metadata: &[(String, String)],
) -> Result<()> {
    wit::publish(component, topic, data, content_type, metadata)
}

/// Publishes a value as JSON.
#[cfg(feature = "json")]
pub fn publish_json(component: &str, topic: &str, value: &impl serde::Serialize) -> Result<()> {
    let data = serde_json::to_vec(value).map_err(|error| {
        let message = format!("the event for `{topic}` of `{component}` is no JSON: {error}");
        crate::Error { code: crate::Code::InvalidArgument, message }
    })?;
    publish(component, topic, &data, "application/json")
}
