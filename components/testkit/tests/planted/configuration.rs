//! A configuration store with faults to choose from.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_component_api::{
    Component, ConfigurationCapabilities, ConfigurationChange as Change, ConfigurationEvent as Event,
    ConfigurationItem as Item, ConfigurationStore, Error, Result, Revision, Selector, Watch, async_trait,
};
use outrigger_testkit::configuration;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::caught;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    DeletesByPrefix,
    DeletesAllForNoKeys,
    SortsWhatIsAskedFor,
    KeepsOldTags,
    VersionsPerKey,
    IgnoresLevels,
    JoinsLevels,
    /// Two writes in quick succession are seen as one.
    LosesAnEvent,
    HidesDeletions,
    WatchesPrefixes,
    EndsAllWatches,
    LosesWhatADroppedWaitHad,
    ResumesFromNow,
    TakesAnyRevision,
}

type Place = Vec<String>;

struct Settings {
    fault: Fault,
    history: Arc<History>,
}

#[derive(Default)]
struct History {
    items: Mutex<BTreeMap<Place, Item>>,
    changes: Mutex<Vec<(Place, Change)>>,
    ended: Mutex<bool>,
    changed: Notify,
}

impl Settings {
    fn subject(fault: Fault) -> Arc<dyn ConfigurationStore> {
        Arc::new(Self { fault, history: Arc::default() })
    }

    fn level(&self, app: &str, group: &str, label: &str) -> Place {
        match self.fault {
            Fault::IgnoresLevels => vec![app.to_owned()],
            _ => [app, group, label].map(str::to_owned).to_vec(),
        }
    }

    fn place(&self, level: &Place, key: &str) -> Place {
        let place = [level.clone(), vec![key.to_owned()]].concat();
        if self.fault == Fault::JoinsLevels { vec![place.join("/")] } else { place }
    }

    fn change(&self, place: Place, change: Change) {
        self.history.changes.lock().push((place, change));
        self.history.changed.notify_waiters();
    }

    fn of(&self, selector: &Selector) -> Place {
        self.level(&selector.app_id, &selector.group, &selector.label)
    }
}

#[async_trait]
impl Component for Settings {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl ConfigurationStore for Settings {
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
        let (level, items) = (self.of(selector), self.history.items.lock());
        if selector.keys.is_empty() {
            return Ok(items
                .iter()
                .filter(|(place, _)| place.starts_with(&level))
                .map(|(_, i)| i.clone())
                .collect());
        }
        let mut keys = selector.keys.clone();
        if self.fault == Fault::SortsWhatIsAskedFor {
            keys.sort();
        }
        Ok(keys.iter().filter_map(|key| items.get(&self.place(&level, key)).cloned()).collect())
    }

    async fn save(&self, app_id: &str, new: Vec<Item>) -> Result<()> {
        for mut item in new {
            let place = self.place(&self.level(app_id, &item.group, &item.label), &item.key);
            let mut items = self.history.items.lock();
            let old = items.get(&place);
            item.version = match self.fault {
                Fault::VersionsPerKey => item.content.len().to_string(),
                _ => (self.history.changes.lock().len() + 1).to_string(),
            };
            if let Some(old) = old
                && self.fault == Fault::KeepsOldTags
            {
                item.tags.extend(old.tags.clone());
            }
            items.insert(place.clone(), item.clone());
            self.change(place, Change::Set(item));
        }
        Ok(())
    }

    async fn delete(&self, selector: &Selector) -> Result<()> {
        let level = self.of(selector);
        let mut items = self.history.items.lock();
        if selector.keys.is_empty() && self.fault == Fault::DeletesAllForNoKeys {
            items.clear();
        }
        for key in &selector.keys {
            let place = self.place(&level, key);
            if self.fault == Fault::DeletesByPrefix {
                items.retain(|_, item| !item.key.starts_with(key.as_str()));
            }
            if items.remove(&place).is_some() || self.fault == Fault::DeletesByPrefix {
                self.change(place, Change::Deleted(Item { key: key.clone(), ..Item::default() }));
            }
        }
        Ok(())
    }

    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        let now = self.history.changes.lock().len();
        let at = match from.as_ref().map(Revision::number) {
            None => now,
            Some(Ok(_)) if self.fault == Fault::ResumesFromNow => now,
            Some(Err(_)) if self.fault == Fault::TakesAnyRevision => now,
            Some(from) => usize::try_from(from?).map_err(|_| Error::invalid("no such revision"))?,
        };
        let level = self.of(selector);
        Ok(Box::new(Watching {
            history: self.history.clone(),
            fault: self.fault,
            level,
            selector: selector.clone(),
            at,
        }))
    }
}

struct Watching {
    history: Arc<History>,
    fault: Fault,
    level: Place,
    selector: Selector,
    at: usize,
}

impl Watching {
    fn selects(&self, place: &Place, change: &Change) -> bool {
        let key = &change.item().key;
        let hidden = self.fault == Fault::HidesDeletions && matches!(change, Change::Deleted(_));
        let by_prefix =
            self.fault == Fault::WatchesPrefixes && self.selector.keys.iter().any(|k| key.starts_with(k));
        let joined = self.fault == Fault::JoinsLevels;
        (joined || place.starts_with(&self.level)) && (self.selector.selects(key) || by_prefix) && !hidden
    }

    fn found(&mut self) -> Option<Event> {
        let changes = self.history.changes.lock();
        let new: Vec<_> = changes.iter().enumerate().skip(self.at).collect();
        let step = if self.fault == Fault::LosesAnEvent { new.last() } else { None };
        let found = step.or_else(|| new.iter().find(|(_, (place, change))| self.selects(place, change)));
        let (at, (_, change)) = found?;
        let change = change.clone();
        self.at = at + 1;
        Some(Event::Changed { changes: vec![change], revision: Some(Revision::from(self.at as u64)) })
    }
}

#[async_trait]
impl Watch for Watching {
    async fn next(&mut self) -> Result<Event> {
        loop {
            let history = Arc::clone(&self.history);
            let changed = history.changed.notified();
            if *history.ended.lock() {
                return Err(Error::internal("somebody ended all watches"));
            }
            if let Some(event) = self.found() {
                if self.fault == Fault::LosesWhatADroppedWaitHad {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                return Ok(event);
            }
            changed.await;
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if self.fault == Fault::EndsAllWatches {
            *self.history.ended.lock() = true;
        }
    }
}

mod the_correct_store_passes {
    outrigger_testkit::configuration_suite!(super::Settings::subject(super::Fault::None));
}

mod each_planted_fault_is_caught {
    use super::*;
    use crate::fails;

    caught! { configuration, Settings;
        DeletesByPrefix by keys_are_exact_never_prefixes
        DeletesAllForNoKeys by deleting_no_keys_removes_nothing
        SortsWhatIsAskedFor by items_come_in_the_order_asked
        KeepsOldTags by tags_are_kept_or_refused
        VersionsPerKey by version_changes_with_every_write
        IgnoresLevels by levels_keep_apart_or_are_refused
        JoinsLevels by levels_do_not_run_together
        LosesAnEvent by watch_sees_every_later_change_in_order
        HidesDeletions by watch_sees_every_later_change_in_order
        WatchesPrefixes by watch_sees_only_what_it_selects
        EndsAllWatches by ending_one_watch_leaves_the_others_alone
        LosesWhatADroppedWaitHad by dropped_wait_loses_nothing
        ResumesFromNow by resuming_goes_on_after_the_revision
        TakesAnyRevision by foreign_revision_is_refused
    }
}
