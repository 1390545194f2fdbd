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

use outrigger_blocks::Result;
use outrigger_blocks::function::{Grants, Section};
use wasmtime::component::{HasSelf, Linker};

use crate::function::state::{Call, Ctx, Guest};

use error::Answer;
pub(crate) use metrics::Families;

/// The interfaces of `wasm/wit`, as the host provides them. Those of imports are implemented by `Guest`.
pub(crate) mod bindings {
    // `fn` is no name for a module of Rust; where a package is there in two versions, the version becomes part of it.
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "package outrigger:fn@0.0.0;",
        world: "outrigger:fn/imports@0.1.0",
        imports: { default: async | trappable },
    });
    pub(crate) use outrigger::fn0_1_0::*;
}

/// What an import may need before it is there at all.
pub(crate) enum Need {
    Nothing,
    /// One grant at least in this section.
    Grant(&'static str, fn(&Grants) -> &Vec<String>),
}

/// What has to be granted for an interface, named without its version; none for one there is not.
pub(crate) fn need(interface: &str) -> Option<Need> {
    Some(match interface {
        "outrigger:fn/types" | "outrigger:fn/log" | "outrigger:fn/metrics" | "wasi:config/store" => {
            Need::Nothing
        }
        "outrigger:fn/state" | "wasi:keyvalue/store" | "wasi:keyvalue/atomics" | "wasi:keyvalue/batch" => {
            Need::Grant("state", |grants| &grants.state)
        }
        "outrigger:fn/pubsub" => Need::Grant("pubsub", |grants| &grants.pubsub),
        "outrigger:fn/configuration" => Need::Grant("configuration", |grants| &grants.configuration),
        "outrigger:fn/lock" => Need::Grant("lock", |grants| &grants.lock),
        "outrigger:fn/sequencer" => Need::Grant("sequencer", |grants| &grants.sequencer),
        "outrigger:fn/secrets" => Need::Grant("secrets", |grants| &grants.secrets),
        "outrigger:fn/invocation" => Need::Grant("invoke", |grants| &grants.invoke),
        "outrigger:fn/bindings" => Need::Grant("bindings", |grants| &grants.bindings),
        _ => return None,
    })
}

/// Everything that can be imported of `outrigger:fn` and of WASI drafts. What must be granted has been checked before.
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
        let call = self.operation()?;
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
