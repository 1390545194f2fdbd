//! Output bindings, as functions have them.

use outrigger_blocks::function::Section;
use outrigger_blocks::{BindingRequest, BindingResponse, Error, Result};

use super::Answer;
use super::bindings::bindings::{Host, Response};
use super::error::answer;
use super::metadata::{self, Metadata};
use crate::function::state::Guest;

/// How much of a refusal's data is told.
const TOLD: usize = 1024;

impl Host for Guest {
    async fn invoke(
        &mut self,
        component: String,
        operation: String,
        data: Vec<u8>,
        metadata: Metadata,
    ) -> Answer<Response> {
        let request = BindingRequest { operation, data: data.into(), metadata: metadata::decode(metadata) };
        answer(invoke(self, &component, request).await)
    }
}

async fn invoke(guest: &mut Guest, component: &str, request: BindingRequest) -> Result<Response> {
    let call = guest.on(Section::Bindings, component)?;
    let BindingResponse { data, metadata, refused } =
        call.blocks.bindings.invoke(&call.caller(), component, request).await?;
    match refused {
        None => Ok(Response { data: data.into(), metadata: metadata::encode(metadata) }),
        // As in the gRPC API: it is an answer, but none a caller may take for success.
        Some(why) => {
            let text = String::from_utf8_lossy(data.get(..TOLD).unwrap_or(&data));
            Err(Error::internal(format!("binding '{component}': {why}: {text}")))
        }
    }
}
