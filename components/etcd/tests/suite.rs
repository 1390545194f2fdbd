//! The types on etcd keep the promises of their blocks, on the server that `OUTRIGGER_TEST_ETCD_URL` names.
#![cfg(feature = "client")]

use std::sync::Arc;

use outrigger_component_api::{AppRegistry, ConfigurationStore, LockStore, Sequencer, StateStore};
use outrigger_etcd::{EtcdConfig, EtcdConfiguration, EtcdLock, EtcdRegistry, EtcdSequencer, EtcdState};

fn config() -> Option<EtcdConfig> {
    let url = std::env::var("OUTRIGGER_TEST_ETCD_URL").ok()?;
    Some(EtcdConfig { endpoints: url.as_str().into(), ..EtcdConfig::default() })
}

mod state {
    use super::*;

    fn store() -> Option<Arc<dyn StateStore>> {
        Some(Arc::new(EtcdState::new(&config()?).expect("valid")))
    }

    outrigger_testkit::state_suite!(store());
}

mod lock {
    use super::*;

    fn store() -> Option<Arc<dyn LockStore>> {
        Some(Arc::new(EtcdLock::new(&config()?).expect("valid")))
    }

    outrigger_testkit::lock_suite!(store());
}

mod sequencer {
    use super::*;

    fn store() -> Option<Arc<dyn Sequencer>> {
        Some(Arc::new(EtcdSequencer::new(&config()?).expect("valid")))
    }

    outrigger_testkit::sequencer_suite!(store());
}

mod configuration {
    use super::*;

    fn store() -> Option<Arc<dyn ConfigurationStore>> {
        Some(Arc::new(EtcdConfiguration::new(&config()?).expect("valid")))
    }

    outrigger_testkit::configuration_suite!(store());
}

mod registry {
    use super::*;

    fn registry() -> Option<Arc<dyn AppRegistry>> {
        Some(Arc::new(EtcdRegistry::start(&config()?).expect("valid")))
    }

    outrigger_testkit::registry_suite!(registry());
}
