//! What a member has in hand, and what becomes of it.

use std::collections::{BTreeSet, HashMap};
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
    out: HashMap<String, Out>,
    /// How many deliveries there were.
    turns: u64,
    /// To be delivered again.
    again: BTreeSet<Again>,
    /// The member has left: what it had is the others'.
    left: bool,
}

/// The latest delivery of a message.
struct Out {
    turn: u64,
    /// When it has taken too long, and may be somebody else's.
    until: Instant,
}

impl Held {
    fn wait(&mut self, id: &str, after: Duration, counted: bool) {
        let due = Instant::now().checked_add(after);
        if let Some(due) = due.filter(|_| !self.left) {
            self.again.insert(Again { due, id: id.to_owned(), counted });
        }
    }

    fn is_latest(&self, id: &str, turn: u64) -> bool {
        self.out.get(id).is_some_and(|out| out.turn == turn)
    }
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

    /// How many are handed out, not settled, and have not taken too long; and when that changes by itself.
    pub(super) fn unsettled(&self) -> (usize, Option<Instant>) {
        let (held, now) = (self.held.lock(), Instant::now());
        let in_time = held.out.values().map(|out| out.until).filter(|until| *until > now);
        (in_time.clone().count(), in_time.min())
    }

    /// How many wait to be delivered again.
    pub(super) fn waiting(&self) -> usize {
        self.held.lock().again.len()
    }

    /// Whether a message is in hand in one way or the other.
    pub(super) fn has(&self, id: &str) -> bool {
        let held = self.held.lock();
        held.out.contains_key(id) || held.again.iter().any(|again| again.id == id)
    }

    /// A message is handed out, to be settled before `until`.
    pub(super) fn hand_out(self: &Arc<Self>, id: &str, until: Instant) -> Settlement {
        let mut held = self.held.lock();
        held.again.retain(|again| again.id != id);
        held.turns += 1;
        let turn = held.turns;
        held.out.insert(id.to_owned(), Out { turn, until });
        Settlement { hand: Arc::clone(self), id: id.to_owned(), turn }
    }

    /// Has a message delivered again that nobody has seen.
    pub(super) fn again_unseen(&self, id: &str) {
        self.held.lock().wait(id, Duration::ZERO, false);
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
        held.out.keys().cloned().collect()
    }

    fn has_left(&self) -> bool {
        self.held.lock().left
    }
}

/// One delivery's way to its end.
pub(super) struct Settlement {
    hand: Arc<Hand>,
    id: String,
    /// Which delivery of the message it is: there is another one when this takes too long.
    turn: u64,
}

impl Settlement {
    fn is_latest(&self) -> bool {
        self.hand.held.lock().is_latest(&self.id, self.turn)
    }

    /// Has the message delivered again, unless it was already.
    fn again(&self, after: Duration, counted: bool) {
        {
            let mut held = self.hand.held.lock();
            if held.is_latest(&self.id, self.turn) {
                held.out.remove(&self.id);
                held.wait(&self.id, after, counted);
            }
        }
        self.hand.changed.notify_one();
    }
}

#[async_trait]
impl Settle for Settlement {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Ack | Outcome::Drop => {
                // Whatever comes of it: what Redis was not told comes back after the processing timeout.
                let _returned = Returned { settlement: &self, again: None };
                self.hand.group.acknowledge(&self.id).await
            }
            Outcome::Retry { after } => pause(&self, after, true).await,
            Outcome::Return { after } if after.is_zero() => {
                self.again(after, false);
                Ok(())
            }
            Outcome::Return { after } => pause(&self, after, false).await,
        }
    }

    fn abandon(self: Box<Self>) {
        self.again(Duration::ZERO, true);
    }
}

/// Has a message delivered again after a pause, which Redis is told first, so that the others keep it too.
async fn pause(settlement: &Settlement, after: Duration, counted: bool) -> Result<()> {
    let _returned = Returned { settlement, again: Some(after) };
    let Settlement { hand, id, .. } = settlement;
    if after.is_zero() || hand.has_left() || !settlement.is_latest() {
        return Ok(());
    }
    hand.group.wait(&hand.consumer, id, after, counted).await
}

/// Gives the credit back, also when whoever settles gives up waiting.
struct Returned<'s> {
    settlement: &'s Settlement,
    /// Whether it is to be delivered again, and after which pause.
    again: Option<Duration>,
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        match self.again {
            Some(after) => self.settlement.again(after, true),
            None => self.settlement.hand.forget(&self.settlement.id),
        }
    }
}
