//! What one instance may have, and what one call may take.

use std::time::Duration;

use wasmtime::{StoreLimits, StoreLimitsBuilder};

/// Of WebAssembly memory.
pub(crate) const PAGE: usize = 64 << 10;
/// What no setting can exceed.
pub(crate) const MAX_MEMORY: usize = 1 << 30;
/// How long compiling one may take before the configuration that wants it is refused.
pub(crate) const COMPILE: Duration = Duration::from_secs(180);
/// How long one may wait until those before it are compiled.
pub(crate) const COMPILE_TURN: Duration = Duration::from_secs(600);
/// How long a module may compute to start and to be configured, in all.
pub(crate) const START: Duration = Duration::from_secs(1);
/// How long a filter may hold a message back without being asked anything; each piece of a body is a question.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);
/// Header maps: bytes and pairs.
pub(crate) const MAP_BYTES: usize = 1 << 20;
pub(crate) const MAP_PAIRS: usize = 1024;
/// One log line, and lines a second of one instance.
pub(crate) const LOG_LINE: usize = 16 << 10;
pub(crate) const LOG_LINES: u32 = 100;
/// What `random_get` gives at once.
pub(crate) const RANDOM: u32 = 64 << 10;
/// Calls one context may have under way.
pub(crate) const CALLS: usize = 8;
/// The longest a call may be given, and what one gets that asks for no time at all.
pub(crate) const CALL: Duration = Duration::from_secs(300);
/// Of shared data: one value, and everything of one `vm_id`.
pub(crate) const SHARED_VALUE: usize = 1 << 20;
pub(crate) const SHARED_TOTAL: usize = 16 << 20;
/// What an entry takes besides its bytes, so that many empty ones are not for nothing.
pub(crate) const SHARED_ENTRY: usize = 64;
/// Of one shared queue.
pub(crate) const QUEUE_ITEMS: usize = 1000;
/// Queues of one `vm_id`, the bytes of their names, and of everything that waits in them.
pub(crate) const QUEUES: usize = 1000;
pub(crate) const QUEUE_NAME: usize = 256;
pub(crate) const QUEUE_TOTAL: usize = 16 << 20;
/// How long a stream that is over may wait for the filter to be done with it, and how many of one instance may.
pub(crate) const LINGER: Duration = Duration::from_secs(60);
pub(crate) const LINGERING: usize = 1000;
/// Metrics all filters together may define, and those of one name.
pub(crate) const METRICS: usize = 1000;
pub(crate) const PLUGIN_METRICS: usize = 250;
/// Series one function may have; names all functions together may, is `METRICS` too.
pub(crate) const FUNCTION_METRICS: usize = 250;
/// Names functions may have had while a process lives.
pub(crate) const METRICS_EVER: usize = 10 * METRICS;
/// Instances of functions at once, over all of them, those kept for the next call included.
pub(crate) const FUNCTION_INSTANCES: u32 = 500;
/// How long a function may take to start when it is tried out, waiting for others included.
pub(crate) const TRIAL: Duration = Duration::from_secs(10);
/// The headers of one message a function makes, and one piece of a body it writes: two wait until somebody takes them.
pub(crate) const FIELDS: usize = 64 << 10;
pub(crate) const PIECE: usize = 16 << 10;
/// Of a table of functions.
pub(crate) const TABLE: usize = 20_000;

/// Resources of the host, such as streams and fields, that one instance of a function may hold. The guest's memory does
/// not show what is behind them: there are as many as take that much once more, were each a message as large as can be.
pub(crate) fn resources(memory: usize) -> usize {
    (memory / (FIELDS + 2 * PIECE)).clamp(256, 4096)
}

pub(crate) fn memory() -> usize {
    32 << 20
}

pub(crate) fn deadline() -> Duration {
    Duration::from_millis(5)
}

pub(crate) fn max_buffer() -> usize {
    1 << 20
}

/// Growing beyond them fails as it does when a machine has no memory left; the guest is told.
pub(crate) fn of_store(memory: usize) -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(memory)
        .table_elements(TABLE)
        .instances(1)
        .memories(1)
        .tables(4)
        .build()
}
