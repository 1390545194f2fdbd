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

    /// Hands out what was claimed, unless so long ago that somebody else has it.
    fn hand_out(&mut self) -> Option<Delivery> {
        while let Some((claim, message)) = self.ready.pop_front() {
            if claim.until <= now_millis() {
                self.held.let_go(claim);
                continue;
            }
            let (store, held) = (Arc::clone(&self.store), Arc::clone(&self.held));
            let handed = Handed { store, place: self.place.clone(), claim, held };
            let attempt = u32::try_from(claim.attempt).unwrap_or(u32::MAX);
            return Some(Delivery::new(claim.message.to_string(), attempt, message, handed));
        }
        None
    }

    fn start_claiming(&mut self, most: usize) {
        let (store, place, timeout) = (Arc::clone(&self.store), self.place.clone(), self.timeout);
        let claim =
            async move { store.write(0, move |batch| claim::claim(batch, &place, most, timeout)).await };
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
        let place = self.place.clone();
        self.store.post(move |batch| claim::leave(batch, &place));
    }
}

/// A delivery that is not settled yet.
struct Handed {
    store: Arc<Store>,
    place: Place,
    claim: Claim,
    held: Arc<Held>,
}

#[async_trait]
impl Settle for Handed {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        let Self { store, place, claim, held } = *self;
        let settled = store.write(0, move |batch| claim::settle(batch, &place, claim, outcome)).await;
        held.let_go(claim);
        settled
    }

    fn abandon(self: Box<Self>) {
        let Self { store, place, claim, held } = *self;
        held.let_go(claim);
        // Somebody else has it already: nothing to give back.
        let again = Outcome::Retry { after: Duration::ZERO };
        store.post(move |batch| claim::settle(batch, &place, claim, again).or(Ok(())));
    }
}
