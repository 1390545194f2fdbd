//! Events of input bindings, through `outrigger:functions/binding`.

use std::sync::Arc;

use outrigger_blocks::{Caller, Error, InputEvent, Result};

use super::exports::{Exports, bindings::binding};
use super::instance::Started;
use super::measures::{Outcome, Trigger};
use super::message;
use super::runner::{Runner, Work};

struct Tell(binding::Input);

impl Work for Tell {
    type Answer = Result<(), String>;

    async fn run(self, started: Started<'_>, exports: &Exports) -> wasmtime::Result<Self::Answer> {
        let Started { store, inner } = started;
        let binding =
            exports.binding.as_ref().ok_or_else(|| wasmtime::Error::msg("there is no `binding`"))?;
        binding.load(&mut *store, &inner)?.call_handle(&mut *store, &self.0).await
    }

    fn outcome(answer: &Self::Answer) -> Outcome {
        if answer.is_err() { Outcome::Error } else { Outcome::Ok }
    }
}

pub(crate) async fn tell(runner: &Arc<Runner>, caller: &Caller<'_>, input: &InputEvent) -> Result<()> {
    message::bounded("the event", input.data.len(), runner.program.config.max_body)?;
    let told = binding::Input {
        binding: input.binding.clone(),
        data: input.data.to_vec(),
        metadata: input.metadata.clone().into_iter().collect(),
    };
    let entry = runner.enter(caller, Trigger::Binding)?;
    let answer = runner.call(caller, entry, Tell(told)).await?;
    answer.map_err(Error::internal)
}
