//! Bindings in the Layotto dialect. A refusal by the other system is INTERNAL, as in Layotto, but what it said is not
//! lost: its metadata come along, and its data are told.

use outrigger_blocks::{BindingRequest, BindingResponse, Error};
use outrigger_proto::layotto as proto;
use tonic::metadata::{MetadataKey, MetadataMap};
use tonic::{Code, Request, Status};

use super::RuntimeService;
use crate::status::{self, Block};

/// How much of a refusal's data is told.
const TOLD: usize = 1024;

impl RuntimeService {
    pub(super) async fn binding_invoke(
        &self,
        request: Request<proto::InvokeBindingRequest>,
    ) -> Result<proto::InvokeBindingResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::InvokeBindingRequest { name, data, metadata, operation } = request.into_inner();
        let request = BindingRequest { operation, data, metadata };
        let answer = self.blocks.bindings.invoke(&caller, &name, request).await.map_err(error)?;
        match answer {
            BindingResponse { data, metadata, refused: None } => {
                Ok(proto::InvokeBindingResponse { data, metadata })
            }
            BindingResponse { refused: Some(why), data, metadata } => {
                let text = String::from_utf8_lossy(data.get(..TOLD).unwrap_or(&data)).into_owned();
                Err(refusal(&format!("binding '{name}': {why}: {text}"), metadata))
            }
        }
    }
}

/// `statusCode` becomes `http-status`; the others come along where a header can carry them.
fn refusal(message: &str, metadata: std::collections::BTreeMap<String, String>) -> Status {
    let mut told = MetadataMap::new();
    let reason = (status::layotto::REASON.to_owned(), "refused".to_owned());
    for (name, value) in metadata.into_iter().chain([reason]) {
        let name = match name.as_str() {
            "statusCode" => "http-status".to_owned(),
            name => name.to_ascii_lowercase(),
        };
        let ours = ["content-type", "content-length", "date", "connection", "transfer-encoding"];
        if ours.contains(&name.as_str()) || name.starts_with("grpc-") {
            continue;
        }
        if let (Ok(name), Ok(value)) = (MetadataKey::from_bytes(name.as_bytes()), value.parse()) {
            told.insert(name, value);
        }
    }
    Status::with_metadata(Code::Internal, message, told)
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Binding, &error)
}
