//! What a component can be called for.

use outrigger_blocks::function::{Door, Triggers};
use outrigger_blocks::{Error, ErrorKind, Result};
use wasmtime::component::InstancePre;
use wasmtime_wasi_http::p2::bindings::exports::wasi::http::incoming_handler;

use super::instance::Started;
use super::state::Ctx;

/// The interfaces of `wasm/wit` a function may export.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package outrigger:host;
            world triggers {
                export outrigger:functions/http@0.1.0;
                export outrigger:functions/event@0.1.0;
                export outrigger:functions/schedule@0.1.0;
                export outrigger:functions/binding@0.1.0;
                export outrigger:functions/invoke@0.1.0;
            }
        ",
        world: "outrigger:host/triggers",
        exports: { default: async },
    });
    pub(crate) use exports::outrigger::functions::*;
}

/// Where they are in the component, those that are.
pub(crate) struct Exports {
    pub(crate) http: Option<bindings::http::GuestIndices>,
    pub(crate) stream: Option<incoming_handler::GuestIndices>,
    pub(crate) event: Option<bindings::event::GuestIndices>,
    pub(crate) schedule: Option<bindings::schedule::GuestIndices>,
    pub(crate) binding: Option<bindings::binding::GuestIndices>,
    pub(crate) invoke: Option<bindings::invoke::GuestIndices>,
}

/// How a function takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    Stream,
    Invoke,
}

impl Exports {
    /// # Errors
    /// A component that exports nothing we call, or something of another shape.
    pub(crate) fn of(pre: &InstancePre<Ctx>) -> Result<Self> {
        let exports = Self {
            http: find(pre, "outrigger:functions/http@0.1.0", bindings::http::GuestIndices::new)?,
            stream: find(pre, "wasi:http/incoming-handler@0.2.0", incoming_handler::GuestIndices::new)?,
            event: find(pre, "outrigger:functions/event@0.1.0", bindings::event::GuestIndices::new)?,
            schedule: find(pre, "outrigger:functions/schedule@0.1.0", bindings::schedule::GuestIndices::new)?,
            binding: find(pre, "outrigger:functions/binding@0.1.0", bindings::binding::GuestIndices::new)?,
            invoke: find(pre, "outrigger:functions/invoke@0.1.0", bindings::invoke::GuestIndices::new)?,
        };
        if exports.triggers() == Triggers::default() {
            return Err(Error::invalid(
                "it exports nothing that could be called: `outrigger:functions/http`, `event`, `schedule`, `binding` or \
                 `invoke` in version 0.1.0, or `wasi:http/incoming-handler` 0.2",
            ));
        }
        Ok(exports)
    }

    pub(crate) fn triggers(&self) -> Triggers {
        Triggers {
            http: self.http.is_some() || self.stream.is_some(),
            event: self.event.is_some(),
            schedule: self.schedule.is_some(),
            binding: self.binding.is_some(),
            invoke: self.invoke.is_some(),
        }
    }

    /// How a request through this door is taken, if it is.
    pub(crate) fn way(&self, door: Door) -> Option<Way> {
        let is_there = |way: &Way| match way {
            Way::Http => self.http.is_some(),
            Way::Stream => self.stream.is_some(),
            Way::Invoke => self.invoke.is_some(),
        };
        let preferred = match door {
            Door::Route => [Way::Http, Way::Stream, Way::Invoke],
            Door::Invoke => [Way::Invoke, Way::Http, Way::Stream],
        };
        preferred.into_iter().find(is_there)
    }

    /// Whether everything exported has the shape it should have.
    pub(crate) fn check(&self, started: Started<'_>) -> wasmtime::Result<()> {
        let Started { store, inner } = started;
        self.http.as_ref().map(|found| found.load(&mut *store, &inner)).transpose()?;
        self.stream.as_ref().map(|found| found.load(&mut *store, &inner)).transpose()?;
        self.event.as_ref().map(|found| found.load(&mut *store, &inner)).transpose()?;
        self.schedule.as_ref().map(|found| found.load(&mut *store, &inner)).transpose()?;
        self.binding.as_ref().map(|found| found.load(&mut *store, &inner)).transpose()?;
        self.invoke.as_ref().map(|found| found.load(&mut *store, &inner)).transpose()?;
        Ok(())
    }
}

fn find<I>(
    pre: &InstancePre<Ctx>,
    name: &str,
    indices: impl FnOnce(&InstancePre<Ctx>) -> wasmtime::Result<I>,
) -> Result<Option<I>> {
    if pre.component().get_export_index(None, name).is_none() {
        return Ok(None);
    }
    let found = indices(pre).map_err(|error| misshapen(name, &error))?;
    Ok(Some(found))
}

fn misshapen(name: &str, error: &wasmtime::Error) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("its export `{name}` is not as it should be: {error:#}"))
}
