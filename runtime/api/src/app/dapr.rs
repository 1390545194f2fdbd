//! Calls to an application that speaks gRPC: the events of input bindings, for those that implement Dapr's callbacks.
//! Layotto's have none for bindings.

use bytes::Bytes;
use http_body::Body as HttpBody;
use outrigger_blocks::{AppInputs, Deadline, Error, InputComponent, InputEvent};
use outrigger_proto::dapr::BindingEventRequest;
use outrigger_proto::dapr::app_callback_client::AppCallbackClient;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError as BoxedError;
use tonic::{Code, Request, async_trait};

use super::{ANSWER, Gone, failed, limited, put_trace, within};

/// The application, over a service that carries gRPC calls to it.
pub struct DaprCallback<S> {
    client: AppCallbackClient<S>,
    gone: Gone,
}

impl<S> DaprCallback<S>
where
    S: GrpcService<Body>,
    S::Error: Into<BoxedError>,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<BoxedError> + Send,
{
    pub fn new(service: S, gone: Gone) -> Self {
        Self { client: AppCallbackClient::new(service).max_decoding_message_size(ANSWER), gone }
    }
}

#[async_trait]
impl<S> AppInputs for DaprCallback<S>
where
    S: GrpcService<Body> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxedError>,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<BoxedError> + Send,
{
    async fn wants(&self, binding: &InputComponent, deadline: Deadline) -> Result<bool, Error> {
        let mut client = self.client.clone();
        let request = limited(Request::new(()), deadline);
        match within(deadline, client.list_input_bindings(request)).await {
            Ok(answer) => Ok(answer.into_inner().bindings.iter().any(|name| name == binding.name())),
            Err(status) if status.code() == Code::Unimplemented => Ok(false),
            Err(status) => Err(failed(&status)),
        }
    }

    async fn deliver(&self, event: &InputEvent, deadline: Deadline) -> Result<(), Error> {
        let InputEvent { binding, data, metadata, .. } = event.clone();
        let request = BindingEventRequest { name: binding, data, metadata };
        let mut request = limited(Request::new(request), deadline);
        put_trace(&mut request, event.trace.as_ref());
        let mut client = self.client.clone();
        within(deadline, client.on_binding_event(request)).await.map(drop).map_err(|status| failed(&status))
    }

    async fn gone(&self) {
        (self.gone)().await;
    }
}
