//! The state suite through everything: client, gRPC, block, memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_component_api::{
    Change, Component, Concurrency, DeleteOptions, Entry, Error, ErrorKind, Etag, GetOptions, Key, Result,
    SetOptions, StateCapabilities, StateStore, async_trait,
};
use outrigger_sdk as sdk;
use tokio::runtime::{Builder, Handle};

use crate::harness::Sidecar;

outrigger_testkit::state_suite!(through_the_wire());

fn through_the_wire() -> Arc<dyn StateStore> {
    Arc::new(Remote::start())
}

/// A store at the other end of a connection. Server and client have a runtime of their own, because the suite calls
/// from several and ends some of them.
struct Remote {
    store: sdk::StateStore,
    runtime: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Remote {
    fn start() -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (started, start) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let served = Sidecar::new().serve().await;
                let options = sdk::Options { endpoint: served.endpoint.clone(), ..sdk::Options::default() };
                let client = sdk::Client::connect_with(options).await.unwrap();
                started.send((client.state("state"), Handle::current())).unwrap();
                let _stopped = stopped.await;
            });
        });
        let (store, runtime) = start.recv().unwrap();
        Self { store, runtime, stop: Some(stop) }
    }

    async fn call<T: Send + 'static, F: Future<Output = sdk::Result<T>> + Send + 'static>(
        &self,
        call: impl FnOnce(sdk::StateStore) -> F,
    ) -> Result<T> {
        let answer = self.runtime.spawn(call(self.store.clone())).await;
        answer.expect("the remote runtime lives as long as this").map_err(error)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

#[async_trait]
impl Component for Remote {
    async fn ping(&self) -> Result<()> {
        self.call(|store| async move { store.get("ping").await }).await.map(drop)
    }
}

#[async_trait]
impl StateStore for Remote {
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
        let mut transaction = self.store.transaction();
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
        self.call(|_| transaction.commit()).await?;
        for key in gone {
            self.delete(&key, DeleteOptions::default()).await?;
        }
        Ok(())
    }
}

fn text(key: &Key) -> Result<String> {
    String::from_utf8(key.as_bytes().to_vec()).map_err(|_| Error::invalid("the wire has keys of text only"))
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

fn error(error: sdk::Error) -> Error {
    let kind = match error.kind() {
        sdk::ErrorKind::Conflict => ErrorKind::Conflict,
        sdk::ErrorKind::InvalidArgument => ErrorKind::InvalidArgument,
        sdk::ErrorKind::Unsupported => ErrorKind::Unsupported,
        sdk::ErrorKind::Unavailable => ErrorKind::Unavailable,
        other => unreachable!("{other:?}: {error}"),
    };
    let message = error.to_string();
    let position = message.split_once("operation=").map(|(_, rest)| rest.trim_end_matches(')').to_owned());
    let error = Error::new(kind, message);
    match position {
        Some(position) => error.with("operation", position),
        None => error,
    }
}
