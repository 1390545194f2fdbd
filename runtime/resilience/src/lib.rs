//! Timeouts, retries, breakers and limits as pure state machines.
//!
//! Nothing here reads a clock, sleeps or does I/O: every decision takes `now: Instant`, so the same code
//! serves the proxy's clusters, the blocks' guard and a table test. What is shared between threads is
//! lock-free on its common path.

mod backoff;
mod breaker;
mod bucket;
mod budget;
mod bulkhead;
mod deadline;
mod retry;
mod window;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerConfig, BreakerState, BreakerStatus, Outcome, Permit, Refused};
pub use bucket::{TokenBucket, TokenBucketConfig};
pub use budget::{RetryBudget, RetryBudgetConfig};
pub use bulkhead::{Bulkhead, Limit, LimitsConfig};
pub use deadline::Deadline;
pub use retry::{Attempt, RetryOn, RetryPolicy};
