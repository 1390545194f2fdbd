//! Sequences, strong ones. The dialect asks for one number at a time, and what it exceeds is the component's setting.

use std::sync::Arc;

use outrigger_component_api::{
    Component, Error, Key, NextOptions, Result, Sequencer, SequencerCapabilities, async_trait,
};
use outrigger_memory::MemorySequencer;
use outrigger_sdk as sdk;
use outrigger_sqlite::SqliteSequencer;

use super::{Kept, Remote, new_file, nothing, text};
use crate::harness::Sidecar;

mod memory {
    use super::*;
    outrigger_testkit::sequencer_suite!(remote(|| (Arc::new(MemorySequencer::default()) as _, nothing())));
}

mod sqlite {
    use super::*;
    outrigger_testkit::sequencer_suite!(remote(|| {
        let (config, folder) = new_file();
        (Arc::new(SqliteSequencer::new(config).unwrap()) as _, Box::new(folder) as _)
    }));
}

fn remote(build: impl FnOnce() -> (Arc<dyn Sequencer>, Kept) + Send + 'static) -> Arc<dyn Sequencer> {
    let seat = |sidecar: &Sidecar| {
        let (backend, kept) = build();
        sidecar.blocks.sequencer.stores.replace([sidecar.seat("sequencer", backend)]);
        kept
    };
    Arc::new(Remote::start(seat, |client| client.sequencer("sequencer")))
}

#[async_trait]
impl Component for Remote<sdk::Sequencer> {
    async fn ping(&self) -> Result<()> {
        self.call(|numbers| async move { numbers.next_strong("ping").await }).await.map(drop)
    }
}

#[async_trait]
impl Sequencer for Remote<sdk::Sequencer> {
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities { segments: false, bigger_than: false, persistent: false }
    }

    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64> {
        if options.bigger_than > 0 {
            return Err(Error::unsupported("a number to exceed"));
        }
        let key = text(key)?;
        self.call(|numbers| async move { numbers.next_strong(key).await }).await
    }
}
