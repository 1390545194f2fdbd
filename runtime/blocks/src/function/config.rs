//! One entry of the section `functions`: plain data.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_component_api::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::grants::{Known, Section};

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
    /// Calls that run at once, at most 250; more wait for their turn. Default 64.
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
    /// Topics to publish to: `COMPONENT/TOPIC`, where the topic may end in `*`, or `COMPONENT` for all of its.
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
    /// Secrets: `STORE/NAME`, where the name may end in `*`, or `STORE` for all of its.
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

/// Events of a topic. The function gets a copy of each beside the application's: its consumer group is that of the
/// application with `/` and the function's name, or what `metadata` names (`consumerID`).
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
    /// A cron expression, or `@every 15m`, as for `bindings.cron`. Here intervals are counted from the beginning of 1970,
    /// so that all sidecars mean the same times.
    pub schedule: String,
    /// A lock store: of the sidecars of an application that share it, one calls the function each time. Their clocks may
    /// differ by five minutes. Default: each calls its own.
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

/// The least and the most memory an instance can be given.
const MEMORY: RangeInclusive<usize> = 64 << 10..=1 << 30;
/// The longest body there can be.
const MAX_BODY: usize = 1 << 30;
/// The longest a call may take.
const MAX_DEADLINE: Duration = Duration::from_secs(3600);
/// Half of what all functions together have room for.
const MAX_CONCURRENCY: usize = 250;
/// The longest name.
const MAX_NAME: usize = 63;

/// What is wrong with a function's name.
///
/// # Errors
/// [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument): names are hosts, paths and files too.
pub fn check_name(name: &str) -> Result<()> {
    let usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = name.len() <= MAX_NAME
        && name.bytes().all(|byte| usual(byte) || byte == b'-')
        && name.bytes().next().is_some_and(usual);
    let message =
        || format!("'{name}' is no name for a function: up to 63 of a-z, 0-9 and -, and no - in front");
    if fits { Ok(()) } else { Err(Error::invalid(message())) }
}

impl FunctionConfig {
    /// What is wrong with the values by themselves, as paths and messages.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, message: &str| {
            if !holds {
                problems.push((path.to_owned(), message.to_owned()));
            }
        };
        let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let least = Duration::from_millis(1);
        require(self.sha256.as_ref().is_none_or(is_digest), "sha256", "is 64 hexadecimal digits");
        require(self.reuse >= 1, "reuse", "must be at least 1");
        require(
            (1..=MAX_CONCURRENCY).contains(&self.concurrency),
            "concurrency",
            "must be between 1 and 250",
        );
        require((least..=MAX_DEADLINE).contains(&self.deadline), "deadline", "must be between 1ms and 1h");
        require((least..=MAX_DEADLINE).contains(&self.cpu), "cpu", "must be between 1ms and 1h");
        require(MEMORY.contains(&self.memory), "memory", "must be between 65536 and 1073741824");
        require((1..=MAX_BODY).contains(&self.max_body), "max_body", "must be between 1 and 1073741824");
        require((1..=100).contains(&self.weight), "weight", "must be between 1 and 100");
        for (name, event) in &self.events {
            require(!event.pubsub.is_empty(), &format!("events.{name}.pubsub"), "is empty");
            require(!event.topic.is_empty(), &format!("events.{name}.topic"), "is empty");
        }
        for (name, schedule) in &self.schedules {
            require(!schedule.schedule.is_empty(), &format!("schedules.{name}.schedule"), "is empty");
            require(schedule.lock.as_deref() != Some(""), &format!("schedules.{name}.lock"), "is empty");
        }
        problems
    }

    /// What its triggers name and is not there, or name twice, as paths and messages.
    pub fn trigger_problems(&self, known: &Known) -> Vec<(String, String)> {
        let (mut problems, mut topics) = (Vec::new(), BTreeMap::new());
        for (name, EventTrigger { pubsub, topic, .. }) in &self.events {
            let absent = known.absent(Section::Pubsub, pubsub);
            problems.extend(absent.map(|message| (format!("events.{name}.pubsub"), message)));
            if let Some(other) = topics.insert((pubsub, topic), name) {
                problems
                    .push((format!("events.{name}.topic"), format!("events.{other} has this topic already")));
            }
        }
        for (name, schedule) in &self.schedules {
            let absent = schedule.lock.as_ref().and_then(|lock| known.absent(Section::Lock, lock));
            problems.extend(absent.map(|message| (format!("schedules.{name}.lock"), message)));
        }
        for (at, binding) in self.bindings.iter().enumerate() {
            let absent = known.absent_input(binding);
            problems.extend(absent.map(|message| (format!("bindings[{at}]"), message)));
        }
        problems
    }

    /// What is wrong with where the module is said to be.
    pub fn source_problems(&self) -> Vec<(String, String)> {
        let problem = |path: &str, message: &str| vec![(path.to_owned(), message.to_owned())];
        match (&self.file, &self.url) {
            (None, None) => problem("", "give one of file and url: where its module is"),
            (Some(_), Some(_)) => problem("url", "give one of file and url, not both"),
            (None, Some(url)) if !is_http(url) => problem("url", "is no http:// or https:// address"),
            (None, Some(_)) if self.sha256.is_none() => {
                problem("url", "what is fetched is pinned: give its sha256 too")
            }
            _ => Vec::new(),
        }
    }

    /// Whether this makes the same function of the same module: where that is from and how it is brought in do not
    /// matter.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |config: &Self| Self {
            file: None,
            url: None,
            sha256: None,
            weight: Self::default().weight,
            ..config.clone()
        };
        plain(self) == plain(other)
    }
}

