//! `wasi:keyvalue`: buckets, which are state stores. Two drafts of it are about; what they have in common is here.

mod draft;
mod draft2;

use outrigger_blocks::function::Section;
use outrigger_blocks::{
    Concurrency, DeleteOptions, Entry, Error, ErrorKind, GetOptions, Result, SetOptions, Write,
};
use wasmtime::component::{Linker, Resource};

use super::state;
use crate::function::journal::Kind;
use crate::function::state::{Call, Ctx, Guest};

/// A bucket that was opened.
#[expect(unreachable_pub, reason = "the bindings name it")]
pub struct Bucket {
    store: String,
}

/// A value as it was read, to be written over.
#[expect(unreachable_pub, reason = "the bindings name it")]
pub struct Cas {
    store: String,
    key: String,
    read: Option<Entry>,
}

impl Cas {
    fn length(&self) -> usize {
        self.key.len() + self.read.as_ref().map_or(0, |entry| entry.value.len())
    }
}

/// What a bucket answers in place of what it was asked for.
enum Failure {
    NoSuchStore,
    AccessDenied,
    Other(String),
}

/// The outer error ends the function: it has no such handle.
type Answer<T> = wasmtime::Result<Result<T, Failure>>;

pub(super) fn add_to_linker(
    linker: &mut Linker<Ctx>,
    guest: fn(&mut Ctx) -> &mut Guest,
) -> wasmtime::Result<()> {
    draft::add_to_linker(linker, guest)?;
    draft2::add_to_linker(linker, guest)
}

impl Guest {
    fn bucket_open(&mut self, identifier: &str) -> Answer<Resource<Bucket>> {
        match self.granted(identifier) {
            Ok(store) => Ok(Ok(self.handles.push(Bucket { store })?)),
            Err(error) => Ok(Err(self.failure(error))),
        }
    }

    /// The store of a name that is granted, and there. The empty name, and `default` where no grant says it, is the only
    /// one that is granted.
    fn granted(&mut self, identifier: &str) -> Result<String> {
        let call = self.operation()?;
        let grants = &self.program.config.grants;
        let unnamed = identifier.is_empty()
            || (identifier == "default" && grants.check(Section::State, identifier).is_err());
        let store = match (unnamed, &*grants.state) {
            (false, _) => identifier,
            (true, [only]) if only != "*" => only,
            (true, _) => {
                let message = format!(
                    "bucket '{identifier}' is the only state store of grants.state: it names several"
                );
                return Err(Error::new(ErrorKind::NotConfigured, message));
            }
        };
        grants.check(Section::State, store)?;
        call.blocks.state.stores.find(&call.caller(), store)?;
        Ok(store.to_owned())
    }

    /// Whose store a handle is, and the call in whose name it is used once more.
    fn enter(&mut self, bucket: &Resource<Bucket>) -> wasmtime::Result<Result<(Call, String)>> {
        self.enter_for(bucket, 1)
    }

    /// The same for so many operations at once.
    fn enter_for(
        &mut self,
        bucket: &Resource<Bucket>,
        many: usize,
    ) -> wasmtime::Result<Result<(Call, String)>> {
        let store = self.handles.get(bucket)?.store.clone();
        Ok(self.operations(many).map(|call| (call, store)))
    }

    async fn bucket_get(&mut self, bucket: &Resource<Bucket>, key: &str) -> Answer<Option<Vec<u8>>> {
        let entered = self.enter(bucket)?;
        let got = async {
            let (call, store) = entered?;
            call.blocks.state.get(&call.caller(), &store, key, GetOptions::default()).await
        };
        let got = got.await;
        Ok(self.told(got).map(|entry| entry.map(|entry| entry.value.into())))
    }

    async fn bucket_set(&mut self, bucket: &Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        let entered = self.enter(bucket)?;
        let set = async {
            let (call, store) = entered?;
            call.blocks.state.set(&call.caller(), &store, write(key, value)).await.map(drop)
        };
        let set = set.await;
        Ok(self.told(set))
    }

    async fn bucket_delete(&mut self, bucket: &Resource<Bucket>, key: &str) -> Answer<()> {
        let entered = self.enter(bucket)?;
        let deleted = async {
            let (call, store) = entered?;
            call.blocks.state.delete(&call.caller(), &store, key, DeleteOptions::default()).await
        };
        let deleted = deleted.await;
        Ok(self.told(deleted))
    }

