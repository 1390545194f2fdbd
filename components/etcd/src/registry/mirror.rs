//! What the registry holds, as far as is known here: read once, and followed by a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Event, EventType, GetOptions, KeyValue, ResponseHeader, WatchOptions, WatchStream};
use outrigger_component_api::{Error, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::app_of;
use crate::client::Connection;
use crate::configuration::behind;
use crate::failure::from_etcd;
use crate::link::Links;

/// Follows the registry until it is dropped.
pub(super) struct Mirror {
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was seen.
#[derive(Default)]
struct Seen {
    /// By id and key. Where the registry cannot be followed now, what it held when it last could.
    apps: BTreeMap<String, BTreeMap<Vec<u8>, String>>,
    sight: Sight,
}

/// How good our view of the registry is.
#[derive(Default)]
enum Sight {
    /// Nobody has looked yet.
    #[default]
    None,
    Clear,
    Lost(Error),
}

/// Reading what is there takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts to reach etcd.
const PAUSE: Duration = Duration::from_millis(500);

impl Mirror {
    pub(super) fn start(links: Arc<Links>, prefix: String) -> Self {
        let (tell, seen) = watch::channel(Seen::default());
        let follower = Follower { links, prefix, tell };
        let task = tokio::spawn(async move { match follower.follow().await {} });
        Self { seen, task }
    }

    pub(super) async fn find(&self, app: &str) -> Result<Vec<String>> {
        let mut seen = self.seen.clone();
        let ended = |_| Error::internal("the registry's task has ended");
        let seen = seen.wait_for(|seen| !matches!(seen.sight, Sight::None)).await.map_err(ended)?;
        match (seen.apps.get(app), &seen.sight) {
            (Some(entries), _) => {
                let addresses: BTreeSet<&String> = entries.values().collect();
                Ok(addresses.into_iter().cloned().collect())
            }
            (None, Sight::Lost(error)) => Err(error.clone()),
            (None, Sight::None | Sight::Clear) => Ok(Vec::new()),
        }
    }
}

struct Follower {
    links: Arc<Links>,
    prefix: String,
    tell: watch::Sender<Seen>,
}

impl Follower {
    async fn follow(self) -> Infallible {
        loop {
            let Err(error) = self.look().await;
            let known = matches!(self.tell.borrow().sight, Sight::Lost(_));
            if !known {
                tracing::warn!(%error, "the registry cannot be followed; what is known of it still holds");
            }
            // Whoever asks gets told to come back.
            let error = Error::unavailable("the registry cannot be followed").with_source(error.to_string());
            self.tell.send_modify(|seen| seen.sight = Sight::Lost(error));
            sleep(PAUSE).await;
        }
    }

    /// Reads everything and goes on from there, until that fails or what comes next is no longer to be had.
    async fn look(&self) -> Result<Infallible> {
        let revision = self.read().await?;
        let mut stream = self.watch(revision).await?;
        loop {
            let response = stream.message().await.map_err(|error| from_etcd(&error))?;
            let response = response.ok_or_else(|| Error::unavailable("etcd ended the watch"))?;
            if response.canceled() || response.compact_revision() > 0 {
                let reason = response.cancel_reason().to_owned();
                return Err(Error::unavailable("etcd ended the watch").with_source(reason));
            }
            if !response.events().is_empty() {
                self.tell.send_modify(|seen| {
                    response.events().iter().for_each(|event| seen.take(&self.prefix, event));
                });
            }
        }
    }

    /// Takes in all there is; the revision it is of.
    async fn read(&self) -> Result<i64> {
        let prefix = self.prefix.clone();
        let options = GetOptions::new().with_range(behind(&prefix));
        let all = |etcd: Arc<Connection>| async move { etcd.kv().get(prefix, Some(options)).await };
        let mut all = self.links.run_within(PATIENCE, all).await?;
        let revision = all.header().map_or(0, ResponseHeader::revision);
        let mut apps = BTreeMap::<String, BTreeMap<Vec<u8>, String>>::new();
        for pair in all.take_kvs() {
            if let Some((app, key, address)) = self.entry(&pair) {
                apps.entry(app).or_default().insert(key, address);
            }
        }
        if matches!(self.tell.borrow().sight, Sight::Lost(_)) {
            tracing::info!(apps = apps.len(), "the registry is followed again");
        }
        self.tell.send_replace(Seen { apps, sight: Sight::Clear });
        Ok(revision)
    }

    async fn watch(&self, after: i64) -> Result<WatchStream> {
        let prefix = self.prefix.clone();
        let options = WatchOptions::new().with_range(behind(&prefix)).with_start_revision(after + 1);
        let watch = |etcd: Arc<Connection>| async move { etcd.watch().watch(prefix, Some(options)).await };
        self.links.run_within(PATIENCE, watch).await
    }

    fn entry(&self, pair: &KeyValue) -> Option<(String, Vec<u8>, String)> {
        entry(&self.prefix, pair)
    }
}

/// The id, key and address of an entry. What is none is not ours.
fn entry(prefix: &str, pair: &KeyValue) -> Option<(String, Vec<u8>, String)> {
    Some((app_of(prefix, pair.key())?, pair.key().to_vec(), pair.value_str().ok()?.to_owned()))
}

impl Seen {
    fn take(&mut self, prefix: &str, event: &Event) {
        let Some(pair) = event.kv() else { return };
        if event.event_type() == EventType::Put {
            if let Some((app, key, address)) = entry(prefix, pair) {
                self.apps.entry(app).or_default().insert(key, address);
            }
        } else if let Some(app) = app_of(prefix, pair.key())
            && let Some(entries) = self.apps.get_mut(&app)
        {
            entries.remove(pair.key());
            if entries.is_empty() {
                self.apps.remove(&app);
            }
        }
    }
}
