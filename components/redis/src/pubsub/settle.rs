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
    /// To be delivered again, by when.
    again: BTreeSet<(Instant, String)>,
    /// The member has left: what it had is the others'.
    left: bool,
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

    /// Those that wait to be delivered again.
    pub(super) fn waiting_ids(&self) -> Vec<String> {
        self.held.lock().again.iter().map(|(_, id)| id.clone()).collect()
    }

    /// Whether a message is in hand in one way or the other.
    pub(super) fn has(&self, id: &str) -> bool {
        let held = self.held.lock();
        held.out.contains(id) || held.again.iter().any(|(_, waiting)| waiting == id)
    }

    pub(super) fn hand_out(&self, id: &str) {
        let mut held = self.held.lock();
        held.again.retain(|(_, waiting)| waiting != id);
        held.out.insert(id.to_owned());
    }

    /// Has a message delivered again.
    pub(super) fn again(&self, id: &str, after: Duration) {
        {
            let mut held = self.held.lock();
            held.out.remove(id);
            let due = Instant::now().checked_add(after);
            if let Some(due) = due
                && !held.left
            {
                held.again.insert((due, id.to_owned()));
            }
        }
        self.changed.notify_one();
    }

    /// When the first message is due to be delivered again, and which.
    pub(super) fn first_again(&self) -> Option<(Instant, String)> {
        self.held.lock().again.first().cloned()
    }

    /// A message is in hand no more.
    pub(super) fn forget(&self, id: &str) {
        {
            let mut held = self.held.lock();
            held.out.remove(id);
            held.again.retain(|(_, waiting)| waiting != id);
        }
        self.changed.notify_one();
    }

    /// The member leaves.
    pub(super) fn leave(&self) {
        let mut held = self.held.lock();
        held.left = true;
        held.again.clear();
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
                let returned = Returned { hand: &hand, id: &id };
                let acknowledged = hand.group.acknowledge(&id).await;
                drop(returned);
                acknowledged
            }
            Outcome::Retry { after } => {
                hand.again(&id, after);
                if after.is_zero() || hand.has_left() {
                    return Ok(());
                }
                hand.group.hold(&hand.consumer, &[id]).await
            }
        }
    }

    fn abandon(self: Box<Self>) {
        self.hand.again(&self.id, Duration::ZERO);
    }
}

/// Gives the credit back, also when whoever settles gives up waiting.
struct Returned<'s> {
    hand: &'s Hand,
    id: &'s str,
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.hand.forget(self.id);
    }
}
