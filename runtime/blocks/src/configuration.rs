//! Configuration: items of an application in a named store, read, written and watched.

mod component;
mod defaults;
mod poll;
mod watch;

use std::sync::Arc;

use outrigger_component_api::{ConfigurationItem as Item, Error, Result, Revision, Selector};

pub use component::ConfigurationComponent;
pub(crate) use defaults::Defaults;
pub use poll::Polled;
pub use watch::{ConfigurationWatch, Update};

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stay::stopping;
use crate::stores::Stores;

/// The configuration block.
#[derive(Default)]
pub struct Configuration {
    /// The stores calls can name.
    pub stores: Arc<Stores<ConfigurationComponent>>,
}

impl Configuration {
    /// The items selected. An application left out is the caller's own, a blank group or label the store's default.
    pub async fn get(&self, caller: &Caller<'_>, store: &str, selector: Selector) -> Result<Vec<Item>> {
        let store = self.stores.find(caller, store)?;
        let selector = store.selector(caller, selector)?;
        store.read(caller, &selector).await
    }

    /// Writes items, each replacing what was under its key.
    pub async fn save(&self, caller: &Caller<'_>, store: &str, app_id: &str, items: Vec<Item>) -> Result<()> {
        let store = self.stores.find(caller, store)?;
        let app_id = own_unless_named(caller, app_id);
        let items = items.into_iter().enumerate().map(|(at, item)| match item.key.is_empty() {
            true => Err(Error::invalid(format!("items[{at}].key is empty"))),
            false => Ok(store.defaults.fill_in(item)),
        });
        let items = &items.collect::<Result<Vec<_>>>()?;
        if items.is_empty() {
            return Ok(());
        }
        let call = Call { op: &store.ops.save, class: Class::Idempotent, caller };
        store.slot.run(call, |backend| async move { backend.save(app_id, items.clone()).await }).await
    }

    /// Removes exactly the keys selected; a missing one is a success, and no keys at all remove nothing.
    pub async fn delete(&self, caller: &Caller<'_>, store: &str, selector: Selector) -> Result<()> {
        let store = self.stores.find(caller, store)?;
        let selector = &store.selector(caller, selector)?;
        if selector.keys.is_empty() {
            return Ok(());
        }
        let call = Call { op: &store.ops.delete, class: Class::Idempotent, caller };
        store.slot.run(call, |backend| async move { backend.delete(selector).await }).await
    }

    /// Changes to the items selected, after `from` or from now on: once this has returned, none is missed until the
    /// watch ends.
    pub async fn watch(
        &self,
        caller: &Caller<'_>,
        store: &str,
        selector: Selector,
        from: Option<Revision>,
    ) -> Result<ConfigurationWatch> {
        let stay = self.stores.stay(caller, store)?;
        let selector = stay.member().selector(caller, selector)?;
        ConfigurationWatch::open(stay, caller, selector, from).await
    }

    /// Waits until the process takes its leave, and gives what those who watch are told then.
    pub async fn stopping(&self) -> Error {
        let mut changes = self.stores.changes();
        // Whoever could be gone is ours.
        drop(changes.wait_for(|stopping| *stopping).await);
        stopping()
    }
}

impl ConfigurationComponent {
    fn selector(&self, caller: &Caller<'_>, selector: Selector) -> Result<Selector> {
        if let Some(at) = selector.keys.iter().position(String::is_empty) {
            return Err(Error::invalid(format!("keys[{at}] is empty")));
        }
        let app_id = own_unless_named(caller, &selector.app_id).to_owned();
        Ok(self.defaults.select(Selector { app_id, ..selector }))
    }

    async fn read(&self, caller: &Caller<'_>, selector: &Selector) -> Result<Vec<Item>> {
        let call = Call { op: &self.ops.get, class: Class::Idempotent, caller };
        self.slot.run(call, |backend| async move { backend.get(selector).await }).await
    }
}

fn own_unless_named<'c>(caller: &'c Caller<'_>, app_id: &'c str) -> &'c str {
    if app_id.is_empty() { caller.app_id } else { app_id }
}

#[cfg(test)]
mod tests;
