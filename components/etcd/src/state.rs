//! The state block on etcd.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::TxnOpResponse;
use outrigger_component_api::{
    Backend, BuildContext, Change, Component, DeleteOptions, Entry, Error, ErrorKind, Etag, GetOptions, Key,
    Result, SetOptions, StateCapabilities, StateStore, async_trait,
};

use crate::config::EtcdConfig;
use crate::lease;
use crate::link::Links;
use crate::value;
use plan::{MOST_CHANGES, Plan, Present};

/// Registers [`EtcdState`] as `state.etcd`.
pub struct EtcdStateBackend;

#[async_trait]
impl Backend for EtcdStateBackend {
    const TYPE: &'static str = "state.etcd";
    const ABOUT: &'static str =
        "State in an etcd cluster: every read is the latest, every write agreed upon.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("endpoints", "localhost:2379")];
    type Config = EtcdConfig;
    type Block = dyn StateStore;

    async fn build(config: EtcdConfig, _: &BuildContext) -> Result<Arc<dyn StateStore>> {
        Ok(Arc::new(EtcdState::new(&config)?))
    }
}

/// A state store in an etcd cluster. Connects with the first call.
pub struct EtcdState {
    links: Links,
    prefix: String,
}

/// How often a transaction is tried against others that change the same keys. Each round somebody wins.
const MOST_ROUNDS: usize = 200;
/// An entry's lease is longer than the entry, as it only clears up.
const LEASE_SLACK: Duration = Duration::from_secs(2);

impl EtcdState {
    pub fn new(config: &EtcdConfig) -> Result<Self> {
        Ok(Self { links: Links::new(config)?, prefix: config.prefix("/layotto/") })
    }

    /// Applies changes, all or none; returns the revision that has them.
    async fn apply(&self, changes: &[Change]) -> Result<i64> {
        let mut leases = Vec::new();
        for change in changes {
            leases.push(match change {
                Change::Set { options: SetOptions { ttl: Some(ttl), .. }, .. } => {
                    lease::grant(&self.links, ttl.saturating_add(LEASE_SLACK)).await?
                }
                _ => 0,
            });
        }
        let applied = self.apply_with(changes, &leases).await;
        // Where the answer was lost the keys may hang on these leases; they end by themselves.
        if applied.as_ref().is_err_and(|error| !is_lost(error)) {
            for lease in leases {
                lease::revoke(&self.links, lease).await;
            }
        }
        applied
    }

    async fn apply_with(&self, changes: &[Change], leases: &[i64]) -> Result<i64> {
        for _ in 0..MOST_ROUNDS {
            let present = self.present(changes).await?;
            let plan = Plan::make(&self.prefix, changes, leases, &present)?;
            let txn = plan.transaction();
            let answer = self.links.run(|etcd| async move { etcd.kv().txn(txn).await }).await?;
            if answer.succeeded() {
                return Ok(answer.header().map_or(0, etcd_client::ResponseHeader::revision));
            }
        }
        Err(Error::unavailable("too many others are changing the same keys"))
    }

    /// What is there of the keys on which the changes depend.
    async fn present(&self, changes: &[Change]) -> Result<Present> {
        let mut present = Present::default();
        let Some(reads) = plan::reads(&self.prefix, changes) else { return Ok(present) };
        let answer = self.links.run(|etcd| async move { etcd.kv().txn(reads).await }).await?;
        for response in answer.op_responses() {
            if let TxnOpResponse::Get(mut found) = response {
                for pair in found.take_kvs() {
                    let revision = pair.mod_revision();
                    let (key, value) = pair.into_key_value();
                    present.add(key, value, revision);
                }
            }
        }
        Ok(present)
    }
}

#[async_trait]
impl Component for EtcdState {
    async fn ping(&self) -> Result<()> {
        self.links.ping(&self.prefix).await
    }
}

#[async_trait]
impl StateStore for EtcdState {
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities {
            etags: true,
            ttl: true,
            transactions: true,
            max_changes: Some(MOST_CHANGES),
            binary_keys: true,
            persistent: true,
            fencing: true,
        }
    }

    async fn get(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        let key = plan::entry_key(&self.prefix, key);
        let mut found = self.links.run(|etcd| async move { etcd.kv().get(key, None).await }).await?;
        let Some(pair) = found.take_kvs().into_iter().next() else { return Ok(None) };
        let etag = Etag::from(pair.mod_revision().unsigned_abs());
        let (_, stored) = pair.into_key_value();
        let (value, end) = value::read(stored);
        let entry = Entry { value, etag, expires: end.map(value::End::time) };
        Ok(end.is_none_or(|end| !end.has_come()).then_some(entry))
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag> {
        let change = Change::Set { key: key.clone(), value, options };
        Ok(Etag::from(self.apply(&[change]).await.map_err(alone)?.unsigned_abs()))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.apply(&[Change::Delete { key: key.clone(), options }]).await.map_err(alone).map(drop)
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        match changes.len() {
            0 => Ok(()),
            1..=MOST_CHANGES => self.apply(&changes).await.map(drop),
            _ => Err(Error::invalid(format!("a transaction has at most {MOST_CHANGES} changes here"))),
        }
    }
}

/// A change that stands alone has no position.
fn alone(error: Error) -> Error {
    if error.context().is_empty() {
        return error;
    }
    let mut plain = Error::new(error.kind(), error.message().to_owned());
    for (name, value) in error.context().iter().filter(|(name, _)| *name != "operation") {
        plain = plain.with(name, value);
    }
    match std::error::Error::source(&error) {
        Some(source) => plain.with_source(source.to_string()),
        None => plain,
    }
}

/// Whether the transaction may have been carried out without our hearing of it.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Internal)
}
