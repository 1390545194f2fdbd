//! One function under `wasm.layotto`: plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_http::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// A function written for Layotto: a proxy-wasm module with the export `proxy_get_id`. Requests on routes with the filter
/// `layotto` go to the function whose id is their header `id`; among several of one id chance decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayottoFunctionConfig {
    /// The module: `.wasm`. A change of the file is a change of the configuration.
    pub file: PathBuf,
    /// Requests it answers at once, each in an instance of its own. Default: one for each core.
    #[serde(default = "instances")]
    pub instances: usize,
    /// What it is told when it is configured, as pairs. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// What it may use, by names. Default: nothing.
    #[serde(default)]
    pub grants: LayottoGrants,
    /// The most memory one instance may have, in bytes. Default 64 MiB.
    #[serde(default = "memory")]
    pub memory: usize,
    /// How long one request may take, waiting included. Default 5 s.
    #[serde(default = "deadline", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// The longest request body, and answer, in bytes. Default 4 MiB.
    #[serde(default = "max_body")]
    pub max_body: usize,
}

/// What a function of Layotto's may use. `*` is all there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LayottoGrants {
    /// State stores to read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// Applications and functions to call, by their ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invoke: Vec<String>,
}

/// Each of them is a thread.
const MOST_INSTANCES: usize = 64;

fn instances() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into).min(MOST_INSTANCES)
}

fn memory() -> usize {
    64 << 20
}

fn deadline() -> Duration {
    Duration::from_secs(5)
}

fn max_body() -> usize {
    4 << 20
}

impl LayottoFunctionConfig {
    /// One of this file, with the defaults for everything else.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            instances: instances(),
            settings: BTreeMap::new(),
            grants: LayottoGrants::default(),
            memory: memory(),
            deadline: deadline(),
            max_body: max_body(),
        }
    }

    /// What is wrong with the values by themselves.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let deadlines = Duration::from_millis(1)..=Duration::from_secs(300);
        let checks = [
            ((1..=MOST_INSTANCES).contains(&self.instances), "instances", "must be between 1 and 64"),
            (
                (limits::PAGE..=limits::MAX_MEMORY).contains(&self.memory),
                "memory",
                "must be between 65536 and 1073741824",
            ),
            (deadlines.contains(&self.deadline), "deadline", "must be between 1ms and 5m"),
            (
                (1..=limits::MAX_MEMORY).contains(&self.max_body),
                "max_body",
                "must be between 1 and 1073741824",
            ),
        ];
        let wrong = checks.into_iter().filter(|(holds, ..)| !holds);
        wrong.map(|(_, path, message)| Problem::new(path, message)).collect()
    }
}

impl LayottoGrants {
    /// Everything there is, as Layotto gives its functions.
    #[must_use]
    pub fn all() -> Self {
        let all = || vec!["*".to_owned()];
        Self { state: all(), invoke: all() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_name_their_field() {
        let check = |text: &str, path: &str| {
            let config: LayottoFunctionConfig = serde_json::from_str(text).unwrap();
            let problems = config.problems();
            assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path]);
        };
        check(r#"{"file": "x", "instances": 0}"#, "instances");
        check(r#"{"file": "x", "instances": 65}"#, "instances");
        check(r#"{"file": "x", "memory": 1}"#, "memory");
        check(r#"{"file": "x", "deadline": "1h"}"#, "deadline");
        check(r#"{"file": "x", "max_body": 0}"#, "max_body");
        assert_eq!(LayottoFunctionConfig::new("x".into()).problems(), []);
    }
}
