//! Sequences, as functions have them.

use outrigger_blocks::function::Section;
use outrigger_blocks::{Increment, Result};

use super::Answer;
use super::bindings::sequencer::Host;
use super::error::answer;
use crate::function::state::Guest;

impl Host for Guest {
    async fn next(&mut self, store: String, key: String, strong: bool) -> Answer<i64> {
        let increment = if strong { Increment::Strong } else { Increment::Weak };
        answer(next(self, &store, &key, increment).await)
    }
}

async fn next(guest: &mut Guest, store: &str, key: &str, increment: Increment) -> Result<i64> {
    let call = guest.on(Section::Sequencer, store)?;
    call.blocks.sequencer.next(&call.caller(), store, key, increment).await
}
