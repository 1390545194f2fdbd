//! Functions: programs deployed into this process, which events, schedules and requests call and which call the blocks.
//!
//! How one is run is not known here: a [`FunctionHost`] makes a [`Function`] of a module, and [`Functions`] knows which
//! version of each answers.

mod calls;
mod chain;
mod config;
mod entry;
mod functions;
mod grants;
mod line;
mod log;
mod module;
mod report;
mod schedule;
mod summons;
mod taker;
mod version;

use std::sync::Arc;
use std::time::SystemTime;

use http::{Request, Response};
use outrigger_cluster::Body;
use outrigger_component_api::{Result, async_trait};

pub use chain::Chain;
pub use config::{EventTrigger, FunctionConfig, Grants, ScheduleTrigger, check_name};
pub use functions::{Coming, Deployed, Functions, Prepared, Standing};
pub use grants::{GrantProblem, Known, Section};
pub use log::{FunctionLog, LogLine};
pub use module::{MAX_MODULE, Module, sha256};
pub use report::{FunctionReport, Origin, VersionReport, VersionState};
pub use schedule::{Clock, Times};
pub use summons::{ReadTimes, Summons};
pub use taker::Taker;

use crate::bindings::InputEvent;
use crate::caller::Caller;
use crate::pubsub::{Answer, Event};

/// Makes functions of modules.
#[async_trait]
pub trait FunctionHost: Send + Sync + 'static {
    /// Compiles a module, checks what it wants against what it is granted, and tries it out. Nothing calls it yet.
    ///
    /// # Errors
    /// [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument) for what is wrong with the module,
    /// [`PermissionDenied`](outrigger_component_api::ErrorKind::PermissionDenied) naming the grant it lacks.
    async fn load(&self, load: Load) -> Result<Arc<dyn Function>>;
}

/// What a function is made of.
#[derive(Clone, Debug)]
pub struct Load {
    pub name: Arc<str>,
    /// Names the version in logs and metrics: the beginning of the module's digest.
    pub version: Arc<str>,
    pub module: Module,
    pub config: FunctionConfig,
    /// Takes what it writes, to its log and to its standard output and error.
    pub log: Arc<FunctionLog>,
}

/// One version of a function, ready to be called. It ends when the last call of it does and nobody holds it.
///
/// A deadline of the caller's shortens the function's own. Errors are
/// [`Timeout`](outrigger_component_api::ErrorKind::Timeout), [`RateLimited`](outrigger_component_api::ErrorKind::RateLimited)
/// when too many calls run and wait, [`Unavailable`](outrigger_component_api::ErrorKind::Unavailable) while it is kept from
/// running because it keeps failing, and [`Internal`](outrigger_component_api::ErrorKind::Internal) for one that trapped.
#[async_trait]
pub trait Function: Send + Sync + 'static {
    /// What it can be called for.
    fn triggers(&self) -> Triggers;

    /// A request, by its `http` or, through [`Door::Invoke`], its `invoke` where it has one. Its body is read on any thread.
    async fn serve(&self, caller: &Caller<'_>, door: Door, request: Request<Body>) -> Result<Response<Body>>;

    /// An event of a topic. Never [`Answer::Unreached`].
    async fn event(&self, caller: &Caller<'_>, event: &Event, attempt: u32) -> Result<Answer>;

    /// A time of a schedule.
    async fn schedule(&self, caller: &Caller<'_>, tick: &Tick) -> Result<()>;

    /// An event of an input binding.
    async fn binding(&self, caller: &Caller<'_>, input: &InputEvent) -> Result<()>;
}

/// How a request comes to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// By a route.
    Route,
    /// By its name.
    Invoke,
}

/// What a function can be called for: what it exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    /// `http`, or `wasi:http/incoming-handler`.
    pub http: bool,
    pub event: bool,
    pub schedule: bool,
    pub binding: bool,
    pub invoke: bool,
}

impl Triggers {
    /// The names of what it can be called for.
    pub fn names(self) -> Vec<&'static str> {
        let Self { http, event, schedule, binding, invoke } = self;
        let all = [
            ("http", http),
            ("event", event),
            ("schedule", schedule),
            ("binding", binding),
            ("invoke", invoke),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
}

/// A time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The schedule's name.
    pub name: Arc<str>,
    pub due: SystemTime,
}
