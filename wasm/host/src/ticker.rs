//! The clock that interrupts guests: it ticks while guests run and sleeps with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

use outrigger_telemetry::shard::Sharded;
use wasmtime::EngineWeak;

/// One tick of the epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// The first tick of a short call comes within so long. Waking a thread a thousand times a second took a tenth of what a
/// filter costs a request, and no call of it lasts for a tick.
const GLANCE: Duration = Duration::from_millis(4);
/// It looks so many times at nobody calling before it rests, so that a busy process does not wake it for each call.
const LINGER: u32 = 20;

/// Increments the epoch of an engine while there are calls into it.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    short: Calls,
    prompt: Calls,
    /// How the clock rests: calls look at this to know whether to wake it.
    rest: AtomicU8,
    over: AtomicBool,
}

const AWAKE: u8 = 0;
/// Until the next glance at short calls.
const BETWEEN_GLANCES: u8 = 1;
const ASLEEP: u8 = 2;

/// Calls of one kind. Each worker counts for itself: a filter is called half a dozen times a request.
#[derive(Default)]
struct Calls(Sharded<Count>);

/// Calls of a worker, ever.
#[derive(Default)]
struct Count {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A call into a guest; the clock ticks until it is dropped.
pub(crate) struct Ticking<'t>(&'t Count);

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new().name("wasm-clock".into()).spawn(move || ours.run(&engine))?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// The first tick comes within a tick.
    pub(crate) fn begin(&self) -> Ticking<'_> {
        self.count(&self.shared.prompt, BETWEEN_GLANCES)
    }

    /// For a call that is nearly always over long before a tick: the first comes within a glance.
    pub(crate) fn begin_short(&self) -> Ticking<'_> {
        self.count(&self.shared.short, ASLEEP)
    }

    /// Wakes the clock from this rest and from any deeper one.
    fn count<'t>(&self, calls: &'t Calls, rest: u8) -> Ticking<'t> {
        let count = calls.0.here();
        count.begun.fetch_add(1, SeqCst);
        // Only looked at: there is hardly ever anything to wake it from, and writing is what costs.
        if self.shared.rest.load(SeqCst) >= rest && self.shared.rest.swap(AWAKE, SeqCst) != AWAKE {
            self.thread.unpark();
        }
        Ticking(count)
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

/// What the clock has seen of calls of one kind.
#[derive(Default)]
struct Seen {
    begun: u64,
    are_running: bool,
    /// Looks since there was one.
    idle: u32,
}

impl Calls {
    fn begun(&self) -> u64 {
        self.0.iter().map(|count| count.begun.load(SeqCst)).sum()
    }

    fn ended(&self) -> u64 {
        self.0.iter().map(|count| count.ended.load(SeqCst)).sum()
    }

    /// Those that end are counted first: one that ends in between seems to run, none that runs seems to have ended.
    fn look(&self, seen: &mut Seen) {
        let (ended, begun) = (self.ended(), self.begun());
        seen.are_running = begun != ended;
        seen.idle = if seen.are_running || begun != seen.begun { 0 } else { seen.idle.saturating_add(1) };
        seen.begun = begun;
    }
}

impl Shared {
    fn run(&self, engine: &EngineWeak) {
        let (mut short, mut prompt) = (Seen::default(), Seen::default());
        while !self.over.load(SeqCst) {
            self.short.look(&mut short);
            self.prompt.look(&mut prompt);
            let is_over = if short.are_running || prompt.idle < LINGER {
                thread::sleep(TICK);
                true
            } else if short.idle < LINGER {
                self.rest(
                    BETWEEN_GLANCES,
                    || self.prompt.begun() == prompt.begun,
                    || thread::park_timeout(GLANCE),
                )
            } else {
                let is_quiet = || self.prompt.begun() == prompt.begun && self.short.begun() == short.begun;
                self.rest(ASLEEP, is_quiet, thread::park)
            };
            let Some(engine) = engine.upgrade() else { return };
            if is_over {
                engine.increment_epoch();
            }
        }
    }

    /// Says whether the rest was as long as it was meant to be: no call has cut it short.
    fn rest(&self, how: u8, is_quiet: impl FnOnce() -> bool, park: impl FnOnce()) -> bool {
        self.rest.store(how, SeqCst);
        // A call that began in between has either seen that we rest or is seen here.
        let is_quiet = is_quiet();
        if is_quiet {
            park();
        }
        self.rest.swap(AWAKE, SeqCst) == how && is_quiet
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
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
        let rests = || ticker.shared.rest.load(SeqCst);
        for round in 0..4 {
            until(|| rests() == ASLEEP);
            let running = if round % 2 == 0 { ticker.begin() } else { ticker.begin_short() };
            assert_ne!(rests(), ASLEEP);
            thread::sleep(TICK * LINGER * 2);
            assert_eq!(rests(), AWAKE, "it ticks for as long as the call takes");
            drop(running);
        }
        until(|| rests() == ASLEEP);
    }

    #[test]
    fn short_calls_wait_for_the_next_glance_and_others_do_not() {
        // Nobody but the test changes how it rests.
        let ticker = Ticker { shared: Arc::default(), thread: thread::current() };
        let check = |before, short: bool, after| {
            ticker.shared.rest.store(before, SeqCst);
            drop(if short { ticker.begin_short() } else { ticker.begin() });
            assert_eq!(ticker.shared.rest.load(SeqCst), after, "{before} {short}");
        };
        for short in [true, false] {
            check(AWAKE, short, AWAKE);
            check(ASLEEP, short, AWAKE);
        }
        check(BETWEEN_GLANCES, true, BETWEEN_GLANCES);
        check(BETWEEN_GLANCES, false, AWAKE);
    }

    #[test]
    fn glances_while_all_calls_are_short() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine.weak()).unwrap();
        let rests = || ticker.shared.rest.load(SeqCst);
        until(|| {
            drop(ticker.begin_short());
            rests() == BETWEEN_GLANCES
        });
        let running = ticker.begin_short();
        // It has seen one that runs: it does not rest between two ticks any more.
        let (awake, twice) = (Cell::new(Duration::ZERO), GLANCE * 2);
        until(|| {
            awake.set(if rests() == AWAKE { awake.get() + TICK } else { Duration::ZERO });
            awake.get() > twice
        });
        drop(running);
    }
}
