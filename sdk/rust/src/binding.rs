//! Bindings: operations of another system.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger_proto::layotto as proto;

use crate::{Client, Result};

/// One output binding. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Binding {
    client: Client,
    name: String,
}

/// What an operation answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingResponse {
    pub data: Bytes,
    pub metadata: BTreeMap<String, String>,
}

impl Binding {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Runs one operation.
    pub async fn invoke<K: Into<String>, V: Into<String>>(
        &self,
        operation: impl Into<String>,
        data: impl Into<Bytes>,
        metadata: impl IntoIterator<Item = (K, V)>,
    ) -> Result<BindingResponse> {
        let request = proto::InvokeBindingRequest {
            name: self.name.clone(),
            data: data.into(),
            metadata: metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            operation: operation.into(),
        };
        let response = self.client.runtime().invoke_binding(self.client.request(request)).await?.into_inner();
        Ok(BindingResponse { data: response.data, metadata: response.metadata })
    }
}
