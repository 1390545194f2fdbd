//! How events are delivered: settings of a component, each of which a subscription may set otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_component_api::{ComponentSpec, Error, Result, Settings, parse_settings};
use serde::Deserialize;

/// The longest pause before a redelivery, unless the interval itself is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Retries where there is a dead-letter topic and nothing else is said.
const RETRIES_BEFORE_BURIAL: u32 = 3;

/// How the events of one subscription are delivered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DeliverySettings {
    /// The consumer group. Default: the app's id.
    #[serde(rename = "consumerID")]
    pub consumer_id: Option<String>,
    /// Deliveries after the first one before an event is given up on. Default: 3 where there is a dead-letter topic,
    /// otherwise without end.
    pub max_retries: Option<u32>,
    /// The pause before the first redelivery; it doubles with each one up to a minute. Default: 1s.
    #[serde(with = "humantime_serde")]
    pub redeliver_interval: Duration,
    /// How long a subscriber may take for one event; then somebody else of its group gets it. Default: 60s.
    #[serde(with = "humantime_serde")]
    pub processing_timeout: Duration,
    /// Events a subscription has under way at once. Default: 32.
    pub concurrency: usize,
    /// Where events go that are given up on. Default: nowhere.
    pub dead_letter_topic: Option<String>,
}

/// The setting that names the group.
pub(super) const CONSUMER: &str = "consumerID";
const NAMES: [&str; 6] =
    [CONSUMER, "maxRetries", "redeliverInterval", "processingTimeout", "concurrency", "deadLetterTopic"];

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            consumer_id: None,
            max_retries: None,
            redeliver_interval: Duration::from_secs(1),
            processing_timeout: Duration::from_secs(60),
            concurrency: 32,
            dead_letter_topic: None,
        }
    }
}

/// What a component says about delivery; subscriptions are checked against the same rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Defaults(Settings);

impl Defaults {
    /// Takes the settings out of a component's, whose backend would not know them.
    pub(super) fn take(spec: &mut ComponentSpec) -> Result<Self> {
        let settings = NAMES.into_iter().filter_map(|name| Some((name.to_owned(), spec.take(name)?)));
        let defaults = Self(settings.collect());
        defaults.with(&BTreeMap::new())?;
        Ok(defaults)
    }

    /// The settings of a subscription with this metadata.
    pub(super) fn with(&self, metadata: &BTreeMap<String, String>) -> Result<DeliverySettings> {
        let mut settings = self.0.clone();
        for (name, value) in metadata {
            if let Some(known) = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name)) {
                settings.insert(known.to_owned(), value.as_str().into());
            }
        }
        let settings: DeliverySettings = parse_settings(settings)?;
        settings.checked()
    }
}

/// Far beyond what anybody waits for, and within what clocks can add.
const MOST_PROCESSING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl DeliverySettings {
    fn checked(self) -> Result<Self> {
        let wrong = |name, message| Err(Error::invalid(message).with("setting", name));
        if self.concurrency == 0 {
            return wrong("concurrency", "concurrency is at least 1");
        }
        if self.processing_timeout.is_zero() {
            return wrong("processingTimeout", "processingTimeout is more than nothing");
        }
        if self.processing_timeout > MOST_PROCESSING {
            return wrong("processingTimeout", "processingTimeout is at most 30 days");
        }
        Ok(self)
    }

    /// The consumer group of an application.
    pub(super) fn group(&self, app_id: &str) -> String {
        /// Apps without a name share what they subscribe to.
        const NAMELESS: &str = "outrigger";
        let named = self.consumer_id.as_deref().filter(|id| !id.is_empty());
        let group = named.unwrap_or(app_id);
        if group.is_empty() { NAMELESS } else { group }.to_owned()
    }

    /// Whether the delivery with this count was the last one.
    pub(super) fn is_last(&self, attempt: u32) -> bool {
        let by_default = self.dead_letter_topic.is_some().then_some(RETRIES_BEFORE_BURIAL);
        self.max_retries.or(by_default).is_some_and(|retries| attempt > retries)
    }

    /// The pause after the delivery with this count.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.redeliver_interval.saturating_mul(doubled).min(LONGEST_PAUSE.max(self.redeliver_interval))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn defaults(settings: serde_json::Value) -> Result<Defaults> {
        let settings = settings.as_object().expect("an object").clone();
        Defaults::take(&mut ComponentSpec { settings, ..ComponentSpec::default() })
    }

    #[test]
    fn a_subscription_sets_what_the_component_says_otherwise() {
        let defaults = defaults(json!({
            "consumerID": "billing", "maxRetries": "7", "redeliverInterval": "200ms", "processingTimeout": "15s",
            "concurrency": 10, "deadLetterTopic": "dead",
        }))
        .expect("reads");
        let component = defaults.with(&BTreeMap::new()).expect("reads");
        let expected = DeliverySettings {
            consumer_id: Some("billing".to_owned()),
            max_retries: Some(7),
            redeliver_interval: Duration::from_millis(200),
            processing_timeout: Duration::from_secs(15),
            concurrency: 10,
            dead_letter_topic: Some("dead".to_owned()),
        };
        assert_eq!(component, expected);
        let metadata =
            BTreeMap::from([("maxretries", "0"), ("other", "x")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(
            defaults.with(&metadata).expect("reads"),
            DeliverySettings { max_retries: Some(0), ..expected }
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        let check = |settings: serde_json::Value, name: &str| {
            let error = defaults(settings).expect_err("refused");
            assert!(error.to_string().contains(name), "{error}");
        };
        check(json!({"concurrency": 0}), "setting=concurrency");
        check(json!({"concurrency": "many"}), "setting=concurrency");
        check(json!({"processingTimeout": "0s"}), "setting=processingTimeout");
        check(json!({"redeliverInterval": "soon"}), "setting=redeliverInterval");
        check(json!({"maxRetries": -1}), "setting=maxRetries");
    }

    #[test]
    fn retries_end_by_count_and_pauses_double() {
        let settings = |max_retries, dead_letter_topic: Option<&str>| DeliverySettings {
            max_retries,
            dead_letter_topic: dead_letter_topic.map(str::to_owned),
            ..DeliverySettings::default()
        };
        assert!(!settings(None, None).is_last(u32::MAX));
        let last = |settings: DeliverySettings| (1..10).find(|attempt| settings.is_last(*attempt));
        assert_eq!(last(settings(None, Some("dead"))), Some(4));
        assert_eq!(last(settings(Some(0), None)), Some(1));
        assert_eq!(last(settings(Some(5), Some("dead"))), Some(6));
        let pauses =
            [1, 2, 3, 6, 7, 40, u32::MAX].map(|attempt| settings(None, None).pause(attempt).as_secs());
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
        let long = DeliverySettings { redeliver_interval: Duration::from_secs(300), ..settings(None, None) };
        assert_eq!(long.pause(5), Duration::from_secs(300));
    }

    #[test]
    fn the_group_is_the_consumer_id_or_the_app() {
        let group = |id: Option<&str>, app| {
            DeliverySettings { consumer_id: id.map(str::to_owned), ..DeliverySettings::default() }.group(app)
        };
        assert_eq!(group(Some("billing"), "shop"), "billing");
        assert_eq!(group(Some(""), "shop"), "shop");
        assert_eq!(group(None, "shop"), "shop");
        assert_eq!(group(None, ""), "outrigger");
    }
}
