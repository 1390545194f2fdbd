//! Leases, which let keys end by themselves.

use std::time::Duration;

use outrigger_component_api::Result;

use crate::link::Links;

/// The longest time etcd takes for a lease, in seconds.
const LONGEST: u64 = 9_000_000_000;

/// Whole seconds that are not less than `ttl`.
fn seconds(ttl: Duration) -> i64 {
    let up = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    i64::try_from(up.clamp(1, LONGEST)).unwrap_or(i64::MAX)
}

/// A lease of this time or a little more.
pub(crate) async fn grant(links: &Links, ttl: Duration) -> Result<i64> {
    let ttl = seconds(ttl);
    let granted = links.run(|etcd| async move { etcd.lease().grant(ttl, None).await });
    Ok(granted.await?.id())
}

/// As [`grant`], for whoever waits no longer than `limit`.
pub(crate) async fn grant_within(links: &Links, limit: Duration, ttl: Duration) -> Result<i64> {
    let ttl = seconds(ttl);
    let granted = links.run_within(limit, |etcd| async move { etcd.lease().grant(ttl, None).await });
    Ok(granted.await?.id())
}

/// Ends a lease nobody uses any more. One that cannot be ended now ends by itself.
pub(crate) async fn revoke(links: &Links, lease: i64) {
    if lease == 0 {
        return;
    }
    if let Err(error) = links.run(|etcd| async move { etcd.lease().revoke(lease).await }).await {
        tracing::debug!(%error, "a lease of etcd is left to its time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_never_shorter_than_asked() {
        let check = |ttl: Duration, expected: i64| assert_eq!(seconds(ttl), expected, "{ttl:?}");
        check(Duration::ZERO, 1);
        check(Duration::from_millis(1), 1);
        check(Duration::from_millis(1001), 2);
        check(Duration::from_secs(7), 7);
        check(Duration::MAX, 9_000_000_000);
    }
}
