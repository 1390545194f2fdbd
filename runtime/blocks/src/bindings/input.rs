//! A configured input binding: its slot, how its events are delivered, and what is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use outrigger_component_api::{Built, ComponentSpec, Error, InputBinding, Result, Settings, parse_settings};
use outrigger_telemetry::span::{Kind, Span, Tracer};
use outrigger_telemetry::trace::TraceContext;
use outrigger_telemetry::{Counter, Histogram};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::guard::{Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// What the bindings block keeps for one source of events.
pub struct InputComponent {
    pub(super) slot: Slot<dyn InputBinding>,
    pub(super) delivery: InputSettings,
    pub(super) route: String,
    pub(super) open: Op,
    pub(super) counts: Counts,
    tracer: Tracer,
}

/// An event of an input binding, as the application gets it.
#[derive(Clone, Debug, Default)]
pub struct InputEvent {
    /// The component's name.
    pub binding: String,
    /// The path it goes to, where the application has paths.
    pub route: String,
    pub data: Bytes,
    pub metadata: BTreeMap<String, String>,
    /// Where in a trace it stands: each event begins one.
    pub trace: Option<TraceContext>,
}

/// How events are delivered: settings of every input binding, whatever its type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InputSettings {
    /// With `input` the application is not asked whether it takes the events.
    pub(super) direction: Option<String>,
    pub(super) route: Option<String>,
    #[serde(with = "humantime_serde")]
    pub(super) processing_timeout: Duration,
    pub(super) max_retries: u32,
    #[serde(with = "humantime_serde")]
    pub(super) redeliver_interval: Duration,
}

impl Default for InputSettings {
    fn default() -> Self {
        Self {
            direction: None,
            route: None,
            processing_timeout: Duration::from_secs(60),
            max_retries: 0,
            redeliver_interval: Duration::from_secs(1),
        }
    }
}

const NAMES: [(&str, &str); 5] = [
    ("direction", "With `input`, the application is not asked whether it takes the events. Default: it is."),
    ("route", "The path of the application the events go to. Default: the component's name."),
    ("processingTimeout", "How long the application may take for one event. Default: 60s."),
    ("maxRetries", "Deliveries after the first one before an event is given up on. Default: 0."),
    (
        "redeliverInterval",
        "The pause before the first redelivery; it doubles with each one up to a minute. Default: 1s.",
    ),
];
/// Far beyond what anybody waits for, and within what clocks can add.
const MOST_PROCESSING: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest pause before a redelivery, unless the interval itself is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl InputSettings {
    /// Takes the settings out of a component's, whose backend would not know them.
    pub(super) fn take(spec: &mut ComponentSpec) -> Result<Self> {
        let taken = NAMES.into_iter().filter_map(|(name, _)| Some((name.to_owned(), spec.take(name)?)));
        let settings: Self = parse_settings(taken.collect::<Settings>())?;
        let wrong = |name, message: &'static str| Err(Error::invalid(message).with("setting", name));
        if !settings.direction.as_deref().is_none_or(is_input) {
            return wrong("direction", "direction is input: there is no other way here");
        }
        if settings.processing_timeout.is_zero() || settings.processing_timeout > MOST_PROCESSING {
            return wrong("processingTimeout", "processingTimeout is more than nothing and at most 30 days");
        }
        Ok(settings)
    }

    /// Name and JSON schema of each.
    pub(super) fn schema() -> Vec<(&'static str, Value)> {
        let kind = |name| if name == "maxRetries" { "integer" } else { "string" };
        NAMES.map(|(name, about)| (name, json!({"type": kind(name), "description": about}))).into()
    }

    /// The path of the application's that takes the events of a component.
    fn route(&self, component: &str) -> Result<String> {
        let route = format!("/{}", self.route.as_deref().unwrap_or(component).trim_start_matches('/'));
        match route.parse::<PathAndQuery>() {
            Ok(_) => Ok(route),
            Err(_) => Err(Error::invalid(format!("'{route}' is no path")).with("setting", "route")),
        }
    }

    /// Whether the delivery with this count was the last one.
    pub(super) fn is_last(&self, attempt: u32) -> bool {
        attempt > self.max_retries
    }

    /// The pause after the delivery with this count.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.redeliver_interval.saturating_mul(doubled).min(LONGEST_PAUSE.max(self.redeliver_interval))
    }
}

