//! The memory store keeps the promises of a state store.

use std::sync::Arc;

use outrigger_component_api::StateStore;
use outrigger_memory::MemoryState;

outrigger_testkit::state_suite!(Arc::new(MemoryState::new()) as Arc<dyn StateStore>);
