//! The configuration block on etcd: an item is a key `app/group/label/key`, as Layotto's etcd store keeps it. Its tags
//! stand under a key of their own right behind it, so that one range holds both.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::{DeleteOptions, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use outrigger_component_api::{
    Backend, BuildContext, Component, ConfigurationCapabilities, ConfigurationItem as Item,
    ConfigurationStore, Error, ErrorKind, Result, Revision, Selector, Watch, async_trait,
};

use crate::config::EtcdConfig;
use crate::link::Links;
use crate::watch::EtcdWatch;

/// Registers [`EtcdConfiguration`] as `configuration.etcd`.
pub struct EtcdConfigurationBackend;

#[async_trait]
impl Backend for EtcdConfigurationBackend {
    const TYPE: &'static str = "configuration.etcd";
    const ABOUT: &'static str = "Configuration in an etcd cluster, watched with every change and resumable.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("endpoints", "localhost:2379")];
    type Config = EtcdConfig;
    type Block = dyn ConfigurationStore;

    async fn build(config: EtcdConfig, _: &BuildContext) -> Result<Arc<dyn ConfigurationStore>> {
        Ok(Arc::new(EtcdConfiguration::new(&config)?))
    }
}

/// A configuration store in an etcd cluster. Connects with the first call.
pub struct EtcdConfiguration {
    links: Arc<Links>,
    prefix: String,
}

/// The group and label of those who do not say.
const DEFAULT: &str = "default";
/// What stands behind an item's key in the key of its tags. No item's key has a NUL.
const TAGS: &str = "\0tags";
/// Items written or asked for at once; each is two operations at most, of the 128 that etcd takes.
const AT_ONCE: usize = 64;
/// Keys of one reply when all of a group are read.
const PAGE: i64 = 500;

impl EtcdConfiguration {
    pub fn new(config: &EtcdConfig) -> Result<Self> {
        Ok(Self { links: Arc::new(Links::new(config)?), prefix: config.prefix("/") })
    }

    fn folder(&self, app: &str, group: &str, label: &str) -> Folder {
        let or_default = |level: &str| if level.is_empty() { DEFAULT.to_owned() } else { level.to_owned() };
        let (group, label) = (or_default(group), or_default(label));
        let path = format!("{}{}/{}/{}/", self.prefix, escaped(app), escaped(&group), escaped(&label));
        Folder { path, group, label }
    }

    fn folder_of(&self, selector: &Selector) -> Folder {
        self.folder(&selector.app_id, &selector.group, &selector.label)
    }

    /// Keys one by one, each with its tags.
    async fn get_keys(&self, folder: &Folder, keys: &[String]) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for keys in keys.chunks(AT_ONCE) {
            let reads = keys.iter().map(|key| {
                let (from, to) = folder.range(key);
                TxnOp::get(from, Some(GetOptions::new().with_range(to)))
            });
            let txn = Txn::new().and_then(reads.collect::<Vec<_>>());
            let answer = self.links.run(|etcd| async move { etcd.kv().txn(txn).await }).await?;
            for response in answer.op_responses() {
                if let TxnOpResponse::Get(found) = response {
                    items.extend(folder.items(found.kvs())?);
                }
            }
        }
        Ok(items)
    }

    /// All of a folder, as it was when the first page was read.
    async fn get_all(&self, folder: &Folder) -> Result<Vec<Item>> {
        let (mut from, to) = (folder.path.clone().into_bytes(), behind(&folder.path));
        let (mut pairs, mut revision) = (Vec::new(), 0);
        loop {
            let options = GetOptions::new().with_range(to.clone()).with_limit(PAGE).with_revision(revision);
            let start = from.clone();
            let page = self.links.run(|etcd| async move { etcd.kv().get(start, Some(options)).await });
            let mut page = page.await?;
            revision = page
                .header()
                .map_or(revision, |header| if revision == 0 { header.revision() } else { revision });
            let more = page.more();
            pairs.extend(page.take_kvs());
            match pairs.last() {
                Some(last) if more => from = [last.key(), b"\0"].concat(),
                _ => return folder.items(&pairs),
            }
        }
    }
}

/// Where the items of an application, a group and a label lie.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) path: String,
    group: String,
    label: String,
}

impl Folder {
    /// The keys of an item and its tags, and of nothing else that could be.
    fn range(&self, key: &str) -> (String, String) {
        (format!("{}{key}", self.path), format!("{}{key}{TAGS}\0", self.path))
    }

    fn item_key(&self, key: &str) -> Result<String> {
        match key {
            "" => Err(Error::invalid("a configuration key is empty")),
            key if key.contains('\0') => Err(Error::invalid("a configuration key must not contain NUL")),
            key => Ok(format!("{}{key}", self.path)),
        }
    }

