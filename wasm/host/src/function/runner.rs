//! One version of a function at work: who may call it, what runs the call, and what becomes of the instance.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, Release},
};
use std::sync::{Arc, Weak};
use std::time::Instant;

use outrigger_blocks::function::Chain;
use outrigger_blocks::{Blocks, Body, Caller, Deadline, Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::InstancePre;

use super::backoff::Backoff;
use super::clock::{Clock, Crash, guarded, in_time};
use super::exports::Exports;
use super::idle::Idle;
use super::instance::{Instance, Started};
use super::measures::{Measures, Outcome, Record, Trigger};
use super::message;
use super::state::{Call, Ctx, Program};
use super::threads::{Pace, Task, Threads};
use super::turns::{Place, Turn, Turns};
use super::waits::{Supply, Waits};
use crate::engine::Engine;
use crate::limits::{FUNCTION_INSTANCES, TRIAL};

/// What functions have in common.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) engine: Arc<Engine>,
    pub(crate) threads: Arc<Threads>,
    pub(crate) blocks: Weak<Blocks>,
    /// Places for instances, over all functions.
    pub(crate) slots: Arc<Semaphore>,
    /// Calls that wait while others wait for them.
    pub(crate) waits: Arc<Waits>,
}

pub(crate) struct Runner {
    pub(crate) program: Arc<Program>,
    pub(crate) exports: Exports,
    house: House,
    pre: InstancePre<Ctx>,
    turns: Turns,
    backoff: Mutex<Backoff>,
    /// The last call computed for long; the next one probably will.
    is_long: AtomicBool,
    idle: Arc<Idle>,
    measures: Arc<Measures>,
}

/// A call that is in.
pub(crate) struct Entry {
    record: Record,
    place: Place,
    until: Deadline,
}

/// What is to be done with an instance.
pub(crate) trait Work: Send + 'static {
    type Answer: Send + 'static;

    fn run(
        self,
        started: Started<'_>,
        exports: &Exports,
    ) -> impl Future<Output = wasmtime::Result<Self::Answer>> + Send;

    /// How it went, in the function's own words.
    fn outcome(_answer: &Self::Answer) -> Outcome {
        Outcome::Ok
    }

    /// Is set before the instance goes without having come to an end.
    fn broken(&self) -> Option<Arc<AtomicBool>> {
        None
    }
}

/// Sets the mark, unless it is taken away.
struct Mark(Option<Arc<AtomicBool>>);

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(broken) = &self.0 {
            broken.store(true, Release);
        }
    }
}

impl Entry {
    pub(crate) fn until(&self) -> Deadline {
        self.until
    }

    /// The request's body, all of it; none when it is longer than it may be.
    pub(crate) async fn body(&mut self, body: Body, max: usize) -> Result<Option<Vec<u8>>> {
        let body = message::whole(body, max, self.until).await;
        match &body {
            Ok(Some(_)) => {}
            Ok(None) => self.record.fails(Outcome::Error, &"the body is too long"),
            Err(error) => self.record.fails(Outcome::of(error), error),
        }
        body
    }
}

impl Runner {
    pub(crate) fn new(
        program: Program,
        exports: Exports,
        house: House,
        pre: InstancePre<Ctx>,
        measures: Arc<Measures>,
    ) -> Arc<Self> {
        let turns = Turns::new(program.config.concurrency, program.config.queue, measures.waiting.clone());
        Arc::new(Self {
            program: Arc::new(program),
            exports,
            house,
            pre,
            turns,
            backoff: Mutex::default(),
            is_long: AtomicBool::new(false),
            idle: Arc::default(),
            measures,
        })
    }

    /// A call comes in; what it brings may still be on its way.
    ///
    /// # Errors
    /// At once, when too many run and wait, and while the function is kept from running.
    pub(crate) fn enter(&self, caller: &Caller<'_>, trigger: Trigger) -> Result<Entry> {
        let mut record = self.measures.begin(trigger, caller.trace.as_ref());
        match self.is_well().and_then(|()| self.turns.enter(&self.program.name)) {
            Ok(place) => Ok(Entry { record, place, until: self.until(caller) }),
            Err(error) => {
                record.fails(Outcome::of(&error), &error);
                Err(error)
            }
        }
    }

