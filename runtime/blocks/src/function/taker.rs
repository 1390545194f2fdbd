//! A function as whoever brings events sees it: like an application that is there as long as the function is.

use std::sync::Arc;

use outrigger_component_api::{Error, ErrorKind, Result, async_trait};
use outrigger_resilience::Deadline;

use crate::Blocks;
use crate::bindings::{AppInputs, InputComponent, InputEvent};
use crate::caller::Caller;
use crate::pubsub::{Answer, AppEvents, Event, Topic};

/// Takes events on behalf of the application, by whichever version is in force when one comes.
pub struct Taker {
    blocks: Arc<Blocks>,
    name: Arc<str>,
}

impl Taker {
    pub fn new(blocks: Arc<Blocks>, name: Arc<str>) -> Self {
        Self { blocks, name }
    }

    fn caller(&self, deadline: Deadline) -> Caller<'_> {
        Caller { deadline, ..Caller::new(self.blocks.app_id()) }
    }
}

#[async_trait]
impl AppEvents for Taker {
    /// Its configuration says.
    async fn topics(&self, _: Deadline) -> Result<Vec<Topic>> {
        Ok(Vec::new())
    }

    async fn deliver(&self, _: &Topic, event: &Event, attempt: u32, deadline: Deadline) -> Result<Answer> {
        let caller = Caller { trace: event.trace.clone(), ..self.caller(deadline) };
        self.blocks.functions.event(&self.name, &caller, event, attempt).await.map_err(unreached)
    }

    async fn gone(&self) {
        std::future::pending().await
    }
}

#[async_trait]
impl AppInputs for Taker {
    async fn wants(&self, _: &InputComponent, _: Deadline) -> Result<bool> {
        Ok(true)
    }

    async fn deliver(&self, event: &InputEvent, deadline: Deadline) -> Result<()> {
        let caller = Caller { trace: event.trace.clone(), ..self.caller(deadline) };
        self.blocks.functions.binding(&self.name, &caller, event).await.map_err(unreached)
    }

    async fn gone(&self) {
        std::future::pending().await
    }
}

/// What a function never saw is brought again without being counted; what it failed at is.
pub(super) fn unreached(error: Error) -> Error {
    match never_ran(&error) {
        true => Error::unavailable(error.message().to_owned()).with_source(error),
        false => error,
    }
}

/// Whether the function was not there, or had no room.
pub(super) fn never_ran(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::NotConfigured)
}
