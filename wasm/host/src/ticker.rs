//! The clock that interrupts guests: it ticks while guests run and sleeps with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

use outrigger_telemetry::shard::Sharded;
use wasmtime::EngineWeak;

/// One tick of the epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// It goes on for so long after the last call, so that a busy process does not wake it for each.
const LINGER: u32 = 20;

/// Increments the epoch of an engine while there are calls into it.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Each worker counts for itself: a filter is called half a dozen times a request.
    calls: Sharded<Calls>,
    asleep: AtomicBool,
    over: AtomicBool,
}

/// Calls of a worker, ever.
#[derive(Default)]
struct Calls {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A call into a guest; the clock ticks until it is dropped.
pub(crate) struct Ticking<'t>(&'t Calls);

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new().name("wasm-clock".into()).spawn(move || ours.run(&engine))?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    pub(crate) fn begin(&self) -> Ticking<'_> {
        let calls = self.shared.calls.here();
        calls.begun.fetch_add(1, SeqCst);
        // Only looked at: it is hardly ever asleep, and writing is what costs.
        if self.shared.asleep.load(SeqCst) && self.shared.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Ticking(calls)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

impl Shared {
    fn begun(&self) -> u64 {
        self.calls.iter().map(|calls| calls.begun.load(SeqCst)).sum()
    }

    fn ended(&self) -> u64 {
        self.calls.iter().map(|calls| calls.ended.load(SeqCst)).sum()
    }

    fn run(&self, engine: &EngineWeak) {
        let (mut seen, mut idle) = (0, 0);
        while !self.over.load(SeqCst) {
            let begun = self.begun();
            let running = begun != self.ended();
            idle = if running || begun != seen { 0 } else { idle + 1 };
            seen = begun;
            if idle < LINGER {
                thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
                continue;
            }
            self.asleep.store(true, SeqCst);
            // A call that began in between has either seen that we sleep or is seen here.
            if self.begun() == seen {
                thread::park();
            }
            self.asleep.store(false, SeqCst);
            idle = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn until(what: impl Fn() -> bool) {
        let since = Instant::now();
        while !what() {
            assert!(since.elapsed() < Duration::from_secs(10), "it never came to that");
            thread::sleep(TICK);
        }
    }

    #[test]
    fn sleeps_when_nothing_runs_and_wakes_for_a_call() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine.weak()).unwrap();
        for _ in 0..3 {
            until(|| ticker.shared.asleep.load(SeqCst));
            let running = ticker.begin();
            assert!(!ticker.shared.asleep.load(SeqCst));
            thread::sleep(TICK * LINGER * 2);
            assert!(!ticker.shared.asleep.load(SeqCst), "it ticks for as long as the call takes");
            drop(running);
        }
        until(|| ticker.shared.asleep.load(SeqCst));
    }
}
