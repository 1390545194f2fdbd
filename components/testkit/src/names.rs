//! Names nobody has used before: suites share servers with each other and with earlier runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use outrigger_component_api::Key;

/// A name nobody has used before, in this run or another.
pub fn unique_name(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("suite-{name}-{}-{now}-{count}", std::process::id())
}

/// The same as a key.
pub fn unique_key(name: &str) -> Key {
    Key::new(unique_name(name)).expect("not empty")
}
