//! The `wasm` section: plain data.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_http::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layotto::LayottoFunctionConfig;
use crate::limits;

/// WebAssembly modules and what they may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WasmConfig {
    /// Filters for routes, by the name routes call them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, PluginConfig>,
    /// The folder for compiled modules; only we may have access to it. Default: `outrigger/wasm` in `$XDG_CACHE_HOME`,
    /// or else in `~/.cache`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Functions written for Layotto. The filter `layotto` of a route stands for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layotto: Option<BTreeMap<String, LayottoFunctionConfig>>,
    /// What all functions have in common.
    #[serde(skip_serializing_if = "FunctionsConfig::is_default")]
    pub functions: FunctionsConfig,
}

/// What all functions have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionsConfig {
    /// A folder of functions: `NAME.wasm`, and beside it `NAME.yaml` with the settings of an entry of `functions`, without
    /// `file`. Files that come, change or go are functions that are deployed, replaced or removed. Routes reach them through
    /// clusters with `endpoints: [{ function: NAME }]`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Threads that run functions; they run nothing else. There are as many more, of the lowest priority, where calls go on
    /// that compute for longer than ten milliseconds without waiting for anything. A change takes effect with the next
    /// start. Default: one for each processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
}

impl FunctionsConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One filter written against proxy-wasm (0.1.0, 0.2.0 or 0.2.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// The module: `.wasm`. A change of the file is a change of the configuration.
    pub file: PathBuf,
    /// The SHA-256 of the file, in hexadecimal. Any other file is refused. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Which of the module's filters this is. Default: empty, which is right for modules with one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub root_id: String,
    /// Whose shared data and queues it sees: those of all plugins of this id. Those of them that are the same module, with
    /// the same `vm_config`, `memory`, `deadline` and `failure`, also share their instances. Default: the plugin's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<String>,
    /// What the module is told when it starts: a text, or any value, which it gets as JSON. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<serde_json::Value>,
    /// What the filter is told when it is configured: a text, or any value, which it gets as JSON. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// What becomes of requests when the filter fails.
    #[serde(default)]
    pub failure: Failure,
    /// The most memory one instance may have, in bytes. Default 32 MiB.
    #[serde(default = "limits::memory")]
    pub memory: usize,
    /// How long one call into the module may compute. Default 5 ms.
    #[serde(default = "limits::deadline", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// The most of a body that is kept while the filter holds it back, in bytes: a larger request is answered with 413, a
    /// larger response is cut off, for its head has left. It also bounds what the filter answers and sends by itself.
    /// Default 1 MiB.
    #[serde(default = "limits::max_buffer")]
    pub max_buffer: usize,
    /// Whether a filter that holds a head back is shown the body meanwhile. It may still change the head by what it finds
    /// there, and the head leaves as soon as something of the body does. Default: a held head holds the whole message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub body_before_head: bool,
}

/// What becomes of requests when a filter traps, takes too long or cannot start. Either way it costs the requests it
/// was at work on; the next one gets a fresh instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// They are refused with 503. After five failures within a minute there are no fresh instances until the
    /// configuration changes.
    #[default]
    Closed,
    /// They pass as if the filter were not there; fresh instances as for `closed`.
    Open,
    /// They are refused with 503. After five failures within a minute fresh instances are made after a pause, from one
    /// second to a minute.
    Reload,
}

impl PluginConfig {
    /// What is wrong with the values by themselves.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, message: &str| {
            if !holds {
                problems.push(Problem::new(path, message));
            }
        };
        let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        require(self.sha256.as_ref().is_none_or(is_digest), "sha256", "is 64 hexadecimal digits");
        require(
            (limits::PAGE..=limits::MAX_MEMORY).contains(&self.memory),
            "memory",
            "must be between 65536 and 1073741824",
        );
        require(
            (Duration::from_millis(1)..=Duration::from_secs(1)).contains(&self.deadline),
            "deadline",
            "must be between 1ms and 1s",
        );
        require(
            (1..=limits::MAX_MEMORY).contains(&self.max_buffer),
            "max_buffer",
            "must be between 1 and 1073741824",
        );
        problems
    }
}

/// A text as it is, anything else as JSON.
pub(crate) fn bytes_of(value: Option<&serde_json::Value>) -> Vec<u8> {
    match value {
        None => Vec::new(),
        Some(serde_json::Value::String(text)) => text.clone().into_bytes(),
        Some(value) => value.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(text: &str) -> PluginConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn bad_values_name_their_field() {
        let check = |text: &str, path: &str| {
            let problems = plugin(text).problems();
            assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path]);
        };
        check(r#"{"file": "x", "sha256": "abc"}"#, "sha256");
        check(r#"{"file": "x", "memory": 1}"#, "memory");
        check(r#"{"file": "x", "deadline": "2s"}"#, "deadline");
        check(r#"{"file": "x", "max_buffer": 0}"#, "max_buffer");
        assert_eq!(plugin(r#"{"file": "x"}"#).problems(), []);
    }

    #[test]
    fn a_text_arrives_as_it_is_and_anything_else_as_json() {
        let check = |text: &str, expected: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(bytes_of(Some(&value)), expected.as_bytes());
        };
        check(r#""{not json""#, "{not json");
        check(r#"{"a": [1, true]}"#, r#"{"a":[1,true]}"#);
        assert!(bytes_of(None).is_empty());
    }
}
