//! One running component.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_blocks::Deadline;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{self, InstancePre};
use wasmtime::{Store, UpdateDeadline};

use super::clock::Clock;
use super::measures::Live;
use super::state::{Call, Ctx, Program};
use crate::engine::Engine;

/// What a message takes besides its bytes when it passes between the guest and us.
const BESIDE: usize = 1 << 20;

/// An instance, and the store it lives in. It is started by its first call.
pub(crate) struct Instance {
    store: Store<Ctx>,
    started: Option<component::Instance>,
    pub(crate) clock: Arc<Clock>,
    /// Calls it has answered.
    pub(crate) calls: u32,
    made: Instant,
    _live: Live,
    _slot: OwnedSemaphorePermit,
}

/// An instance that can be called.
pub(crate) struct Started<'i> {
    pub(crate) store: &'i mut Store<Ctx>,
    pub(crate) inner: component::Instance,
}

impl Instance {
    pub(crate) fn new(
        engine: &Engine,
        program: &Arc<Program>,
        live: Live,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let clock = Arc::new(Clock::default());
        let mut store = Store::new(engine.wasmtime(), Ctx::new(Arc::clone(program)));
        store.limiter(|ctx| &mut ctx.limiter);
        let watch = Arc::clone(&clock);
        store.epoch_deadline_callback(move |_| Ok(UpdateDeadline::Yield(watch.turn()?)));
        // One string of the guest's may be named a thousand times.
        store.set_hostcall_fuel(program.config.max_body.saturating_add(BESIDE));
        let made = Instant::now();
        Self { store, started: None, clock, calls: 0, made, _live: live, _slot: slot }
    }

    pub(crate) async fn start(&mut self, pre: &InstancePre<Ctx>) -> wasmtime::Result<Started<'_>> {
        self.store.set_epoch_deadline(1);
        let inner = match self.started {
            Some(started) => started,
            None => *self.started.insert(pre.instantiate_async(&mut self.store).await?),
        };
        Ok(Started { store: &mut self.store, inner })
    }

    /// A call begins, which may compute for so long; it may be the one that starts the instance.
    pub(crate) fn begin(&mut self, call: Option<Call>, cpu: Duration, until: Deadline) {
        self.clock.start(cpu, until);
        self.store.data_mut().guest.begin(call);
    }

    /// The call was answered.
    pub(crate) fn end(&mut self) {
        self.calls = self.calls.saturating_add(1);
        self.store.data_mut().guest.end();
    }

    /// Whether there is nobody left in it to call.
    pub(crate) fn is_gone(&self) -> bool {
        self.store.data().guest.is_gone
    }

    /// What it said last in this call.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.store.data().guest.words.take()
    }

    pub(crate) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Whether it was denied memory since this was last asked.
    pub(crate) fn was_denied_memory(&mut self) -> bool {
        self.store.data_mut().limiter.denied()
    }
}
