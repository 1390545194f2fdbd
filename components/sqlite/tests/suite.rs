//! The SQLite store keeps the promises of a state store.

use std::sync::Arc;

use outrigger_component_api::StateStore;
use outrigger_sqlite::{SqliteConfig, SqliteState};
use outrigger_testkit::Subject;

fn in_new_file() -> Subject<dyn StateStore> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = Some(directory.path().join("deep/er/state.db"));
    let store: Arc<dyn StateStore> =
        Arc::new(SqliteState::new(SqliteConfig { path, ..SqliteConfig::default() }).expect("valid"));
    Subject::new(store).keeping(directory)
}

outrigger_testkit::state_suite!(in_new_file());
