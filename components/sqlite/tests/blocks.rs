//! The SQLite backends keep the promises of locks, sequences and configuration.

use std::sync::Arc;

use outrigger_component_api::{ConfigurationStore, LockStore, Sequencer};
use outrigger_sqlite::{SqliteConfig, SqliteConfiguration, SqliteLock, SqliteSequencer};
use outrigger_testkit::Subject;

fn in_new_file<T: ?Sized>(make: impl FnOnce(SqliteConfig) -> Arc<T>) -> Subject<T> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = Some(directory.path().join("deep/er/store.db"));
    Subject::new(make(SqliteConfig { path, ..SqliteConfig::default() })).keeping(directory)
}

mod lock {
    use super::*;
    outrigger_testkit::lock_suite!(in_new_file::<dyn LockStore>(|config| {
        Arc::new(SqliteLock::new(config).expect("valid"))
    }));
}

mod sequencer {
    use super::*;
    outrigger_testkit::sequencer_suite!(in_new_file::<dyn Sequencer>(|config| {
        Arc::new(SqliteSequencer::new(config).expect("valid"))
    }));
}

mod configuration {
    use super::*;
    outrigger_testkit::configuration_suite!(in_new_file::<dyn ConfigurationStore>(|config| {
        Arc::new(SqliteConfiguration::new(config).expect("valid"))
    }));
}
