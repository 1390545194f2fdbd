//! The backends in memory keep the promises of locks, sequences and configuration.

use std::sync::Arc;

use outrigger_component_api::{ConfigurationStore, LockStore, Sequencer};
use outrigger_memory::{MemoryConfiguration, MemoryLock, MemorySequencer};

mod lock {
    use super::*;
    outrigger_testkit::lock_suite!(Arc::new(MemoryLock::new()) as Arc<dyn LockStore>);
}

mod sequencer {
    use super::*;
    outrigger_testkit::sequencer_suite!(Arc::new(MemorySequencer::default()) as Arc<dyn Sequencer>);
}

mod configuration {
    use super::*;
    outrigger_testkit::configuration_suite!(
        Arc::new(MemoryConfiguration::new()) as Arc<dyn ConfigurationStore>
    );
}
