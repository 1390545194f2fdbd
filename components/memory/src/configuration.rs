//! Configuration in memory: items, and the last changes for those who watch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, ConfigurationCapabilities, ConfigurationChange as Change,
    ConfigurationEvent as Event, ConfigurationItem as Item, ConfigurationStore, Error, Result, Revision,
    Selector, Watch, async_trait,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use crate::start_of_counting;

/// How many changes are kept for watches that are behind.
const RETAINED: usize = 1000;

/// Registers [`MemoryConfiguration`] as `configuration.in-memory`.
pub struct MemoryConfigurationBackend;

/// `configuration.in-memory` has no settings.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfigurationConfig {}

#[async_trait]
impl Backend for MemoryConfigurationBackend {
    const TYPE: &'static str = "configuration.in-memory";
    const ALIASES: &'static [&'static str] = &["configuration.memory"];
    const ABOUT: &'static str = "Configuration in this process's memory; lost when it ends.";
    type Config = MemoryConfigurationConfig;
    type Block = dyn ConfigurationStore;

    async fn build(_: MemoryConfigurationConfig, _: &BuildContext) -> Result<Arc<dyn ConfigurationStore>> {
        Ok(Arc::new(MemoryConfiguration::new()))
    }
}

/// A configuration store in memory.
pub struct MemoryConfiguration {
    shared: Arc<Shared>,
}

struct Shared {
    items: Mutex<Items>,
    /// The last revision given out.
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Items {
    items: BTreeMap<Place, Item>,
    /// The last changes, oldest first; their revisions follow each other without a gap.
    changes: VecDeque<(u64, Place, Change)>,
}

/// Application, group, label and key.
type Place = [String; 4];

fn place(app: &str, group: &str, label: &str, key: &str) -> Place {
    [app, group, label, key].map(str::to_owned)
}

impl MemoryConfiguration {
    pub fn new() -> Self {
        // A revision from an earlier life of the process is before everything this one remembers.
        let last = watch::Sender::new(start_of_counting());
        Self { shared: Arc::new(Shared { items: Mutex::default(), last }) }
    }

    /// Makes changes, each with the next revision, and wakes those who watch.
    fn change(&self, changes: impl FnOnce(&mut Items, &mut dyn FnMut(&mut Items, Place, Change))) {
        let mut items = self.shared.items.lock();
        let mut revision = *self.shared.last.borrow();
        changes(&mut items, &mut |items, place, mut change| {
            revision += 1;
            match &mut change {
                Change::Set(item) => {
                    item.version = revision.to_string();
                    items.items.insert(place.clone(), item.clone());
                }
                Change::Deleted(item) => {
                    item.version = revision.to_string();
                    items.items.remove(&place);
                }
            }
            items.changes.push_back((revision, place, change));
            if items.changes.len() > RETAINED {
                items.changes.pop_front();
            }
        });
        self.shared.last.send_replace(revision);
    }
}

impl Default for MemoryConfiguration {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Component for MemoryConfiguration {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl ConfigurationStore for MemoryConfiguration {
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
        let Selector { app_id, group, label, keys, .. } = selector;
        let items = &self.shared.items.lock().items;
        if !keys.is_empty() {
            let found = keys.iter().filter_map(|key| items.get(&place(app_id, group, label, key)));
            return Ok(found.cloned().collect());
        }
        let level = [app_id, group, label];
        let here = |[app, group, label, _]: &Place| [app, group, label] == level;
        let items = items.range(place(app_id, group, label, "")..).take_while(|(place, _)| here(place));
        Ok(items.map(|(_, item)| item.clone()).collect())
    }

    async fn save(&self, app_id: &str, new: Vec<Item>) -> Result<()> {
        self.change(|items, change| {
            for item in new {
                let item = Item { metadata: BTreeMap::new(), ..item };
                change(items, place(app_id, &item.group, &item.label, &item.key), Change::Set(item));
            }
        });
        Ok(())
    }

    async fn delete(&self, selector: &Selector) -> Result<()> {
        let Selector { app_id, group, label, keys, .. } = selector;
        self.change(|items, change| {
            for key in keys {
                let place = place(app_id, group, label, key);
                if items.items.contains_key(&place) {
                    let (group, label) = (group.clone(), label.clone());
                    let item = Item { key: key.clone(), group, label, ..Item::default() };
                    change(items, place, Change::Deleted(item));
                }
            }
        });
        Ok(())
    }

    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        let grown = self.shared.last.subscribe();
        let last = *grown.borrow();
        let at = match from {
            None => last,
            Some(from) => from.number()?,
        };
        if at > last {
            return Err(Error::invalid("revision is later than any this store has given out"));
        }
        Ok(Box::new(MemoryWatch { shared: Arc::clone(&self.shared), selector: selector.clone(), at, grown }))
    }
}

/// A place in the history, moved along as it grows.
struct MemoryWatch {
    shared: Arc<Shared>,
    selector: Selector,
    /// The last revision that was looked at.
    at: u64,
    grown: watch::Receiver<u64>,
}

impl MemoryWatch {
    fn look(&mut self) -> Option<Event> {
        let last = *self.grown.borrow_and_update();
        let items = self.shared.items.lock();
        let oldest = items.changes.front().map_or(last + 1, |(revision, ..)| *revision);
        if self.at + 1 < oldest {
            self.at = last;
            return Some(Event::Compacted);
        }
        for (revision, place, change) in &items.changes {
            if *revision > self.at {
                self.at = *revision;
                if self.selects(place) {
                    let revision = Some(Revision::from(*revision));
                    return Some(Event::Changed { changes: vec![change.clone()], revision });
                }
            }
        }
        None
    }

    fn selects(&self, [app, group, label, key]: &Place) -> bool {
        let Selector { app_id, group: g, label: l, .. } = &self.selector;
        (app, group, label) == (app_id, g, l) && self.selector.selects(key)
    }
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Event> {
        loop {
            // Nothing waits between finding an event and returning it, so a dropped wait loses none.
            if let Some(event) = self.look() {
                return Ok(event);
            }
            self.grown.changed().await.map_err(|_| Error::unavailable("the store has ended").permanent())?;
        }
    }
}
