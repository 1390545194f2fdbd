//! A cluster as the admin dump shows it.

use std::sync::Arc;
use std::time::Instant;

use outrigger_resilience::BreakerStatus;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::endpoint::Checked;
use crate::gate::Standing;
use crate::set::{EndpointSet, Member};

/// A moment's view of a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterStatus {
    /// Its name in the configuration.
    pub name: String,
    /// All endpoints, whatever their standing.
    pub endpoints: Vec<EndpointStatus>,
    /// How many of them may be picked.
    pub usable: usize,
    /// Too few were usable, so all are used.
    pub panic: bool,
    /// Open connections and requests waiting for one, over all workers.
    pub connections: usize,
    /// Requests waiting for a connection.
    pub pending: usize,
    /// Requests in progress.
    pub requests: usize,
    /// The breaker, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerStatus>,
    /// Retries the budget still allows.
    pub retry_budget: f64,
}

/// A moment's view of an endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointStatus {
    /// Where it listens, or `function:` and its name.
    pub address: String,
    /// Its share relative to the others.
    pub weight: u32,
    /// Whether it may be picked.
    pub usable: bool,
    /// By its answers to requests.
    pub standing: Standing,
    /// By active checks.
    pub checked: Checked,
    /// Requests in progress.
    pub active: usize,
    /// Pooled connections without a request, over all workers.
    pub idle: usize,
}

impl ClusterStatus {
    pub(crate) fn of(cluster: &Cluster, now: Instant) -> Self {
        if cluster.set().is_due(now) {
            cluster.renew(now);
        }
        let (set, bulkhead) = (cluster.set(), &cluster.usage.bulkhead);
        Self {
            name: cluster.name.to_string(),
            endpoints: set.all.iter().map(|member| EndpointStatus::of(member, &set)).collect(),
            usable: set.usable.len(),
            panic: set.panic,
            connections: bulkhead.connections.used(),
            pending: bulkhead.pending.used(),
            requests: bulkhead.requests.used(),
            breaker: cluster.breaker.as_ref().map(|breaker| breaker.status(now)),
            retry_budget: cluster.budget.balance(now),
        }
    }
}

impl EndpointStatus {
    fn of(member: &Member, set: &EndpointSet) -> Self {
        let endpoint = &member.endpoint;
        Self {
            address: endpoint.location().to_string(),
            weight: member.weight,
            usable: set.usable.iter().any(|usable| Arc::ptr_eq(&usable.endpoint, endpoint)),
            standing: endpoint.standing(),
            checked: endpoint.checked(),
            active: endpoint.active(),
            idle: endpoint.pools.iter().map(|pool| pool.idle()).sum(),
        }
    }
}
