//! `outrigger.v1.Functions`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use outrigger_blocks::Error;
use outrigger_blocks::function::{FunctionLog, FunctionReport, LogLine, VersionReport, VersionState};
use outrigger_proto::outrigger::{self as proto, deploy_request::Part, function_version, functions_server};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::functions::{Change, Changed, Deployment, FunctionAdmin, MAX_MODULE};
use crate::status::{Block, layotto::status};

/// The service of one kind of listener.
pub(crate) struct FunctionsService {
    pub(crate) functions: Arc<dyn FunctionAdmin>,
    /// Whether those who come in by it may manage functions at all.
    pub(crate) open: bool,
}

type Lines = BoxStream<'static, Result<proto::FunctionLogLine, Status>>;

impl FunctionsService {
    fn admit(&self) -> Result<&dyn FunctionAdmin, Status> {
        let message = "functions are managed on the admin listener; here only where api.token is set";
        if self.open { Ok(&*self.functions) } else { Err(Status::permission_denied(message)) }
    }

    async fn change(&self, name: &str, change: Change) -> Result<Response<proto::FunctionChange>, Status> {
        Ok(changed(self.admit()?.change(name, change).await.map_err(told)?))
    }
}

#[async_trait]
impl functions_server::Functions for FunctionsService {
    type LogsStream = Lines;

    async fn deploy(
        &self,
        request: Request<Streaming<proto::DeployRequest>>,
    ) -> Result<Response<proto::FunctionChange>, Status> {
        let functions = self.admit()?;
        let deployment = received(request.into_inner()).await?;
        Ok(changed(functions.deploy(deployment).await.map_err(told)?))
    }

    async fn list_functions(
        &self,
        _: Request<proto::ListFunctionsRequest>,
    ) -> Result<Response<proto::ListFunctionsResponse>, Status> {
        let functions = self.admit()?.list().into_iter().map(function).collect();
        Ok(Response::new(proto::ListFunctionsResponse { functions }))
    }

    async fn logs(&self, request: Request<proto::FunctionLogsRequest>) -> Result<Response<Lines>, Status> {
        let proto::FunctionLogsRequest { name, after, follow } = request.into_inner();
        let log = self.admit()?.logs(&name).map_err(told)?;
        let lines = if follow {
            followed(log, after)
        } else {
            stream::iter(log.after(after).into_iter().map(|it| Ok(line(it)))).boxed()
        };
        Ok(Response::new(lines))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveFunctionRequest>,
    ) -> Result<Response<proto::RemoveFunctionResponse>, Status> {
        self.admit()?.remove(&request.get_ref().name).await.map_err(told)?;
        Ok(Response::new(proto::RemoveFunctionResponse {}))
    }

    async fn promote(
        &self,
        request: Request<proto::PromoteRequest>,
    ) -> Result<Response<proto::FunctionChange>, Status> {
        self.change(&request.get_ref().name, Change::Promote).await
    }

    async fn set_weight(
        &self,
        request: Request<proto::SetWeightRequest>,
    ) -> Result<Response<proto::FunctionChange>, Status> {
        let proto::SetWeightRequest { name, weight } = request.get_ref();
        self.change(name, Change::Weight(percentage(*weight)?)).await
    }

    async fn rollback(
        &self,
        request: Request<proto::RollbackRequest>,
    ) -> Result<Response<proto::FunctionChange>, Status> {
        self.change(&request.get_ref().name, Change::Rollback).await
    }
}

fn told(error: Error) -> Status {
    status(Block::Function, &error)
}

fn percentage(weight: u32) -> Result<u8, Status> {
    u8::try_from(weight).map_err(|_| Status::invalid_argument("weight: must be between 1 and 100"))
}

/// The whole of a deployment.
async fn received(mut parts: Streaming<proto::DeployRequest>) -> Result<Deployment, Status> {
    let first = parts.try_next().await?.and_then(|message| message.part);
    let Some(Part::Deployment(head)) = first else {
        return Err(Status::invalid_argument("the first message has to say what is deployed: `deployment`"));
    };
    let mut module = BytesMut::new();
    while let Some(message) = parts.try_next().await? {
        let Some(Part::Chunk(chunk)) = message.part else {
            return Err(Status::invalid_argument(
                "after the first message come pieces of the module: `chunk`",
            ));
        };
        if module.len() + chunk.len() > MAX_MODULE {
            return Err(Status::invalid_argument("the module is larger than 32 MiB"));
        }
        module.extend_from_slice(&chunk);
    }
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(Deployment {
        name: head.name,
        module: module.freeze(),
        config: some(head.config),
        sha256: some(head.sha256),
        weight: (head.weight != 0).then(|| percentage(head.weight)).transpose()?,
    })
}

/// Ends with the client.
fn followed(log: Arc<FunctionLog>, after: u64) -> Lines {
    let batches = stream::unfold((log, after), async |(log, after)| {
        let lines = log.next(after).await;
        let last = lines.last().map_or(after, |line| line.number);
        Some((stream::iter(lines.into_iter().map(|it| Ok(line(it)))), (log, last)))
    });
    batches.flatten().boxed()
}

fn changed(changed: Changed) -> Response<proto::FunctionChange> {
    Response::new(proto::FunctionChange { function: Some(function(changed.function)), kept: changed.kept })
}

fn function(report: FunctionReport) -> proto::Function {
    proto::Function {
        name: report.name.to_string(),
        origin: report.origin.as_str().to_owned(),
        triggers: report.triggers.names().into_iter().map(str::to_owned).collect(),
        versions: report.versions.into_iter().map(version).collect(),
    }
}

fn version(report: VersionReport) -> proto::FunctionVersion {
    let (state, reason) = match report.state {
        VersionState::Current => (function_version::State::Current, String::new()),
        VersionState::Candidate => (function_version::State::Candidate, String::new()),
        VersionState::Previous => (function_version::State::Previous, String::new()),
        VersionState::Draining => (function_version::State::Draining, String::new()),
        VersionState::Refused { reason } => (function_version::State::Refused, reason),
        VersionState::Compiling => (function_version::State::Compiling, String::new()),
    };
    proto::FunctionVersion {
        version: report.version.to_string(),
        sha256: report.sha256.to_string(),
        state: state.into(),
        reason,
        weight: report.weight.into(),
        calls: report.calls,
        errors: report.errors,
        in_flight: report.in_flight,
        since_ms: millis(report.since),
    }
}

fn line(line: LogLine) -> proto::FunctionLogLine {
    proto::FunctionLogLine {
        number: line.number,
        at_ms: millis(line.at),
        version: line.version.to_string(),
        level: line.level.to_owned(),
        text: line.text,
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
