//! The memory broker keeps the promises of a broker.

use std::sync::Arc;

use outrigger_component_api::PubSub;
use outrigger_memory::{MemoryPubSub, MemoryPubSubConfig};

fn broker(config: MemoryPubSubConfig) -> Arc<dyn PubSub> {
    Arc::new(MemoryPubSub::new(config).expect("room for something"))
}

outrigger_testkit::pubsub_suite!(broker(MemoryPubSubConfig::default()));

mod bounded_by_messages {
    use super::*;

    outrigger_testkit::bounded_pubsub_suite!(broker(MemoryPubSubConfig {
        capacity: 500,
        ..Default::default()
    }));
}

mod bounded_by_bytes {
    use super::*;

    outrigger_testkit::bounded_pubsub_suite!(broker(MemoryPubSubConfig {
        capacity_bytes: 64 << 10,
        ..Default::default()
    }));
}

#[test]
fn a_broker_without_room_is_refused() {
    for config in [
        MemoryPubSubConfig { capacity: 0, ..Default::default() },
        MemoryPubSubConfig { capacity_bytes: 0, ..Default::default() },
    ] {
        assert!(MemoryPubSub::new(config).is_err());
    }
}
