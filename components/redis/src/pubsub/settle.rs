//! What a member has in hand, and what becomes of it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{Outcome, Result, Settle, async_trait};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::group::Group;

/// A member's messages between Redis and their end. Shared with the deliveries, which may outlive the member.
pub(super) struct Hand {
    pub(super) group: Arc<Group>,
    pub(super) consumer: Arc<str>,
    held: Mutex<Held>,
    /// Something was settled: there may be credit, or a retry to wait for.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Held {
    /// Handed out and not settled.
    out: HashSet<String>,
    /// To be delivered again.
    again: BTreeSet<Again>,
    /// The member has left: what it had is the others'.
    left: bool,
}

/// A message that is to be delivered again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Again {
    pub(super) due: Instant,
    pub(super) id: String,
    /// Whether its last delivery counts.
    pub(super) counted: bool,
}

impl Hand {
    pub(super) fn new(group: Arc<Group>, consumer: Arc<str>) -> Self {
        Self { group, consumer, held: Mutex::default(), changed: Notify::new() }
    }

    /// How many are handed out and not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.held.lock().out.len()
    }

    /// How many wait to be delivered again.
    pub(super) fn waiting(&self) -> usize {
        self.held.lock().again.len()
    }

    /// Whether a message is in hand in one way or the other.
    pub(super) fn has(&self, id: &str) -> bool {
        let held = self.held.lock();
        held.out.contains(id) || held.again.iter().any(|again| again.id == id)
    }

    pub(super) fn hand_out(&self, id: &str) {
        let mut held = self.held.lock();
        held.again.retain(|again| again.id != id);
        held.out.insert(id.to_owned());
    }

    /// Has a message delivered again that was handed out.
    pub(super) fn again(&self, id: &str, after: Duration) {
        self.wait(id, after, true);
    }

    /// Has a message delivered again that nobody has seen.
    pub(super) fn again_unseen(&self, id: &str) {
        self.wait(id, Duration::ZERO, false);
    }

    fn wait(&self, id: &str, after: Duration, counted: bool) {
        {
            let mut held = self.held.lock();
            held.out.remove(id);
            let due = Instant::now().checked_add(after);
            if let Some(due) = due
                && !held.left
            {
                held.again.insert(Again { due, id: id.to_owned(), counted });
            }
        }
        self.changed.notify_one();
    }

    /// What is the first to be delivered again.
    pub(super) fn first_again(&self) -> Option<Again> {
        self.held.lock().again.first().cloned()
    }

    /// A message is in hand no more.
    pub(super) fn forget(&self, id: &str) {
        {
            let mut held = self.held.lock();
            held.out.remove(id);
            held.again.retain(|again| again.id != id);
        }
        self.changed.notify_one();
    }

    /// The member leaves; what it has handed out.
    pub(super) fn leave(&self) -> Vec<String> {
        let mut held = self.held.lock();
        held.left = true;
        held.again.clear();
        held.out.iter().cloned().collect()
    }

    fn has_left(&self) -> bool {
        self.held.lock().left
    }
}

/// One delivery's way to its end.
pub(super) struct Settlement {
    pub(super) hand: Arc<Hand>,
    pub(super) id: String,
}

#[async_trait]
impl Settle for Settlement {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        let Self { hand, id } = *self;
        match outcome {
            Outcome::Ack | Outcome::Drop => {
                // Whatever comes of it: what Redis was not told comes back after the processing timeout.
                let _returned = Returned { hand: &hand, id: &id, again: None };
                hand.group.acknowledge(&id).await
            }
            Outcome::Retry { after } => pause(&hand, &id, after, true).await,
            Outcome::Return { after } if after.is_zero() => {
                hand.again_unseen(&id);
                Ok(())
            }
            Outcome::Return { after } => pause(&hand, &id, after, false).await,
        }
    }

    fn abandon(self: Box<Self>) {
        self.hand.again(&self.id, Duration::ZERO);
    }
}

/// Has a message delivered again after a pause, which Redis is told first, so that the others keep it too.
async fn pause(hand: &Hand, id: &str, after: Duration, counted: bool) -> Result<()> {
    let _returned = Returned { hand, id, again: Some(after) };
    if after.is_zero() || hand.has_left() {
        return Ok(());
    }
    hand.group.wait(&hand.consumer, id, after, counted).await
}

/// Gives the credit back, also when whoever settles gives up waiting.
struct Returned<'s> {
    hand: &'s Hand,
    id: &'s str,
    /// Whether it is to be delivered again, and after which pause.
    again: Option<Duration>,
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        match self.again {
            Some(after) => self.hand.again(self.id, after),
            None => self.hand.forget(self.id),
        }
    }
}