    /// The name of the item a key stands for, if it stands for one and not for its tags.
    pub(crate) fn name<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        let name = std::str::from_utf8(key.strip_prefix(self.path.as_bytes())?).ok()?;
        (!name.is_empty() && !name.contains('\0')).then_some(name)
    }

    /// The items among pairs of one moment.
    fn items(&self, pairs: &[KeyValue]) -> Result<Vec<Item>> {
        self.each(pairs).map(|(_, item)| item).collect()
    }

    /// The same, each by itself with its name.
    pub(crate) fn each<'p>(&'p self, pairs: &'p [KeyValue]) -> impl Iterator<Item = (&'p str, Result<Item>)> {
        pairs.iter().filter_map(|pair| {
            let name = self.name(pair.key())?;
            let tags_key = [pair.key(), TAGS.as_bytes()].concat();
            // Tags are those of a content only if both were written together: others do not know of them.
            let tags = pairs
                .iter()
                .find(|other| other.key() == tags_key && other.mod_revision() == pair.mod_revision());
            Some((name, self.item(name, pair, tags)))
        })
    }

    fn item(&self, name: &str, pair: &KeyValue, tags: Option<&KeyValue>) -> Result<Item> {
        let damaged = |what| Error::new(ErrorKind::DataLoss, what).with("key", name);
        let content =
            pair.value_str().map_err(|_| damaged("the configuration in etcd is not text"))?.to_owned();
        let tags = tags.map(|tags| serde_json::from_slice(tags.value()));
        let tags: BTreeMap<String, String> =
            tags.transpose().map_err(|_| damaged("the tags in etcd cannot be read"))?.unwrap_or_default();
        let version = pair.mod_revision().to_string();
        Ok(Item { content, tags, version, ..self.gone(name) })
    }

    /// An item of which only the name is left.
    pub(crate) fn gone(&self, name: &str) -> Item {
        let (group, label) = (self.group.clone(), self.label.clone());
        Item { key: name.to_owned(), group, label, ..Item::default() }
    }

    /// What writes an item.
    fn writes(&self, item: &Item) -> Result<[TxnOp; 2]> {
        let key = self.item_key(&item.key)?;
        let tags_key = format!("{key}{TAGS}");
        let tags = match item.tags.is_empty() {
            true => TxnOp::delete(tags_key, None),
            false => {
                let json = serde_json::to_vec(&item.tags).map_err(|error| {
                    Error::internal("the tags of an item cannot be written").with_source(error)
                })?;
                TxnOp::put(tags_key, json, None)
            }
        };
        Ok([TxnOp::put(key, item.content.as_str(), None), tags])
    }
}

/// The first key behind all that begin with a path, which ends with a slash.
pub(crate) fn behind(path: &str) -> Vec<u8> {
    let mut end = path.as_bytes().to_vec();
    if let Some(slash) = end.last_mut() {
        *slash += 1;
    }
    end
}

/// A level as part of a path: what separates levels must not be in one.
fn escaped(level: &str) -> String {
    level.replace('%', "%25").replace('/', "%2F")
}

#[async_trait]
impl Component for EtcdConfiguration {
    async fn ping(&self) -> Result<()> {
        self.links.ping(&self.prefix).await
    }
}

#[async_trait]
impl ConfigurationStore for EtcdConfiguration {
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
        let folder = self.folder_of(selector);
        match selector.keys.as_slice() {
            [] => self.get_all(&folder).await,
            keys => self.get_keys(&folder, keys).await,
        }
    }

    async fn save(&self, app_id: &str, items: Vec<Item>) -> Result<()> {
        // Each key once in a transaction: of several writes of one item the last counts.
        let mut writes = BTreeMap::new();
        for item in &items {
            let folder = self.folder(app_id, &item.group, &item.label);
            writes.insert(folder.item_key(&item.key)?, folder.writes(item)?);
        }
        let writes: Vec<_> = writes.into_values().collect();
        for writes in writes.chunks(AT_ONCE) {
            let txn = Txn::new().and_then(writes.iter().flatten().cloned().collect::<Vec<_>>());
            self.links.run(|etcd| async move { etcd.kv().txn(txn).await }).await?;
        }
        Ok(())
    }

    async fn delete(&self, selector: &Selector) -> Result<()> {
        let folder = self.folder_of(selector);
        let mut keys = selector.keys.clone();
        keys.sort();
        keys.dedup();
        for keys in keys.chunks(AT_ONCE) {
            let mut deletes = Vec::new();
            for key in keys {
                folder.item_key(key)?;
                let (from, to) = folder.range(key);
                deletes.push(TxnOp::delete(from, Some(DeleteOptions::new().with_range(to))));
            }
            let txn = Txn::new().and_then(deletes);
            self.links.run(|etcd| async move { etcd.kv().txn(txn).await }).await?;
        }
        Ok(())
    }

    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        let after = from.map(|revision| revision.number()).transpose()?;
        let too_large = |_| Error::invalid("revision is malformed: it is not one this store gives out");
        let after = after.map(i64::try_from).transpose().map_err(too_large)?;
        let folder = self.folder_of(selector);
        let watch = EtcdWatch::open(Arc::clone(&self.links), folder, selector.clone(), after).await?;
        Ok(Box::new(watch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_existing_fleets_and_never_run_together() {
        let config = EtcdConfig { endpoints: "127.0.0.1:1".into(), ..EtcdConfig::default() };
        let store = EtcdConfiguration::new(&config).expect("valid");
        let check = |app, group, label, key, expected: &str| {
            let path = store.folder(app, group, label).item_key(key);
            assert_eq!(path.expect("a key"), expected);
        };
        check("app", "", "", "k", "/app/default/default/k");
        check("app", "g", "l", "k", "/app/g/l/k");
        check("app", "g", "l", "a/b", "/app/g/l/a/b");
        check("a/b", "g/h", "50%", "k", "/a%2Fb/g%2Fh/50%25/k");
        let folder = store.folder("app", "", "");
        assert_eq!(folder.name(b"/app/default/default/a/b"), Some("a/b"));
        assert_eq!(folder.name(b"/app/default/default/k\0tags"), None);
        assert_eq!(folder.name(b"/app/default/other/k"), None);
        folder.item_key("").expect_err("refused");
        folder.item_key("a\0b").expect_err("refused");
        assert_eq!(behind("/a/"), b"/a0");
    }
}
