//! One consumer group of a topic: where it stands, what it has unsettled, and who its members are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

/// A group. It stays when its members leave.
pub(super) struct Group {
    /// The first message nobody was given yet.
    next: u64,
    unsettled: BTreeMap<u64, Unsettled>,
    /// When each unsettled message may be delivered again.
    due: BTreeSet<(Instant, u64)>,
    members: HashMap<u64, Held>,
    news: Arc<Notify>,
}

struct Unsettled {
    attempts: u32,
    holder: Option<u64>,
    from: Instant,
}

struct Held {
    count: usize,
    wake: Arc<Notify>,
}

/// What a member may have.
pub(super) enum Taken {
    Message { number: u64, attempt: u32 },
    Nothing(Option<Instant>),
    NoCredit(Option<Instant>),
}

impl Group {
    pub(super) fn new(next: u64) -> Self {
        Self {
            next,
            unsettled: BTreeMap::new(),
            due: BTreeSet::new(),
            members: HashMap::new(),
            news: Arc::new(Notify::new()),
        }
    }

    pub(super) fn join(&mut self, member: u64) -> (Arc<Notify>, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        self.members.insert(member, Held { count: 0, wake: Arc::clone(&wake) });
        (wake, Arc::clone(&self.news))
    }

    /// Wakes one member that waits for messages, or the next that would.
    pub(super) fn tell(&self) {
        self.news.notify_one();
    }

    /// Takes away what was held too long.
    pub(super) fn release(&mut self, now: Instant) {
        for (_, number) in self.due.range(..=(now, u64::MAX)) {
            let Some(unsettled) = self.unsettled.get_mut(number) else { continue };
            let holder = unsettled.holder.take().and_then(|member| self.members.get_mut(&member));
            if let Some(held) = holder {
                held.count = held.count.saturating_sub(1);
                held.wake.notify_one();
            }
        }
    }

    /// The first number nobody of the group was given yet.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What is due again comes first, then what is fresh: the first message nobody was given yet.
    pub(super) fn take(
        &mut self,
        member: u64,
        credit: usize,
        now: Instant,
        until: Instant,
        fresh: Option<u64>,
    ) -> Taken {
        let due = self.due.first().copied();
        if self.members.get(&member).is_none_or(|held| held.count >= credit) {
            return Taken::NoCredit(due.map(|(from, _)| from));
        }
        let number = match (due, fresh) {
            (Some((from, number)), _) if from <= now => {
                self.due.remove(&(from, number));
                number
            }
            (_, Some(fresh)) => {
                self.next = fresh + 1;
                fresh
            }
            _ => return Taken::Nothing(due.map(|(from, _)| from)),
        };
        let first = Unsettled { attempts: 0, holder: None, from: until };
        let unsettled = self.unsettled.entry(number).or_insert(first);
        unsettled.attempts = unsettled.attempts.saturating_add(1);
        (unsettled.holder, unsettled.from) = (Some(member), until);
        self.due.insert((until, number));
        if let Some(held) = self.members.get_mut(&member) {
            held.count += 1;
        }
        Taken::Message { number, attempt: unsettled.attempts }
    }

    /// Whether something is to be delivered again now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.first().is_some_and(|(from, _)| *from <= now)
    }

    /// Whether this delivery is the latest of the message, and not taken away since.
    pub(super) fn is_held(&self, number: u64, member: u64, attempt: u32) -> bool {
        let latest =
            |unsettled: &Unsettled| unsettled.holder == Some(member) && unsettled.attempts == attempt;
        self.unsettled.get(&number).is_some_and(latest)
    }

    pub(super) fn settle(&mut self, number: u64) {
        let Some(unsettled) = self.unsettled.remove(&number) else { return };
        self.due.remove(&(unsettled.from, number));
        self.let_go(unsettled.holder);
    }

    /// The latest delivery of a message reached nobody.
    pub(super) fn uncount(&mut self, number: u64) {
        if let Some(unsettled) = self.unsettled.get_mut(&number) {
            unsettled.attempts = unsettled.attempts.saturating_sub(1);
        }
    }

    pub(super) fn put_back(&mut self, number: u64, from: Instant) {
        let Some(unsettled) = self.unsettled.get_mut(&number) else { return };
        self.due.remove(&(unsettled.from, number));
        let holder = unsettled.holder.take();
        unsettled.from = from;
        self.due.insert((from, number));
        self.let_go(holder);
        // Whoever waits has to know the new moment.
        self.tell();
    }

    pub(super) fn leave(&mut self, member: u64, now: Instant) {
        self.members.remove(&member);
        let held = self.unsettled.iter().filter(|(_, unsettled)| unsettled.holder == Some(member));
        for number in held.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.put_back(number, now);
        }
        // It may have been woken for something it did not take any more.
        self.tell();
    }

    fn let_go(&mut self, holder: Option<u64>) {
        if let Some(held) = holder.and_then(|member| self.members.get_mut(&member)) {
            held.count = held.count.saturating_sub(1);
            held.wake.notify_one();
        }
    }
}
