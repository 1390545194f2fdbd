//! Locks, sequences and the binding keep their blocks' promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_component_api::{BindingRequest, ErrorKind, OutputBinding};
use outrigger_redis::{RedisBinding, RedisConfig};

use crate::server::{BUSY, Server};
use crate::settings::lives;

pub(crate) fn at(host: &str) -> RedisConfig {
    RedisConfig {
        redis_host: host.to_owned(),
        dial_timeout: BUSY,
        read_timeout: BUSY,
        ..RedisConfig::default()
    }
}

mod lock {
    use super::*;
    use outrigger_component_api::LockStore;
    use outrigger_redis::RedisLock;

    fn store(host: &str) -> Arc<dyn LockStore> {
        Arc::new(RedisLock::new(&at(host)).expect("valid"))
    }

    outrigger_testkit::lock_suite!(crate::server::subject(store));
}

mod sequencer {
    use super::*;
    use outrigger_component_api::Sequencer;
    use outrigger_redis::RedisSequencer;

    fn store(host: &str) -> Arc<dyn Sequencer> {
        Arc::new(RedisSequencer::new(&at(host)).expect("valid"))
    }

    outrigger_testkit::sequencer_suite!(crate::server::subject(store));
}

#[tokio::test]
async fn the_binding_writes_reads_deletes_and_counts() {
    let Some(server) = Server::start(&[]) else { return };
    let binding = RedisBinding::new(&at(&server.host())).expect("valid");
    let invoke = async |operation: &str, data: &'static str, metadata: &[(&str, &str)]| {
        let metadata: BTreeMap<_, _> =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let data = Bytes::from_static(data.as_bytes());
        let answer = binding.invoke(BindingRequest { operation: operation.to_owned(), data, metadata }).await;
        answer.map(|answer| String::from_utf8_lossy(&answer.data).into_owned())
    };
    let key = ("key", "cart");
    assert_eq!(invoke("create", "milk", &[key]).await.expect("written"), "");
    assert_eq!(server.ask("GET cart"), "$4\r\nmilk\r\n");
    assert_eq!(invoke("get", "", &[key]).await.expect("read"), "milk");
    assert_eq!(invoke("delete", "", &[key]).await.expect("gone"), "");
    assert_eq!(invoke("get", "", &[key]).await.expect("read"), "", "what is missing is empty");
    assert_eq!(invoke("increment", "", &[key]).await.expect("counted"), "1");
    assert_eq!(invoke("increment", "", &[key, ("ttlInSeconds", "60")]).await.expect("counted"), "2");
    assert!(lives(&server, "cart", 58..=60));
    invoke("create", "x", &[key, ("ttlInSeconds", "30")]).await.expect("written");
    assert!(lives(&server, "cart", 28..=30));

    let refused = async |operation: &str, metadata: &[(&str, &str)], kind: ErrorKind| {
        let error = invoke(operation, "", metadata).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{operation}: {error}");
    };
    refused("list", &[key], ErrorKind::InvalidArgument).await;
    refused("get", &[], ErrorKind::InvalidArgument).await;
    refused("create", &[key, ("ttlInSeconds", "soon")], ErrorKind::InvalidArgument).await;
    server.ask("LPUSH list x");
    refused("get", &[("key", "list")], ErrorKind::FailedPrecondition).await;
}

mod configuration {
    use super::*;
    use outrigger_component_api::ConfigurationStore;
    use outrigger_redis::RedisConfiguration;

    fn store(host: &str) -> Arc<dyn ConfigurationStore> {
        Arc::new(RedisConfiguration::new(&at(host)).expect("valid"))
    }

    outrigger_testkit::configuration_suite!(crate::server::subject(store));
}

mod pubsub {
    use super::*;
    use outrigger_component_api::PubSub;
    use outrigger_redis::{RedisPubSub, RedisPubSubConfig};

    fn broker(host: &str) -> Arc<dyn PubSub> {
        let config = RedisPubSubConfig {
            redis_host: host.to_owned(),
            dial_timeout: BUSY,
            read_timeout: BUSY,
            ..RedisPubSubConfig::default()
        };
        Arc::new(RedisPubSub::new(config).expect("valid"))
    }

    outrigger_testkit::pubsub_suite!(crate::server::subject(broker));
}
