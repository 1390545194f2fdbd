//! Each RPC and each bad value: a code, and a message that names the field.

use std::collections::BTreeMap;

use outrigger_api::access::Access;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::runtime_client::RuntimeClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::Sidecar;

type Client = RuntimeClient<Channel>;

fn item(key: &str) -> proto::StateItem {
    proto::StateItem { key: key.to_owned(), value: "v".into(), ..Default::default() }
}

fn with_options(key: &str, concurrency: i32, consistency: i32) -> proto::StateItem {
    proto::StateItem { options: Some(proto::StateOptions { concurrency, consistency }), ..item(key) }
}

fn with_etag(key: &str, etag: &str) -> proto::StateItem {
    proto::StateItem { etag: Some(proto::Etag { value: etag.to_owned() }), ..item(key) }
}

fn with_ttl(key: &str, ttl: &str) -> proto::StateItem {
    proto::StateItem { metadata: BTreeMap::from([("ttlInSeconds".to_owned(), ttl.to_owned())]), ..item(key) }
}

async fn get(client: &mut Client, store: &str, key: &str, consistency: i32) -> Result<(), Status> {
    let request = proto::GetStateRequest {
        store_name: store.into(),
        key: key.into(),
        consistency,
        ..Default::default()
    };
    client.get_state(request).await.map(drop)
}

async fn get_bulk(client: &mut Client, store: &str, keys: &[&str]) -> Result<(), Status> {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let request = proto::GetBulkStateRequest { store_name: store.into(), keys, ..Default::default() };
    client.get_bulk_state(request).await.map(drop)
}

async fn save(client: &mut Client, store: &str, states: Vec<proto::StateItem>) -> Result<(), Status> {
    client.save_state(proto::SaveStateRequest { store_name: store.into(), states }).await.map(drop)
}

async fn delete(client: &mut Client, store: &str, item: proto::StateItem) -> Result<(), Status> {
    let proto::StateItem { key, etag, options, metadata, .. } = item;
    let request = proto::DeleteStateRequest { store_name: store.into(), key, etag, options, metadata };
    client.delete_state(request).await.map(drop)
}

async fn delete_bulk(client: &mut Client, store: &str, states: Vec<proto::StateItem>) -> Result<(), Status> {
    client
        .delete_bulk_state(proto::DeleteBulkStateRequest { store_name: store.into(), states })
        .await
        .map(drop)
}

async fn transact(
    client: &mut Client,
    store: &str,
    operations: &[(&str, Option<proto::StateItem>)],
) -> Result<(), Status> {
    let operations = operations.iter().map(|(operation_type, request)| proto::TransactionalStateOperation {
        operation_type: (*operation_type).to_owned(),
        request: request.clone(),
    });
    let operations = operations.collect();
    let request =
        proto::ExecuteStateTransactionRequest { store_name: store.into(), operations, ..Default::default() };
    client.execute_state_transaction(request).await.map(drop)
}

#[track_caller]
fn refused(result: Result<(), Status>, code: Code, names: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(names), "{names}: {status}");
    assert!(status.metadata().contains_key("x-outrigger-reason"), "{status}");
}

use Code::{Aborted, FailedPrecondition, InvalidArgument, Unimplemented};

#[tokio::test]
async fn every_bad_value_has_its_code_and_names_its_field() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let c = &mut served.runtime().await;
    save(c, "state", vec![item("old")]).await.unwrap();

    refused(get(c, "stat", "k", 0).await, InvalidArgument, "did you mean 'state'?");
    refused(get(c, "", "k", 0).await, InvalidArgument, "store_name");
    refused(get(c, "state", "", 0).await, InvalidArgument, "key is empty");
    refused(get(c, "state", "a||b", 0).await, InvalidArgument, "key 'a||b'");
    refused(get(c, "state", "k", 9).await, InvalidArgument, "consistency");

    refused(get_bulk(c, "stat", &["k"]).await, InvalidArgument, "'stat'");
    refused(get_bulk(c, "stat", &[]).await, InvalidArgument, "'stat'");
    refused(get_bulk(c, "state", &["k", ""]).await, InvalidArgument, "keys[1]");
    refused(get_bulk(c, "state", &["a||b"]).await, InvalidArgument, "keys[0]");

    refused(save(c, "stat", vec![item("k")]).await, InvalidArgument, "'stat'");
    refused(save(c, "stat", vec![]).await, InvalidArgument, "'stat'");
    refused(save(c, "state", vec![item("")]).await, InvalidArgument, "key");
    refused(save(c, "state", vec![item("k"), item("a||b")]).await, InvalidArgument, "states[1]");
    refused(save(c, "state", vec![with_options("k", 9, 0)]).await, InvalidArgument, "options.concurrency");
    refused(save(c, "state", vec![with_options("k", 0, -1)]).await, InvalidArgument, "options.consistency");
    refused(
        save(c, "state", vec![item("k"), with_ttl("l", "soon")]).await,
        InvalidArgument,
        "metadata.ttlInSeconds",
    );
    refused(save(c, "state", vec![item("k"), with_ttl("l", "1.5")]).await, InvalidArgument, "states[1]");
    refused(save(c, "state", vec![with_etag("k", "not-mine")]).await, InvalidArgument, "etag");
    refused(save(c, "state", vec![with_etag("k", "7")]).await, Aborted, "etag");
    refused(save(c, "state", vec![with_options("old", 1, 0)]).await, Aborted, "");

    refused(delete(c, "stat", item("k")).await, InvalidArgument, "'stat'");
    refused(delete(c, "state", item("")).await, InvalidArgument, "key");
    refused(delete(c, "state", item("a||b")).await, InvalidArgument, "key 'a||b'");
    refused(delete(c, "state", with_options("k", 9, 0)).await, InvalidArgument, "options.concurrency");
    refused(delete(c, "state", with_etag("old", "7777")).await, Aborted, "etag");
    refused(delete(c, "state", with_etag("old", "not-mine")).await, InvalidArgument, "etag");

    refused(delete_bulk(c, "stat", vec![item("k")]).await, InvalidArgument, "'stat'");
    refused(delete_bulk(c, "state", vec![item("k"), item("")]).await, InvalidArgument, "states[1]");
    refused(
        delete_bulk(c, "state", vec![with_options("k", 0, 9)]).await,
        InvalidArgument,
        "options.consistency",
    );
    refused(delete_bulk(c, "state", vec![item("k"), with_etag("old", "7777")]).await, Aborted, "states[1]");

    refused(transact(c, "stat", &[]).await, InvalidArgument, "'stat'");
    refused(transact(c, "state", &[("upsert", None)]).await, InvalidArgument, "request is missing");
    refused(
        transact(c, "state", &[("merge", Some(item("k")))]).await,
        Unimplemented,
        "operationType 'merge'",
    );
    refused(transact(c, "state", &[("", Some(item("k")))]).await, Unimplemented, "operationType");
    refused(transact(c, "state", &[("delete", Some(item("a||b")))]).await, InvalidArgument, "operations[0]");
    let second = [("upsert", Some(item("new"))), ("upsert", Some(with_etag("old", "7777")))];
    refused(transact(c, "state", &second).await, Aborted, "operation");
    get(c, "state", "new", 0).await.unwrap();
    assert!(
        sidecar.metrics.render().contains(r#"outrigger_api_errors_total{dialect="layotto",op="GetState","#)
    );
}

