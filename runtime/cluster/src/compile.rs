//! From settings to running clusters, keeping what the change does not touch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use outrigger_http::Problem;
use outrigger_resilience::{Breaker, Bulkhead, RetryBudget};
use outrigger_telemetry::Metrics;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, Parts, now};
use crate::config::ClusterConfig;
use crate::dial::Dialer;
use crate::endpoint::{Endpoint, Identity};
use crate::local::{NoServices, Services};
use crate::metrics::ClusterMetrics;
use crate::registry::{Resolve, SystemResolver};
use crate::set::Member;
use crate::usage::Usage;
use crate::waiting::Waiting;
use crate::{health, registry};

/// What clusters need from the process around them.
#[derive(Clone)]
pub struct Context {
    /// Where they count.
    pub metrics: Metrics,
    /// Where DNS and active checks run: the control runtime, never a worker.
    pub control: Handle,
    /// Who answers names.
    pub resolver: Arc<dyn Resolve>,
    /// Who answers for the functions endpoints name.
    pub services: Arc<dyn Services>,
}

impl Context {
    /// With the system's resolver, and without functions.
    pub fn new(metrics: Metrics, control: Handle) -> Self {
        Self { metrics, control, resolver: Arc::new(SystemResolver), services: Arc::new(NoServices) }
    }
}

/// All clusters of one configuration. Dropping it ends the background work of those that no newer
/// configuration has taken over; requests under way keep their own `Arc<Cluster>`.
pub struct Clusters {
    context: Context,
    entries: BTreeMap<Arc<str>, Entry>,
}

struct Entry {
    cluster: Arc<Cluster>,
    background: Arc<Background>,
}

/// The tasks of one cluster on the control runtime, aborted when the last configuration lets go.
#[derive(Default)]
struct Background(Mutex<Vec<JoinHandle<()>>>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.get_mut().iter().for_each(JoinHandle::abort);
    }
}

impl Clusters {
    /// No clusters: what the first configuration is compiled against.
    pub fn empty(context: Context) -> Self {
        Self { context, entries: BTreeMap::new() }
    }

    /// Compiles `config`, taking over from `previous` whatever stays the same. Nothing runs until
    /// [`activate`](Self::activate), so a result that is thrown away had no effect.
    ///
    /// # Errors
    /// Every problem found, with paths that begin with the cluster's name.
    pub fn compile(config: &BTreeMap<String, ClusterConfig>, previous: &Self) -> Result<Self, Vec<Problem>> {
        let (mut entries, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, config) in config {
            match previous.entry(name, config) {
                Ok(entry) => drop(entries.insert(Arc::clone(&entry.cluster.name), entry)),
                Err(found) => problems.extend(found.into_iter().map(|problem| problem.within(name))),
            }
        }
        if problems.is_empty() {
            Ok(Self { context: previous.context.clone(), entries })
        } else {
            Err(problems)
        }
    }

    /// Starts the background work of clusters that have none yet. Call it when the configuration is swapped
    /// in; calling it again does nothing.
    pub fn activate(&self) {
        for entry in self.entries.values() {
            let mut tasks = entry.background.0.lock();
            if tasks.is_empty() {
                let (cluster, control) = (&entry.cluster, &self.context.control);
                tasks.extend(registry::dns::spawn(cluster, Arc::clone(&self.context.resolver), control));
                tasks.extend(health::spawn(cluster, control));
            }
        }
    }