    pub(crate) async fn call<W: Work>(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        entry: Entry,
        work: W,
    ) -> Result<W::Answer> {
        let until = entry.until;
        let mut task = self.begin(caller, entry, work).await?;
        match in_time(until, &mut task).await {
            Ok(answer) => answer,
            Err(late) => Err(self.give_up(task, &late)),
        }
    }

    /// Nobody waits any more. The call goes on to its next turn, where it sees that for itself.
    pub(crate) fn give_up<T>(&self, task: Task<T>, late: &Crash) -> Error {
        task.detach();
        late.error(&self.program.name)
    }

    /// Waits for a turn and begins. Dropping the task ends the call.
    pub(crate) async fn begin<W: Work>(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        entry: Entry,
        work: W,
    ) -> Result<Task<W::Answer>> {
        let Entry { mut record, place, until } = entry;
        match self.admit(place, until, &caller.chain).await {
            Ok((blocks, turn)) => {
                let trace = record.trace().or(caller.trace.as_ref()).cloned();
                let call =
                    Call { blocks, deadline: until, trace, chain: caller.chain.with(&self.program.name) };
                let runner = Arc::clone(self);
                self.house.threads.spawn(self.pace(), async move {
                    let _turn = turn;
                    runner.run(call, work, record).await
                })
            }
            Err(error) => {
                record.fails(Outcome::of(&error), &error);
                Err(error)
            }
        }
    }

    async fn admit(&self, place: Place, until: Deadline, callers: &Chain) -> Result<(Arc<Blocks>, Turn)> {
        let turn = self.turns.take(place, &self.program.name, until, (callers, &self.house.waits)).await?;
        // Those before it may have crashed.
        self.is_well()?;
        let blocks =
            self.house.blocks.upgrade().ok_or_else(|| Error::unavailable("the process is ending"))?;
        Ok((blocks, turn))
    }

    /// When a call that comes now has to be answered.
    fn until(&self, caller: &Caller<'_>) -> Deadline {
        Deadline::after(Instant::now(), self.program.config.deadline).earlier(caller.deadline)
    }

    fn is_well(&self) -> Result<()> {
        let Some(pause) = self.backoff.lock().pause(Instant::now()) else { return Ok(()) };
        let message = format!("function '{}' keeps crashing and is kept from running", self.program.name);
        Err(Error::unavailable(message).retry_in(pause))
    }

    async fn run<W: Work>(&self, call: Call, work: W, mut record: Record) -> Result<W::Answer> {
        let result = self.attempt(call, work).await;
        match &result {
            Ok(answer) => {
                self.backoff.lock().went_well();
                record.ends(W::outcome(answer));
            }
            Err(crash) => {
                let outcome = if crash.is_its_own() { Outcome::Crashed } else { Outcome::Timeout };
                record.fails(outcome, crash);
            }
        }
        result.map_err(|crash| crash.error(&self.program.name))
    }

    async fn attempt<W: Work>(&self, call: Call, work: W) -> Result<W::Answer, Crash> {
        let until = call.deadline;
        let instance = self.instance(until, &call.chain).await;
        let mut instance = instance.inspect_err(|crash| self.crashed(crash, None))?;
        // Goes before the instance does.
        let mut mark = Mark(work.broken());
        instance.begin(Some(call), self.program.config.cpu, until);
        let clock = Arc::clone(&instance.clock);
        let working = async {
            let started = instance.start(&self.pre).await?;
            work.run(started, &self.exports).await
        };
        let result = guarded(&self.house.engine, &clock, until, working).await;
        self.took(&clock);
        if result.is_ok() {
            mark.0 = None;
            instance.end();
            self.put_back(instance);
            return result;
        }
        let result = result.map_err(|crash| self.explain(crash, &mut instance));
        result.inspect_err(|crash| self.crashed(crash, instance.last_words()))
    }

    fn pace(&self) -> Pace {
        if self.is_long.load(Relaxed) { Pace::Long } else { Pace::Short }
    }

    fn took(&self, clock: &Clock) {
        let is_long = clock.is_long();
        // Only looked at, nearly always: functions of one kind stay of that kind.
        if self.is_long.load(Relaxed) != is_long {
            self.is_long.store(is_long, Relaxed);
        }
    }

    async fn instance(&self, until: Deadline, calls: &Chain) -> Result<Instance, Crash> {
        if let Some(kept) = self.idle.take() {
            return Ok(kept);
        }
        let slot = slot(&self.house.slots, until, (calls, &self.house.waits)).await?;
        Ok(Instance::new(&self.house.engine, &self.program, self.measures.live(), slot))
    }

