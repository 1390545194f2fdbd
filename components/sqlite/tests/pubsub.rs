//! The SQLite broker keeps the promises of a broker.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_component_api::{Message, PubSub, SubscribeOptions, Subscription};
use outrigger_sqlite::{SqlitePubSub, SqlitePubSubConfig, Synchronous};
use outrigger_testkit::Subject;

fn in_new_file(config: SqlitePubSubConfig) -> Subject<dyn PubSub> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = Some(directory.path().join("events.db"));
    let broker: Arc<dyn PubSub> =
        Arc::new(SqlitePubSub::new(SqlitePubSubConfig { path, ..config }).expect("valid"));
    Subject::new(broker).keeping(directory)
}

outrigger_testkit::pubsub_suite!(in_new_file(SqlitePubSubConfig::default()));

mod when_full {
    use super::*;

    outrigger_testkit::bounded_pubsub_suite!(in_new_file(SqlitePubSubConfig {
        max_messages: 200,
        // What is shown here does not depend on the disk; ten thousand messages would.
        synchronous: Synchronous::Off,
        ..SqlitePubSubConfig::default()
    }));
}

fn at(path: &Path, config: SqlitePubSubConfig) -> SqlitePubSub {
    SqlitePubSub::new(SqlitePubSubConfig { path: Some(path.to_owned()), ..config }).expect("valid")
}

fn bulk(texts: [&'static str; 3]) -> Vec<Message> {
    texts.map(|text| Message::new(if text == "huge" { vec![b'x'; 2 << 20] } else { text.into() })).into()
}

async fn taken(member: &mut Box<dyn Subscription>, count: usize) -> Vec<Bytes> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let delivery = member.next().await.expect("delivered");
        taken.push(delivery.message.data.clone());
        delivery.ack().await.expect("noted");
    }
    taken
}

#[test]
fn a_message_that_does_not_fit_is_refused_alone() {
    outrigger_testkit::run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let small = SqlitePubSubConfig { max_size_bytes: 512 << 10, ..SqlitePubSubConfig::default() };
        let broker = at(&directory.path().join("events.db"), small);
        let mut member = broker.subscribe("topic", SubscribeOptions::new("g")).await.expect("subscribed");
        let answers =
            broker.publish_bulk("topic", bulk(["before", "huge", "after"])).await.expect("answered");
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(taken(&mut member, 2).await, ["before", "after"]);
    });
}

/// Some failures make SQLite undo the whole transaction: what came before is gone then, and what comes after must not
/// be written on its own.
#[test]
fn a_bulk_whose_transaction_is_undone_leaves_nothing() {
    outrigger_testkit::run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("events.db");
        let broker = at(&file, SqlitePubSubConfig::default());
        let mut member = broker.subscribe("topic", SubscribeOptions::new("g")).await.expect("subscribed");
        let planted =
            "CREATE TRIGGER planted BEFORE INSERT ON messages WHEN NEW.data = CAST('doomed' AS BLOB)
                       BEGIN SELECT RAISE(ROLLBACK, 'planted'); END";
        rusqlite::Connection::open(&file).and_then(|other| other.execute_batch(planted)).expect("planted");
        let error = broker.publish_bulk("topic", bulk(["before", "doomed", "after"])).await;
        error.expect_err("none is appended");
        broker.publish("topic", Message::new("next")).await.expect("the broker works on");
        assert_eq!(taken(&mut member, 1).await, ["next"]);
    });
}
