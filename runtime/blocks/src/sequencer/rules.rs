//! What the configuration says about the sequences of one sequencer.

use std::collections::BTreeMap;

use outrigger_component_api::{ComponentSpec, Error, Key, Result};
use serde_json::{Value, json};

use crate::key::KeyPrefix;

/// Where the settings say nothing.
const PREFIX: KeyPrefix = KeyPrefix::AppId;
const SEGMENT: u32 = 10_000;
/// More than a million lost at each restart is a slip of the keyboard.
const LARGEST: u32 = 1_000_000;

/// Key prefix, floors, and how many numbers are taken in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(super) prefix: KeyPrefix,
    bigger_than: BTreeMap<String, i64>,
    segment_size: u32,
}

impl Rules {
    /// Takes `keyPrefix`, `biggerThan` and `segmentSize` out of a component's settings. The error names the setting.
    pub(crate) fn take(spec: &mut ComponentSpec) -> Result<Self> {
        Ok(Self {
            prefix: KeyPrefix::take(spec, PREFIX)?,
            bigger_than: bigger_than(spec.take("biggerThan"))
                .map_err(|error| error.with("setting", "biggerThan"))?,
            segment_size: segment_size(spec.take("segmentSize"))
                .map_err(|error| error.with("setting", "segmentSize"))?,
        })
    }

    /// Name and JSON schema of the settings beside the prefix.
    pub(crate) fn schema() -> Vec<(&'static str, Value)> {
        let floors = "For each key, the number its sequence goes on above. The key may be written as callers have it, \
                      or as it is stored.";
        let segment = "How many numbers of a sequence are taken in advance for weak increments, 1 to 1,000,000. \
                       Default 10,000; the next ones are fetched when a tenth is left.";
        vec![
            (
                "biggerThan",
                json!({"type": "object", "additionalProperties": {"type": "integer"}, "description": floors}),
            ),
            (
                "segmentSize",
                json!({"type": "integer", "minimum": 1, "maximum": LARGEST, "description": segment}),
            ),
        ]
    }

    /// The number a sequence goes on above.
    pub(super) fn bigger_than(&self, key: &str, stored: &Key) -> i64 {
        if self.bigger_than.is_empty() {
            return 0;
        }
        let floor = |key: &str| self.bigger_than.get(key).copied().unwrap_or_default();
        floor(key).max(floor(&stored.to_string()))
    }

    pub(super) fn segment_size(&self) -> u32 {
        self.segment_size
    }

    /// How few numbers are left when the next ones are fetched.
    pub(super) fn refill_at(&self) -> i64 {
        i64::from(self.segment_size / 10)
    }
}

fn bigger_than(setting: Option<Value>) -> Result<BTreeMap<String, i64>> {
    let wrong = || Error::invalid("biggerThan has a whole number for each key");
    match setting {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(floors)) => {
            floors.into_iter().map(|(key, floor)| Ok((key, whole(&floor).ok_or_else(wrong)?))).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn segment_size(setting: Option<Value>) -> Result<u32> {
    let Some(setting) = setting.filter(|setting| !setting.is_null()) else { return Ok(SEGMENT) };
    let size = whole(&setting).and_then(|size| u32::try_from(size).ok());
    size.filter(|size| (1..=LARGEST).contains(size))
        .ok_or_else(|| Error::invalid(format!("segmentSize is a whole number from 1 to {LARGEST}")))
}

/// A whole number, which some formats can only write as a text.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    }
}
