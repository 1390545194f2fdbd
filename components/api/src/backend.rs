//! What a technology implements to provide a block.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Error, HttpClients, Result, Settings};

/// What every built component has, whichever block it provides.
#[async_trait]
pub trait Component: Send + Sync + 'static {
    /// Whether the component can serve right now, found out by asking it and not by remembering: the actuator reports
    /// this. Cheap enough to be called every few seconds; the caller brings the deadline.
    async fn ping(&self) -> Result<()>;

    /// Takes settings in place of the ones it was built with, all of them, from the next call on. Settings that do
    /// not fit change nothing. Most components are built anew instead and answer
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    async fn apply(&self, _settings: Settings) -> Result<()> {
        Err(Error::unsupported("new settings while it runs"))
    }
}

/// One technology providing one block. Implemented by a unit type that is only named in the registration:
/// `registry.state::<SqliteState>()`.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The component type, with the name the ecosystem gives it: `state.redis`, `secretstores.local.env`.
    const TYPE: &'static str;
    /// Other names existing configurations use for it.
    const ALIASES: &'static [&'static str] = &[];
    /// One sentence for the list of components.
    const ABOUT: &'static str;
    /// Settings for the example on its page, as text: those without a default, and what most people set first.
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[];
    /// The settings: plain data, every field documented and defaulted, unknown keys denied.
    type Config: DeserializeOwned + JsonSchema + Send;
    /// The block: `dyn StateStore`.
    type Block: ?Sized + Send + Sync + 'static;

    /// Files it looks at again by itself when they change. Where it is a secret store, such a change leads to the
    /// components that took their settings from it being built anew.
    fn files(_config: &Self::Config) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Makes the component. Wrong settings are [`InvalidArgument`](crate::ErrorKind::InvalidArgument) and final; a
    /// server that cannot be reached is not a reason to fail, unless nothing useful can be held without it: then
    /// [`Unavailable`](crate::ErrorKind::Unavailable), and the runtime tries again later.
    async fn build(config: Self::Config, context: &BuildContext) -> Result<Arc<Self::Block>>;
}

/// What a backend may know about where it is built.
#[derive(Clone, Debug, Default)]
pub struct BuildContext {
    /// The component's name in the configuration.
    pub component: String,
    /// The application's id; empty if it has none.
    pub app_id: String,
    /// Who carries HTTP requests, where there is somebody.
    pub http: Option<Arc<dyn HttpClients>>,
}

/// One component as configured, whatever format it was read from. Secrets are already resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComponentSpec {
    pub name: String,
    /// The component type, such as `state.sqlite`.
    pub r#type: String,
    /// The backend's settings. Settings of the block itself (`keyPrefix`) are taken out by the block before the
    /// backend, which denies unknown keys, sees the rest.
    pub settings: Settings,
    /// The apps that may use it; empty is all.
    pub scopes: Vec<String>,
}

impl ComponentSpec {
    /// Takes a setting out. Names are matched without regard to case, as the ecosystem does.
    pub fn take(&mut self, setting: &str) -> Option<serde_json::Value> {
        let name = self.settings.keys().find(|name| name.eq_ignore_ascii_case(setting))?.clone();
        self.settings.remove(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_its_own_settings_out() {
        let mut spec = ComponentSpec::default();
        spec.settings.insert("keyprefix".to_owned(), "none".into());
        assert_eq!(spec.take("keyPrefix"), Some("none".into()));
        assert_eq!(spec.take("keyPrefix"), None);
        assert!(spec.settings.is_empty());
    }
}