    /// The cluster called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.entries.get(name).map(|entry| &entry.cluster)
    }

    /// All clusters by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.entries.values().map(|entry| &entry.cluster)
    }

    /// The names there are, for messages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|name| &**name)
    }

    fn entry(&self, name: &str, config: &ClusterConfig) -> Result<Entry, Vec<Problem>> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let dialer = Dialer::new(config).map_err(|error| vec![Problem::new("tls", error.to_string())])?;
        let nameless =
            |endpoint: &&crate::config::EndpointConfig| dialer.check_name(&endpoint.location).is_err();
        if config.endpoints.iter().any(|endpoint| nameless(&endpoint)) {
            return Err(vec![Problem::new("tls.server_name", "is needed for endpoints on Unix sockets")]);
        }
        let old = self.entries.get(name);
        if let Some(entry) = old.filter(|entry| entry.cluster.is_same(config, &dialer)) {
            let (cluster, background) = (Arc::clone(&entry.cluster), Arc::clone(&entry.background));
            return Ok(Entry { cluster, background });
        }
        let old = old.map(|entry| &*entry.cluster);
        let cluster = Arc::new(self.build(name, config, dialer, old));
        Ok(Entry { cluster, background: Arc::default() })
    }

    fn build(&self, name: &str, config: &ClusterConfig, dialer: Dialer, old: Option<&Cluster>) -> Cluster {
        let now = now();
        let metrics = ClusterMetrics::new(&self.context.metrics, name);
        let (usage, waiting) = match old.filter(|old| old.config.limits == config.limits) {
            Some(old) => (Arc::clone(&old.usage), Arc::clone(&old.waiting)),
            None => {
                let bulkhead = Arc::new(Bulkhead::new(&config.limits));
                let usage = Usage { bulkhead: Arc::clone(&bulkhead), active: metrics.active.clone() };
                (Arc::new(usage), Arc::new(Waiting::new(bulkhead)))
            }
        };
        let budget = old.filter(|old| old.config.retry_budget == config.retry_budget).map_or_else(
            || Arc::new(RetryBudget::new(&config.retry_budget, now)),
            |old| Arc::clone(&old.budget),
        );
        let breaker = config.breaker.map(|settings| {
            let kept =
                old.and_then(|old| old.breaker.as_ref()).filter(|breaker| *breaker.config() == settings);
            kept.cloned().unwrap_or_else(|| Arc::new(Breaker::new(settings, now)))
        });
        let members = members(config, &dialer, old);
        let (name, config) = (Arc::from(name), config.clone());
        let services = Arc::clone(&self.context.services);
        let parts =
            Parts { name, config, dialer, breaker, budget, usage, waiting, metrics, services, members };
        Cluster::new(parts, now)
    }
}

impl Cluster {
    /// Whether these settings, and the files they name, are the ones this cluster was made from.
    fn is_same(&self, config: &ClusterConfig, dialer: &Dialer) -> bool {
        self.config == *config && self.dialer.is_same(dialer)
    }
}

/// The members to begin with: the fixed ones, or what DNS said last.
fn members(config: &ClusterConfig, dialer: &Dialer, old: Option<&Cluster>) -> Vec<Member> {
    let last = old.map(Cluster::members).unwrap_or_default();
    let wanted: Vec<_> = match (&config.dns, old) {
        (None, _) => config.endpoints.iter().map(|e| (e.location.clone(), e.weight)).collect(),
        (Some(dns), Some(old)) if old.config.dns.as_ref() == Some(dns) => {
            last.iter().map(|member| (member.endpoint.location().clone(), member.weight)).collect()
        }
        _ => Vec::new(),
    };
    adopt(wanted.into_iter().map(|(location, weight)| (dialer.identity(location), weight)), &last)
}

/// Members for the wanted identities, taking the endpoints that are known already.
pub(crate) fn adopt(wanted: impl Iterator<Item = (Identity, u32)>, known: &[Member]) -> Vec<Member> {
    let known: HashMap<_, _> = known.iter().map(|m| (m.endpoint.identity(), &m.endpoint)).collect();
    wanted
        .map(|(identity, weight)| {
            let kept = known.get(&identity).map(|endpoint| Arc::clone(endpoint));
            Member { endpoint: kept.unwrap_or_else(|| Arc::new(Endpoint::new(identity))), weight }
        })
        .collect()
}