/// What Layotto's SDKs send must not be taken for a condition.
#[tokio::test]
async fn an_empty_etag_is_none() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let c = &mut served.runtime().await;
    save(c, "state", vec![with_etag("k", "")]).await.unwrap();
    save(c, "state", vec![with_etag("k", "")]).await.unwrap();
    transact(c, "state", &[("upsert", Some(with_etag("k", ""))), ("upsert", Some(with_etag("new", "")))])
        .await
        .unwrap();
    delete(c, "state", with_etag("k", "")).await.unwrap();
    delete(c, "state", with_etag("k", "")).await.unwrap();
}

#[tokio::test]
async fn a_missing_key_is_an_empty_answer() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let c = &mut served.runtime().await;
    let request =
        proto::GetStateRequest { store_name: "state".into(), key: "never".into(), ..Default::default() };
    assert_eq!(c.get_state(request).await.unwrap().into_inner(), proto::GetStateResponse::default());
    let keys = ["b".to_owned(), "never".to_owned(), "a".to_owned()].to_vec();
    save(c, "state", vec![item("a"), item("b")]).await.unwrap();
    let request = proto::GetBulkStateRequest { store_name: "state".into(), keys, ..Default::default() };
    let items = c.get_bulk_state(request).await.unwrap().into_inner().items;
    let seen: Vec<_> = items.iter().map(|it| (it.key.as_str(), it.data.len(), it.etag.is_empty())).collect();
    assert_eq!(seen, [("b", 1, false), ("never", 0, true), ("a", 1, false)]);
}

#[tokio::test]
async fn without_any_store_the_configuration_is_at_fault() {
    let sidecar = Sidecar::empty(Access::default());
    let served = sidecar.serve().await;
    let c = &mut served.runtime().await;
    let names = "no state store is configured";
    refused(get(c, "state", "k", 0).await, FailedPrecondition, names);
    refused(get_bulk(c, "state", &["k"]).await, FailedPrecondition, names);
    refused(save(c, "state", vec![item("k")]).await, FailedPrecondition, names);
    refused(delete(c, "state", item("k")).await, FailedPrecondition, names);
    refused(delete_bulk(c, "state", vec![item("k")]).await, FailedPrecondition, names);
    refused(transact(c, "state", &[]).await, FailedPrecondition, names);
}

#[tokio::test]
async fn a_service_that_is_not_ours_says_which_are() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let mut client = tonic::client::Grpc::new(served.channel().await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/dapr.proto.runtime.v1.Dapr/GetState");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let status = client.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Unimplemented);
    assert!(status.message().contains("'dapr.proto.runtime.v1.Dapr' is not served here"), "{status}");
}

#[tokio::test]
async fn a_message_over_four_mebibytes_is_refused() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let c = &mut served.runtime().await;
    let of_size = |bytes: usize| proto::StateItem { value: vec![7; bytes].into(), ..item("big") };
    save(c, "state", vec![of_size(4 * 1024 * 1024 - 1024)]).await.unwrap();
    let status = save(c, "state", vec![of_size(4 * 1024 * 1024)]).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn extension_services_say_that_they_come_later() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let call = async |path: &'static str| {
        let mut client = tonic::client::Grpc::new(served.channel().await);
        client.ready().await.unwrap();
        let codec: tonic_prost::ProstCodec<proto::GetSecretRequest, proto::GetSecretResponse> =
            Default::default();
        let request = tonic::Request::new(proto::GetSecretRequest::default());
        client.unary(request, path.parse().unwrap(), codec).await.unwrap_err()
    };
    let later = call("/spec.proto.extension.v1.sms.SmsService/SendSmsWithTemplate").await;
    assert_eq!(later.code(), Code::Unimplemented);
    assert!(later.message().contains("bindings.http"), "{later}");
    let unknown = call("/spec.proto.extension.v1.fax.FaxService/Send").await;
    assert!(unknown.message().contains("there are: spec.proto.runtime.v1.Runtime"), "{unknown}");
}
