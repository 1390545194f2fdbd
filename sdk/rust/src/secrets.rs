//! Secrets: values that live outside the application.

use std::collections::BTreeMap;

use outrigger_proto::layotto as proto;

use crate::{Client, Result};

/// One secret store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SecretStore {
    client: Client,
    name: String,
}

/// The values of one secret by name; a secret of a single value has it under its own name.
pub type Secret = BTreeMap<String, String>;

impl SecretStore {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// One secret.
    pub async fn get(&self, key: impl Into<String>) -> Result<Secret> {
        let request =
            proto::GetSecretRequest { store_name: self.name.clone(), key: key.into(), ..Default::default() };
        Ok(self.client.runtime().get_secret(self.client.request(request)).await?.into_inner().data)
    }

    /// Every secret this application may see, by key.
    pub async fn get_bulk(&self) -> Result<BTreeMap<String, Secret>> {
        let request = proto::GetBulkSecretRequest { store_name: self.name.clone(), ..Default::default() };
        let response = self.client.runtime().get_bulk_secret(self.client.request(request)).await?;
        Ok(response.into_inner().data.into_iter().map(|(key, secret)| (key, secret.secrets)).collect())
    }
}
