//! What functions import: doors to the blocks, each in the name of the call under way and within the function's grants.

mod http;
mod log;

use outrigger_blocks::function::Grants;
use wasmtime::component::{HasSelf, Linker};

use crate::function::state::Ctx;

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
        "outrigger:fn/types" | "outrigger:fn/log" => Need::Nothing,
        _ => return None,
    })
}

/// Everything that can be imported of `outrigger:fn` and of WASI drafts. What must be granted has been checked before.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::log::add_to_linker::<_, HasSelf<_>>(linker, |ctx: &mut Ctx| &mut ctx.guest)?;
    Ok(())
}
