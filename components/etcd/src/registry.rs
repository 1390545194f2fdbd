//! The registry block on etcd: each sidecar is a key on a lease it keeps alive, and each sees the keys of all by a
//! watch, so that finding one asks nobody.

mod keeper;
mod mirror;

use std::sync::Arc;

use outrigger_component_api::{
    Announcement, AppRegistry, Backend, BuildContext, Component, Error, Result, async_trait,
};

use crate::config::EtcdConfig;
use crate::link::Links;
use keeper::Keeper;
use mirror::Mirror;

/// Registers [`EtcdRegistry`] as `registry.etcd`.
pub struct EtcdRegistryBackend;

#[async_trait]
impl Backend for EtcdRegistryBackend {
    const TYPE: &'static str = "registry.etcd";
    const ABOUT: &'static str =
        "Finds the sidecars of other hosts by the ids of their applications, in an etcd cluster.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("endpoints", "localhost:2379")];
    type Config = EtcdConfig;
    type Block = dyn AppRegistry;

    async fn build(config: EtcdConfig, _: &BuildContext) -> Result<Arc<dyn AppRegistry>> {
        Ok(Arc::new(EtcdRegistry::start(&config)?))
    }
}

/// A registry in an etcd cluster.
///
/// What it does in the background lives on the runtime that started it. An entry lasts as long as its lease, of which
/// etcd keeps count: it survives the end of etcd's processes, and goes with the registry that is dropped.
pub struct EtcdRegistry {
    links: Arc<Links>,
    prefix: String,
    keeper: Keeper,
    mirror: Mirror,
}

impl EtcdRegistry {
    /// Begins to follow the registry, which need not be there yet.
    pub fn start(config: &EtcdConfig) -> Result<Self> {
        let (links, prefix) = (Arc::new(Links::new(config)?), config.prefix("/outrigger/apps/"));
        let keeper = Keeper::start(Arc::clone(&links), prefix.clone());
        let mirror = Mirror::start(Arc::clone(&links), prefix.clone());
        Ok(Self { links, prefix, keeper, mirror })
    }
}

#[async_trait]
impl Component for EtcdRegistry {
    async fn ping(&self) -> Result<()> {
        self.links.ping(&self.prefix).await
    }
}

#[async_trait]
impl AppRegistry for EtcdRegistry {
    async fn announce(&self, announcement: Announcement) -> Result<()> {
        if announcement.app.is_empty() {
            return Err(Error::invalid("the id of an application is empty"));
        }
        self.keeper.announce(announcement);
        Ok(())
    }

    async fn withdraw(&self) -> Result<()> {
        self.keeper.withdraw().await
    }

    async fn find(&self, app: &str) -> Result<Vec<String>> {
        self.mirror.find(app).await
    }
}

/// An id as part of a key: what separates the parts must not be in one.
fn escaped(app: &str) -> String {
    app.replace('%', "%25").replace('/', "%2F")
}

fn unescaped(part: &str) -> String {
    part.replace("%2F", "/").replace("%25", "%")
}

/// The key of one sidecar: no two have the same lease.
fn key(prefix: &str, app: &str, lease: i64) -> String {
    format!("{prefix}{}/{lease:x}", escaped(app))
}

/// The id a key is of.
fn app_of(prefix: &str, key: &[u8]) -> Option<String> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    let (app, _lease) = rest.split_once('/')?;
    Some(unescaped(app))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_keys_of_its_own() {
        for app in ["orders", "a/b", "50%", "a%2Fb", "über/%", "HelloService:1.0"] {
            let key = key("/p/", app, 0x2a);
            assert_eq!(app_of("/p/", key.as_bytes()).as_deref(), Some(app), "{key}");
        }
        assert_eq!(key("/p/", "a/b", 0x2a), "/p/a%2Fb/2a");
        for foreign in ["/p/orders", "/q/orders/2a", "/p"] {
            assert_eq!(app_of("/p/", foreign.as_bytes()), None, "{foreign}");
        }
        assert_eq!(app_of("/p/", b"/p/\xff/1"), None);
    }
}
