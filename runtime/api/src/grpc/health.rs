//! `grpc.health.v1`, live: every answer is found out when it is asked for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::actuator::{Actuator, Probe};

/// How often a watcher's question is asked again. Nothing runs while nobody watches.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct HealthService {
    pub(crate) actuator: Arc<dyn Actuator>,
    /// Full names of the services served beside this one.
    pub(crate) services: Arc<[&'static str]>,
}

impl HealthService {
    /// The empty name stands for the whole process.
    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }

    /// All services stand and fall together: they share the blocks.
    async fn status(&self, service: &str) -> ServingStatus {
        if !self.knows(service) {
            ServingStatus::ServiceUnknown
        } else if self.actuator.health(Probe::Readiness).await.is_up() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

#[async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        match self.status(service).await {
            ServingStatus::ServiceUnknown => {
                Err(Status::not_found(format!("service '{service}' is not served here")))
            }
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// Tells the status now and whenever it has changed, as the protocol asks also of a service not (yet) known.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (health, service) = (self.clone(), request.into_inner().service);
        let changes = stream::unfold(None, move |told: Option<ServingStatus>| {
            let (health, service) = (health.clone(), service.clone());
            async move {
                loop {
                    if told.is_some() {
                        tokio::time::sleep(WATCH_INTERVAL).await;
                    }
                    let status = health.status(&service).await;
                    if told != Some(status) {
                        return Some((Ok(HealthCheckResponse { status: status.into() }), Some(status)));
                    }
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
