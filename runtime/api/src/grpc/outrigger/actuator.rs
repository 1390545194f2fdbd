//! `outrigger.v1.Actuator`.

use std::sync::Arc;

use outrigger_blocks::{ComponentReport, Health};
use outrigger_proto::outrigger::{self as proto, actuator_server, health_request};
use tonic::{Request, Response, Status, async_trait};

use crate::actuator::{Actuator, HealthReport, Probe};

pub(crate) struct ActuatorService(pub(crate) Arc<dyn Actuator>);

#[async_trait]
impl actuator_server::Actuator for ActuatorService {
    async fn health(
        &self,
        request: Request<proto::HealthRequest>,
    ) -> Result<Response<proto::HealthResponse>, Status> {
        let probe = match health_request::Probe::try_from(request.get_ref().probe) {
            Ok(health_request::Probe::Liveness) => Probe::Liveness,
            Ok(health_request::Probe::Readiness | health_request::Probe::Unspecified) => Probe::Readiness,
            Err(_) => return Err(Status::invalid_argument("probe is not one of this version's")),
        };
        Ok(Response::new(self.0.health(probe).await.into_proto()))
    }

    async fn info(&self, _: Request<proto::InfoRequest>) -> Result<Response<proto::InfoResponse>, Status> {
        let info = self.0.info();
        let uptime_ms = u64::try_from(info.uptime.as_millis()).unwrap_or(u64::MAX);
        let (name, version, app_id) = (info.name, info.version, info.app_id);
        Ok(Response::new(proto::InfoResponse { name, version, app_id, uptime_ms }))
    }

    async fn components(
        &self,
        _: Request<proto::ComponentsRequest>,
    ) -> Result<Response<proto::ComponentsResponse>, Status> {
        let components = self.0.components().await.into_iter().map(component).collect();
        Ok(Response::new(proto::ComponentsResponse { components }))
    }

    async fn get_log_level(
        &self,
        _: Request<proto::GetLogLevelRequest>,
    ) -> Result<Response<proto::GetLogLevelResponse>, Status> {
        Ok(Response::new(proto::GetLogLevelResponse { level: self.0.log_level() }))
    }

    async fn set_log_level(
        &self,
        request: Request<proto::SetLogLevelRequest>,
    ) -> Result<Response<proto::SetLogLevelResponse>, Status> {
        let level = request.into_inner().level;
        if level.is_empty() {
            return Err(Status::invalid_argument("level is empty; try info or debug"));
        }
        let previous = self.0.log_level();
        self.0.set_log_level(&level).map_err(|error| Status::invalid_argument(format!("level: {error}")))?;
        Ok(Response::new(proto::SetLogLevelResponse { previous }))
    }
}

impl HealthReport {
    fn into_proto(self) -> proto::HealthResponse {
        let part = |(name, health)| {
            let (status, reason) = status(health);
            (name, proto::ComponentHealth { status: status.into(), reason })
        };
        let (status, _) = status(self.health);
        proto::HealthResponse {
            status: status.into(),
            components: self.parts.into_iter().map(part).collect(),
        }
    }
}

fn component(report: ComponentReport) -> proto::Component {
    let (status, reason) = status(report.health);
    proto::Component {
        name: report.name,
        block: report.block.to_owned(),
        r#type: report.type_name,
        status: status.into(),
        reason,
        capabilities: report.capabilities.into_iter().map(str::to_owned).collect(),
    }
}

fn status(health: Health) -> (proto::Status, String) {
    match health {
        Health::Up => (proto::Status::Up, String::new()),
        Health::Starting => (proto::Status::Init, "starting".to_owned()),
        Health::Down { reason } => (proto::Status::Down, reason),
    }
}