/// Bindings that go both ways say so in one word.
fn is_input(direction: &str) -> bool {
    direction.split(',').any(|way| way.trim().eq_ignore_ascii_case("input"))
}

/// What becomes of events.
pub(super) struct Counts {
    pub(super) delivered: Counter,
    pub(super) retried: Counter,
    pub(super) dropped: Counter,
    pub(super) seconds: Histogram,
}

impl InputComponent {
    /// Name and JSON schema of each of the block's settings.
    pub(crate) fn settings() -> Vec<(&'static str, Value)> {
        InputSettings::schema()
    }

    /// Takes the block's settings out and checks them; the path the events go to.
    pub(crate) fn take_settings(spec: &mut ComponentSpec) -> Result<String> {
        InputSettings::take(spec)?.route(&spec.name)
    }

    /// The name of the component.
    pub fn name(&self) -> &str {
        self.slot.name()
    }

    /// The path of the application its events go to.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Whether the configuration says that the application takes the events.
    pub(super) fn is_declared(&self) -> bool {
        self.delivery.direction.is_some()
    }

    /// The first span of an event's trace, where that is being recorded.
    pub(super) fn span(&self) -> Option<Span> {
        let mut span = self.tracer.first(Kind::Consumer, "event")?;
        span.rename(format!("deliver {}", self.name()));
        span.set("messaging.system", "outrigger");
        span.set("messaging.destination.name", self.route.clone());
        span.set("outrigger.component", self.name().to_owned());
        Some(span)
    }
}

impl Member for InputComponent {
    type Block = dyn InputBinding;
    const BLOCK: &'static str = "input_bindings";
    const NOUN: &'static str = "input binding";
    const FIELD: &'static str = "name";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let delivery = InputSettings::take(spec)?;
        let route = delivery.route(&spec.name)?;
        let open = meter.op(Self::BLOCK, &spec.name, "open");
        let events = |outcome| meter.input_events(&spec.name, outcome);
        let counts = Counts {
            delivered: events("delivered"),
            retried: events("retried"),
            dropped: events("dropped"),
            seconds: meter.input_seconds(&spec.name),
        };
        let slot = Slot::new(SlotConfig::of(spec, policy));
        Ok(Self { slot, delivery, route, open, counts, tracer: meter.tracer() })
    }

    fn slot(&self) -> &Slot<dyn InputBinding> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn InputBinding>> {
        if let Built::InputBinding(binding) = built { Some(binding) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(settings: Value) -> Result<(InputSettings, String)> {
        let settings = settings.as_object().expect("an object").clone();
        let mut spec = ComponentSpec { name: "tick".to_owned(), settings, ..ComponentSpec::default() };
        let taken = InputSettings::take(&mut spec)?;
        assert!(spec.settings.keys().all(|name| name == "schedule"), "{:?}", spec.settings);
        let route = taken.route(&spec.name)?;
        Ok((taken, route))
    }

    #[test]
    fn the_blocks_settings_are_taken_out() {
        let (settings, route) = take(json!({"schedule": "@daily"})).expect("reads");
        assert_eq!((settings, route.as_str()), (InputSettings::default(), "/tick"));
        let (settings, route) = take(json!({
            "schedule": "@daily", "Direction": "input, output", "route": "jobs/night", "processingTimeout": "2m",
            "maxRetries": "3", "redeliverInterval": "200ms",
        }))
        .expect("reads");
        assert_eq!((route.as_str(), settings.processing_timeout.as_secs()), ("/jobs/night", 120));
        assert_eq!([1, 3, 4].map(|attempt| settings.is_last(attempt)), [false, false, true]);
        let pauses = [1, 2, 3, 20, u32::MAX].map(|attempt| settings.pause(attempt).as_millis());
        assert_eq!(pauses, [200, 400, 800, 60_000, 60_000]);
    }

    #[test]
    fn wrong_settings_are_named() {
        let check = |settings: Value, name: &str| {
            let error = take(settings).expect_err("refused");
            assert!(error.to_string().contains(&format!("setting={name}")), "{error}");
        };
        check(json!({"direction": "output"}), "direction");
        check(json!({"route": "/a b"}), "route");
        check(json!({"processingTimeout": "0s"}), "processingTimeout");
        check(json!({"maxRetries": -1}), "maxRetries");
        check(json!({"redeliverInterval": "soon"}), "redeliverInterval");
    }
}
