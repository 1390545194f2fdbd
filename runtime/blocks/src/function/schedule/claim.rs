//! Whose call a time is: a lock for each, kept until nobody can come late any more.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use outrigger_component_api::{Held, Result};
use outrigger_resilience::Deadline;

use crate::Blocks;
use crate::caller::Caller;

/// How long a lock is held: longer than a sidecar may be late (5 min) and clocks may differ (5 min) together.
const HOLD_SECONDS: i32 = 900;
/// How long one question to the lock store may take.
const ASKING: Duration = Duration::from_secs(5);

/// The locks of one schedule.
pub(in crate::function) struct Claims {
    store: Arc<str>,
    /// What the names begin with.
    prefix: String,
    /// Whom they belong to: this schedule of this process, as long as it runs.
    owner: String,
}

impl Claims {
    pub(super) fn new(store: &str, function: &str, schedule: &str) -> Self {
        // A name of the user's choice cannot look like anything else here.
        let schedule: String =
            schedule.bytes().flat_map(std::ascii::escape_default).map(char::from).collect();
        Self {
            store: store.into(),
            prefix: format!("function/{function}/{}", schedule.replace('|', "\\x7c")),
            owner: format!("{:032x}", fastrand::u128(..)),
        }
    }

    /// Whether a time is ours. `again`: we asked before and do not know the answer, so it may be ours already.
    pub(super) async fn take(&self, blocks: &Blocks, due: SystemTime, again: bool) -> Result<bool> {
        let now = tokio::time::Instant::now().into_std();
        let caller = &Caller { deadline: deadline(now), ..Caller::new(blocks.app_id()) };
        let name = &format!("{}/{}", self.prefix, humantime::format_rfc3339_millis(due));
        if again {
            let held = blocks.lock.keep_alive(caller, &self.store, name, &self.owner, HOLD_SECONDS).await?;
            if held != Held::Nobody {
                return Ok(held == Held::Yes);
            }
        }
        let lease = blocks.lock.try_lock(caller, &self.store, name, &self.owner, HOLD_SECONDS).await?;
        Ok(lease.is_some())
    }
}

fn deadline(now: Instant) -> Deadline {
    Deadline::after(now, ASKING)
}
