//! The configuration block on Redis, in Dapr's layout: plain keys that hold `content||version`.

mod watch;

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use outrigger_component_api::{
    Backend, BuildContext, Component, ConfigurationCapabilities, ConfigurationItem as Item,
    ConfigurationStore, Error, ErrorKind, Result, Revision, Selector, Watch, async_trait,
};
use redis::Value;

use self::watch::RedisWatch;
use crate::client::{Client, from_reading, from_redis};
use crate::config::RedisConfig;
use crate::link::Links;
use crate::script::{Argument, Call, Script};

/// The most items that are read when all are asked for.
const MOST_ITEMS: usize = 10_000;
/// What one command or pipeline carries at most.
const AT_ONCE: usize = 128;

/// Registers [`RedisConfiguration`] as `configuration.redis`.
pub struct RedisConfigurationBackend;

#[async_trait]
impl Backend for RedisConfigurationBackend {
    const TYPE: &'static str = "configuration.redis";
    const ALIASES: &'static [&'static str] = &["config_store.redis"];
    const ABOUT: &'static str = "Items as plain keys of a Redis database, watched by its notifications.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("redisHost", "localhost:6379")];
    type Config = RedisConfig;
    type Block = dyn ConfigurationStore;

    async fn build(config: RedisConfig, _: &BuildContext) -> Result<Arc<dyn ConfigurationStore>> {
        Ok(Arc::new(RedisConfiguration::new(&config)?))
    }
}

/// Configuration in Redis.
///
/// Every string of the database is an item, whoever wrote it; applications share them. Watches rely on Redis'
/// keyspace notifications, and turn on those they need (`K$gxe`) where they may.
pub struct RedisConfiguration {
    items: Arc<Items>,
    save: Script,
}

/// The items of a database.
struct Items {
    links: Links,
    db: u16,
}

impl RedisConfiguration {
    /// Reads the settings; connects to nothing.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        let items = Items { links: Links::new(Client::new(&config.server())?), db: config.redis_db };
        let save = Script::new(include_str!("configuration/save.lua"));
        Ok(Self { items: Arc::new(items), save })
    }
}

#[async_trait]
impl Component for RedisConfiguration {
    async fn ping(&self) -> Result<()> {
        self.items.links.ping().await
    }
}

#[async_trait]
impl ConfigurationStore for RedisConfiguration {
    fn capabilities(&self) -> ConfigurationCapabilities {
        ConfigurationCapabilities { writable: true, watchable: true, ..ConfigurationCapabilities::default() }
    }

    async fn get(&self, selector: &Selector) -> Result<Vec<Item>> {
        check_levels(&selector.group, &selector.label)?;
        let all = selector.keys.is_empty();
        let keys = if all { self.items.keys().await? } else { selector.keys.clone() };
        let mut items = Vec::with_capacity(keys.len());
        for (key, raw) in keys.iter().zip(self.items.read(&keys).await?) {
            match raw.map(|raw| item(key, raw)).transpose() {
                Ok(found) => items.extend(found),
                // Something else that lives in the database.
                Err(_) if all => {}
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    async fn save(&self, _: &str, items: Vec<Item>) -> Result<()> {
        for item in &items {
            check_levels(&item.group, &item.label)?;
            check_key(&item.key)?;
            if !item.tags.is_empty() {
                return Err(Error::unsupported("tags"));
            }
        }
        for item in &items {
            let arguments = vec![Argument::Bytes(item.content.as_bytes())];
            let call = Call { keys: vec![item.key.as_bytes()], arguments };
            self.save.run(&self.items.links, &call).await?;
        }
        Ok(())
    }

    async fn delete(&self, selector: &Selector) -> Result<()> {
        check_levels(&selector.group, &selector.label)?;
        for key in &selector.keys {
            self.items.links.send(redis::cmd("DEL").arg(key)).await?;
        }
        Ok(())
    }

    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        check_levels(&selector.group, &selector.label)?;
        if from.is_some() {
            return Err(Error::invalid("this store keeps no history: watch without a revision"));
        }
        Ok(Box::new(RedisWatch::begin(Arc::clone(&self.items), selector.keys.clone()).await?))
    }
}

impl Items {
    /// What keys hold, as it is stored; what is no string counts as nothing.
    async fn read(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut values = Vec::with_capacity(keys.len());
        if self.links.client().is_cluster() {
            let reads: Vec<_> = keys.iter().map(|key| self.read_one(key)).collect();
            let read: Vec<_> = stream::iter(reads).buffered(AT_ONCE).collect().await;
            return read.into_iter().collect();
        }
        for keys in keys.chunks(AT_ONCE) {
            let answer = self.links.send(redis::cmd("MGET").arg(keys)).await?;
            values.extend(redis::from_redis_value::<Vec<Option<Vec<u8>>>>(answer).map_err(from_reading)?);
        }
        Ok(values)
    }

    async fn read_one(&self, key: &str) -> Result<Option<Vec<u8>>> {
        // MGET, because GET is an error where the key is no string.
        let answer = self.links.send(redis::cmd("MGET").arg(key)).await?;
        let values: Vec<Option<Vec<u8>>> = redis::from_redis_value(answer).map_err(from_reading)?;
        Ok(values.into_iter().next().flatten())
    }

    /// The keys of every string in the database, sorted.
    async fn keys(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let nodes = self.links.client().masters(&self.links).await?;
        for node in nodes {
            let mut connection = node.client.connect().await?;
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("COUNT").arg(1000).arg("TYPE").arg("string");
                let page: Value = connection.send(&scan).await.map_err(from_redis)?;
                let (next, found): (String, Vec<Vec<u8>>) =
                    redis::from_redis_value(page).map_err(from_reading)?;
                keys.extend(found.into_iter().filter_map(|key| String::from_utf8(key).ok()));
                if keys.len() > MOST_ITEMS {
                    let message = "the database has too many keys to read them all; name the keys";
                    return Err(Error::new(ErrorKind::FailedPrecondition, message).with("most", MOST_ITEMS));
                }
                cursor = next;
                if cursor == "0" {
                    break;
                }
            }
        }
        keys.sort();
        // A scan may give a key twice.
        keys.dedup();
        Ok(keys)
    }
}

/// An item from what its key holds. Without `||` there is no version.
fn item(key: &str, raw: Vec<u8>) -> Result<Item> {
    let text = String::from_utf8(raw)
        .map_err(|_| Error::new(ErrorKind::FailedPrecondition, "the item is not text").with("key", key))?;
    let (content, version) = text.rsplit_once("||").unwrap_or((&text, ""));
    let (content, version) = (content.to_owned(), version.to_owned());
    Ok(Item { key: key.to_owned(), content, version, ..Item::default() })
}

fn check_levels(group: &str, label: &str) -> Result<()> {
    for (level, name) in [("group", group), ("label", label)] {
        if !name.trim().is_empty() {
            let message = format!("this store has no {level}s: leave {level} empty");
            return Err(Error::invalid(message).with(level, name));
        }
    }
    Ok(())
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() { Err(Error::invalid("key is empty")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_version_are_parted_at_the_last_bars() {
        let check = |raw: &str, content: &str, version: &str| {
            let item = item("key", raw.as_bytes().to_vec()).expect("text");
            assert_eq!((item.content.as_str(), item.version.as_str()), (content, version), "{raw}");
        };
        check("10||v1", "10", "v1");
        check("plain", "plain", "");
        check("||||7", "||", "7");
        check("", "", "");
        item("key", vec![0xff]).expect_err("not text");
    }
}
