//! Publishing, as functions have it.

use outrigger_blocks::function::Section;
use outrigger_blocks::{Publication, Result};

use super::Answer;
use super::bindings::pubsub::Host;
use super::error::answer;
use super::metadata::{self, Metadata};
use crate::function::state::Guest;

impl Host for Guest {
    async fn publish(
        &mut self,
        component: String,
        topic: String,
        data: Vec<u8>,
        content_type: String,
        metadata: Metadata,
    ) -> Answer<()> {
        let metadata = metadata::decode(metadata);
        let publication = Publication { data: data.into(), content_type, metadata };
        answer(publish(self, &component, &topic, &publication).await)
    }
}

async fn publish(guest: &mut Guest, component: &str, topic: &str, publication: &Publication) -> Result<()> {
    let call = guest.on_part(Section::Pubsub, component, topic)?;
    call.blocks.pubsub.publish(&call.caller(), component, topic, publication).await
}
