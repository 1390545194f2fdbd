//! The SQLite broker keeps the promises of a broker.

use std::sync::Arc;

use outrigger_component_api::PubSub;
use outrigger_sqlite::{SqlitePubSub, SqlitePubSubConfig};
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
        ..SqlitePubSubConfig::default()
    }));
}
