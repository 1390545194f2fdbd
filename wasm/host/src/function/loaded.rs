//! A function as the blocks know it.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use outrigger_blocks::function::{Door, Function, Tick, Triggers};
use outrigger_blocks::{Answer, Body, Caller, Error, ErrorKind, Event, InputEvent, Result};

use super::exports::Way;
use super::runner::Runner;
use super::{binding, event, http as whole, invoke, schedule, stream};

pub(crate) struct Loaded(pub(crate) Arc<Runner>);

impl Loaded {
    /// The component does not export it.
    fn lacks(&self, what: &str) -> Error {
        let message =
            format!("function '{}' does not export `outrigger:functions/{what}`", self.0.program.name);
        Error::new(ErrorKind::Unsupported, message)
    }
}

#[async_trait]
impl Function for Loaded {
    fn triggers(&self) -> Triggers {
        self.0.exports.triggers()
    }

    async fn serve(&self, caller: &Caller<'_>, door: Door, request: Request<Body>) -> Result<Response<Body>> {
        match self.0.exports.way(door) {
            Some(Way::Http) => whole::serve(&self.0, caller, request).await,
            Some(Way::Stream) => stream::serve(&self.0, caller, request).await,
            Some(Way::Invoke) => invoke::serve(&self.0, caller, request).await,
            None => Err(self.lacks("http")),
        }
    }

    async fn event(&self, caller: &Caller<'_>, event: &Event, attempt: u32) -> Result<Answer> {
        if !self.triggers().event {
            return Err(self.lacks("event"));
        }
        event::tell(&self.0, caller, event, attempt).await
    }

    async fn schedule(&self, caller: &Caller<'_>, tick: &Tick) -> Result<()> {
        if !self.triggers().schedule {
            return Err(self.lacks("schedule"));
        }
        schedule::tell(&self.0, caller, tick).await
    }

    async fn binding(&self, caller: &Caller<'_>, input: &InputEvent) -> Result<()> {
        if !self.triggers().binding {
            return Err(self.lacks("binding"));
        }
        binding::tell(&self.0, caller, input).await
    }
}
