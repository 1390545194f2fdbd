//! One subscriber and its deliveries.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use outrigger_component_api::{
    Delivery, Message, Outcome, Result, Settle, SubscribeOptions, Subscription, async_trait,
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::claim::{self, Claim, Place, Seen};
use crate::readers::now_millis;
use crate::store::Store;
use crate::wake::Ear;

/// Far enough: a year and some.
const NEVER: Duration = Duration::from_secs(400 * 24 * 3600);

type Claimed = Vec<(Claim, Message)>;

pub(super) struct Member {
    store: Arc<Store>,
    place: Place,
    credit: usize,
    /// In milliseconds.
    timeout: i64,
    ear: Ear,
    held: Arc<Held>,
    /// Claimed and not handed out yet.
    ready: VecDeque<(Claim, Message)>,
    /// A claim under way: kept here, so that dropping a wait does not lose what it brings.
    claiming: Option<BoxFuture<'static, Result<Claimed>>>,
}

/// What the member has claimed and not settled; it uses up its credit.
#[derive(Default)]
struct Held {
    claims: Mutex<HashMap<i64, Claim>>,
    /// Told when one is settled.
    settled: Notify,
}

impl Held {
    /// How many more the member may have, and when that changes by itself. What took too long is no longer its own.
    fn free(&self, credit: usize) -> (usize, Option<i64>) {
        let now = now_millis();
        let mut claims = self.claims.lock();
        claims.retain(|_, claim| claim.until > now);
        (credit.saturating_sub(claims.len()), claims.values().map(|claim| claim.until).min())
    }

    /// The messages claimed, but for these.
    fn without(&self, others: &VecDeque<(Claim, Message)>) -> Vec<i64> {
        let claims = self.claims.lock();
        let other = |message| others.iter().any(|(claim, _)| claim.message == message);
        claims.keys().copied().filter(|message| !other(*message)).collect()
    }

    fn let_go(&self, claim: Claim) {
        let mut claims = self.claims.lock();
        if claims.get(&claim.message) == Some(&claim) {
            claims.remove(&claim.message);
        }
        drop(claims);
        self.settled.notify_one();
    }
}

impl Member {
    pub(super) fn new(
        store: Arc<Store>,
        topic: String,
        group: i64,
        options: &SubscribeOptions,
        ear: Ear,
    ) -> Self {
        Self {
            store,
            place: Place { topic, group, member: fastrand::i64(..) },
            credit: options.credit,
            timeout: i64::try_from(options.processing_timeout.as_millis()).unwrap_or(i64::MAX),
            ear,
            held: Arc::default(),
            ready: VecDeque::new(),
            claiming: None,
        }
    }

    /// Hands out what was claimed, unless so long ago that somebody else may have it.
    fn hand_out(&mut self) -> Option<Delivery> {
        while let Some((claim, message)) = self.ready.pop_front() {
            let (store, held) = (Arc::clone(&self.store), Arc::clone(&self.held));
            let handed = Handed { store, place: self.place.clone(), claim, held };
            if claim.until <= now_millis() {
                handed.give_back(Outcome::Return { after: Duration::ZERO });
                continue;
            }
            let attempt = u32::try_from(claim.attempt).unwrap_or(u32::MAX);
            return Some(Delivery::new(claim.message.to_string(), attempt, message, handed));
        }
        None
    }

    fn start_claiming(&mut self, most: usize) {
        let (store, place, timeout) = (Arc::clone(&self.store), self.place.clone(), self.timeout);
        // A claim that a power cut undoes leaves the message to be claimed again.
        let claim = async move {
            store.write_unsynced(move |batch| claim::claim(batch, &place, most, timeout)).await
        };
        self.claiming = Some(claim.boxed());
    }

    fn take_in(&mut self, claimed: Claimed) {
        let mut claims = self.held.claims.lock();
        claims.extend(claimed.iter().map(|(claim, _)| (claim.message, *claim)));
        drop(claims);
        self.ready.extend(claimed);
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self, until: Option<i64>) -> Result<()> {
        let pause = until.map_or(NEVER, |until| {
            Duration::from_millis(u64::try_from(until.saturating_sub(now_millis())).unwrap_or_default())
        });
        tokio::select! {
            rung = self.ear.rung() => rung,
            () = self.held.settled.notified() => Ok(()),
            () = sleep(pause.min(NEVER)) => Ok(()),
        }
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            if let Some(claiming) = &mut self.claiming {
                let claimed = claiming.await;
                self.claiming = None;
                self.take_in(claimed?);
            }
            if let Some(delivery) = self.hand_out() {
                return Ok(delivery);
            }
            let (free, held_until) = self.held.free(self.credit);
            if free == 0 {
                self.wait(held_until).await?;
                continue;
            }
            let place = &self.place;
            match self.store.read(|connection| claim::look(connection, place)).await? {
                Seen::Something => self.start_claiming(free),
                Seen::Nothing(due) => self.wait(due).await?,
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // A claim under way stands before it in the writer's queue, or is not begun any more.
        self.claiming = None;
        let (place, handed) = (self.place.clone(), self.held.without(&self.ready));
        self.store.post(move |batch| claim::leave(batch, &place, &handed));
    }
}

/// A delivery that is not settled yet.
struct Handed {
    store: Arc<Store>,
    place: Place,
    claim: Claim,
    held: Arc<Held>,
}

impl Handed {
    /// Lets go of it; nobody waits until the file says so.
    fn give_back(&self, outcome: Outcome) {
        let (place, claim) = (self.place.clone(), self.claim);
        self.held.let_go(claim);
        // Somebody else has it already, or the outcome is noted: nothing to give back.
        self.store.post(move |batch| claim::settle(batch, &place, claim, outcome).or(Ok(())));
    }
}

#[async_trait]
impl Settle for Handed {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        let mut settling = Settling { handed: *self, outcome, noted: false };
        let Handed { store, place, claim, .. } = &settling.handed;
        let (place, claim) = (place.clone(), *claim);
        let settled = store.write(0, move |batch| claim::settle(batch, &place, claim, outcome)).await;
        settling.noted = true;
        settled
    }

    fn abandon(self: Box<Self>) {
        self.give_back(Outcome::Retry { after: Duration::ZERO });
    }
}

/// A delivery until its outcome is noted. Whoever stops waiting for that leaves it to the writer.
struct Settling {
    handed: Handed,
    outcome: Outcome,
    noted: bool,
}

impl Drop for Settling {
    fn drop(&mut self) {
        if self.noted {
            self.handed.held.let_go(self.handed.claim);
        } else {
            self.handed.give_back(self.outcome);
        }
    }
}
