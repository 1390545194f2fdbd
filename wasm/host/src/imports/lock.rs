//! Locks, as functions have them.

use outrigger_blocks::Result;
use outrigger_blocks::function::Section;

use super::Answer;
use super::bindings::lock::{Held, Host};
use super::error::{answer, invalid};
use crate::function::state::Guest;

impl Host for Guest {
    async fn try_lock(
        &mut self,
        store: String,
        name: String,
        owner: String,
        seconds: u32,
    ) -> Answer<Option<u64>> {
        answer(try_lock(self, &store, &name, &owner, seconds).await)
    }

    async fn unlock(&mut self, store: String, name: String, owner: String) -> Answer<Held> {
        answer(unlock(self, &store, &name, &owner).await)
    }

    async fn keep_alive(&mut self, store: String, name: String, owner: String, seconds: u32) -> Answer<Held> {
        answer(keep_alive(self, &store, &name, &owner, seconds).await)
    }
}

async fn try_lock(
    guest: &mut Guest,
    store: &str,
    name: &str,
    owner: &str,
    seconds: u32,
) -> Result<Option<u64>> {
    let call = guest.on(Section::Lock, store)?;
    let seconds = lifetime(seconds)?;
    let lease = call.blocks.lock.try_lock(&call.caller(), store, name, owner, seconds).await?;
    Ok(lease.map(|lease| lease.token))
}

async fn unlock(guest: &mut Guest, store: &str, name: &str, owner: &str) -> Result<Held> {
    let call = guest.on(Section::Lock, store)?;
    call.blocks.lock.unlock(&call.caller(), store, name, owner).await.map(held)
}

async fn keep_alive(guest: &mut Guest, store: &str, name: &str, owner: &str, seconds: u32) -> Result<Held> {
    let call = guest.on(Section::Lock, store)?;
    let seconds = lifetime(seconds)?;
    call.blocks.lock.keep_alive(&call.caller(), store, name, owner, seconds).await.map(held)
}

fn lifetime(seconds: u32) -> Result<i32> {
    i32::try_from(seconds).map_err(|_| invalid(format!("seconds is {seconds}, and at most {}", i32::MAX)))
}

fn held(held: outrigger_blocks::Held) -> Held {
    match held {
        outrigger_blocks::Held::Yes => Held::Yes,
        outrigger_blocks::Held::Nobody => Held::Nobody,
        outrigger_blocks::Held::Other => Held::Other,
    }
}
