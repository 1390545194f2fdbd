//! What every registry of applications promises, as named cases.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::Announcement;

use crate::{patience, unique_name};

/// One test per promise of [`AppRegistry`](outrigger_component_api::AppRegistry), against the registry the expression
/// makes: each is as if of a process of its own.
#[macro_export]
macro_rules! registry_suite {
    ($make:expr) => {
        $crate::cases! { $make, registry, $crate::registry::AppRegistry;
            ping_succeeds
            nobody_is_found_unannounced
            what_is_announced_is_found
            similar_ids_are_apart
            the_last_announcement_counts
            what_is_withdrawn_is_gone
            taking_back_nothing_succeeds
            an_announcement_after_a_withdrawal_counts
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::AppRegistry;

type Registry = Arc<dyn AppRegistry>;

/// So long that it is not what ends an entry.
const TTL: Duration = Duration::from_secs(600);

async fn announce(registry: &Registry, app: &str, address: &str) {
    let (app, address) = (app.to_owned(), address.to_owned());
    registry.announce(Announcement { app, address, ttl: TTL }).await.expect("noted");
}

async fn find(registry: &Registry, app: &str) -> Vec<String> {
    registry.find(app).await.expect("answered")
}

/// Waits until an id has these addresses.
async fn becomes(registry: &Registry, app: &str, expected: &[&str]) {
    let wait = async {
        while find(registry, app).await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let seen = tokio::time::timeout(patience(), wait).await;
    if seen.is_err() {
        panic!("{app} is at {:?} and not at {expected:?}", find(registry, app).await);
    }
}

pub async fn ping_succeeds(registry: Registry) {
    registry.ping().await.expect("it is there");
}

pub async fn nobody_is_found_unannounced(registry: Registry) {
    assert_eq!(find(&registry, &unique_name("app")).await, [""; 0]);
}

pub async fn what_is_announced_is_found(registry: Registry) {
    let app = unique_name("app");
    announce(&registry, &app, "10.0.0.7:34904").await;
    becomes(&registry, &app, &["10.0.0.7:34904"]).await;
}

pub async fn similar_ids_are_apart(registry: Registry) {
    let name = unique_name("app");
    let app = format!("{name}/a%2Fb:1.0");
    announce(&registry, &app, "10.0.0.7:1").await;
    becomes(&registry, &app, &["10.0.0.7:1"]).await;
    let others =
        [name.clone(), format!("{name}/a"), format!("{name}/a/b:1.0"), format!("{app}0"), app.to_uppercase()];
    for other in others {
        assert_eq!(find(&registry, &other).await, [""; 0], "{other} is not {app}");
    }
}

pub async fn the_last_announcement_counts(registry: Registry) {
    let (app, other) = (unique_name("app"), unique_name("other"));
    announce(&registry, &app, "10.0.0.7:1").await;
    becomes(&registry, &app, &["10.0.0.7:1"]).await;
    announce(&registry, &app, "10.0.0.7:2").await;
    becomes(&registry, &app, &["10.0.0.7:2"]).await;
    announce(&registry, &other, "10.0.0.7:2").await;
    becomes(&registry, &other, &["10.0.0.7:2"]).await;
    becomes(&registry, &app, &[]).await;
}

pub async fn what_is_withdrawn_is_gone(registry: Registry) {
    let app = unique_name("app");
    announce(&registry, &app, "10.0.0.7:1").await;
    becomes(&registry, &app, &["10.0.0.7:1"]).await;
    registry.withdraw().await.expect("taken back");
    becomes(&registry, &app, &[]).await;
}

pub async fn taking_back_nothing_succeeds(registry: Registry) {
    registry.withdraw().await.expect("nothing to take back");
    registry.withdraw().await.expect("nor again");
}

pub async fn an_announcement_after_a_withdrawal_counts(registry: Registry) {
    let app = unique_name("app");
    for address in ["10.0.0.7:1", "10.0.0.7:1", "10.0.0.7:2"] {
        announce(&registry, &app, address).await;
        becomes(&registry, &app, &[address]).await;
        registry.withdraw().await.expect("taken back");
        becomes(&registry, &app, &[]).await;
    }
}
