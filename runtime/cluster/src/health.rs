//! Active health checks: each endpoint is asked from time to time, on the control runtime.

mod probe;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::cluster::{Cluster, now};
use crate::config::ActiveConfig;
use crate::endpoint::{Checked, Endpoint};
use crate::gate::Change;

/// Starts the checks of a cluster that asks for them. They end with the cluster.
pub(crate) fn spawn(cluster: &Arc<Cluster>, control: &Handle) -> Option<JoinHandle<()>> {
    let active = cluster.config.health.active.clone()?;
    Some(control.spawn(supervise(Arc::downgrade(cluster), Arc::new(active))))
}

/// Keeps one checker per member, as members come and go. Dropping the set ends them all.
async fn supervise(cluster: Weak<Cluster>, active: Arc<ActiveConfig>) {
    let (mut checkers, mut running) = (JoinSet::new(), HashMap::<usize, AbortHandle>::new());
    loop {
        let Some(strong) = cluster.upgrade() else { return };
        let changed = strong.roster_changed();
        let members = strong.members();
        let present: HashSet<_> = members.iter().map(|member| key(&member.endpoint)).collect();
        running.retain(|endpoint, task| {
            let stays = present.contains(endpoint);
            if !stays {
                task.abort();
            }
            stays
        });
        for member in members {
            let (cluster, active, endpoint) = (cluster.clone(), Arc::clone(&active), member.endpoint);
            let check = || checkers.spawn(check_forever(cluster, Arc::clone(&endpoint), active));
            running.entry(key(&endpoint)).or_insert_with(check);
        }
        // The wait borrows the cluster; the owner of this task aborts it when the cluster goes.
        changed.await;
    }
}

/// An endpoint's place in memory, which is its own for as long as its checker holds it.
fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint) as usize
}

async fn check_forever(cluster: Weak<Cluster>, endpoint: Arc<Endpoint>, active: Arc<ActiveConfig>) {
    let mut streak = Streak::new(&active, endpoint.checked());
    loop {
        let Some(strong) = cluster.upgrade() else { return };
        let result = tokio::time::timeout(active.timeout, probe::ask(&strong, &endpoint, &active)).await;
        let result = result.unwrap_or_else(|_| Err(format!("no answer within {:?}", active.timeout)));
        if let Some(checked) = streak.add(result.is_ok()) {
            note(&strong, &endpoint, checked, result.as_ref().err());
        }
        if result.is_ok() && endpoint.gate.readmit() == Change::Back {
            strong.renew(now());
        }
        drop(strong);
        tokio::time::sleep(jittered(active.interval)).await;
    }
}

fn note(cluster: &Cluster, endpoint: &Endpoint, checked: Checked, why: Option<&String>) {
    if !endpoint.set_checked(checked) {
        return;
    }
    let (name, address) = (&*cluster.name, endpoint.location());
    match why {
        None => info!(cluster = name, %address, "endpoint passes its health checks"),
        Some(why) => warn!(cluster = name, %address, why, "endpoint fails its health checks"),
    }
    cluster.renew(now());
}

/// Give or take a tenth, so that many sidecars do not ask at the same moment.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + fastrand::f64() / 5.0)
}

/// Results in a row, compared with the thresholds.
struct Streak {
    healthy: u32,
    unhealthy: u32,
    state: Checked,
    same: u32,
    last: bool,
}

impl Streak {
    fn new(active: &ActiveConfig, state: Checked) -> Self {
        Self { healthy: active.healthy, unhealthy: active.unhealthy, state, same: 0, last: false }
    }

    /// Counts a result; says the new state when it changes.
    fn add(&mut self, good: bool) -> Option<Checked> {
        self.same = if self.last == good { self.same.saturating_add(1) } else { 1 };
        self.last = good;
        let (next, needed) =
            if good { (Checked::Healthy, self.healthy) } else { (Checked::Unhealthy, self.unhealthy) };
        // The first result after start counts in full: nothing is known that it would have to outweigh.
        if self.state == next || (self.state != Checked::Unknown && self.same < needed) {
            return None;
        }
        self.state = next;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_decide() {
        let text = r#"{"type":"tcp","healthy":2,"unhealthy":3}"#;
        let active: ActiveConfig = serde_json::from_str(text).unwrap();
        let check = |from, results: &[bool], expected: &[Option<Checked>]| {
            let mut streak = Streak::new(&active, from);
            assert_eq!(results.iter().map(|good| streak.add(*good)).collect::<Vec<_>>(), expected);
        };
        let (up, down) = (Some(Checked::Healthy), Some(Checked::Unhealthy));
        check(Checked::Unknown, &[true, false, false, false, true, true], &[up, None, None, down, None, up]);
        check(Checked::Unknown, &[false, true, true], &[down, None, up]);
        check(
            Checked::Healthy,
            &[false, false, true, false, false, false],
            &[None, None, None, None, None, down],
        );
    }

    #[test]
    fn intervals_are_spread() {
        let interval = Duration::from_secs(10);
        let waits: Vec<_> = (0..200).map(|_| jittered(interval)).collect();
        assert!(waits.iter().all(|wait| (9.0..=11.0).contains(&wait.as_secs_f64())));
        assert!(waits.iter().max() > waits.iter().min());
    }
}
