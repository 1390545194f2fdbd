//! A cluster's endpoints kept equal to the addresses of a name.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::{Found, Resolve};
use crate::cluster::{Cluster, now};
use crate::compile::adopt;
use crate::config::{DnsConfig, Location};

/// A record is believed at least this long, so that a TTL of zero does not become a busy loop.
const MIN_TTL: Duration = Duration::from_secs(1);
/// And at most this long, so that a change is seen within minutes.
const MAX_TTL: Duration = Duration::from_secs(300);
/// The longest pause between two failing look-ups.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Starts the look-ups of a cluster that has a name. They end with the cluster.
pub(crate) fn spawn(
    cluster: &Arc<Cluster>,
    resolver: Arc<dyn Resolve>,
    control: &Handle,
) -> Option<JoinHandle<()>> {
    let dns = cluster.config.dns.clone()?;
    Some(control.spawn(keep_up_to_date(Arc::downgrade(cluster), dns, resolver)))
}

async fn keep_up_to_date(cluster: Weak<Cluster>, dns: DnsConfig, resolver: Arc<dyn Resolve>) {
    let mut failures = 0u32;
    loop {
        let answer = resolver.resolve(&dns.name).await;
        let Some(cluster) = cluster.upgrade() else { return };
        let pause = match answer {
            Ok(found) => {
                failures = 0;
                apply(&cluster, &dns, &found);
                pause_after(&dns, &found)
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let (cluster, name, kept) = (&*cluster.name, &dns.name, cluster.members().len());
                warn!(cluster, name, error, kept, "name lookup failed; the last good answer stays");
                pause_after_failure(failures)
            }
        };
        drop(cluster);
        tokio::time::sleep(pause).await;
    }
}

fn pause_after(dns: &DnsConfig, found: &Found) -> Duration {
    let ttl = found.valid_until.saturating_duration_since(now()).clamp(MIN_TTL, MAX_TTL);
    dns.refresh.unwrap_or(ttl)
}

fn pause_after_failure(failures: u32) -> Duration {
    let doubled = Duration::from_millis(100).saturating_mul(1 << failures.min(10)).min(MAX_PAUSE);
    doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Replaces the members when the answer differs; the order of addresses, which servers rotate, does not count.
fn apply(cluster: &Cluster, dns: &DnsConfig, found: &Found) {
    let mut addresses: Vec<SocketAddr> =
        found.addresses.iter().map(|ip| SocketAddr::new(*ip, dns.port)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let known = cluster.members();
    let wanted: Vec<_> = addresses
        .iter()
        .map(|address| cluster.dialer.identity(Location::Address((*address).into())))
        .collect();
    if cluster.is_resolved() && known.iter().map(|member| member.endpoint.identity()).eq(&wanted) {
        return;
    }
    debug!(cluster = &*cluster.name, name = dns.name, ?addresses, "endpoints changed");
    cluster.set_members(adopt(wanted.into_iter().map(|identity| (identity, 1)), &known), now());
}
