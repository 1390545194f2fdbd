//! What the broker leaves in Redis.

use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{Message, PubSub, SubscribeOptions};
use outrigger_redis::{RedisPubSub, RedisPubSubConfig};

use crate::server::Server;

/// A message that waits for its retry belongs to a consumer made for it, which goes with it.
#[tokio::test]
async fn pauses_and_members_leave_no_consumers_behind() {
    let Some(server) = Server::start(&[]) else { return };
    let config = RedisPubSubConfig { redis_host: server.host(), ..RedisPubSubConfig::default() };
    let broker: Arc<dyn PubSub> = Arc::new(RedisPubSub::new(config).expect("valid"));
    let consumers = || server.ask("XINFO CONSUMERS topic group").matches("outrigger-").count();
    let mut member = broker.subscribe("topic", SubscribeOptions::new("group")).await.expect("subscribed");
    for text in ["taken again", "acknowledged by somebody who was late"] {
        broker.publish("topic", Message::new(text)).await.expect("published");
    }
    let mut next = async || member.next().await.expect("delivered");
    let (again, late) = (next().await, next().await);
    again.retry(Duration::from_millis(200)).await.expect("noted");
    let id = late.id.clone();
    late.retry(Duration::from_secs(3600)).await.expect("noted");
    assert_eq!(consumers(), 3, "the member, and one for each that waits");
    server.ask(&format!("XACK topic group {id}"));
    next().await.ack().await.expect("noted");
    assert_eq!(consumers(), 2);
    drop(member);
    let gone = async {
        while consumers() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("nobody is left");
}
