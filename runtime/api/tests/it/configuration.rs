//! Configuration over gRPC: items, subscriptions on one stream and on several, and the codes of what is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_api::access::Access;
use outrigger_memory::MemoryConfiguration;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::runtime_client::RuntimeClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::harness::Sidecar;

type Client = RuntimeClient<Channel>;
type Requests = mpsc::Sender<proto::SubscribeConfigurationRequest>;
type Answers = Streaming<proto::SubscribeConfigurationResponse>;

const STORE: &str = "configuration";

fn item(key: &str, content: &str) -> proto::ConfigurationItem {
    proto::ConfigurationItem { key: key.into(), content: content.into(), ..Default::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn save(c: &mut Client, store: &str, items: Vec<proto::ConfigurationItem>) -> Result<(), Status> {
    let app_id = "app".to_owned();
    let request =
        proto::SaveConfigurationRequest { store_name: store.into(), app_id, items, ..Default::default() };
    c.save_configuration(request).await.map(drop)
}

async fn get(c: &mut Client, store: &str, keys: &[&str]) -> Result<Vec<proto::ConfigurationItem>, Status> {
    let (app_id, keys) = ("app".to_owned(), words(keys));
    let request =
        proto::GetConfigurationRequest { store_name: store.into(), app_id, keys, ..Default::default() };
    c.get_configuration(request).await.map(|answer| answer.into_inner().items)
}

async fn delete(c: &mut Client, store: &str, keys: &[&str]) -> Result<(), Status> {
    let (app_id, keys) = ("app".to_owned(), words(keys));
    let request =
        proto::DeleteConfigurationRequest { store_name: store.into(), app_id, keys, ..Default::default() };
    c.delete_configuration(request).await.map(drop)
}

fn subscription(store: &str, keys: &[&str]) -> proto::SubscribeConfigurationRequest {
    let (store_name, app_id, keys) = (store.into(), "app".into(), words(keys));
    proto::SubscribeConfigurationRequest { store_name, app_id, keys, ..Default::default() }
}

async fn subscribe(
    c: &mut Client,
    first: proto::SubscribeConfigurationRequest,
) -> Result<(Requests, Answers), Status> {
    let (requests, stream) = mpsc::channel(8);
    requests.send(first).await.unwrap();
    let answers = c.subscribe_configuration(ReceiverStream::new(stream)).await?.into_inner();
    Ok((requests, answers))
}

async fn next(answers: &mut Answers) -> proto::SubscribeConfigurationResponse {
    let answer = tokio::time::timeout(Duration::from_secs(30), answers.message());
    answer.await.expect("in time").unwrap().expect("more to come")
}

async fn seen(answers: &mut Answers) -> Vec<(String, String)> {
    next(answers).await.items.into_iter().map(|item| (item.key, item.content)).collect()
}

fn pair(key: &str, content: &str) -> (String, String) {
    (key.to_owned(), content.to_owned())
}

#[tokio::test]
async fn items_are_saved_read_and_deleted() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    let tags = BTreeMap::from([("t".to_owned(), "v".to_owned())]);
    let sent = proto::ConfigurationItem { tags, group: "g".into(), label: "l".into(), ..item("a", "1") };
    save(c, STORE, vec![sent.clone(), item("a", "plain"), item("b", "2"), item("ab", "3")]).await.unwrap();
    let placed = proto::GetConfigurationRequest {
        store_name: STORE.into(),
        app_id: "app".into(),
        group: "g".into(),
        label: "l".into(),
        ..Default::default()
    };
    assert_eq!(c.get_configuration(placed).await.unwrap().into_inner().items, [sent], "as it was sent");
    assert_eq!(get(c, STORE, &["b", "missing", "a"]).await.unwrap(), [item("b", "2"), item("a", "plain")]);
    delete(c, STORE, &["a"]).await.unwrap();
    assert_eq!(get(c, STORE, &[]).await.unwrap(), [item("ab", "3"), item("b", "2")]);
}

#[tokio::test]
async fn one_stream_carries_several_subscriptions() {
    let sidecar = Sidecar::whole();
    let other = sidecar.seat("other", std::sync::Arc::new(MemoryConfiguration::new()) as _);
    let stores = sidecar.blocks.configuration.stores.all().into_iter().chain([other]).collect::<Vec<_>>();
    sidecar.blocks.configuration.stores.replace(stores);
    let served = sidecar.serve().await;
    let c = &mut served.runtime().await;
    save(c, STORE, vec![item("a", "before")]).await.unwrap();
    let (requests, mut answers) = subscribe(c, subscription(STORE, &["a"])).await.unwrap();
    save(c, STORE, vec![item("b", "not asked for"), item("a", "1")]).await.unwrap();
    let answer = next(&mut answers).await;
    assert_eq!((answer.store_name.as_str(), answer.app_id.as_str()), (STORE, "app"));
    assert_eq!((answer.items.len(), answer.items[0].content.as_str()), (1, "1"));
    requests.send(subscription("other", &[])).await.unwrap();
    // A later subscription is on when it says so by what it sees.
    let second = loop {
        save(c, "other", vec![item("x", "2")]).await.unwrap();
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), next(&mut answers)).await {
            break answer;
        }
    };
    assert_eq!((second.store_name.as_str(), second.items[0].key.as_str()), ("other", "x"));
    delete(c, STORE, &["a"]).await.unwrap();
    while seen(&mut answers).await != [pair("a", "")] {}
}