    async fn bucket_get_many(
        &mut self,
        bucket: &Resource<Bucket>,
        keys: &[String],
    ) -> Answer<Vec<Option<Vec<u8>>>> {
        let entered = self.enter_for(bucket, keys.len())?;
        let most = self.program.config.max_body;
        let got = async {
            let (call, store) = entered?;
            let entries = state::read(&call, &store, keys, most).await?;
            Ok(entries.into_iter().map(|entry| entry.map(|entry| entry.value.into())).collect())
        };
        let got = got.await;
        Ok(self.told(got))
    }

    async fn bucket_set_many(
        &mut self,
        bucket: &Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        let entered = self.enter_for(bucket, pairs.len())?;
        let set = async {
            let (call, store) = entered?;
            let writes = pairs.into_iter().map(|(key, value)| write(key, value)).collect();
            call.blocks.state.save(&call.caller(), &store, writes).await
        };
        let set = set.await;
        Ok(self.told(set))
    }

    async fn bucket_delete_many(&mut self, bucket: &Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let entered = self.enter_for(bucket, keys.len())?;
        let deleted = async {
            let (call, store) = entered?;
            let deletes = keys.into_iter().map(|key| (key, DeleteOptions::default())).collect();
            call.blocks.state.delete_bulk(&call.caller(), &store, deletes).await
        };
        let deleted = deleted.await;
        Ok(self.told(deleted))
    }

    async fn bucket_increment(&mut self, bucket: &Resource<Bucket>, key: &str, by: i64) -> Answer<i64> {
        let entered = self.enter(bucket)?;
        let sum = async {
            let (call, store) = entered?;
            call.blocks.state.increment(&call.caller(), &store, key, by).await
        };
        let sum = sum.await;
        Ok(self.told(sum))
    }

    async fn cas_new(&mut self, bucket: &Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let entered = self.enter(bucket)?;
        let read = async {
            let (call, store) = entered?;
            let read = call.blocks.state.get(&call.caller(), &store, &key, GetOptions::default()).await?;
            Ok(Cas { store, key, read })
        };
        let read = read.await;
        Ok(match self.told(read) {
            Ok(cas) => self.hold(cas)?,
            Err(failure) => Err(failure),
        })
    }

    /// Writes over what was read; otherwise what there is now, read anew.
    async fn cas_swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Answer<Option<Resource<Cas>>> {
        let cas = self.let_go(cas)?;
        let call = self.operation();
        let swapped = async {
            let call = call?;
            let options = SetOptions {
                if_match: cas.read.as_ref().map(|entry| entry.etag.clone()),
                concurrency: Concurrency::FirstWrite,
                ..SetOptions::default()
            };
            let over = Write { options, ..write(cas.key.clone(), value) };
            match call.blocks.state.set(&call.caller(), &cas.store, over).await {
                Ok(_) => return Ok(None),
                Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
                Err(_) => {}
            }
            let read =
                call.blocks.state.get(&call.caller(), &cas.store, &cas.key, GetOptions::default()).await?;
            Ok(Some(Cas { read, ..cas }))
        };
        let swapped = swapped.await;
        Ok(match self.told(swapped) {
            Ok(Some(cas)) => self.hold(cas)?.map(Some),
            Ok(None) => Ok(None),
            Err(failure) => Err(failure),
        })
    }

    /// What handles keep is bounded by what the guest's memory is: it is not in there.
    fn hold(&mut self, cas: Cas) -> Answer<Resource<Cas>> {
        let (held, most) = (self.held.saturating_add(cas.length()), self.program.config.memory);
        if held > most {
            let message = format!("handles of one instance keep {most} bytes at most (`memory`)");
            return Ok(Err(Failure::Other(message)));
        }
        self.held = held;
        Ok(Ok(self.handles.push(cas)?))
    }

    fn let_go(&mut self, cas: Resource<Cas>) -> wasmtime::Result<Cas> {
        let cas = self.handles.delete(cas)?;
        self.held = self.held.saturating_sub(cas.length());
        Ok(cas)
    }

    fn told<T>(&self, result: Result<T>) -> Result<T, Failure> {
        result.map_err(|error| self.failure(error))
    }

    /// Two of the failures have no words of their own: these go to the function's log.
    fn failure(&self, error: Error) -> Failure {
        let failure = match error.kind() {
            ErrorKind::NotConfigured => Failure::NoSuchStore,
            ErrorKind::PermissionDenied => Failure::AccessDenied,
            _ => return Failure::Other(error.to_string()),
        };
        self.program.journal.write(Kind::Warn, &format!("wasi:keyvalue: {error}"));
        failure
    }
}

fn write(key: String, value: Vec<u8>) -> Write {
    Write { key, value: value.into(), options: SetOptions::default() }
}

/// Stores of ours do not know their keys by order, and most of them not at all.
fn unlisted() -> Failure {
    Failure::Other("a state store does not list its keys".to_owned())
}