    fn put_back(&self, instance: Instance) {
        if instance.calls < self.program.config.reuse && !instance.is_gone() {
            self.idle.keep(instance);
        }
    }

    /// A guest that gets no more memory only knows how to trap.
    fn explain(&self, crash: Crash, instance: &mut Instance) -> Crash {
        match crash {
            Crash::Trapped(why) if instance.was_denied_memory() => {
                let memory = self.program.config.memory;
                Crash::Trapped(format!("{why} (it was denied more than {memory} bytes of `memory`)"))
            }
            crash => crash,
        }
    }

    /// What it said last may be the reason of a trap. It is for the log: callers are told no more than that.
    fn crashed(&self, crash: &Crash, words: Option<String>) {
        let words = words.filter(|_| matches!(crash, Crash::Trapped(_)));
        let said = words.map_or_else(String::new, |words| format!("; it said last: {words}"));
        self.program.journal.report(&format!("a call failed: {crash}{said}"));
        if crash.is_its_own() {
            self.measures.crashes.inc();
            self.backoff.lock().crashed(Instant::now());
        }
    }

    /// Starts one instance, which nobody calls.
    ///
    /// # Errors
    /// What kept it from starting.
    pub(crate) async fn try_out(self: &Arc<Self>) -> Result<()> {
        let runner = Arc::clone(self);
        let started = self.house.threads.spawn(Pace::Trial, async move {
            let until = Deadline::after(Instant::now(), TRIAL);
            let mut instance = runner
                .instance(until, &Chain::default())
                .await
                .map_err(|crash| crash.error(&runner.program.name))?;
            instance.begin(None, runner.program.config.cpu, until);
            let clock = Arc::clone(&instance.clock);
            let working = async { runner.exports.check(instance.start(&runner.pre).await?) };
            let result = guarded(&runner.house.engine, &clock, until, working).await;
            let result = result.map_err(|crash| runner.explain(crash, &mut instance));
            result.map_err(|crash| {
                Error::new(ErrorKind::InvalidArgument, format!("it cannot be started: {crash}"))
            })
        });
        started?.await
    }
}

/// A place for an instance. The call has its turn meanwhile, and its callers have turns and places.
async fn slot(
    slots: &Arc<Semaphore>,
    until: Deadline,
    (calls, waits): (&Chain, &Waits),
) -> Result<OwnedSemaphorePermit, Crash> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Ok(slot);
    }
    let wait = waits.enter(calls, Supply::instances(FUNCTION_INSTANCES as usize));
    let _wait = wait.map_err(|_| Crash::Crowded)?;
    let slot = Arc::clone(slots).acquire_owned();
    let slot = match until.instant() {
        Some(at) => tokio::time::timeout_at(at.into(), slot).await.map_err(|_| Crash::NoRoom)?,
        None => slot.await,
    };
    slot.map_err(|_| Crash::NoRoom)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for_unless_all_wait_for_each_other() {
        let (slots, waits) = (Arc::new(Semaphore::new(1)), Waits::default());
        let soon = || Deadline::after(Instant::now(), Duration::from_millis(5));
        let (outer, function) = (Chain::default().with(&"f".into()), "g".into());
        let nested = outer.with(&function);
        let last = slot(&slots, soon(), (&outer, &waits)).await.unwrap();
        for calls in [&outer, &nested] {
            assert!(matches!(slot(&slots, soon(), (calls, &waits)).await, Err(Crash::NoRoom)));
        }
        let waiting = slot(&slots, Deadline::NEVER, (&nested, &waits));
        let (got, ()) = tokio::join!(waiting, async { drop(last) });
        let _last = got.unwrap();
        // Each of them has a place, and nobody else has one.
        let others: Vec<_> = (1..FUNCTION_INSTANCES).map(|_| Chain::default().with(&function)).collect();
        let wait = |calls: &Chain| {
            waits.enter(&calls.with(&function), Supply::instances(FUNCTION_INSTANCES as usize))
        };
        let held: Vec<_> = others.iter().map(|calls| wait(calls).ok().unwrap()).collect();
        assert!(matches!(slot(&slots, Deadline::NEVER, (&nested, &waits)).await, Err(Crash::Crowded)));
        drop(held);
    }
}
