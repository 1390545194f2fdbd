//! Logs, metrics and trace context.
//!
//! Metrics are our own sharded counters, so that a worker counting a request never touches a cache line another
//! worker writes. Exporters read them; nothing on the request path knows an exporter exists.

pub mod logs;
mod metrics;
pub mod shard;
pub mod span;
pub mod trace;

pub use metrics::{BOUNDS, BUCKETS, Counter, Family, Gauge, Histogram, MAX_SERIES, Metrics};
pub use metrics::{Reading, SAMPLES, Samples, Series, Snapshot, Spread};
