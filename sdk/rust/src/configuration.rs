//! Configuration: items an operator changes and the application watches.

use std::collections::BTreeMap;

use outrigger_proto::layotto as proto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{Client, Result};

/// Item metadata of an answer: after what it is; and of a request: where to go on after.
const REVISION: &str = "revision";

/// The items of one application, group and label in a configuration store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Configuration {
    client: Client,
    store: String,
    app_id: String,
    group: String,
    label: String,
}

/// One piece of configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    /// Empty when a watch tells of a deletion.
    pub content: String,
    pub tags: BTreeMap<String, String>,
}

impl Item {
    pub fn new(key: impl Into<String>, content: impl Into<String>) -> Self {
        Self { key: key.into(), content: content.into(), tags: BTreeMap::new() }
    }
}

impl Configuration {
    pub(crate) fn new(client: Client, store: String, app_id: String) -> Self {
        Self { client, store, app_id, group: String::new(), label: String::new() }
    }

    /// The items of this group instead of the store's default.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// The items of this label instead of the store's default.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The items under these keys, in the order asked; a key that has none is left out. No keys at all are all of them.
    pub async fn get<K: Into<String>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Item>> {
        let request = proto::GetConfigurationRequest {
            store_name: self.store.clone(),
            app_id: self.app_id.clone(),
            group: self.group.clone(),
            label: self.label.clone(),
            keys: keys.into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        let response = self.client.runtime().get_configuration(self.client.request(request)).await?;
        Ok(response.into_inner().items.into_iter().map(item).collect())
    }

    /// Writes items, each replacing what was under its key.
    pub async fn save(&self, items: impl IntoIterator<Item = Item>) -> Result<()> {
        let items = items.into_iter().map(|item| proto::ConfigurationItem {
            key: item.key,
            content: item.content,
            group: self.group.clone(),
            label: self.label.clone(),
            tags: item.tags,
            ..Default::default()
        });
        let request = proto::SaveConfigurationRequest {
            store_name: self.store.clone(),
            app_id: self.app_id.clone(),
            items: items.collect(),
            ..Default::default()
        };
        self.client.runtime().save_configuration(self.client.request(request)).await?;
        Ok(())
    }

    /// Removes exactly these keys; a missing one is a success.
    pub async fn delete<K: Into<String>>(&self, keys: impl IntoIterator<Item = K>) -> Result<()> {
        let request = proto::DeleteConfigurationRequest {
            store_name: self.store.clone(),
            app_id: self.app_id.clone(),
            group: self.group.clone(),
            label: self.label.clone(),
            keys: keys.into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        self.client.runtime().delete_configuration(self.client.request(request)).await?;
        Ok(())
    }

    /// Changes to the items under these keys (none: all of them) from now on.
    pub async fn watch<K: Into<String>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Watch> {
        self.watch_from(keys, BTreeMap::new()).await
    }

    /// The same after a revision an earlier watch of these items came to: none of the changes between is missed. For
    /// stores with a history.
    pub async fn watch_after<K: Into<String>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        revision: impl Into<String>,
    ) -> Result<Watch> {
        self.watch_from(keys, BTreeMap::from([(REVISION.to_owned(), revision.into())])).await
    }

    async fn watch_from<K: Into<String>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        metadata: BTreeMap<String, String>,
    ) -> Result<Watch> {
        let request = proto::SubscribeConfigurationRequest {
            store_name: self.store.clone(),
            app_id: self.app_id.clone(),
            group: self.group.clone(),
            label: self.label.clone(),
            keys: keys.into_iter().map(Into::into).collect(),
            metadata,
        };
        let (requests, stream) = mpsc::channel(1);
        // There is room for one, and the receiver is in our hands.
        let _sent = requests.try_send(request);
        let call = self.client.streaming(ReceiverStream::new(stream));
        let answers = self.client.runtime().subscribe_configuration(call).await?.into_inner();
        Ok(Watch { answers, revision: None, _requests: requests })
    }
}

/// Changes as they happen. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    answers: Streaming<proto::SubscribeConfigurationResponse>,
    revision: Option<String>,
    /// Ending our side would end the watch.
    _requests: mpsc::Sender<proto::SubscribeConfigurationRequest>,
}

impl Watch {
    /// What changed next; `None` when the sidecar has ended the watch.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>> {
        let Some(mut answer) = self.answers.message().await? else { return Ok(None) };
        // Items that changed together have the same.
        let revision = answer.items.first_mut().and_then(|item| item.metadata.remove(REVISION));
        self.revision = revision.or(self.revision.take());
        Ok(Some(answer.items.into_iter().map(item).collect()))
    }

    /// Where to go on after what came last; `None` as long as nothing came, or where the store has no history.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }
}

fn item(item: proto::ConfigurationItem) -> Item {
    Item { key: item.key, content: item.content, tags: item.tags }
}