fn is_http(url: &str) -> bool {
    let uri = url.parse::<http::Uri>();
    uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

impl Grants {
    /// Whether there is none.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(problems: &[(String, String)]) -> Vec<&str> {
        problems.iter().map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn values_out_of_range_are_told_at_their_path() {
        let check = |text: &str, path: &str| {
            let config: FunctionConfig = serde_json::from_str(text).unwrap();
            assert_eq!(paths(&config.problems()), [path], "{text}");
        };
        check(r#"{"sha256": "abc"}"#, "sha256");
        check(r#"{"reuse": 0}"#, "reuse");
        check(r#"{"concurrency": 0}"#, "concurrency");
        check(r#"{"concurrency": 251}"#, "concurrency");
        check(r#"{"deadline": "0s"}"#, "deadline");
        check(r#"{"cpu": "2h"}"#, "cpu");
        check(r#"{"memory": 65535}"#, "memory");
        check(r#"{"memory": 1073741825}"#, "memory");
        check(r#"{"max_body": 0}"#, "max_body");
        check(r#"{"weight": 0}"#, "weight");
        check(r#"{"weight": 101}"#, "weight");
        check(r#"{"events": {"a": {"pubsub": "", "topic": "t"}}}"#, "events.a.pubsub");
        check(r#"{"schedules": {"a": {"schedule": ""}}}"#, "schedules.a.schedule");
        let edges = r#"{"memory": 65536, "deadline": "1ms", "weight": 1, "queue": 0, "max_calls": 0}"#;
        assert_eq!(serde_json::from_str::<FunctionConfig>(edges).unwrap().problems(), []);
        assert_eq!(FunctionConfig::default().problems(), []);
    }

    #[test]
    fn a_module_is_in_one_place_and_what_is_fetched_is_pinned() {
        let check = |text: &str, expected: &[&str]| {
            let config: FunctionConfig = serde_json::from_str(text).unwrap();
            assert_eq!(paths(&config.source_problems()), expected, "{text}");
        };
        let sha256 = "0".repeat(64);
        check("{}", &[""]);
        check(r#"{"file": "a.wasm"}"#, &[]);
        check(r#"{"file": "a.wasm", "url": "http://h/a.wasm"}"#, &["url"]);
        check(r#"{"url": "http://h/a.wasm"}"#, &["url"]);
        check(&format!(r#"{{"url": "http://h/a.wasm", "sha256": "{sha256}"}}"#), &[]);
        check(&format!(r#"{{"url": "ftp://h/a.wasm", "sha256": "{sha256}"}}"#), &["url"]);
    }

    #[test]
    fn names_are_fit_for_paths_and_hosts() {
        let long = "a".repeat(63);
        for name in ["a", "cart", "cart-2", "0", &long] {
            check_name(name).unwrap();
        }
        let longer = "a".repeat(64);
        for name in ["", "-a", "A", "a_b", "a.b", "a/b", "ä", "..", &longer] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn where_a_module_is_from_does_not_make_another_function() {
        let one = FunctionConfig { file: Some("a.wasm".into()), weight: 1, ..FunctionConfig::default() };
        let other = FunctionConfig { sha256: Some("x".into()), ..FunctionConfig::default() };
        assert!(one.is_same(&other));
        assert!(!one.is_same(&FunctionConfig { reuse: 2, ..one.clone() }));
    }
}
