//! `Lifecycle`: changing one component from outside.

use outrigger_proto::layotto::lifecycle_server::Lifecycle;
use outrigger_proto::layotto::{ApplyConfigurationResponse, DynamicConfiguration};
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct LifecycleService;

#[async_trait]
impl Lifecycle for LifecycleService {
    async fn apply_configuration(
        &self,
        _: Request<DynamicConfiguration>,
    ) -> Result<Response<ApplyConfigurationResponse>, Status> {
        Err(Status::unimplemented(
            "ApplyConfiguration is not in this release of outrigger: change the configuration file, it is reloaded",
        ))
    }
}
