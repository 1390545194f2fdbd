//! Changes of items, as Redis' keyspace notifications tell of them.
//!
//! A notification only says that a key was touched; what the key holds is read then. So writes that follow each other
//! closely are seen as the last of them. After a lost connection everything watched is read again and held against what
//! was seen last: nothing that lasts is missed.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, ConfigurationItem as Item, Error, Result,
    Watch, async_trait,
};
use tokio::runtime::{self, Handle};

use super::{AT_ONCE, Items, item};
use crate::listen::Listener;

/// One watch, with a connection of its own to each master.
pub(super) struct RedisWatch {
    items: Arc<Items>,
    /// The keys watched; none is all.
    keys: Vec<String>,
    /// What each key held when it was last seen: a digest of it.
    known: HashMap<String, u64>,
    /// Keys to look at, because they were touched or may have been.
    touched: VecDeque<String>,
    ready: VecDeque<Change>,
    listener: Option<Listener>,
    runtime: runtime::Id,
    failures: u32,
}

impl RedisWatch {
    /// Listens from now on.
    pub(super) async fn begin(items: Arc<Items>, keys: Vec<String>) -> Result<Self> {
        let listener = Listener::open(&items.links, items.db, &keys).await?;
        let mut watch = Self {
            items,
            keys,
            known: HashMap::new(),
            touched: VecDeque::new(),
            ready: VecDeque::new(),
            listener: Some(listener),
            runtime: Handle::current().id(),
            failures: 0,
        };
        let keys = watch.present().await?;
        for (key, raw) in keys.iter().zip(watch.items.read(&keys).await?) {
            if let Some(raw) = raw {
                watch.known.insert(key.clone(), digest(&raw));
            }
        }
        Ok(watch)
    }

    async fn present(&self) -> Result<Vec<String>> {
        if self.keys.is_empty() { self.items.keys().await } else { Ok(self.keys.clone()) }
    }

    /// Listens anew, and has everything looked at that may have changed meanwhile.
    async fn listen_again(&mut self) -> Result<()> {
        let pace = self.items.links.client().pace;
        if let Some(attempt) = self.failures.checked_sub(1) {
            tokio::time::sleep(pace.pause(attempt)).await;
        }
        self.failures = self.failures.saturating_add(1);
        let listener = Listener::open(&self.items.links, self.items.db, &self.keys).await?;
        let present = self.present().await?;
        self.touched = present.into_iter().chain(self.known.keys().cloned()).collect();
        self.listener = Some(listener);
        self.failures = 0;
        Ok(())
    }

    /// Reads what was touched. Dropped halfway, it has forgotten nothing.
    async fn look(&mut self) -> Result<()> {
        let mut keys: Vec<String> = Vec::new();
        let taken = self.touched.len().min(AT_ONCE);
        for key in self.touched.iter().take(taken) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        let values = self.items.read(&keys).await?;
        self.touched.drain(..taken);
        for (key, raw) in keys.into_iter().zip(values) {
            self.compare(key, raw);
        }
        Ok(())
    }

    fn compare(&mut self, key: String, raw: Option<Vec<u8>>) {
        let Some(raw) = raw else {
            if self.known.remove(&key).is_some() {
                self.ready.push_back(Change::Deleted(Item { key, ..Item::default() }));
            }
            return;
        };
        let digest = digest(&raw);
        if self.known.insert(key.clone(), digest) == Some(digest) {
            return;
        }
        match item(&key, raw) {
            Ok(item) => self.ready.push_back(Change::Set(item)),
            Err(error) => tracing::debug!(key, %error, "a change was not of an item"),
        }
    }
}

#[async_trait]
impl Watch for RedisWatch {
    async fn next(&mut self) -> Result<Event> {
        let here = Handle::current().id();
        if std::mem::replace(&mut self.runtime, here) != here {
            // Its connections lived on the other runtime.
            self.listener = None;
        }
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Event::Changed { changes: vec![change], revision: None });
            }
            if !self.touched.is_empty() {
                self.look().await?;
                continue;
            }
            let Some(listener) = &mut self.listener else {
                let pace = self.items.links.client().pace;
                let late = || Error::unavailable("redis did not answer within dialTimeout");
                tokio::time::timeout(pace.dial, self.listen_again()).await.map_err(|_| late())??;
                continue;
            };
            match listener.touched().await {
                Some(key) => self.touched.push_back(key),
                None => self.listener = None,
            }
        }
    }
}

fn digest(raw: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    raw.hash(&mut hasher);
    hasher.finish()
}
