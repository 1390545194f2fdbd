//! State: keys and values in a named store.

mod component;
mod fence;
mod increment;
mod ttl;

use std::sync::Arc;

use bytes::Bytes;
use outrigger_component_api::{
    BulkOptions, Change, Condition, DeleteOptions, Entry, Etag, GetOptions, Key, Result, SetOptions,
    StateStore,
};

pub use component::StateComponent;
pub use fence::fence;
pub use ttl::{ttl, ttl_of};

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stores::Stores;

/// The state block.
#[derive(Default)]
pub struct State {
    /// The stores calls can name.
    pub stores: Stores<StateComponent>,
}

/// A value to save.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub value: Bytes,
    pub options: SetOptions,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Set(Write),
    Delete { key: String, options: DeleteOptions },
}

impl State {
    /// The value of a key; `None` when it has none.
    pub async fn get(
        &self,
        caller: &Caller<'_>,
        store: &str,
        key: &str,
        options: GetOptions,
    ) -> Result<Option<Entry>> {
        let store = self.stores.find(caller, store)?;
        let key = &store.key(caller, key)?;
        let call = Call { op: &store.ops.get, class: Class::Idempotent, caller };
        store.slot.run(call, |backend| async move { backend.get(key, options).await }).await
    }

    /// The values of many keys, in the order asked. One key's failure is its own.
    pub async fn get_bulk(
        &self,
        caller: &Caller<'_>,
        store: &str,
        keys: &[String],
        options: BulkOptions,
    ) -> Result<Vec<Result<Option<Entry>>>> {
        let store = self.stores.find(caller, store)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.iter().enumerate().map(|(at, key)| named("keys", at, store.key(caller, key)));
        let keys = &keys.collect::<Result<Vec<Key>>>()?;
        let call = Call { op: &store.ops.get_bulk, class: Class::Idempotent, caller };
        store.slot.run(call, |backend| async move { backend.get_bulk(keys, options).await }).await
    }

    /// Saves a value and returns its new etag.
    pub async fn set(&self, caller: &Caller<'_>, store: &str, write: Write) -> Result<Etag> {
        let store = self.stores.find(caller, store)?;
        let key = &store.key(caller, &write.key)?;
        let (value, options) = (&write.value, &write.options);
        let call = Call { op: &store.ops.set, class: class([(options.condition(), options.fence)]), caller };
        let set = |backend: Arc<dyn StateStore>| async move {
            backend.set(key, value.clone(), options.clone()).await
        };
        store.slot.run(call, set).await
    }

    /// Saves values one by one, in order. Not a transaction: one refused write does not undo or stop the others, and
    /// is reported once all are through.
    pub async fn save(&self, caller: &Caller<'_>, store: &str, mut writes: Vec<Write>) -> Result<()> {
        match (writes.len(), writes.pop()) {
            (1, Some(write)) => self.set(caller, store, write).await.map(drop),
            (_, last) => {
                writes.extend(last);
                self.write_bulk(caller, store, writes.into_iter().map(Operation::Set).collect()).await
            }
        }
    }

    /// Removes a key. Removing a missing key succeeds, unless an etag was given.
    pub async fn delete(
        &self,
        caller: &Caller<'_>,
        store: &str,
        key: &str,
        options: DeleteOptions,
    ) -> Result<()> {
        let store = self.stores.find(caller, store)?;
        let (key, options) = (&store.key(caller, key)?, &options);
        let call =
            Call { op: &store.ops.delete, class: class([(options.condition(), options.fence)]), caller };
        store.slot.run(call, |backend| async move { backend.delete(key, options.clone()).await }).await
    }

    /// Removes keys one by one, in order; otherwise as [`State::save`].
    pub async fn delete_bulk(
        &self,
        caller: &Caller<'_>,
        store: &str,
        deletes: Vec<(String, DeleteOptions)>,
    ) -> Result<()> {
        let deletes = deletes.into_iter().map(|(key, options)| Operation::Delete { key, options });
        self.write_bulk(caller, store, deletes.collect()).await
    }

    /// Applies all operations or none.
    pub async fn transact(&self, caller: &Caller<'_>, store: &str, operations: Vec<Operation>) -> Result<()> {
        let store = self.stores.find(caller, store)?;
        let changes = &store.changes(caller, "operations", operations)?;
        let call = Call {
            op: &store.ops.transact,
            class: class(changes.iter().map(|change| (change.condition(), change.fence()))),
            caller,
        };
        store.slot.run(call, |backend| async move { backend.transact(changes.clone()).await }).await
    }

    async fn write_bulk(&self, caller: &Caller<'_>, store: &str, operations: Vec<Operation>) -> Result<()> {
        let store = self.stores.find(caller, store)?;
        let changes = &store.changes(caller, "states", operations)?;
        if changes.is_empty() {
            return Ok(());
        }
        let call = Call {
            op: &store.ops.write_bulk,
            class: class(changes.iter().map(|change| (change.condition(), change.fence()))),
            caller,
        };
        let results =
            store.slot.run(call, |backend| async move { backend.write_bulk(changes.clone()).await }).await?;
        first_failure(results)
    }
}

impl StateComponent {
    fn key(&self, caller: &Caller<'_>, key: &str) -> Result<Key> {
        self.prefix.apply("", self.slot.name(), caller.app_id, "key", key)
    }

    fn changes(
        &self,
        caller: &Caller<'_>,
        field: &'static str,
        operations: Vec<Operation>,
    ) -> Result<Vec<Change>> {
        let change = |(at, operation)| {
            Ok(match operation {
                Operation::Set(Write { key, value, options }) => {
                    Change::Set { key: named(field, at, self.key(caller, &key))?, value, options }
                }
                Operation::Delete { key, options } => {
                    Change::Delete { key: named(field, at, self.key(caller, &key))?, options }
                }
            })
        };
        operations.into_iter().enumerate().map(change).collect()
    }
}

/// Writes that win whatever is there may be repeated; one that depends on what is there, or on who has written since,
/// may not.
fn class<'a>(writes: impl IntoIterator<Item = (Condition<'a>, Option<u64>)>) -> Class {
    if writes.into_iter().all(|(condition, fence)| condition == Condition::Always && fence.is_none()) {
        Class::Idempotent
    } else {
        Class::Conditional
    }
}

/// Says which element of a repeated field is wrong.
fn named<T>(field: &'static str, at: usize, result: Result<T>) -> Result<T> {
    result.map_err(|error| error.with("at", format_args!("{field}[{at}]")))
}

/// What a bulk write reports: the first failure, and how many there were.
fn first_failure<T>(results: Vec<Result<T>>) -> Result<()> {
    let total = results.len();
    let mut failures = results.into_iter().enumerate().filter_map(|(at, result)| Some((at, result.err()?)));
    let Some((at, first)) = failures.next() else { return Ok(()) };
    let failed = 1 + failures.count();
    Err(first.with("at", format_args!("states[{at}]")).with("failed", format_args!("{failed} of {total}")))
}

#[cfg(test)]
mod tests;
