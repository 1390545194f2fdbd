//! Times of a schedule, through `outrigger:functions/schedule`.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use outrigger_blocks::function::Tick;
use outrigger_blocks::{Caller, Error, Result};

use super::exports::{Exports, bindings::schedule};
use super::instance::Started;
use super::measures::{Outcome, Trigger};
use super::runner::{Runner, Work};

struct Tell(schedule::Tick);

impl Work for Tell {
    type Answer = Result<(), String>;

    async fn run(self, started: Started<'_>, exports: &Exports) -> wasmtime::Result<Self::Answer> {
        let Started { store, inner } = started;
        let schedule = exports.schedule.as_ref();
        let schedule = schedule.ok_or_else(|| wasmtime::Error::msg("there is no `schedule`"))?;
        schedule.load(&mut *store, &inner)?.call_handle(&mut *store, &self.0).await
    }

    fn outcome(answer: &Self::Answer) -> Outcome {
        if answer.is_err() { Outcome::Error } else { Outcome::Ok }
    }
}

pub(crate) async fn tell(runner: &Arc<Runner>, caller: &Caller<'_>, tick: &Tick) -> Result<()> {
    let due = tick.due.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let told = schedule::Tick { name: tick.name.to_string(), due: u64::try_from(due).unwrap_or(u64::MAX) };
    let entry = runner.enter(caller, Trigger::Schedule)?;
    let answer = runner.call(caller, entry, Tell(told)).await?;
    answer.map_err(Error::internal)
}
