//! Secrets, as functions have them. The one place where a value leaves its wrapper on the way to one.

use outrigger_blocks::function::Section;
use outrigger_blocks::{Result, SecretOptions};

use super::Answer;
use super::bindings::secrets::Host;
use super::error::answer;
use crate::function::state::Guest;

impl Host for Guest {
    async fn get(&mut self, store: String, name: String) -> Answer<Vec<(String, String)>> {
        answer(get(self, &store, &name).await)
    }
}

async fn get(guest: &mut Guest, store: &str, name: &str) -> Result<Vec<(String, String)>> {
    let call = guest.on_part(Section::Secrets, store, name)?;
    let values = call.blocks.secrets.get(&call.caller(), store, name, SecretOptions::default()).await?;
    Ok(values.into_iter().map(|(name, value)| (name, value.expose().clone())).collect())
}
