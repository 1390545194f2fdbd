//! Secrets, of both local stores. Nothing is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_component_api::{
    Component, ErrorKind, Result, Secret, SecretOptions, SecretStore, SecretValues, async_trait,
};
use outrigger_local::{EnvSecrets, FileSecrets, FileSecretsConfig};
use outrigger_sdk as sdk;
use outrigger_testkit::secrets::KNOWN;

use super::{Kept, Remote, nothing};
use crate::harness::Sidecar;

mod environment {
    use super::*;
    outrigger_testkit::secret_suite!(remote(|| {
        let variables = KNOWN.map(|(name, value)| (name.to_owned(), value.to_owned()));
        (Arc::new(EnvSecrets::new(variables, "")) as _, nothing())
    }));
}

mod file {
    use super::*;
    outrigger_testkit::secret_suite!(remote(|| {
        let folder = tempfile::tempdir().unwrap();
        let secrets_file = folder.path().join("secrets.json");
        std::fs::write(&secrets_file, serde_json::to_vec(&BTreeMap::from(KNOWN)).unwrap()).unwrap();
        let config =
            FileSecretsConfig { secrets_file, nested_separator: ":".to_owned(), multi_valued: false };
        (Arc::new(FileSecrets::open(config).unwrap()) as _, Box::new(folder) as _)
    }));
}

fn remote(build: impl FnOnce() -> (Arc<dyn SecretStore>, Kept) + Send + 'static) -> Arc<dyn SecretStore> {
    let seat = |sidecar: &Sidecar| {
        let (backend, kept) = build();
        sidecar.blocks.secrets.stores.replace([sidecar.seat("secrets", backend)]);
        kept
    };
    Arc::new(Remote::start(seat, |client| client.secrets("secrets")))
}

#[async_trait]
impl Component for Remote<sdk::SecretStore> {
    async fn ping(&self) -> Result<()> {
        match self.get("ping", SecretOptions::default()).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl SecretStore for Remote<sdk::SecretStore> {
    async fn get(&self, name: &str, _: SecretOptions) -> Result<SecretValues> {
        let name = name.to_owned();
        self.call(|store| async move { store.get(name).await }).await.map(values)
    }

    async fn bulk(&self, _: SecretOptions) -> Result<BTreeMap<String, SecretValues>> {
        let all = self.call(|store| async move { store.get_bulk().await }).await?;
        Ok(all.into_iter().map(|(name, secret)| (name, values(secret))).collect())
    }
}

fn values(secret: sdk::Secret) -> SecretValues {
    secret.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
}
