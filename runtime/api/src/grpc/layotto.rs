//! The Layotto dialect, `spec.proto.runtime.v1`.

mod binding;
mod configuration;
mod extension;
mod file;
mod hello;
mod invoke;
mod lifecycle;
mod lock;
mod pubsub;
mod secrets;
mod sequencer;
mod state;

use std::sync::Arc;

use outrigger_blocks::{Blocks, Caller, Error};
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::runtime_server::Runtime;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, async_trait};

use crate::meter::Meter;
use crate::status::{self, Block};
use crate::wire;

pub(crate) use extension::later;
pub(crate) use lifecycle::LifecycleService;

const DIALECT: &str = "layotto";

pub(crate) struct RuntimeService {
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) meter: Meter,
}

type Reply<T> = Result<Response<T>, Status>;

impl RuntimeService {
    fn caller(&self, metadata: &MetadataMap) -> Result<Caller<'_>, Status> {
        wire::caller(self.blocks.app_id(), metadata)
    }

    /// Counts what failed; `op` is the RPC.
    fn counted<T>(&self, op: &'static str, result: Result<T, Status>) -> Reply<T> {
        counted(&self.meter, op, result)
    }
}

fn counted<T>(meter: &Meter, op: &'static str, result: Result<T, Status>) -> Reply<T> {
    match result {
        Ok(answer) => Ok(Response::new(answer)),
        Err(status) => {
            meter.error(DIALECT, op, status.code());
            Err(status)
        }
    }
}

fn pubsub_error(error: Error) -> Status {
    status::layotto::status(Block::PubSub, &error)
}

fn state_error(error: Error) -> Status {
    status::layotto::status(Block::State, &error)
}

#[async_trait]
impl Runtime for RuntimeService {
    async fn get_state(&self, request: Request<proto::GetStateRequest>) -> Reply<proto::GetStateResponse> {
        self.counted("GetState", self.state_get(request).await)
    }

    async fn get_bulk_state(
        &self,
        request: Request<proto::GetBulkStateRequest>,
    ) -> Reply<proto::GetBulkStateResponse> {
        self.counted("GetBulkState", self.state_get_bulk(request).await)
    }

    async fn save_state(&self, request: Request<proto::SaveStateRequest>) -> Reply<()> {
        self.counted("SaveState", self.state_save(request).await)
    }

    async fn delete_state(&self, request: Request<proto::DeleteStateRequest>) -> Reply<()> {
        self.counted("DeleteState", self.state_delete(request).await)
    }

    async fn delete_bulk_state(&self, request: Request<proto::DeleteBulkStateRequest>) -> Reply<()> {
        self.counted("DeleteBulkState", self.state_delete_bulk(request).await)
    }

    async fn execute_state_transaction(
        &self,
        request: Request<proto::ExecuteStateTransactionRequest>,
    ) -> Reply<()> {
        self.counted("ExecuteStateTransaction", self.state_transact(request).await)
    }

    async fn say_hello(&self, request: Request<proto::SayHelloRequest>) -> Reply<proto::SayHelloResponse> {
        self.counted("SayHello", self.hello_say(request).await)
    }

    async fn invoke_service(
        &self,
        request: Request<proto::InvokeServiceRequest>,
    ) -> Reply<proto::InvokeResponse> {
        let answer = self.invoke(request).await;
        answer.inspect_err(|status| self.meter.error(DIALECT, "InvokeService", status.code()))
    }

    async fn get_configuration(
        &self,
        request: Request<proto::GetConfigurationRequest>,
    ) -> Reply<proto::GetConfigurationResponse> {
        self.counted("GetConfiguration", self.configuration_get(request).await)
    }

    async fn save_configuration(&self, request: Request<proto::SaveConfigurationRequest>) -> Reply<()> {
        self.counted("SaveConfiguration", self.configuration_save(request).await)
    }

    async fn delete_configuration(&self, request: Request<proto::DeleteConfigurationRequest>) -> Reply<()> {
        self.counted("DeleteConfiguration", self.configuration_delete(request).await)
    }

    type SubscribeConfigurationStream = configuration::Subscriptions;

    async fn subscribe_configuration(
        &self,
        request: Request<tonic::Streaming<proto::SubscribeConfigurationRequest>>,
    ) -> Reply<Self::SubscribeConfigurationStream> {
        self.counted("SubscribeConfiguration", self.configuration_subscribe(request).await)
    }

    async fn try_lock(&self, request: Request<proto::TryLockRequest>) -> Reply<proto::TryLockResponse> {
        let (answer, headers) = self.counted("TryLock", self.lock_try(request).await)?.into_inner();
        let mut response = Response::new(answer);
        *response.metadata_mut() = headers;
        Ok(response)
    }

    async fn unlock(&self, request: Request<proto::UnlockRequest>) -> Reply<proto::UnlockResponse> {
        self.counted("Unlock", self.lock_unlock(request).await)
    }

    async fn lock_keep_alive(
        &self,
        request: Request<proto::LockKeepAliveRequest>,
    ) -> Reply<proto::LockKeepAliveResponse> {
        self.counted("LockKeepAlive", self.lock_keep(request).await)
    }

    async fn get_next_id(
        &self,
        request: Request<proto::GetNextIdRequest>,
    ) -> Reply<proto::GetNextIdResponse> {
        self.counted("GetNextId", self.sequencer_next(request).await)
    }

    async fn publish_event(&self, request: Request<proto::PublishEventRequest>) -> Reply<()> {
        self.counted("PublishEvent", self.event_publish(request).await)
    }

    type SubscribeTopicEventsStream = pubsub::EventStream;

    async fn subscribe_topic_events(
        &self,
        request: Request<tonic::Streaming<proto::SubscribeTopicEventsRequest>>,
    ) -> Reply<Self::SubscribeTopicEventsStream> {
        self.counted("SubscribeTopicEvents", self.event_subscribe(request).await)
    }

    type GetFileStream = file::Chunks;

    async fn get_file(&self, request: Request<proto::GetFileRequest>) -> Reply<Self::GetFileStream> {
        self.counted("GetFile", self.file_get(request).await)
    }

    async fn put_file(&self, request: Request<tonic::Streaming<proto::PutFileRequest>>) -> Reply<()> {
        self.counted("PutFile", self.file_put(request).await)
    }

    async fn list_file(&self, request: Request<proto::ListFileRequest>) -> Reply<proto::ListFileResp> {
        self.counted("ListFile", self.file_list(request).await)
    }

    async fn del_file(&self, request: Request<proto::DelFileRequest>) -> Reply<()> {
        self.counted("DelFile", self.file_delete(request).await)
    }

    async fn get_file_meta(
        &self,
        request: Request<proto::GetFileMetaRequest>,
    ) -> Reply<proto::GetFileMetaResponse> {
        self.counted("GetFileMeta", self.file_stat(request).await)
    }

    async fn invoke_binding(
        &self,
        request: Request<proto::InvokeBindingRequest>,
    ) -> Reply<proto::InvokeBindingResponse> {
        self.counted("InvokeBinding", self.binding_invoke(request).await)
    }

    async fn get_secret(&self, request: Request<proto::GetSecretRequest>) -> Reply<proto::GetSecretResponse> {
        self.counted("GetSecret", self.secret_get(request).await)
    }

    async fn get_bulk_secret(
        &self,
        request: Request<proto::GetBulkSecretRequest>,
    ) -> Reply<proto::GetBulkSecretResponse> {
        self.counted("GetBulkSecret", self.secret_bulk(request).await)
    }
}
