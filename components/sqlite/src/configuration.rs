//! The configuration block on SQLite: items, and a history of their changes that watches read from.

mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, ConfigurationCapabilities, ConfigurationItem as Item,
    ConfigurationStore, Error, Result, Revision, Selector, Watch, async_trait,
};
use rusqlite::{Row, params};

use crate::batch::Batch;
use crate::config::SqliteConfig;
use crate::store::Store;
use crate::wake::Channel;
use watch::SqliteWatch;

/// How many changes are kept for watches that resume.
const RETAINED: i64 = 10_000;

/// Registers [`SqliteConfiguration`] as `configuration.sqlite`.
pub struct SqliteConfigurationBackend;

#[async_trait]
impl Backend for SqliteConfigurationBackend {
    const TYPE: &'static str = "configuration.sqlite";
    const ABOUT: &'static str = "Configuration in a file; watches see what any process of this host changes.";
    type Config = SqliteConfig;
    type Block = dyn ConfigurationStore;

    async fn build(config: SqliteConfig, _: &BuildContext) -> Result<Arc<dyn ConfigurationStore>> {
        Ok(Arc::new(SqliteConfiguration { store: Store::shared(config)? }))
    }
}

/// A configuration store in an SQLite file. Nothing is opened or created before the first call.
pub struct SqliteConfiguration {
    store: Arc<Store>,
}

impl SqliteConfiguration {
    /// Settles where the file is; opens nothing.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::new(config)?) })
    }
}

#[async_trait]
impl Component for SqliteConfiguration {
    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }
}

#[async_trait]
impl ConfigurationStore for SqliteConfiguration {
    fn capabilities(&self) -> ConfigurationCapabilities {
        ConfigurationCapabilities {
            writable: true,
            watchable: true,
            resumable: true,
            every_change: true,
            levels: true,
            tags: true,
        }
    }

    async fn get(&self, selector: &Selector) -> Result<Vec<Item>> {
        let rows = self.store.read(|connection| {
            let level = params![selector.app_id, selector.group, selector.label];
            if selector.keys.is_empty() {
                let mut select = connection.prepare_cached(
                    "SELECT key, content, tags, version FROM configuration
                     WHERE app = ?1 AND grp = ?2 AND label = ?3 ORDER BY key",
                )?;
                return select.query_map(level, Stored::read)?.collect();
            }
            // One transaction: what was saved together is seen together.
            let moment = connection.unchecked_transaction()?;
            let mut select = moment.prepare_cached(
                "SELECT key, content, tags, version FROM configuration
                 WHERE app = ?1 AND grp = ?2 AND label = ?3 AND key = ?4",
            )?;
            let mut found = Vec::new();
            for key in &selector.keys {
                let place = params![selector.app_id, selector.group, selector.label, key];
                found.extend(select.query_map(place, Stored::read)?.collect::<rusqlite::Result<Vec<_>>>()?);
            }
            Ok(found)
        });
        rows.await?.into_iter().map(|stored| stored.item(&selector.group, &selector.label)).collect()
    }

    async fn save(&self, app_id: &str, items: Vec<Item>) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let bytes = items.iter().map(|item| item.key.len() + item.content.len()).sum();
        let app = app_id.to_owned();
        let work = move |batch: &mut Batch<'_>| {
            items.iter().try_for_each(|item| save(batch, &app, item))?;
            changed(batch)
        };
        self.store.write(bytes, work).await
    }

    async fn delete(&self, selector: &Selector) -> Result<()> {
        if selector.keys.is_empty() {
            return Ok(());
        }
        let selector = selector.clone();
        let work = move |batch: &mut Batch<'_>| {
            selector.keys.iter().try_for_each(|key| delete(batch, &selector, key))?;
            changed(batch)
        };
        self.store.write(0, work).await
    }

    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        let watch = SqliteWatch::start(Arc::clone(&self.store), selector.clone(), from).await?;
        Ok(Box::new(watch))
    }
}

fn save(batch: &mut Batch<'_>, app: &str, item: &Item) -> Result<()> {
    let revision = batch.count("configuration")?;
    let tags = serde_json::to_string(&item.tags)
        .map_err(|error| Error::internal("tags cannot be written").with_source(error))?;
    let place = params![app, item.group, item.label, item.key, item.content, tags, revision];
    batch.execute(
        "INSERT INTO configuration (app, grp, label, key, content, tags, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (app, grp, label, key) DO UPDATE SET content = ?5, tags = ?6, version = ?7",
        place,
    )?;
    let change = params![app, item.group, item.label, item.key, item.content, tags, revision];
    record(batch, change)
}

fn delete(batch: &mut Batch<'_>, selector: &Selector, key: &str) -> Result<()> {
    let Selector { app_id, group, label, .. } = selector;
    let sql = "DELETE FROM configuration WHERE app = ?1 AND grp = ?2 AND label = ?3 AND key = ?4";
    if batch.execute(sql, params![app_id, group, label, key])? == 0 {
        return Ok(());
    }
    let revision = batch.count("configuration")?;
    record(batch, params![app_id, group, label, key, None::<String>, "{}", revision])
}

fn record(batch: &Batch<'_>, change: &[&dyn rusqlite::ToSql]) -> Result<()> {
    let sql = "INSERT INTO configuration_changes (app, grp, label, key, content, tags, revision)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    batch.execute(sql, change).map(drop)
}

/// Forgets the oldest changes and has the watches woken.
fn changed(batch: &mut Batch<'_>) -> Result<()> {
    batch.execute(
        "DELETE FROM configuration_changes
         WHERE revision <= (SELECT value FROM counters WHERE name = 'configuration') - ?1",
        [RETAINED],
    )?;
    batch.ring(Channel::Configuration);
    Ok(())
}

/// An item as a row has it.
struct Stored {
    key: String,
    content: String,
    tags: String,
    version: i64,
}

impl Stored {
    /// From the columns `key, content, tags, version`.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { key: row.get(0)?, content: row.get(1)?, tags: row.get(2)?, version: row.get(3)? })
    }

    fn item(self, group: &str, label: &str) -> Result<Item> {
        Ok(Item {
            key: self.key,
            content: self.content,
            group: group.to_owned(),
            label: label.to_owned(),
            tags: tags(&self.tags)?,
            metadata: BTreeMap::new(),
            version: self.version.to_string(),
        })
    }
}

fn tags(stored: &str) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(stored).map_err(|error| {
        Error::new(outrigger_component_api::ErrorKind::DataLoss, "the tags of an item cannot be read")
            .with_source(error)
    })
}
