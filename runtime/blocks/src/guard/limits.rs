//! Rate and concurrency limits on calls, by application, block and operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use outrigger_component_api::{Error, ErrorKind, Result};
use outrigger_resilience::{Limit, TokenBucket, TokenBucketConfig};
use outrigger_telemetry::{Counter, Family, Metrics};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One limit. It holds for the calls that match all it names, taken together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitConfig {
    /// The calling application. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The block, such as `state`. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// The block's operation, such as `get`, as `outrigger_block_calls_total` names it. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// How many in a second, and how many at once after a pause. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<TokenBucketConfig>,
    /// How many at the same time. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<usize>,
}

/// The limits in force. Cloning gives the same.
#[derive(Clone)]
pub struct Limits {
    rules: Arc<ArcSwap<Vec<Arc<Rule>>>>,
    refused: Family<Counter>,
}

struct Rule {
    name: String,
    config: LimitConfig,
    bucket: Option<TokenBucket>,
    places: Option<Limit>,
    refused: Counter,
}

/// A call that was let in. It leaves when this is dropped.
#[derive(Default)]
pub(super) struct Pass(Vec<Arc<Rule>>);

impl Limits {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let refused = metrics.counter(
            "outrigger_block_limited_total",
            "Calls refused because a limit was reached",
            &["limit"],
        );
        Self { rules: Arc::default(), refused }
    }

    /// These hold from the next call on. One that did not change remembers what it has granted.
    pub fn replace(&self, limits: &BTreeMap<String, LimitConfig>) {
        let before = self.rules.load();
        let rule = |(name, config): (&String, &LimitConfig)| {
            let known = before.iter().find(|rule| rule.name == *name && rule.config == *config);
            known.cloned().unwrap_or_else(|| Arc::new(self.rule(name, config)))
        };
        self.rules.store(Arc::new(limits.iter().map(rule).collect()));
    }

    fn rule(&self, name: &str, config: &LimitConfig) -> Rule {
        Rule {
            name: name.to_owned(),
            config: config.clone(),
            bucket: config.rate.map(|rate| TokenBucket::new(&rate, now())),
            places: config.concurrent.map(Limit::new),
            refused: self.refused.with(&[name]),
        }
    }

    /// Lets a call in, or says which limit it would pass. What it took is given back when the pass is dropped.
    pub(super) fn admit(&self, app: &str, block: &str, operation: &str) -> Result<Pass> {
        let rules = self.rules.load();
        let mut pass = Pass::default();
        // Places first: a call that finds none has spent no token.
        for rule in rules.iter().filter(|rule| rule.is_for(app, block, operation)) {
            let Some(places) = &rule.places else { continue };
            if !places.enter() {
                rule.refused.inc();
                let message = format!("limit '{}': too many calls at the same time", rule.name);
                return Err(Error::new(ErrorKind::RateLimited, message).with("concurrent", places.max()));
            }
            pass.0.push(Arc::clone(rule));
        }
        for rule in rules.iter().filter(|rule| rule.is_for(app, block, operation)) {
            let Some(bucket) = &rule.bucket else { continue };
            if let Err(wait) = bucket.take(1, now()) {
                rule.refused.inc();
                let message = format!("limit '{}': too many calls", rule.name);
                return Err(Error::new(ErrorKind::RateLimited, message).retry_in(wait));
            }
        }
        Ok(pass)
    }
}

impl Rule {
    fn is_for(&self, app: &str, block: &str, operation: &str) -> bool {
        let matches = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let LimitConfig { app: of, block: on, operation: to, .. } = &self.config;
        matches(of, app) && matches(on, block) && matches(to, operation)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.iter().filter_map(|rule| rule.places.as_ref()).for_each(Limit::leave);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(json: serde_json::Value) -> Limits {
        let limits = Limits::new(&Metrics::new());
        limits.replace(&serde_json::from_value(json).unwrap());
        limits
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_for_all_calls_that_match() {
        let rate = serde_json::json!({"capacity": 2, "refill_per_second": 10.0});
        let limits = limits(serde_json::json!({
            "reads": {"app": "a", "block": "state", "operation": "get", "rate": rate},
        }));
        for (app, block, operation) in [("b", "state", "get"), ("a", "lock", "get"), ("a", "state", "set")] {
            for _ in 0..9 {
                assert!(limits.admit(app, block, operation).is_ok(), "{app} {block} {operation}");
            }
        }
        assert!(limits.admit("a", "state", "get").is_ok() && limits.admit("a", "state", "get").is_ok());
        let refused = limits.admit("a", "state", "get").err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::RateLimited);
        assert!(refused.message().contains("'reads'"), "{refused}");
        let wait = refused.retry_after().unwrap();
        assert!(wait <= Duration::from_millis(100) && wait > Duration::from_millis(90), "{wait:?}");
        tokio::time::advance(wait).await;
        assert!(limits.admit("a", "state", "get").is_ok(), "the hint was right");
        assert!(limits.admit("a", "state", "get").is_err());
    }

    #[test]
    fn places_are_given_back() {
        let limits = limits(serde_json::json!({"few": {"concurrent": 2}, "all": {"concurrent": 9}}));
        let first = limits.admit("a", "state", "get").ok().unwrap();
        let second = limits.admit("b", "lock", "try").ok().unwrap();
        for _ in 0..9 {
            // Refused by the one, it must not keep its place at the other.
            assert!(limits.admit("a", "state", "get").is_err());
        }
        drop(first);
        let third = limits.admit("a", "state", "get");
        assert!(third.is_ok() && limits.admit("a", "state", "get").is_err());
        drop((second, third));
        assert!(limits.admit("a", "state", "get").is_ok());
    }

    #[test]
    fn one_that_did_not_change_remembers() {
        let rate =
            |capacity| serde_json::json!({"r": {"rate": {"capacity": capacity, "refill_per_second": 0.001}}});
        let limits = limits(rate(1));
        assert!(limits.admit("a", "b", "c").is_ok());
        limits.replace(&serde_json::from_value(rate(1)).unwrap());
        assert!(limits.admit("a", "b", "c").is_err());
        limits.replace(&serde_json::from_value(rate(2)).unwrap());
        assert!(limits.admit("a", "b", "c").is_ok(), "another limit begins anew");
        limits.replace(&BTreeMap::new());
        assert!((0..9).all(|_| limits.admit("a", "b", "c").is_ok()));
    }
}
