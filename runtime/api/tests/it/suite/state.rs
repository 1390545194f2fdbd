//! State. The dialect has keys of text and no times to live of zero, and does not answer with the new etag.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_component_api::{
    Change, Component, Concurrency, DeleteOptions, Entry, Error, Etag, GetOptions, Key, Result, SetOptions,
    StateCapabilities, StateStore, async_trait,
};
use outrigger_memory::MemoryState;
use outrigger_sdk as sdk;
use outrigger_sqlite::SqliteState;

use super::{Kept, Remote, error, new_file, nothing, text};
use crate::harness::Sidecar;

mod memory {
    use super::*;
    outrigger_testkit::state_suite!(remote(|| (Arc::new(MemoryState::new()) as _, nothing())));
}

mod sqlite {
    use super::*;
    outrigger_testkit::state_suite!(remote(|| {
        let (config, folder) = new_file();
        (Arc::new(SqliteState::new(config).unwrap()) as _, Box::new(folder) as _)
    }));
}

fn remote(build: impl FnOnce() -> (Arc<dyn StateStore>, Kept) + Send + 'static) -> Arc<dyn StateStore> {
    let seat = |sidecar: &Sidecar| {
        let (backend, kept) = build();
        sidecar.stores([sidecar.store("state", Some(backend))]);
        kept
    };
    Arc::new(Remote::start(seat, |client| client.state("state")))
}

#[async_trait]
impl Component for Remote<sdk::StateStore> {
    async fn ping(&self) -> Result<()> {
        self.call(|store| async move { store.get("ping").await }).await.map(drop)
    }
}

#[async_trait]
impl StateStore for Remote<sdk::StateStore> {
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities {
            etags: true,
            ttl: true,
            transactions: true,
            fencing: true,
            ..StateCapabilities::default()
        }
    }

    async fn get(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        let key = text(key)?;
        Ok(self.call(|store| async move { store.get(key).await }).await?.map(entry))
    }

    async fn get_bulk(
        &self,
        keys: &[Key],
        options: outrigger_component_api::BulkOptions,
    ) -> Result<Vec<Result<Option<Entry>>>> {
        let keys = keys.iter().map(text).collect::<Result<Vec<_>>>()?;
        let parallelism = u16::try_from(options.parallelism).unwrap_or(u16::MAX);
        let found = self.call(move |store| async move { store.get_bulk(keys, parallelism).await }).await?;
        Ok(found.into_iter().map(|found| found.entry.map(|found| found.map(entry)).map_err(error)).collect())
    }

    /// The wire does not return the new etag, so it is read back.
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag> {
        let gone = options.ttl == Some(Duration::ZERO);
        let save = write(key, value, options)?;
        self.call(|store| async move { store.save(save).await }).await?;
        if gone {
            // In this dialect a ttl of zero is no ttl.
            self.delete(key, DeleteOptions::default()).await?;
            return Ok(Etag::from(0));
        }
        match self.get(key, GetOptions::default()).await? {
            Some(entry) => Ok(entry.etag),
            None => Ok(Etag::from(0)),
        }
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        let delete = delete(key, options)?;
        self.call(|store| async move { store.delete(delete).await }).await
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        let mut transaction = self.client.transaction();
        let mut gone = Vec::new();
        for change in changes {
            transaction = match change {
                Change::Set { key, value, options } => {
                    gone.extend((options.ttl == Some(Duration::ZERO)).then(|| key.clone()));
                    transaction.save(write(&key, value, options)?)
                }
                Change::Delete { key, options } => transaction.delete(delete(&key, options)?),
            };
        }
        self.call(|_| transaction.commit()).await.map_err(at_fault)?;
        for key in gone {
            self.delete(&key, DeleteOptions::default()).await?;
        }
        Ok(())
    }
}

fn entry(entry: sdk::Entry) -> Entry {
    let etag = Etag::from_caller(&entry.etag).expect("every entry has one");
    Entry { value: entry.value, etag, expires: entry.expires }
}

fn write(key: &Key, value: Bytes, options: SetOptions) -> Result<sdk::Write> {
    let mut write = sdk::Write::new(text(key)?, value);
    if let Some(ttl) = options.ttl.filter(|ttl| !ttl.is_zero()) {
        write = write.ttl(ttl);
    }
    if let Some(token) = options.fence {
        write = write.fence(token);
    }
    if options.concurrency == Concurrency::FirstWrite {
        write = write.first_write();
    }
    Ok(match options.if_match.filter(|_| options.concurrency != Concurrency::LastWrite) {
        Some(etag) => write.if_match(etag.as_str()),
        None => write,
    })
}

fn delete(key: &Key, options: DeleteOptions) -> Result<sdk::Delete> {
    let mut delete = sdk::Delete::new(text(key)?);
    if let Some(token) = options.fence {
        delete = delete.fence(token);
    }
    Ok(match options.if_match.filter(|_| options.concurrency != Concurrency::LastWrite) {
        Some(etag) => delete.if_match(etag.as_str()),
        None => delete,
    })
}

/// With the change of a transaction that was at fault, which the dialect tells in words.
fn at_fault(failure: Error) -> Error {
    let position =
        failure.message().split_once("operation=").map(|(_, rest)| rest.trim_end_matches(')').to_owned());
    match position {
        Some(position) => failure.with("operation", position),
        None => failure,
    }
}
