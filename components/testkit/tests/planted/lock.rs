//! A lock store with faults to choose from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_component_api::{Component, Held, Key, Lease, LockStore, Result, async_trait};
use outrigger_testkit::lock;
use parking_lot::Mutex;

use crate::{caught, fails};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Looks whether the resource is free, and takes it later.
    GetThenSet,
    Reentrant,
    UnlocksForEverybody,
    NeverExpires,
    UnlocksWhatExpired,
    ExtendsWhatExpired,
    KeepsNothingAlive,
    OnlyExtends,
    TokensBeginAnew,
}

struct Locks {
    fault: Fault,
    resources: Mutex<HashMap<Key, Resource>>,
}

#[derive(Clone, Default)]
struct Resource {
    token: u64,
    holder: Option<(String, Instant)>,
}

/// Held from looking to taking, by all who do it right.
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

impl Locks {
    fn subject(fault: Fault) -> Arc<dyn LockStore> {
        Arc::new(Self { fault, resources: Mutex::default() })
    }

    fn is_free(&self, resource: &Key, owner: &str) -> bool {
        match self.resources.lock().get(resource).and_then(|resource| resource.holder.as_ref()) {
            None => true,
            Some((holder, _)) if self.fault == Fault::Reentrant && holder == owner => true,
            Some((_, until)) => self.fault != Fault::NeverExpires && *until <= Instant::now(),
        }
    }

    fn take(&self, resource: &Key, owner: &str, ttl: Duration) -> Lease {
        let mut resources = self.resources.lock();
        let resource = resources.entry(resource.clone()).or_default();
        resource.token += 1;
        resource.holder = Some((owner.to_owned(), Instant::now() + ttl));
        Lease { token: resource.token }
    }

    fn held(resource: &Resource, owner: &str, even_if_over: bool) -> Held {
        match &resource.holder {
            Some((_, until)) if *until <= Instant::now() && !even_if_over => Held::Nobody,
            Some((holder, _)) if holder == owner => Held::Yes,
            Some(_) => Held::Other,
            None => Held::Nobody,
        }
    }
}

#[async_trait]
impl Component for Locks {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl LockStore for Locks {
    async fn try_lock(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Option<Lease>> {
        if self.fault == Fault::GetThenSet {
            let free = self.is_free(resource, owner);
            tokio::task::yield_now().await;
            return Ok(free.then(|| self.take(resource, owner, ttl)));
        }
        let _one = ONE_BY_ONE.lock();
        Ok(self.is_free(resource, owner).then(|| self.take(resource, owner, ttl)))
    }

    async fn unlock(&self, resource: &Key, owner: &str) -> Result<Held> {
        let mut resources = self.resources.lock();
        let Some(found) = resources.get_mut(resource) else { return Ok(Held::Nobody) };
        let held = Self::held(found, owner, self.fault == Fault::UnlocksWhatExpired);
        if held == Held::Yes || self.fault == Fault::UnlocksForEverybody {
            found.holder = None;
            if self.fault == Fault::TokensBeginAnew {
                resources.remove(resource);
            }
        }
        Ok(held)
    }

    async fn keep_alive(&self, resource: &Key, owner: &str, ttl: Duration) -> Result<Held> {
        let mut resources = self.resources.lock();
        let Some(found) = resources.get_mut(resource) else { return Ok(Held::Nobody) };
        let held = Self::held(found, owner, self.fault == Fault::ExtendsWhatExpired);
        if held == Held::Yes
            && self.fault != Fault::KeepsNothingAlive
            && let Some((_, until)) = &mut found.holder
        {
            let asked = Instant::now() + ttl;
            *until = if self.fault == Fault::OnlyExtends { asked.max(*until) } else { asked };
        }
        Ok(held)
    }
}

mod the_correct_store_passes {
    outrigger_testkit::lock_suite!(super::Locks::subject(super::Fault::None));
}

mod each_planted_fault_is_caught {
    use super::*;

    caught! { lock, Locks;
        GetThenSet by one_of_many_gets_it
        Reentrant by held_resource_is_refused_to_everybody
        UnlocksForEverybody by unlock_by_another_owner_is_refused
        NeverExpires by expiry_frees
        UnlocksWhatExpired by unlock_after_expiry_finds_nobody
        ExtendsWhatExpired by keep_alive_after_expiry_finds_nobody
        KeepsNothingAlive by keep_alive_extends
        OnlyExtends by keep_alive_shortens
        TokensBeginAnew by tokens_increase_across_unlock_and_expiry
    }

    #[test]
    fn get_then_set_also_lets_holders_overlap() {
        let store = Locks::subject(Fault::GetThenSet);
        assert!(fails(lock::holders_never_overlap_and_tokens_increase(store)));
    }
}
