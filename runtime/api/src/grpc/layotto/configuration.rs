//! Configuration in the Layotto dialect.

mod subscribe;

use outrigger_blocks::{ConfigurationItem, Error, Selector};
use outrigger_proto::layotto as proto;
use tonic::{Request, Status};

pub(crate) use subscribe::Subscriptions;

use super::RuntimeService;
use crate::status::{self, Block};

impl RuntimeService {
    pub(super) async fn configuration_get(
        &self,
        request: Request<proto::GetConfigurationRequest>,
    ) -> Result<proto::GetConfigurationResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.get_ref().clone();
        let proto::GetConfigurationRequest { store_name, app_id, group, label, keys, metadata, .. } = request;
        let selector = Selector { app_id, group, label, keys, metadata };
        let items = self.blocks.configuration.get(&caller, &store_name, selector).await.map_err(error)?;
        Ok(proto::GetConfigurationResponse { items: items.into_iter().map(encode).collect() })
    }

    pub(super) async fn configuration_save(
        &self,
        request: Request<proto::SaveConfigurationRequest>,
    ) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let proto::SaveConfigurationRequest { store_name, app_id, items, .. } = request.get_ref().clone();
        let items = items.into_iter().map(decode).collect();
        self.blocks.configuration.save(&caller, &store_name, &app_id, items).await.map_err(error)
    }

    pub(super) async fn configuration_delete(
        &self,
        request: Request<proto::DeleteConfigurationRequest>,
    ) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.get_ref().clone();
        let proto::DeleteConfigurationRequest { store_name, app_id, group, label, keys, metadata } = request;
        let selector = Selector { app_id, group, label, keys, metadata };
        self.blocks.configuration.delete(&caller, &store_name, selector).await.map_err(error)
    }
}

fn decode(item: proto::ConfigurationItem) -> ConfigurationItem {
    let proto::ConfigurationItem { key, content, group, label, tags, metadata } = item;
    ConfigurationItem { key, content, group, label, tags, metadata, version: String::new() }
}

fn encode(item: ConfigurationItem) -> proto::ConfigurationItem {
    let ConfigurationItem { key, content, group, label, tags, metadata, .. } = item;
    proto::ConfigurationItem { key, content, group, label, tags, metadata }
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Configuration, &error)
}
