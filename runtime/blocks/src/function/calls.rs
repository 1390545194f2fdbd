//! Calls of functions by name: the version is chosen, counted and kept alive for as long as the call lasts.

use http::{Request, Response};
use outrigger_cluster::Body;
use outrigger_component_api::Result;

use super::{Door, Functions, Tick};
use crate::bindings::InputEvent;
use crate::caller::Caller;
use crate::pubsub::{Answer, Event};

/// An unknown name is [`NotConfigured`](outrigger_component_api::ErrorKind::NotConfigured) with the nearest one; other
/// errors are those of [`Function`](super::Function).
impl Functions {
    /// Has a function answer a request. The call lasts until the end of the answer's body.
    pub async fn serve(
        &self,
        name: &str,
        caller: &Caller<'_>,
        door: Door,
        request: Request<Body>,
    ) -> Result<Response<Body>> {
        caller.chain.admit(name)?;
        let call = self.begin(name)?;
        match call.function().serve(caller, door, request).await {
            Ok(response) => {
                if response.status().is_server_error() {
                    call.failed();
                }
                Ok(response.map(|body| call.through(body)))
            }
            Err(error) => {
                call.failed();
                Err(error)
            }
        }
    }

    /// Has a function handle an event of a topic.
    pub async fn event(
        &self,
        name: &str,
        caller: &Caller<'_>,
        event: &Event,
        attempt: u32,
    ) -> Result<Answer> {
        let call = self.begin(name)?;
        let answer = call.function().event(caller, event, attempt).await;
        if !matches!(answer, Ok(Answer::Success | Answer::Drop)) {
            call.failed();
        }
        answer
    }

    /// Tells a function that it is time.
    pub async fn schedule(&self, name: &str, caller: &Caller<'_>, tick: &Tick) -> Result<()> {
        let call = self.begin(name)?;
        let done = call.function().schedule(caller, tick).await;
        done.inspect_err(|_| call.failed())
    }

    /// Has a function handle an event of an input binding.
    pub async fn binding(&self, name: &str, caller: &Caller<'_>, input: &InputEvent) -> Result<()> {
        let call = self.begin(name)?;
        let done = call.function().binding(caller, input).await;
        done.inspect_err(|_| call.failed())
    }
}
