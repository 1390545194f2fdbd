//! Events of topics, through `outrigger:functions/event`.

use std::sync::Arc;

use outrigger_blocks::{Answer, Caller, Event, Result};

use super::exports::{Exports, bindings::event};
use super::instance::Started;
use super::measures::{Outcome, Trigger};
use super::message;
use super::runner::{Runner, Work};

struct Tell(event::CloudEvent);

impl Work for Tell {
    type Answer = event::Answer;

    async fn run(self, started: Started<'_>, exports: &Exports) -> wasmtime::Result<Self::Answer> {
        let Started { store, inner } = started;
        let event = exports.event.as_ref().ok_or_else(|| wasmtime::Error::msg("there is no `event`"))?;
        event.load(&mut *store, &inner)?.call_handle(&mut *store, &self.0).await
    }

    fn outcome(answer: &Self::Answer) -> Outcome {
        match answer {
            event::Answer::Success => Outcome::Ok,
            event::Answer::Retry | event::Answer::Drop => Outcome::Error,
        }
    }
}

pub(crate) async fn tell(
    runner: &Arc<Runner>,
    caller: &Caller<'_>,
    event: &Event,
    attempt: u32,
) -> Result<Answer> {
    message::bounded("the event", event.data.len(), runner.program.config.max_body)?;
    let told = event::CloudEvent {
        id: event.id.clone(),
        source: event.source.clone(),
        type_: event.r#type.clone(),
        content_type: event.content_type.clone(),
        data: event.data.to_vec(),
        pubsub: event.pubsub.clone(),
        topic: event.topic.clone(),
        metadata: event.metadata.clone().into_iter().collect(),
        attempt,
    };
    let entry = runner.enter(caller, Trigger::Event)?;
    let answer = runner.call(caller, entry, Tell(told)).await?;
    Ok(match answer {
        event::Answer::Success => Answer::Success,
        event::Answer::Retry => Answer::Retry,
        event::Answer::Drop => Answer::Drop,
    })
}
