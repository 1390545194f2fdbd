//! Sequences in memory: they begin anew with the process.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, Key, NextOptions, Result, Segment, Sequencer, SequencerCapabilities,
    async_trait,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

/// Registers [`MemorySequencer`] as `sequencer.in-memory`.
pub struct MemorySequencerBackend;

/// `sequencer.in-memory` has no settings.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemorySequencerConfig {}

#[async_trait]
impl Backend for MemorySequencerBackend {
    const TYPE: &'static str = "sequencer.in-memory";
    const ALIASES: &'static [&'static str] = &["sequencer.memory"];
    const ABOUT: &'static str = "Sequences in this process's memory; they begin anew with it.";
    type Config = MemorySequencerConfig;
    type Block = dyn Sequencer;

    async fn build(_: MemorySequencerConfig, _: &BuildContext) -> Result<Arc<dyn Sequencer>> {
        Ok(Arc::new(MemorySequencer::default()))
    }
}

/// A sequencer in memory.
#[derive(Default)]
pub struct MemorySequencer {
    last: Mutex<HashMap<Key, i64>>,
}

#[async_trait]
impl Component for MemorySequencer {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Sequencer for MemorySequencer {
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities { segments: true, bigger_than: true, persistent: false }
    }

    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64> {
        self.segment(key, 1, options).await.map(|segment| segment.first)
    }

    async fn segment(&self, key: &Key, size: u32, options: NextOptions) -> Result<Segment> {
        let mut sequences = self.last.lock();
        let last = sequences.get(key).copied().unwrap_or_default();
        let segment = Segment::after(last, size, options)?;
        sequences.insert(key.clone(), segment.last);
        Ok(segment)
    }
}
