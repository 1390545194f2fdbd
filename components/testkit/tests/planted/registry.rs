//! A registry with faults to choose from.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_component_api::{Announcement, AppRegistry, Component, Result, async_trait};
use outrigger_testkit::registry;
use parking_lot::Mutex;

use crate::{caught, fails};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    FindsWhoBeginsAlike,
    CutsIdsAtTheSlash,
    KeepsWhatWasSaidBefore,
    NeverTakesBack,
    SaysNothingTwice,
    InventsEntries,
}

struct Apps {
    fault: Fault,
    said: Mutex<BTreeMap<String, Vec<String>>>,
    before: Mutex<Vec<Announcement>>,
}

impl Apps {
    fn subject(fault: Fault) -> Arc<dyn AppRegistry> {
        Arc::new(Self { fault, said: Mutex::default(), before: Mutex::default() })
    }

    fn id(&self, app: &str) -> String {
        match (self.fault, app.split_once('/')) {
            (Fault::CutsIdsAtTheSlash, Some((name, _))) => name.to_owned(),
            _ => app.to_owned(),
        }
    }
}

#[async_trait]
impl Component for Apps {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl AppRegistry for Apps {
    async fn announce(&self, announcement: Announcement) -> Result<()> {
        let mut before = self.before.lock();
        if self.fault == Fault::SaysNothingTwice && before.contains(&announcement) {
            return Ok(());
        }
        let mut said = self.said.lock();
        if self.fault != Fault::KeepsWhatWasSaidBefore {
            said.clear();
        }
        said.entry(self.id(&announcement.app)).or_default().push(announcement.address.clone());
        before.push(announcement);
        Ok(())
    }

    async fn withdraw(&self) -> Result<()> {
        if self.fault != Fault::NeverTakesBack {
            self.said.lock().clear();
        }
        Ok(())
    }

    async fn find(&self, app: &str) -> Result<Vec<String>> {
        let (said, app) = (self.said.lock(), self.id(app));
        let alike = |(id, _): &(&String, &Vec<String>)| match self.fault {
            Fault::FindsWhoBeginsAlike => app.starts_with(*id),
            _ => **id == app,
        };
        let found: Vec<String> = said.iter().filter(alike).flat_map(|(_, all)| all.clone()).collect();
        if found.is_empty() && self.fault == Fault::InventsEntries {
            return Ok(vec!["127.0.0.1:1".to_owned()]);
        }
        Ok(found)
    }
}

mod the_correct_registry_passes {
    outrigger_testkit::registry_suite!(super::Apps::subject(super::Fault::None));
}

mod each_planted_fault_is_caught {
    use super::*;

    caught! { registry, Apps;
        FindsWhoBeginsAlike by similar_ids_are_apart
        CutsIdsAtTheSlash by similar_ids_are_apart
        KeepsWhatWasSaidBefore by the_last_announcement_counts
        NeverTakesBack by what_is_withdrawn_is_gone
        SaysNothingTwice by an_announcement_after_a_withdrawal_counts
        InventsEntries by nobody_is_found_unannounced
    }
}
