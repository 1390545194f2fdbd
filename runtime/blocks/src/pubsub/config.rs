//! Topics the application is given whatever it says: the section `subscriptions`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::courier::Topic;

/// One topic the application is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionConfig {
    /// The pub/sub component.
    pub pubsub: String,
    /// The topic.
    pub topic: String,
    /// The path at which an application that speaks HTTP takes the events: `/orders`. One that speaks gRPC has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Where events go that are given up on. Default: what the component says, else nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// Whether the application is given the bytes as they are, in an envelope made here. Default: no.
    #[serde(default)]
    pub raw: bool,
    /// What the component says about delivery, otherwise for this topic: `maxRetries`, `redeliverInterval`, and what is
    /// meant for the broker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl From<SubscriptionConfig> for Topic {
    fn from(config: SubscriptionConfig) -> Self {
        let SubscriptionConfig { pubsub, topic, route, dead_letter_topic, raw, mut metadata } = config;
        if let Some(topic) = dead_letter_topic {
            metadata.insert("deadLetterTopic".to_owned(), topic);
        }
        if raw {
            metadata.insert("rawPayload".to_owned(), "true".to_owned());
        }
        Self { pubsub, topic, route, metadata }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_subscription_become_metadata() {
        let config = SubscriptionConfig {
            pubsub: "events".to_owned(),
            topic: "orders".to_owned(),
            route: Some("/orders".to_owned()),
            dead_letter_topic: Some("dead".to_owned()),
            raw: true,
            metadata: BTreeMap::from([("maxRetries".to_owned(), "1".to_owned())]),
        };
        let expected = [("deadLetterTopic", "dead"), ("maxRetries", "1"), ("rawPayload", "true")];
        let topic = Topic::from(config);
        assert_eq!((topic.pubsub.as_str(), topic.topic.as_str()), ("events", "orders"));
        assert_eq!(topic.route.as_deref(), Some("/orders"));
        let metadata: Vec<_> =
            topic.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(metadata, expected);
    }
}
