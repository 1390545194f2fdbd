//! Secrets from this process's environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, Error, ErrorKind, Result, Secret, SecretOptions, SecretStore,
    SecretValues, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What starts or guards the sidecar itself is not the application's to read.
const OWN_PREFIXES: [&str; 2] = ["OUTRIGGER_", "DAPR_"];
const OWN_NAMES: [&str; 1] = ["APP_API_TOKEN"];

/// Registers [`EnvSecrets`] as `secretstores.local.env`.
pub struct EnvSecretsBackend;

/// Settings of `secretstores.local.env`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvSecretsConfig {
    /// Only variables that start with this are secrets, and they are named without it. Default: all variables.
    prefix: String,
}

#[async_trait]
impl Backend for EnvSecretsBackend {
    const TYPE: &'static str = "secretstores.local.env";
    const ALIASES: &'static [&'static str] = &["local.env"];
    const ABOUT: &'static str = "Secrets from the environment variables of the sidecar.";
    type Config = EnvSecretsConfig;
    type Block = dyn SecretStore;

    async fn build(config: EnvSecretsConfig, _: &BuildContext) -> Result<Arc<dyn SecretStore>> {
        // Names or values that are not UTF-8 cannot be asked for over the API.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Arc::new(EnvSecrets::new(variables, &config.prefix)))
    }
}

/// The environment as it was when the component was built; a process's environment does not change under it.
pub struct EnvSecrets(BTreeMap<String, Secret>);

impl EnvSecrets {
    /// The variables that start with `prefix`, named without it, save the sidecar's own.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, prefix: &str) -> Self {
        Self(open_variables(variables, prefix).map(|(name, value)| (name, value.into())).collect())
    }
}

/// The variables that start with `prefix`, named without it, save the sidecar's own.
pub(crate) fn open_variables(
    variables: impl IntoIterator<Item = (String, String)>,
    prefix: &str,
) -> impl Iterator<Item = (String, String)> {
    let is_own =
        |name: &str| OWN_NAMES.contains(&name) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    variables.into_iter().filter(move |(name, _)| !is_own(name)).filter_map(move |(name, value)| {
        let name = name.strip_prefix(prefix).filter(|name| !name.is_empty())?;
        Some((name.to_owned(), value))
    })
}

#[async_trait]
impl Component for EnvSecrets {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl SecretStore for EnvSecrets {
    async fn get(&self, name: &str, _: SecretOptions) -> Result<SecretValues> {
        let value = self.0.get(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such environment variable").with("secret", name)
        })?;
        Ok(SecretValues::from([(name.to_owned(), value.clone())]))
    }

    async fn bulk(&self, _: SecretOptions) -> Result<BTreeMap<String, SecretValues>> {
        let single =
            |(name, value): (&String, &Secret)| (name.clone(), [(name.clone(), value.clone())].into());
        Ok(self.0.iter().map(single).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(prefix: &str) -> Vec<String> {
        let variables =
            ["HOME", "APP_KEY", "APP_", "DAPR_API_TOKEN", "APP_API_TOKEN", "OUTRIGGER__API__TOKEN"];
        let variables = variables.map(|name| (name.to_owned(), "value".to_owned()));
        EnvSecrets::new(variables, prefix).0.into_keys().collect()
    }

    #[test]
    fn the_sidecars_own_variables_are_hidden() {
        assert_eq!(names(""), ["APP_", "APP_KEY", "HOME"]);
    }

    #[test]
    fn the_prefix_limits_and_is_taken_off() {
        assert_eq!(names("APP_"), ["KEY"]);
    }

    #[tokio::test]
    async fn the_real_environment_is_read() {
        let store = EnvSecretsBackend::build(EnvSecretsConfig::default(), &BuildContext::default())
            .await
            .expect("builds");
        let path = store.get("PATH", SecretOptions::default()).await.expect("every process has one");
        assert_eq!(
            path.get("PATH").map(|value| value.expose().as_str()),
            std::env::var("PATH").ok().as_deref()
        );
    }
}
