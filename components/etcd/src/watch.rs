//! A watch on a folder of items that goes on after interruptions: it remembers the last revision it gave out, and asks
//! for what came after it. Where etcd has thrown that away, it says so and goes on with what comes. What others wrote and
//! cannot be read is left out, so that one value does not end the watch on all the others; whoever reads it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use etcd_client::{Event as Raw, EventType, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream};
use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, Error, Result, Revision, Selector, Watch,
    async_trait,
};

use crate::configuration::{Folder, behind};
use crate::failure::from_etcd;
use crate::link::Links;

/// One watch. Its stream lives on the runtime that opened it last; when that ends, the next wait opens another.
pub(crate) struct EtcdWatch {
    links: Arc<Links>,
    folder: Folder,
    selector: Selector,
    stream: Option<WatchStream>,
    /// The last revision of which everything was given out or is `ready`.
    seen: i64,
    /// Where the cluster was when the stream was opened.
    opened_at: i64,
    ready: VecDeque<Event>,
}

impl EtcdWatch {
    /// Opens a watch on what comes after `after`, or from now on.
    pub(crate) async fn open(
        links: Arc<Links>,
        folder: Folder,
        selector: Selector,
        after: Option<i64>,
    ) -> Result<Self> {
        let (stream, ready) = (None, VecDeque::new());
        let mut watch = Self { links, folder, selector, stream, seen: 0, opened_at: 0, ready };
        watch.connect(after).await?;
        Ok(watch)
    }

    /// Opens the stream and waits until etcd confirms it: from then on nothing is missed.
    async fn connect(&mut self, after: Option<i64>) -> Result<()> {
        let mut options = WatchOptions::new().with_range(behind(&self.folder.path));
        if let Some(after) = after {
            options = options.with_start_revision(after + 1);
        }
        let path = self.folder.path.clone();
        let opened = self.links.run(|etcd| async move {
            let mut stream = etcd.watch().watch(path, Some(options)).await?;
            let first = stream.message().await?;
            Ok((stream, first))
        });
        let (stream, first) = opened.await?;
        let Some(first) = first else { return Err(ended()) };
        let mut now = revision(&first);
        if after.is_some_and(|after| after > now) {
            // The member lags behind, as after a fail-over, or the cluster does: only all of them can say.
            now = self.agreed().await?;
        }
        self.opened_at = now;
        self.seen = after.unwrap_or(now);
        if self.seen > now {
            // That revision has not been: the cluster was set back, or is another one.
            self.lose(now);
            return Ok(());
        }
        self.stream = Some(stream);
        self.take(first)
    }

    /// Where the cluster is, as most of its members know.
    async fn agreed(&self) -> Result<i64> {
        let path = self.folder.path.clone();
        let options = GetOptions::new().with_keys_only().with_limit(1);
        let answer = self.links.run(|etcd| async move { etcd.kv().get(path, Some(options)).await }).await?;
        Ok(answer.header().map_or(0, etcd_client::ResponseHeader::revision))
    }

    /// Changes are missing: whoever watches has to read again, and goes on from `revision`.
    fn lose(&mut self, revision: i64) {
        self.stream = None;
        self.seen = revision;
        self.ready.push_back(Event::Compacted);
    }

    fn take(&mut self, response: WatchResponse) -> Result<()> {
        if response.compact_revision() > 0 {
            // The answer itself does not say where the cluster is now.
            self.lose(self.opened_at.max(response.compact_revision() - 1));
            return Ok(());
        }
        if response.canceled() {
            self.stream = None;
            return Err(ended().with_source(response.cancel_reason().to_owned()));
        }
        let mut revisions: BTreeMap<i64, Vec<&Raw>> = BTreeMap::new();
        for event in response.events() {
            if let Some(pair) = event.kv() {
                revisions.entry(pair.mod_revision()).or_default().push(event);
            }
        }
        // What was seen before is left out.
        for (revision, events) in revisions.split_off(&(self.seen + 1)) {
            let changes = self.changes(&events);
            self.seen = revision;
            if !changes.is_empty() {
                let revision = Some(Revision::from(revision.unsigned_abs()));
                self.ready.push_back(Event::Changed { changes, revision });
            }
        }
        Ok(())
    }

    /// What one revision changed among the items selected.
    fn changes(&self, events: &[&Raw]) -> Vec<Change> {
        let is = |event: &Raw, kind| event.event_type() == kind;
        let written = events.iter().filter(|event| is(event, EventType::Put));
        let written: Vec<KeyValue> = written.filter_map(|event| event.kv().cloned()).collect();
        let removed = events.iter().filter(|event| is(event, EventType::Delete));
        let removed = removed.filter_map(|event| self.folder.name(event.kv()?.key()));
        let set = self.folder.each(&written).filter(|(name, _)| self.selector.selects(name));
        let set = set.filter_map(|(_, item)| item.inspect_err(left_out).ok()).map(Change::Set);
        let removed = removed.filter(|name| self.selector.selects(name));
        set.chain(removed.map(|name| Change::Deleted(self.folder.gone(name)))).collect()
    }
}

fn revision(response: &WatchResponse) -> i64 {
    response.header().map_or(0, etcd_client::ResponseHeader::revision)
}

fn left_out(error: &Error) {
    tracing::warn!(%error, "a change of configuration is left out of a watch");
}

fn ended() -> Error {
    Error::unavailable("etcd ended the watch")
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Event> {
        // One interruption is bridged without a word: the runtime of the stream may have ended, or a connection.
        let mut bridged = false;
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let Some(stream) = &mut self.stream else {
                self.connect(Some(self.seen)).await?;
                continue;
            };
            // Nothing is lost when this wait is dropped: a message is taken whole or stays.
            let interrupted = match stream.message().await {
                Ok(Some(response)) => {
                    self.take(response)?;
                    continue;
                }
                Ok(None) => ended(),
                Err(error) => from_etcd(&error),
            };
            self.stream = None;
            if bridged || !interrupted.is_retryable() {
                return Err(interrupted);
            }
            bridged = true;
        }
    }
}
