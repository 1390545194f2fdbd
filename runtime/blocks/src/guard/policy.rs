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

/// The longest rest of a component, unless it is told otherwise: one that is back is of use within two seconds, however
/// long it was away.
const LONGEST_REST: Duration = Duration::from_secs(1);

impl Policy {
    /// The breaker's numbers, with what a component has where none was given.
    pub(super) fn breaker(&self) -> BreakerConfig {
        let longest = self.breaker.max_open.unwrap_or(LONGEST_REST);
        BreakerConfig { max_open: Some(longest), ..self.breaker }
    }
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
