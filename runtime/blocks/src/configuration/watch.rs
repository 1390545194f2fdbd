//! A watch as its caller has it: it outlives failures of the backend, and where changes were missed it brings what
//! there is now.

use std::sync::Arc;

use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, ConfigurationItem as Item, Result, Revision,
    Selector, Watch,
};

use super::ConfigurationComponent;
use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stay::Stay;

/// What a watch yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Items changed.
    Changed { changes: Vec<Change>, revision: Option<Revision> },
    /// Changes were missed that the store no longer has: this is what the items selected are now. Keys that were asked
    /// for and are not among them are gone.
    Resync { items: Vec<Item>, gone: Vec<String> },
}

/// Changes to some items of one store, one after the other.
pub struct ConfigurationWatch {
    stay: Stay<ConfigurationComponent>,
    changes: Changes,
}

/// What comes from the store for as long as it is there.
struct Changes {
    store: Arc<ConfigurationComponent>,
    app_id: String,
    selector: Selector,
    watch: Box<dyn Watch>,
    failures: u32,
    /// Changes were missed, and nobody was told yet.
    missed: bool,
}

impl ConfigurationWatch {
    pub(super) async fn open(
        stay: Stay<ConfigurationComponent>,
        caller: &Caller<'_>,
        selector: Selector,
        from: Option<Revision>,
    ) -> Result<Self> {
        let store = Arc::clone(stay.member());
        let watch = start(&store, caller, &selector, from).await?;
        let app_id = caller.app_id.to_owned();
        let changes = Changes { store, app_id, selector, watch, failures: 0, missed: false };
        Ok(Self { stay, changes })
    }

    /// The items it watches, as completed.
    pub fn selector(&self) -> &Selector {
        &self.changes.selector
    }

    /// The next update. Waits for one as long as it takes; dropping the future loses nothing. While the backend cannot
    /// be reached it is asked again, with growing pauses; an error that is returned has ended the watch. So does a reload
    /// that takes the store away or puts another in its place, and the end of the process.
    pub async fn next(&mut self) -> Result<Update> {
        tokio::select! {
            why = self.stay.over() => Err(why),
            update = self.changes.next() => update,
        }
    }
}

impl Changes {
    async fn next(&mut self) -> Result<Update> {
        loop {
            if self.missed {
                return self.resync().await;
            }
            match self.watch.next().await {
                Ok(Event::Changed { changes, revision }) => {
                    self.failures = 0;
                    return Ok(Update::Changed { changes, revision });
                }
                Ok(Event::Compacted) => self.missed = true,
                Err(error) if error.is_retryable() || error.kind().is_refusal() => self.pause().await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn resync(&mut self) -> Result<Update> {
        let items = loop {
            let caller = Caller::new(&self.app_id);
            match self.store.read(&caller, &self.selector).await {
                Ok(items) => break items,
                // Also while the store is given a rest: that passes too.
                Err(error) if error.kind().is_transient() || error.kind().is_refusal() => self.pause().await,
                Err(error) => return Err(error),
            }
        };
        self.failures = 0;
        self.missed = false;
        let is_gone = |key: &&String| !items.iter().any(|item| item.key == **key);
        let gone = self.selector.keys.iter().filter(is_gone).cloned().collect();
        Ok(Update::Resync { items, gone })
    }

    async fn pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let pause = self.store.policy.backoff.delay(self.failures, &mut fastrand::Rng::new());
        tokio::time::sleep(pause).await;
    }
}

async fn start(
    store: &ConfigurationComponent,
    caller: &Caller<'_>,
    selector: &Selector,
    from: Option<Revision>,
) -> Result<Box<dyn Watch>> {
    let call = Call { op: &store.ops.watch, class: Class::Idempotent, caller };
    let from = &from;
    store.slot.run(call, |backend| async move { backend.watch(selector, from.clone()).await }).await
}
