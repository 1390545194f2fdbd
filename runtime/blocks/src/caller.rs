//! On whose behalf an operation runs, and until when.

use outrigger_resilience::Deadline;
use outrigger_telemetry::trace::TraceContext;

use crate::function::Chain;

/// What a front door knows about the other side of one call.
#[derive(Clone, Debug)]
pub struct Caller<'a> {
    /// The calling application; scopes and the `appid` key prefix look at it. Empty if it has no name.
    pub app_id: &'a str,
    /// When the caller stops waiting.
    pub deadline: Deadline,
    /// Where in a trace the caller stands, if it said so.
    pub trace: Option<TraceContext>,
    /// The functions of this process that wait for the call.
    pub chain: Chain,
}

impl<'a> Caller<'a> {
    /// A caller who waits as long as it takes and is not being traced.
    pub fn new(app_id: &'a str) -> Self {
        Self { app_id, deadline: Deadline::NEVER, trace: None, chain: Chain::default() }
    }
}
