//! The secrets block: values that live outside the configuration.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::{Component, Error, Result, Secret};

/// One secret: its values by name. A secret of a single value has that value under the secret's own name.
pub type SecretValues = BTreeMap<String, Secret<String>>;

/// A place secrets are read from, by the application and by `secretRef` in the configuration.
#[async_trait]
pub trait SecretStore: Component {
    /// One secret. A name that is not there is [`NotFound`](crate::ErrorKind::NotFound).
    async fn get(&self, name: &str, options: SecretOptions) -> Result<SecretValues>;

    /// Every secret of the store by name. A store that cannot list answers
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    async fn bulk(&self, _options: SecretOptions) -> Result<BTreeMap<String, SecretValues>> {
        Err(Error::unsupported("listing secrets"))
    }
}

/// Options of [`SecretStore`]'s methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretOptions {
    /// What the caller sent along (`version_id` and the like); stores ignore what they do not know.
    pub metadata: BTreeMap<String, String>,
}
