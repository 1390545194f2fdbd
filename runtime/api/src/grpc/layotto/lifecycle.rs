//! `Lifecycle`: changing one component from outside.

use std::sync::Arc;

use outrigger_blocks::{Blocks, Error, Settings};
use outrigger_proto::layotto::lifecycle_server::Lifecycle;
use outrigger_proto::layotto::{ApplyConfigurationResponse, ComponentConfig, DynamicConfiguration};
use tonic::{Request, Status, async_trait};

use super::{Reply, counted};
use crate::meter::Meter;
use crate::status::{self, Block};
use crate::wire;

pub(crate) struct LifecycleService {
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) meter: Meter,
}

impl LifecycleService {
    async fn apply(&self, request: Request<DynamicConfiguration>) -> Result<(), Status> {
        let caller = wire::caller(self.blocks.app_id(), request.metadata())?;
        let config = request.into_inner().component_config.unwrap_or_default();
        let ComponentConfig { kind, name, metadata } = config;
        for (field, missing) in
            [("kind", kind.is_empty()), ("name", name.is_empty()), ("metadata", metadata.is_empty())]
        {
            if missing {
                return Err(error(Error::invalid(format!(
                    "field component_config.{field} is not configured"
                ))));
            }
        }
        let settings = metadata.into_iter().map(|(name, value)| (name, value.into())).collect::<Settings>();
        self.blocks.apply(&caller, &kind, &name, settings).await.map_err(error)
    }
}

#[async_trait]
impl Lifecycle for LifecycleService {
    async fn apply_configuration(
        &self,
        request: Request<DynamicConfiguration>,
    ) -> Reply<ApplyConfigurationResponse> {
        let applied = self.apply(request).await.map(|()| ApplyConfigurationResponse {});
        counted(&self.meter, "ApplyConfiguration", applied)
    }
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Lifecycle, &error)
}
