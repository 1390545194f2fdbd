//! Configuration from this process's environment: read only, and as it was when the component was built.

use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, ConfigurationCapabilities, ConfigurationItem as Item,
    ConfigurationStore, Result, Selector, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::format::Items;
use super::select;
use crate::env::open_variables;

/// Registers [`EnvConfiguration`] as `configuration.local.env`.
pub struct EnvConfigurationBackend;

/// Settings of `configuration.local.env`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvConfigurationConfig {
    /// Only variables that start with this are items, and they are named without it. Default: all variables.
    prefix: String,
}

#[async_trait]
impl Backend for EnvConfigurationBackend {
    const TYPE: &'static str = "configuration.local.env";
    const ABOUT: &'static str = "Configuration from the environment variables of the sidecar.";
    type Config = EnvConfigurationConfig;
    type Block = dyn ConfigurationStore;

    async fn build(config: EnvConfigurationConfig, _: &BuildContext) -> Result<Arc<dyn ConfigurationStore>> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Arc::new(EnvConfiguration::new(variables, &config.prefix)))
    }
}

/// The environment, save the sidecar's own variables.
pub struct EnvConfiguration(Items);

impl EnvConfiguration {
    /// The variables that start with `prefix`, named without it.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, prefix: &str) -> Self {
        Self(open_variables(variables, prefix).collect())
    }
}

#[async_trait]
impl Component for EnvConfiguration {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl ConfigurationStore for EnvConfiguration {
    fn capabilities(&self) -> ConfigurationCapabilities {
        ConfigurationCapabilities::default()
    }

    async fn get(&self, selector: &Selector) -> Result<Vec<Item>> {
        select(&self.0, selector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_prefix_limits_and_the_sidecars_own_are_hidden() {
        let variables = ["HOME", "APP_KEY", "APP_", "DAPR_API_TOKEN", "APP_API_TOKEN"];
        let variables = variables.map(|name| (name.to_owned(), format!("value of {name}")));
        let names = async |prefix: &str| {
            let store = EnvConfiguration::new(variables.clone(), prefix);
            let items = store.get(&Selector::default()).await.expect("reads");
            items.into_iter().map(|item| (item.key, item.content)).collect::<Vec<_>>()
        };
        let pair = |key: &str, name: &str| (key.to_owned(), format!("value of {name}"));
        assert_eq!(names("APP_").await, [pair("KEY", "APP_KEY")]);
        assert_eq!(names("").await, [pair("APP_", "APP_"), pair("APP_KEY", "APP_KEY"), pair("HOME", "HOME")]);
    }
}
