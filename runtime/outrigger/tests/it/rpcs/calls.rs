//! One call of each RPC of the Layotto dialect, as short as it can be.

use std::collections::BTreeMap;

use outrigger_proto::layotto::{
    self as proto, subscribe_topic_events_request::SubscribeTopicEventsRequestType as Said,
};
use tonic::Status;

use crate::layotto::Client;

pub(super) fn item(key: &str, etag: &str) -> proto::StateItem {
    let etag = Some(proto::Etag { value: etag.into() });
    proto::StateItem { key: key.into(), value: "v".into(), etag, ..Default::default() }
}

fn file(store_name: String, name: &str) -> Option<proto::FileRequest> {
    Some(proto::FileRequest { store_name, name: name.into(), metadata: metadata() })
}

/// What Layotto's clients send along to create a file.
fn metadata() -> BTreeMap<String, String> {
    [("FileFlag", "577"), ("FileMode", "420")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

pub(super) async fn hello(c: &mut Client, service_name: String) -> Result<(), Status> {
    let request = proto::SayHelloRequest { service_name, ..Default::default() };
    c.runtime.say_hello(request).await.map(drop)
}

pub(super) async fn invoke(c: &mut Client, id: String, method: &str) -> Result<(), Status> {
    let message = Some(proto::CommonInvokeRequest { method: method.into(), ..Default::default() });
    c.runtime.invoke_service(proto::InvokeServiceRequest { id, message }).await.map(drop)
}

pub(super) async fn save_configuration(c: &mut Client, store_name: String, key: &str) -> Result<(), Status> {
    let items = vec![proto::ConfigurationItem { key: key.into(), ..Default::default() }];
    let request =
        proto::SaveConfigurationRequest { store_name, app_id: "a".into(), items, ..Default::default() };
    c.runtime.save_configuration(request).await.map(drop)
}

pub(super) async fn watch(c: &mut Client, store_name: String, app_id: &str) -> Result<(), Status> {
    let (app_id, keys) = (app_id.into(), vec!["k".into()]);
    let wanted = proto::SubscribeConfigurationRequest { store_name, app_id, keys, ..Default::default() };
    let stream = c.runtime.subscribe_configuration(tokio_stream::iter([wanted])).await?;
    // Our side has ended, so the stream does: in peace, or with what is wrong.
    stream.into_inner().message().await.map(drop)
}

pub(super) async fn try_lock(c: &mut Client, store_name: String, owner: &str) -> Result<(), Status> {
    let request =
        proto::TryLockRequest { store_name, resource_id: "r".into(), lock_owner: owner.into(), expire: 10 };
    c.runtime.try_lock(request).await.map(drop)
}

pub(super) async fn unlock(c: &mut Client, store_name: String, owner: &str) -> Result<(), Status> {
    let request = proto::UnlockRequest { store_name, resource_id: "r".into(), lock_owner: owner.into() };
    c.runtime.unlock(request).await.map(drop)
}

pub(super) async fn keep_alive(c: &mut Client, store_name: String, expire: i32) -> Result<(), Status> {
    let request = proto::LockKeepAliveRequest {
        store_name,
        resource_id: "r".into(),
        lock_owner: "owner".into(),
        expire,
    };
    c.runtime.lock_keep_alive(request).await.map(drop)
}

pub(super) async fn next_id(c: &mut Client, store_name: String, key: &str) -> Result<(), Status> {
    let request = proto::GetNextIdRequest { store_name, key: key.into(), ..Default::default() };
    c.runtime.get_next_id(request).await.map(drop)
}

pub(super) async fn get(c: &mut Client, store_name: String, key: &str) -> Result<(), Status> {
    let request = proto::GetStateRequest { store_name, key: key.into(), ..Default::default() };
    c.runtime.get_state(request).await.map(drop)
}

pub(super) async fn get_bulk(c: &mut Client, store_name: String, key: &str) -> Result<(), Status> {
    let request = proto::GetBulkStateRequest { store_name, keys: vec![key.into()], ..Default::default() };
    c.runtime.get_bulk_state(request).await.map(drop)
}

pub(super) async fn save(c: &mut Client, store_name: String, item: proto::StateItem) -> Result<(), Status> {
    let request = proto::SaveStateRequest { store_name, states: vec![item] };
    c.runtime.save_state(request).await.map(drop)
}

pub(super) async fn delete(c: &mut Client, store_name: String, key: &str, etag: &str) -> Result<(), Status> {
    let request = proto::DeleteStateRequest {
        store_name,
        key: key.into(),
        etag: Some(proto::Etag { value: etag.into() }),
        ..Default::default()
    };
    c.runtime.delete_state(request).await.map(drop)
}

pub(super) async fn delete_bulk(
    c: &mut Client,
    store_name: String,
    item: proto::StateItem,
) -> Result<(), Status> {
    let request = proto::DeleteBulkStateRequest { store_name, states: vec![item] };
    c.runtime.delete_bulk_state(request).await.map(drop)
}

pub(super) async fn transact(
    c: &mut Client,
    store_name: String,
    kind: &str,
    item: proto::StateItem,
) -> Result<(), Status> {
    let operation = proto::TransactionalStateOperation { operation_type: kind.into(), request: Some(item) };
    let operations = vec![operation];
    let request = proto::ExecuteStateTransactionRequest { store_name, operations, ..Default::default() };
    c.runtime.execute_state_transaction(request).await.map(drop)
}

pub(super) async fn publish(c: &mut Client, pubsub_name: String, topic: &str) -> Result<(), Status> {
    let request = proto::PublishEventRequest { pubsub_name, topic: topic.into(), ..Default::default() };
    c.runtime.publish_event(request).await.map(drop)
}

pub(super) async fn subscribe(c: &mut Client, pubsub_name: String, topic: &str) -> Result<(), Status> {
    let topic = topic.into();
    let initial = proto::SubscribeTopicEventsRequestInitial { pubsub_name, topic, ..Default::default() };
    let said = Some(Said::InitialRequest(initial));
    let said = proto::SubscribeTopicEventsRequest { subscribe_topic_events_request_type: said };
    let stream = c.runtime.subscribe_topic_events(tokio_stream::iter([said])).await?;
    stream.into_inner().message().await.map(drop)
}

pub(super) async fn put(c: &mut Client, store_name: String, name: &str) -> Result<(), Status> {
    let name = name.into();
    let first = proto::PutFileRequest { store_name, name, data: "x".into(), metadata: metadata() };
    c.runtime.put_file(tokio_stream::iter([first])).await.map(drop)
}

pub(super) async fn get_file(c: &mut Client, store_name: String, name: &str) -> Result<(), Status> {
    let request = proto::GetFileRequest { store_name, name: name.into(), metadata: metadata() };
    c.runtime.get_file(request).await?.into_inner().message().await.map(drop)
}

pub(super) async fn list(
    c: &mut Client,
    store: String,
    directory: &str,
    page_size: i32,
) -> Result<(), Status> {
    let request =
        proto::ListFileRequest { request: file(store, directory), page_size, marker: String::new() };
    c.runtime.list_file(request).await.map(drop)
}

pub(super) async fn del_file(c: &mut Client, store: String, name: &str) -> Result<(), Status> {
    let request = proto::DelFileRequest { request: file(store, name) };
    c.runtime.del_file(request).await.map(drop)
}

pub(super) async fn stat(c: &mut Client, store: String, name: &str) -> Result<(), Status> {
    let request = proto::GetFileMetaRequest { request: file(store, name) };
    c.runtime.get_file_meta(request).await.map(drop)
}

pub(super) async fn bind(c: &mut Client, name: String, operation: &str) -> Result<(), Status> {
    let request = proto::InvokeBindingRequest { name, operation: operation.into(), ..Default::default() };
    c.runtime.invoke_binding(request).await.map(drop)
}

pub(super) async fn secret(c: &mut Client, store_name: String, key: &str) -> Result<(), Status> {
    let request = proto::GetSecretRequest { store_name, key: key.into(), ..Default::default() };
    c.runtime.get_secret(request).await.map(drop)
}

pub(super) async fn secrets(c: &mut Client, store_name: String) -> Result<(), Status> {
    let request = proto::GetBulkSecretRequest { store_name, ..Default::default() };
    c.runtime.get_bulk_secret(request).await.map(drop)
}

pub(super) async fn apply(c: &mut Client, kind: &str, name: String) -> Result<(), Status> {
    let metadata = BTreeMap::from([("hello".to_owned(), "x".to_owned())]);
    let config = proto::ComponentConfig { kind: kind.into(), name, metadata };
    let request = proto::DynamicConfiguration { component_config: Some(config) };
    c.lifecycle.apply_configuration(request).await.map(drop)
}
