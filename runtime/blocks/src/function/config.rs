//! One entry of the section `functions`: plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A function: a WebAssembly component, what it may use, and what calls it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionConfig {
    /// The component: `.wasm`. A change of the file is a new version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where it is fetched from in place of `file`: `http://127.0.0.1:8080/cart.wasm`. Needs `sha256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The SHA-256 of the component, in hexadecimal. Any other is refused. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What it may use, by names. Default: nothing.
    #[serde(skip_serializing_if = "Grants::is_nothing")]
    pub grants: Grants,
    /// What it is told through `wasi:config/store`. Default: nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Topics whose events call it, by a name of your choice.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, EventTrigger>,
    /// Times at which it is called, by a name of your choice, which it is told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<String, ScheduleTrigger>,
    /// Input bindings whose events call it in place of the application.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<String>,
    /// Calls one instance answers before a fresh one takes its place. Default 1: nothing is left over from one call to
    /// the next. One that fails answers no more.
    pub reuse: u32,
    /// Calls that run at once; more wait for their turn. Default 64.
    pub concurrency: usize,
    /// Calls that wait; more are refused. Default 256.
    pub queue: usize,
    /// How long one call may take, waiting included. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// How long one call may compute. Default 1 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub cpu: Duration,
    /// The most memory one instance may have, in bytes. Default 64 MiB.
    pub memory: usize,
    /// The longest request body, event and answer, in bytes. Default 4 MiB.
    pub max_body: usize,
    /// Operations on blocks one call may make. Default 1000.
    pub max_calls: u32,
    /// The share of calls a new version gets, in percent, until it is promoted. Default 100: at once.
    pub weight: u8,
}

/// What a function may use. Names of components; `*` is every one of the block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// State stores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// Topics to publish to: `COMPONENT/TOPIC`, or `COMPONENT` for all of its.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pubsub: Vec<String>,
    /// Configuration stores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<String>,
    /// Lock stores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lock: Vec<String>,
    /// Sequencers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sequencer: Vec<String>,
    /// Secrets: `STORE/NAME`, or `STORE` for all of its.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Applications and functions to call: `ID`, or `ID/PATH`, where the path may end in `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invoke: Vec<String>,
    /// Output bindings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<String>,
    /// Clusters that `wasi:http/outgoing-handler` may send to; a request's authority is the cluster's name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
}

/// Events of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTrigger {
    /// The component.
    pub pubsub: String,
    /// The topic.
    pub topic: String,
    /// As for a subscription of the application.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleTrigger {
    /// A cron expression, or `@every 15m`, as for `bindings.cron`.
    pub schedule: String,
    /// A lock store: of the sidecars that share it, one calls the function each time. Default: each calls its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

impl Default for FunctionConfig {
    fn default() -> Self {
        Self {
            file: None,
            url: None,
            sha256: None,
            grants: Grants::default(),
            config: BTreeMap::new(),
            events: BTreeMap::new(),
            schedules: BTreeMap::new(),
            bindings: Vec::new(),
            reuse: 1,
            concurrency: 64,
            queue: 256,
            deadline: Duration::from_secs(5),
            cpu: Duration::from_secs(1),
            memory: 64 << 20,
            max_body: 4 << 20,
            max_calls: 1000,
            weight: 100,
        }
    }
}

impl Grants {
    /// Whether there is none.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
