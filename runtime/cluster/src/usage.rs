//! Who uses a cluster and its endpoints at the moment.

use std::sync::Arc;

use outrigger_resilience::Bulkhead;
use outrigger_telemetry::Gauge;

use crate::endpoint::Endpoint;

/// What counts the requests in progress of one cluster.
pub(crate) struct Usage {
    pub(crate) bulkhead: Arc<Bulkhead>,
    pub(crate) active: Gauge,
}

impl Usage {
    /// A place for a request, if the limit allows one more.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Ticket> {
        if !self.bulkhead.requests.enter() {
            return None;
        }
        self.active.add(1);
        Some(Ticket(Arc::clone(self)))
    }
}

/// A request in progress, from its start to the end of its response body.
pub(crate) struct Ticket(Arc<Usage>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.active.add(-1);
        self.0.bulkhead.requests.leave();
    }
}

/// A request in progress on one endpoint: what least-request balancing compares.
#[derive(Debug)]
pub(crate) struct Load(Arc<Endpoint>);

impl Load {
    pub(crate) fn on(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.enter();
        Self(Arc::clone(endpoint))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Both, held by whatever outlives the call: a response body or an L4 connection.
pub struct InFlight {
    _ticket: Ticket,
    _load: Load,
}

impl InFlight {
    pub(crate) fn new(ticket: Ticket, load: Load) -> Self {
        Self { _ticket: ticket, _load: load }
    }
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InFlight")
    }
}
