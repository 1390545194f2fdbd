//! State, as functions have it.

use outrigger_blocks::function::Section;
use outrigger_blocks::{
    BulkOptions, Concurrency, DeleteOptions, Entry, Error, Etag, GetOptions, Operation, Result, SetOptions,
    ttl_of,
};

use super::Answer;
use super::bindings::state::{Change, Host, Item, Removal, Write, WriteOptions};
use super::error::{answer, invalid};
use crate::function::state::{Call, Guest};

/// Keys a store is asked for at once: nobody knows before how much they bring.
const ASKED: usize = 16;

impl Host for Guest {
    async fn get(&mut self, store: String, key: String) -> Answer<Option<Item>> {
        answer(get(self, &store, &key).await)
    }

    async fn get_many(&mut self, store: String, keys: Vec<String>) -> Answer<Vec<Option<Item>>> {
        answer(get_many(self, &store, &keys).await)
    }

    async fn set(&mut self, store: String, write: Write) -> Answer<String> {
        answer(set(self, &store, write).await)
    }

    async fn delete(&mut self, store: String, removal: Removal) -> Answer<()> {
        answer(delete(self, &store, removal).await)
    }

    async fn transact(&mut self, store: String, changes: Vec<Change>) -> Answer<()> {
        answer(transact(self, &store, changes).await)
    }
}

async fn get(guest: &mut Guest, store: &str, key: &str) -> Result<Option<Item>> {
    let call = guest.on(Section::State, store)?;
    let entry = call.blocks.state.get(&call.caller(), store, key, GetOptions::default()).await?;
    Ok(entry.map(item))
}

async fn get_many(guest: &mut Guest, store: &str, keys: &[String]) -> Result<Vec<Option<Item>>> {
    let call = guest.on_many(Section::State, store, keys.len())?;
    let entries = read(&call, store, keys, guest.program.config.max_body).await?;
    Ok(entries.into_iter().map(|entry| entry.map(item)).collect())
}

/// The values of many keys, which are no larger together than a body may be: they are in our memory before they are in
/// the guest's.
pub(super) async fn read(
    call: &Call,
    store: &str,
    keys: &[String],
    most: usize,
) -> Result<Vec<Option<Entry>>> {
    let state = &call.blocks.state;
    if keys.is_empty() {
        state.stores.find(&call.caller(), store)?;
    }
    let (mut entries, mut left) = (Vec::with_capacity(keys.len()), most);
    for (round, some) in keys.chunks(ASKED).enumerate() {
        let got = state.get_bulk(&call.caller(), store, some, BulkOptions::default()).await;
        for entry in got.map_err(|error| error.with("from", format_args!("keys[{}]", round * ASKED)))? {
            let entry = entry?;
            let length = entry.as_ref().map_or(0, |entry| entry.value.len());
            left = left.checked_sub(length).ok_or_else(|| too_much(most))?;
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn too_much(most: usize) -> Error {
    invalid(format!(
        "the values have more than {most} bytes together (`max_body`): ask for fewer keys at once"
    ))
}

async fn set(guest: &mut Guest, store: &str, write: Write) -> Result<String> {
    let call = guest.on(Section::State, store)?;
    let etag = call.blocks.state.set(&call.caller(), store, self::write(write)?).await?;
    Ok(etag.as_str().to_owned())
}

async fn delete(guest: &mut Guest, store: &str, removal: Removal) -> Result<()> {
    let call = guest.on(Section::State, store)?;
    let options = delete_options(removal.if_match)?;
    call.blocks.state.delete(&call.caller(), store, &removal.key, options).await
}

async fn transact(guest: &mut Guest, store: &str, changes: Vec<Change>) -> Result<()> {
    let call = guest.on_many(Section::State, store, changes.len())?;
    let operation = |change| {
        Ok(match change {
            Change::Set(write) => Operation::Set(self::write(write)?),
            Change::Delete(Removal { key, if_match }) => {
                Operation::Delete { key, options: delete_options(if_match)? }
            }
        })
    };
    let operations = changes.into_iter().map(operation).collect::<Result<_>>()?;
    call.blocks.state.transact(&call.caller(), store, operations).await
}

fn item(entry: Entry) -> Item {
    Item { value: entry.value.into(), etag: entry.etag.as_str().to_owned() }
}

fn write(Write { key, value, options }: Write) -> Result<outrigger_blocks::Write> {
    let WriteOptions { if_match, first_write, ttl, fence } = options;
    let options = SetOptions {
        if_match: etag(if_match)?,
        concurrency: if first_write { Concurrency::FirstWrite } else { Concurrency::Unspecified },
        ttl: ttl.map(ttl_of).transpose()?.flatten(),
        fence,
        ..SetOptions::default()
    };
    Ok(outrigger_blocks::Write { key, value: value.into(), options })
}

fn delete_options(if_match: Option<String>) -> Result<DeleteOptions> {
    Ok(DeleteOptions { if_match: etag(if_match)?, ..DeleteOptions::default() })
}

/// Who gives an etag means it: an empty one must not become a write without a condition.
fn etag(if_match: Option<String>) -> Result<Option<Etag>> {
    let read = |etag: String| Etag::from_caller(&etag).ok_or_else(|| invalid("if-match is empty"));
    if_match.map(read).transpose()
}
