//! Sequences: numbers that only grow.

use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::sequencer_options::AutoIncrement;

use crate::{Client, Result};

/// One sequencer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sequencer {
    client: Client,
    name: String,
}

impl Sequencer {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// A number nobody else has been given. The sidecar may have fetched it ahead, so numbers grow over time but not
    /// from call to call, and some are skipped when it ends.
    pub async fn next(&self, key: impl Into<String>) -> Result<i64> {
        self.ask(key.into(), AutoIncrement::Weak).await
    }

    /// A number larger than all given out before, to anyone.
    pub async fn next_strong(&self, key: impl Into<String>) -> Result<i64> {
        self.ask(key.into(), AutoIncrement::Strong).await
    }

    async fn ask(&self, key: String, increment: AutoIncrement) -> Result<i64> {
        let options = Some(proto::SequencerOptions { increment: increment.into() });
        let request =
            proto::GetNextIdRequest { store_name: self.name.clone(), key, options, ..Default::default() };
        Ok(self.client.runtime().get_next_id(self.client.request(request)).await?.into_inner().next_id)
    }
}
