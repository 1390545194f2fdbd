//! Configuration. The dialect has no versions, an empty revision is none, and what is deleted is an item without content.

use std::sync::Arc;

use outrigger_component_api::{
    Component, ConfigurationCapabilities, ConfigurationChange as Change, ConfigurationEvent as Event,
    ConfigurationItem as Item, ConfigurationStore, Error, Result, Revision, Selector, Watch, async_trait,
};
use outrigger_memory::MemoryConfiguration;
use outrigger_sdk as sdk;
use outrigger_sqlite::SqliteConfiguration;

use super::{Kept, Remote, error, new_file, nothing};
use crate::harness::Sidecar;

mod memory {
    use super::*;
    outrigger_testkit::configuration_suite!(remote(|| (
        Arc::new(MemoryConfiguration::new()) as _,
        nothing()
    )));
}

mod sqlite {
    use super::*;
    outrigger_testkit::configuration_suite!(remote(|| {
        let (config, folder) = new_file();
        (Arc::new(SqliteConfiguration::new(config).unwrap()) as _, Box::new(folder) as _)
    }));
}

fn remote(
    build: impl FnOnce() -> (Arc<dyn ConfigurationStore>, Kept) + Send + 'static,
) -> Arc<dyn ConfigurationStore> {
    let seat = |sidecar: &Sidecar| {
        let (backend, kept) = build();
        sidecar.blocks.configuration.stores.replace([sidecar.seat("configuration", backend)]);
        kept
    };
    Arc::new(Remote::start(seat, sdk::Client::clone))
}

#[async_trait]
impl Component for Remote<sdk::Client> {
    async fn ping(&self) -> Result<()> {
        self.get(&Selector { app_id: "ping".to_owned(), ..Selector::default() }).await.map(drop)
    }
}

#[async_trait]
impl ConfigurationStore for Remote<sdk::Client> {
    fn capabilities(&self) -> ConfigurationCapabilities {
        ConfigurationCapabilities {
            writable: true,
            watchable: true,
            resumable: true,
            every_change: true,
            levels: true,
            tags: true,
        }
    }

    async fn get(&self, selector: &Selector) -> Result<Vec<Item>> {
        let (of, keys) = (selector.clone(), selector.keys.clone());
        let items = self.call(move |client| async move { place(&client, &of).get(keys).await }).await?;
        Ok(items.into_iter().map(|item| received(item, selector)).collect())
    }

    /// The items of one call lie together, so there is one call for each place.
    async fn save(&self, app_id: &str, items: Vec<Item>) -> Result<()> {
        for items in items.chunk_by(|one, next| (&one.group, &one.label) == (&next.group, &next.label)) {
            let Some(Item { group, label, .. }) = items.first().cloned() else { continue };
            let of = Selector { app_id: app_id.to_owned(), group, label, ..Selector::default() };
            let items: Vec<_> = items.iter().cloned().map(sent).collect();
            self.call(move |client| async move { place(&client, &of).save(items).await }).await?;
        }
        Ok(())
    }

    async fn delete(&self, selector: &Selector) -> Result<()> {
        let of = selector.clone();
        self.call(move |client| async move { place(&client, &of).delete(of.keys.clone()).await }).await
    }

    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        if from.as_ref().is_some_and(|Revision(from)| from.is_empty()) {
            return Err(Error::invalid("on the wire an empty revision is none"));
        }
        let of = selector.clone();
        let watch = self.call(move |client| async move {
            let (place, keys) = (place(&client, &of), of.keys.clone());
            match from {
                Some(Revision(from)) => place.watch_after(keys, from).await,
                None => place.watch(keys).await,
            }
        });
        Ok(Box::new(Following { watch: watch.await?, selector: selector.clone() }))
    }
}

fn place(client: &sdk::Client, selector: &Selector) -> sdk::Configuration {
    let store = client.configuration("configuration", &selector.app_id);
    store.group(&selector.group).label(&selector.label)
}

fn sent(item: Item) -> sdk::configuration::Item {
    sdk::configuration::Item { key: item.key, content: item.content, tags: item.tags }
}

/// An item of the place that was asked for.
fn received(item: sdk::configuration::Item, of: &Selector) -> Item {
    let (group, label) = (of.group.clone(), of.label.clone());
    Item { key: item.key, content: item.content, tags: item.tags, group, label, ..Item::default() }
}

struct Following {
    watch: sdk::configuration::Watch,
    selector: Selector,
}

#[async_trait]
impl Watch for Following {
    async fn next(&mut self) -> Result<Event> {
        let items = self.watch.next().await.map_err(error)?;
        let items = items.ok_or_else(|| Error::internal("the sidecar has ended the watch"))?;
        let change = |item| match received(item, &self.selector) {
            gone if gone.content.is_empty() => Change::Deleted(gone),
            item => Change::Set(item),
        };
        let changes = items.into_iter().map(change).collect();
        Ok(Event::Changed { changes, revision: self.watch.revision().map(|at| Revision(at.to_owned())) })
    }
}
