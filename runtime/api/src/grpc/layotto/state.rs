//! State in the Layotto dialect: decode, call the block, encode.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger_blocks::{
    BulkOptions, Concurrency, Consistency, DeleteOptions, Entry, Error, ErrorKind, Etag, GetOptions,
    Operation, SetOptions, Write, fence, ttl,
};
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::state_options::{StateConcurrency, StateConsistency};
use tonic::{Request, Status};

use super::{RuntimeService, state_error};

/// Response metadata: when the value will be gone, RFC 3339.
const EXPIRES: &str = "ttlExpireTime";

impl RuntimeService {
    pub(super) async fn state_get(
        &self,
        request: Request<proto::GetStateRequest>,
    ) -> Result<proto::GetStateResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.get_ref();
        let options = GetOptions { consistency: consistency(request.consistency).map_err(state_error)? };
        let found = self.blocks.state.get(&caller, &request.store_name, &request.key, options).await;
        Ok(found.map_err(state_error)?.map_or_else(Default::default, |entry| {
            let (data, etag, metadata) = parts(entry);
            proto::GetStateResponse { data, etag, metadata }
        }))
    }

    pub(super) async fn state_get_bulk(
        &self,
        request: Request<proto::GetBulkStateRequest>,
    ) -> Result<proto::GetBulkStateResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        // Below 1 means one at a time in this dialect; the block's 0 means as it sees fit.
        let parallelism = usize::try_from(request.parallelism).unwrap_or(1).max(1);
        let options = BulkOptions { parallelism, ..BulkOptions::default() };
        let found = self.blocks.state.get_bulk(&caller, &request.store_name, &request.keys, options).await;
        let items =
            request.keys.into_iter().zip(found.map_err(state_error)?).map(|(key, found)| match found {
                Ok(None) => proto::BulkStateItem { key, ..Default::default() },
                Ok(Some(entry)) => {
                    let (data, etag, metadata) = parts(entry);
                    proto::BulkStateItem { key, data, etag, metadata, ..Default::default() }
                }
                Err(error) => proto::BulkStateItem { key, error: error.to_string(), ..Default::default() },
            });
        Ok(proto::GetBulkStateResponse { items: items.collect() })
    }

    pub(super) async fn state_save(&self, request: Request<proto::SaveStateRequest>) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        let writes = request
            .states
            .into_iter()
            .enumerate()
            .map(|(at, item)| write(item).map_err(in_field("states", at)));
        let writes = writes.collect::<Result<_, _>>()?;
        self.blocks.state.save(&caller, &request.store_name, writes).await.map_err(state_error)
    }

    pub(super) async fn state_delete(
        &self,
        request: Request<proto::DeleteStateRequest>,
    ) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        let options =
            delete_options(request.etag, request.options, &request.metadata).map_err(state_error)?;
        self.blocks
            .state
            .delete(&caller, &request.store_name, &request.key, options)
            .await
            .map_err(state_error)
    }

    pub(super) async fn state_delete_bulk(
        &self,
        request: Request<proto::DeleteBulkStateRequest>,
    ) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        let delete = |item: proto::StateItem| {
            let options = delete_options(item.etag, item.options, &item.metadata)?;
            Ok((item.key, options))
        };
        let deletes = request
            .states
            .into_iter()
            .enumerate()
            .map(|(at, item)| delete(item).map_err(in_field("states", at)));
        let deletes = deletes.collect::<Result<_, _>>()?;
        self.blocks.state.delete_bulk(&caller, &request.store_name, deletes).await.map_err(state_error)
    }

    pub(super) async fn state_transact(
        &self,
        request: Request<proto::ExecuteStateTransactionRequest>,
    ) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        let operations = request.operations.into_iter().enumerate();
        let operations = operations.map(|(at, it)| operation(it).map_err(in_field("operations", at)));
        let operations = operations.collect::<Result<_, _>>()?;
        self.blocks.state.transact(&caller, &request.store_name, operations).await.map_err(state_error)
    }
}

fn operation(operation: proto::TransactionalStateOperation) -> Result<Operation, Error> {
    let request = operation.request.ok_or_else(|| Error::invalid("request is missing"));
    match operation.operation_type.as_str() {
        "upsert" => Ok(Operation::Set(write(request?)?)),
        "delete" => {
            let proto::StateItem { key, etag, options, metadata, .. } = request?;
            Ok(Operation::Delete { key, options: delete_options(etag, options, &metadata)? })
        }
        other => {
            let message = format!("operationType '{other}' is not one of upsert and delete");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

fn write(item: proto::StateItem) -> Result<Write, Error> {
    let proto::StateItem { key, value, etag, metadata, options } = item;
    let (concurrency, consistency) = state_options(options)?;
    let options = SetOptions {
        if_match: from_caller(etag),
        concurrency,
        ttl: ttl(&metadata)?,
        consistency,
        fence: fence(&metadata)?,
    };
    Ok(Write { key, value, options })
}

fn delete_options(
    etag: Option<proto::Etag>,
    options: Option<proto::StateOptions>,
    metadata: &BTreeMap<String, String>,
) -> Result<DeleteOptions, Error> {
    let (concurrency, consistency) = state_options(options)?;
    Ok(DeleteOptions { if_match: from_caller(etag), concurrency, consistency, fence: fence(metadata)? })
}

/// Layotto's SDKs send an empty etag where they mean none, the one for Node "0". No store of ours gives out a "0".
fn from_caller(etag: Option<proto::Etag>) -> Option<Etag> {
    etag.filter(|etag| etag.value != "0").and_then(|etag| Etag::from_caller(&etag.value))
}

fn state_options(options: Option<proto::StateOptions>) -> Result<(Concurrency, Consistency), Error> {
    let Some(options) = options else { return Ok(Default::default()) };
    let concurrency = match StateConcurrency::try_from(options.concurrency) {
        Ok(StateConcurrency::ConcurrencyUnspecified) => Concurrency::Unspecified,
        Ok(StateConcurrency::ConcurrencyFirstWrite) => Concurrency::FirstWrite,
        Ok(StateConcurrency::ConcurrencyLastWrite) => Concurrency::LastWrite,
        Err(_) => return Err(unknown("options.concurrency", options.concurrency)),
    };
    let consistency =
        consistency(options.consistency).map_err(|_| unknown("options.consistency", options.consistency))?;
    Ok((concurrency, consistency))
}

fn consistency(value: i32) -> Result<Consistency, Error> {
    match StateConsistency::try_from(value) {
        Ok(StateConsistency::ConsistencyUnspecified) => Ok(Consistency::Unspecified),
        Ok(StateConsistency::ConsistencyEventual) => Ok(Consistency::Eventual),
        Ok(StateConsistency::ConsistencyStrong) => Ok(Consistency::Strong),
        Err(_) => Err(unknown("consistency", value)),
    }
}

fn unknown(field: &str, value: i32) -> Error {
    Error::invalid(format!("{field} has no value {value}"))
}

/// Names the element of a repeated field an error is about.
fn in_field(field: &'static str, at: usize) -> impl Fn(Error) -> Status {
    move |error| state_error(error.with("at", format_args!("{field}[{at}]")))
}

fn parts(entry: Entry) -> (Bytes, String, BTreeMap<String, String>) {
    let mut metadata = BTreeMap::new();
    if let Some(expires) = entry.expires {
        metadata.insert(EXPIRES.to_owned(), humantime::format_rfc3339_seconds(expires).to_string());
    }
    (entry.value, entry.etag.as_str().to_owned(), metadata)
}