#[tokio::test]
async fn ending_one_stream_leaves_the_others_alone() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    let (_kept_requests, mut kept) = subscribe(c, subscription(STORE, &["a"])).await.unwrap();
    let (half_closed, mut ends) = subscribe(c, subscription(STORE, &["a"])).await.unwrap();
    let (_requests, dropped) = subscribe(c, subscription(STORE, &["a"])).await.unwrap();
    drop((half_closed, dropped));
    assert!(ends.message().await.unwrap().is_none(), "the client ended its side, so it ends well");
    for content in ["1", "2"] {
        save(c, STORE, vec![item("a", content)]).await.unwrap();
        assert_eq!(seen(&mut kept).await, [pair("a", content)]);
    }
    let (bad_requests, mut bad) = subscribe(c, subscription(STORE, &["a"])).await.unwrap();
    bad_requests.send(subscription("nowhere", &[])).await.unwrap();
    let status = bad.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("subscription=1, store=nowhere"), "{status}");
    save(c, STORE, vec![item("a", "3")]).await.unwrap();
    assert_eq!(seen(&mut kept).await, [pair("a", "3")], "nor does a failure end them");
}

#[tokio::test]
async fn a_subscription_goes_on_where_another_stopped() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    let (requests, mut answers) = subscribe(c, subscription(STORE, &["a"])).await.unwrap();
    save(c, STORE, vec![item("a", "1")]).await.unwrap();
    let revision = next(&mut answers).await.items[0].metadata["revision"].clone();
    drop((requests, answers));
    save(c, STORE, vec![item("a", "2"), item("a", "3")]).await.unwrap();
    let from = |revision: &str| proto::SubscribeConfigurationRequest {
        metadata: BTreeMap::from([("revision".to_owned(), revision.to_owned())]),
        ..subscription(STORE, &["a", "gone"])
    };
    let (_requests, mut answers) = subscribe(c, from(&revision)).await.unwrap();
    assert_eq!(seen(&mut answers).await, [pair("a", "2")]);
    assert_eq!(seen(&mut answers).await, [pair("a", "3")]);

    let (_requests, mut answers) = subscribe(c, from("1")).await.unwrap();
    let resynced = next(&mut answers).await.items;
    assert!(resynced.iter().all(|item| item.metadata["resync"] == "true"), "{resynced:?}");
    let resynced: Vec<_> = resynced.into_iter().map(|item| (item.key, item.content)).collect();
    assert_eq!(resynced, [pair("a", "3"), pair("gone", "")], "what it missed is not there any more");
    let error = subscribe(c, from("soon")).await.map(drop).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}

/// A client that does not read stops its own subscription, in bounded memory, and nobody else's.
#[tokio::test]
async fn a_slow_client_misses_nothing_it_can_still_be_told() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    let (_requests, mut slow) = subscribe(c, subscription(STORE, &["a"])).await.unwrap();
    for content in 0..500 {
        save(c, STORE, vec![item("a", &content.to_string())]).await.unwrap();
    }
    for content in 0..500 {
        assert_eq!(seen(&mut slow).await, [pair("a", &content.to_string())]);
    }
}

/// Some clients wait for the answer before they ask.
#[tokio::test]
async fn an_answer_does_not_wait_for_the_first_request_for_ever() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    let (requests, stream) = mpsc::channel(1);
    let answers = c.subscribe_configuration(ReceiverStream::new(stream));
    let mut answers =
        tokio::time::timeout(Duration::from_secs(30), answers).await.unwrap().unwrap().into_inner();
    requests.send(subscription("nowhere", &[])).await.unwrap();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn every_bad_value_has_its_code_and_names_its_field() {
    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, names: &str) {
        let status = result.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(names), "{names}: {status}");
        assert!(status.metadata().contains_key("x-outrigger-reason"), "{status}");
    }
    use Code::{FailedPrecondition, InvalidArgument};
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    refused(get(c, "configurations", &[]).await, InvalidArgument, "did you mean 'configuration'?");
    refused(get(c, STORE, &["a", ""]).await, InvalidArgument, "keys[1]");
    refused(save(c, "nowhere", vec![]).await, InvalidArgument, "'nowhere'");
    refused(save(c, STORE, vec![item("a", ""), item("", "")]).await, InvalidArgument, "items[1].key");
    refused(delete(c, "nowhere", &[]).await, InvalidArgument, "'nowhere'");
    refused(delete(c, STORE, &[""]).await, InvalidArgument, "keys[0]");
    let unknown = subscribe(c, subscription("nowhere", &[])).await.map(drop);
    refused(unknown, InvalidArgument, "subscription=0, store=nowhere");
    refused(subscribe(c, subscription(STORE, &[""])).await.map(drop), InvalidArgument, "keys[0]");
    let served = Sidecar::empty(Access::default()).serve().await;
    let c = &mut served.runtime().await;
    refused(get(c, STORE, &[]).await, FailedPrecondition, "no configuration store is configured");
    refused(save(c, STORE, vec![]).await, FailedPrecondition, "no configuration store");
    refused(delete(c, STORE, &[]).await, FailedPrecondition, "no configuration store");
    refused(
        subscribe(c, subscription(STORE, &[])).await.map(drop),
        FailedPrecondition,
        "no configuration store",
    );
}
