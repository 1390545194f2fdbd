//! Health and actuator over the wire.

use std::sync::Arc;
use std::time::Duration;

use outrigger_api::access::{Access, Token};
use outrigger_blocks::Member;
use outrigger_memory::MemoryState;
use outrigger_sdk::actuator::Health;
use outrigger_sdk::{Client, ErrorKind, Options};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Served, Sidecar};

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, Code> {
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

async fn client(served: &Served) -> Client {
    Client::connect_with(Options { endpoint: served.endpoint.clone(), ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn health_is_what_components_say_now_and_needs_no_token() {
    let sidecar =
        Sidecar::with(Access { tokens: Token::new("s3cret").map(|token| vec![token]), hosts: Vec::new() });
    let served = sidecar.serve().await;
    let mut health = HealthClient::new(served.channel().await);
    for service in ["", "spec.proto.runtime.v1.Runtime", "outrigger.v1.Actuator"] {
        assert_eq!(check(&mut health, service).await, Ok(ServingStatus::Serving), "{service}");
    }
    assert_eq!(check(&mut health, "no.such.Service").await, Err(Code::NotFound));
    let broken = sidecar.store("state", None);
    broken.slot().not_ready("connection refused");
    sidecar.stores([Arc::clone(&broken)]);
    assert_eq!(check(&mut health, "").await, Ok(ServingStatus::NotServing));
    broken.slot().ready(Arc::new(MemoryState::new()));
    assert_eq!(check(&mut health, "").await, Ok(ServingStatus::Serving));
}

#[tokio::test]
async fn watchers_hear_of_changes() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let mut health = HealthClient::new(served.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let broken = sidecar.store("state", None);
    broken.slot().not_ready("connection refused");
    sidecar.stores([broken]);
    let change = tokio::time::timeout(Duration::from_secs(30), watch.message()).await.unwrap();
    assert_eq!(change.unwrap().unwrap().status(), ServingStatus::NotServing);

    let unknown = HealthCheckRequest { service: "no.such.Service".to_owned() };
    let mut watch = health.watch(unknown).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn the_actuator_shows_components_and_changes_the_level() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let actuator = client(&served).await.actuator();
    let info = actuator.info().await.unwrap();
    assert_eq!((info.name.as_str(), info.app_id.as_str()), ("outrigger", "orders"));
    assert!(actuator.readiness().await.unwrap().up);

    let broken = sidecar.store("broken", None);
    broken.slot().not_ready("connection refused");
    let starting = sidecar.store("starting", None);
    sidecar.stores([sidecar.store("good", Some(Arc::new(MemoryState::new()))), broken, starting]);
    let components = actuator.components().await.unwrap();
    let shown: Vec<_> =
        components.iter().map(|it| (it.name.as_str(), &it.health, it.capabilities.len())).collect();
    let down = Health::Down("connection refused".to_owned());
    assert_eq!(shown, [("broken", &down, 0), ("good", &Health::Up, 3), ("starting", &Health::Starting, 0)]);
    let report = actuator.readiness().await.unwrap();
    assert!(!report.up);
    assert_eq!(report.parts.get("broken"), Some(&down));
    assert!(actuator.liveness().await.unwrap().up, "a dead backend is no reason to restart this process");

    assert_eq!(actuator.set_log_level("debug").await.unwrap(), "info");
    assert_eq!(actuator.log_level().await.unwrap(), "debug");
    for wrong in ["", "loud"] {
        let error = actuator.set_log_level(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("level"), "{error}");
    }
}
