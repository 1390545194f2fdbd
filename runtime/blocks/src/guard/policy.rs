//! The numbers a guard goes by.

use std::time::Duration;

use outrigger_resilience::{Backoff, BreakerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Deadline, retries and breaker of the calls to one component.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The longest a call may take, retries included; a caller's own deadline can only shorten it. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Attempts after the first one, for operations that may be repeated. Default 2.
    pub retries: u32,
    /// The wait before each retry.
    pub backoff: Backoff,
    /// When the component is given a rest.
    pub breaker: BreakerConfig,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            retries: 2,
            backoff: Backoff::default(),
            breaker: BreakerConfig::default(),
        }
    }
}
