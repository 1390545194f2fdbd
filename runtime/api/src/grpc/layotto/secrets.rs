//! Secrets in the Layotto dialect. The one place where a value leaves its wrapper on the way to the application.

use std::collections::BTreeMap;

use outrigger_blocks::{Error, SecretOptions, SecretValues};
use outrigger_proto::layotto as proto;
use tonic::{Request, Status};

use super::RuntimeService;
use crate::status::{self, Block};

impl RuntimeService {
    pub(super) async fn secret_get(
        &self,
        request: Request<proto::GetSecretRequest>,
    ) -> Result<proto::GetSecretResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::GetSecretRequest { store_name, key, metadata } = request.into_inner();
        let options = SecretOptions { metadata };
        let values = self.blocks.secrets.get(&caller, &store_name, &key, options).await.map_err(error)?;
        Ok(proto::GetSecretResponse { data: exposed(values) })
    }

    pub(super) async fn secret_bulk(
        &self,
        request: Request<proto::GetBulkSecretRequest>,
    ) -> Result<proto::GetBulkSecretResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::GetBulkSecretRequest { store_name, metadata } = request.into_inner();
        let options = SecretOptions { metadata };
        let all = self.blocks.secrets.bulk(&caller, &store_name, options).await.map_err(error)?;
        let secret = |(name, values)| (name, proto::SecretResponse { secrets: exposed(values) });
        Ok(proto::GetBulkSecretResponse { data: all.into_iter().map(secret).collect() })
    }
}

fn exposed(values: SecretValues) -> BTreeMap<String, String> {
    values.into_iter().map(|(name, value)| (name, value.expose().clone())).collect()
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Secrets, &error)
}
