//! The sequencer block on SQLite.

use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, Key, NextOptions, Result, Segment, Sequencer, SequencerCapabilities,
    async_trait,
};
use rusqlite::params;

use crate::batch::Batch;
use crate::config::SqliteConfig;
use crate::store::Store;

/// Registers [`SqliteSequencer`] as `sequencer.sqlite`.
pub struct SqliteSequencerBackend;

#[async_trait]
impl Backend for SqliteSequencerBackend {
    const TYPE: &'static str = "sequencer.sqlite";
    const ABOUT: &'static str = "Sequences in a file; no number is given out twice, also across crashes.";
    type Config = SqliteConfig;
    type Block = dyn Sequencer;

    async fn build(config: SqliteConfig, _: &BuildContext) -> Result<Arc<dyn Sequencer>> {
        Ok(Arc::new(SqliteSequencer { store: Store::shared(config)? }))
    }
}

/// A sequencer in an SQLite file. Nothing is opened or created before the first call.
pub struct SqliteSequencer {
    store: Arc<Store>,
}

impl SqliteSequencer {
    /// Settles where the file is; opens nothing.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::new(config)?) })
    }

    async fn take(&self, key: &Key, size: u32, options: NextOptions) -> Result<Segment> {
        let key = key.clone();
        let work = move |batch: &mut Batch<'_>| {
            let sql = "SELECT last FROM sequences WHERE key = ?1";
            let last: Option<i64> = batch.find(sql, params![key.as_bytes()], |row| row.get(0))?;
            let segment = Segment::after(last.unwrap_or_default(), size, options)?;
            let sql =
                "INSERT INTO sequences (key, last) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET last = ?2";
            batch.execute(sql, params![key.as_bytes(), segment.last])?;
            Ok(segment)
        };
        self.store.write(0, work).await
    }
}

#[async_trait]
impl Component for SqliteSequencer {
    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }
}

#[async_trait]
impl Sequencer for SqliteSequencer {
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities { segments: true, bigger_than: true, persistent: true }
    }

    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64> {
        self.take(key, 1, options).await.map(|segment| segment.first)
    }

    async fn segment(&self, key: &Key, size: u32, options: NextOptions) -> Result<Segment> {
        self.take(key, size, options).await
    }
}
