//! One attempt on one endpoint, judged exactly once or not at all.

use std::sync::Arc;
use std::time::Instant;

use crate::cluster::Cluster;
use crate::endpoint::Endpoint;
use crate::gate::Verdict;
use crate::pick::Picked;

/// Dropped without a verdict (the client went away, or we were at fault), it leaves the endpoint as it was and
/// lets somebody else decide over its probation.
pub(crate) struct Trial<'a> {
    cluster: &'a Cluster,
    pub(crate) endpoint: Arc<Endpoint>,
    /// The same request has failed on it before.
    pub(crate) again: bool,
    probe: bool,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(cluster: &'a Cluster, picked: Picked) -> Self {
        let Picked { endpoint, probe, again } = picked;
        Self { cluster, endpoint, again, probe }
    }

    pub(crate) fn judge(&mut self, verdict: Verdict, now: Instant) {
        self.probe = false;
        self.cluster.judge(&self.endpoint, verdict, now);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.endpoint.gate.release_probe();
        }
    }
}
