//! Configuration, as functions have it. A watch is a question that waits: a function is not there to be told later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outrigger_blocks::function::Section;
use outrigger_blocks::{ConfigurationItem, Polled, Result};

use super::Answer;
use super::bindings::configuration::{Changes, Host, Item, Selector};
use super::error::answer;
use crate::function::state::Guest;

impl Host for Guest {
    async fn get(&mut self, store: String, selector: Selector) -> Answer<Vec<Item>> {
        answer(get(self, &store, selector).await)
    }

    async fn watch(
        &mut self,
        store: String,
        selector: Selector,
        revision: Option<String>,
        timeout_ms: u32,
    ) -> Answer<Changes> {
        let wait = Duration::from_millis(timeout_ms.into());
        answer(watch(self, &store, selector, &revision.unwrap_or_default(), wait).await)
    }
}

async fn get(guest: &mut Guest, store: &str, selector: Selector) -> Result<Vec<Item>> {
    let call = guest.on(Section::Configuration, store)?;
    let items = call.blocks.configuration.get(&call.caller(), store, decode(selector)).await?;
    Ok(items.into_iter().map(encode).collect())
}

async fn watch(
    guest: &mut Guest,
    store: &str,
    selector: Selector,
    revision: &str,
    wait: Duration,
) -> Result<Changes> {
    let call = guest.on(Section::Configuration, store)?;
    // What is answered at the very end of the call comes too late for the function to answer itself.
    let wait = call.deadline.remaining(Instant::now()).map_or(wait, |left| wait.min(left / 10 * 9));
    let caller = call.caller();
    let polled = call.blocks.configuration.poll(&caller, store, decode(selector), revision, wait).await?;
    let Polled { items, gone, since } = polled;
    Ok(Changes { items: items.into_iter().map(encode).collect(), gone, revision: since })
}

fn decode(selector: Selector) -> outrigger_blocks::Selector {
    let Selector { app_id, group, label, keys } = selector;
    outrigger_blocks::Selector { app_id, group, label, keys, metadata: BTreeMap::new() }
}

fn encode(item: ConfigurationItem) -> Item {
    Item { key: item.key, value: item.content, version: item.version }
}
