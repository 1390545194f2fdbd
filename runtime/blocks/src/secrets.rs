//! Secrets: values the application reads from a named store, as far as the configuration lets it.

mod access;
mod component;

use std::collections::BTreeMap;

use outrigger_component_api::{Error, Result, SecretOptions, SecretValues};

pub use access::SecretAccess;
pub use component::SecretComponent;

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stores::Stores;

/// The secrets block.
#[derive(Default)]
pub struct Secrets {
    /// The stores calls can name.
    pub stores: Stores<SecretComponent>,
}

impl Secrets {
    /// One secret. The access rules are asked before the store is, so that a refusal does not tell whether there is
    /// such a secret.
    pub async fn get(
        &self,
        caller: &Caller<'_>,
        store: &str,
        name: &str,
        options: SecretOptions,
    ) -> Result<SecretValues> {
        let store = self.stores.find(caller, store)?;
        if name.is_empty() {
            return Err(Error::invalid("key is empty"));
        }
        store.access.check(store.slot.name(), name)?;
        let options = &options;
        let call = Call { op: &store.ops.get, class: Class::Idempotent, caller };
        store.slot.run(call, |backend| async move { backend.get(name, options.clone()).await }).await
    }

    /// Every secret of a store the application may read, by name.
    pub async fn bulk(
        &self,
        caller: &Caller<'_>,
        store: &str,
        options: SecretOptions,
    ) -> Result<BTreeMap<String, SecretValues>> {
        let store = self.stores.find(caller, store)?;
        let options = &options;
        let call = Call { op: &store.ops.bulk, class: Class::Idempotent, caller };
        let mut all =
            store.slot.run(call, |backend| async move { backend.bulk(options.clone()).await }).await?;
        all.retain(|name, _| store.access.allows(name));
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
