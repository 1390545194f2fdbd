//! What functions import: doors to the blocks, each in the name of the call under way and within the function's grants.

mod binding;
mod config;
mod configuration;
mod error;
mod http;
mod invocation;
mod keyvalue;
mod lock;
mod log;
mod metadata;
mod metrics;
mod pubsub;
mod secrets;
mod sequencer;
mod state;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_blocks::Result;
use outrigger_blocks::function::Section;
use outrigger_telemetry::trace::{TRACEPARENT, TRACESTATE};
use wasmtime::component::{HasSelf, Linker};

use crate::function::state::{Call, Ctx, Guest};

use error::Answer;
pub(crate) use metrics::{Counted, Families};

/// The interfaces of `wasm/wit`, as the host provides them. Those of imports are implemented by `Guest`.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "outrigger:functions/imports",
        imports: { default: async | trappable },
    });
    pub(crate) use outrigger::functions::*;
}

/// The section of which something has to be granted for an interface, named without its version. Of clusters nothing has
/// to: some tools have every function import requests, whether it makes any or not.
pub(crate) fn section(interface: &str) -> Option<Section> {
    Some(match interface {
        "outrigger:functions/state"
        | "wasi:keyvalue/store"
        | "wasi:keyvalue/atomics"
        | "wasi:keyvalue/batch" => Section::State,
        "outrigger:functions/pubsub" => Section::Pubsub,
        "outrigger:functions/configuration" => Section::Configuration,
        "outrigger:functions/lock" => Section::Lock,
        "outrigger:functions/sequencer" => Section::Sequencer,
        "outrigger:functions/secrets" => Section::Secrets,
        "outrigger:functions/invocation" => Section::Invoke,
        "outrigger:functions/bindings" => Section::Bindings,
        _ => return None,
    })
}

/// Everything that can be imported of `outrigger:functions` and of WASI drafts. What must be granted has been checked before.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    fn guest(ctx: &mut Ctx) -> &mut Guest {
        &mut ctx.guest
    }
    bindings::state::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::pubsub::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::configuration::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::lock::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::sequencer::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::secrets::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::invocation::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::bindings::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::log::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    bindings::metrics::add_to_linker::<_, HasSelf<_>>(linker, guest)?;
    config::add_to_linker(linker, guest)?;
    keyvalue::add_to_linker(linker, guest)
}

impl Guest {
    /// One more operation of the call under way, on a component it may use.
    fn on(&mut self, section: Section, component: &str) -> Result<Call> {
        self.on_many(section, component, 1)
    }

    /// The same for so many operations at once.
    fn on_many(&mut self, section: Section, component: &str, many: usize) -> Result<Call> {
        let call = self.operations(many)?;
        self.program.config.grants.check(section, component)?;
        Ok(call)
    }

    /// The same for a part of what a component has: a topic, a secret, a path.
    fn on_part(&mut self, section: Section, component: &str, part: &str) -> Result<Call> {
        let call = self.operation()?;
        self.program.config.grants.check_part(section, component, part)?;
        Ok(call)
    }
}

/// What sidecars tell each other, such as who asks: it is believed, and therefore not for functions to say.
fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("outrigger-") || name.as_str().starts_with("dapr-")
}

impl Call {
    /// Has whoever is asked know the trace. Where spans are recorded the cluster writes its own over it.
    fn write_trace(&self, headers: &mut HeaderMap) {
        let Some(trace) = &self.trace else { return };
        headers.remove(&TRACESTATE);
        let state = trace.state.as_ref().and_then(|state| HeaderValue::from_str(state).ok());
        headers.extend(state.map(|state| (TRACESTATE, state)));
        headers.extend(HeaderValue::from_str(&trace.to_header()).ok().map(|parent| (TRACEPARENT, parent)));
    }
}
