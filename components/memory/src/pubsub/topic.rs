//! One topic: its messages in order, and the groups that wait for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use outrigger_component_api::{Message, Start};
use tokio::sync::Notify;

use super::group::{Group, Taken};
use super::room::Room;

/// A topic. Messages are numbered from 0 on.
#[derive(Default)]
pub(super) struct Topic {
    /// The number of the next message.
    end: u64,
    log: BTreeMap<u64, Entry>,
    groups: HashMap<String, Group>,
}

/// A message until it expires or the last group has settled it.
struct Entry {
    message: Message,
    expires: Option<Instant>,
    bytes: usize,
    /// The groups that have not settled it.
    waiting: usize,
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// What a member of a group is given.
pub(super) enum Next {
    Message {
        number: u64,
        attempt: u32,
        message: Message,
    },
    /// Nothing now; perhaps something at that moment.
    Wait(Option<Instant>),
    /// The member holds all it may; something may be taken from it at that moment.
    NoCredit(Option<Instant>),
}

impl Topic {
    /// The room has been taken.
    pub(super) fn append(&mut self, message: Message, bytes: usize) {
        // A ttl beyond what the clock can count never ends.
        let expires = message.ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        self.log.insert(self.end, Entry { message, expires, bytes, waiting: self.groups.len() });
        self.end += 1;
        for group in self.groups.values() {
            group.tell();
        }
    }

    /// Makes the member part of the group; what wakes the member, and what tells the group of messages.
    pub(super) fn join(&mut self, group: &str, member: u64, start: Start) -> (Arc<Notify>, Arc<Notify>) {
        if !self.groups.contains_key(group) {
            let next = if start == Start::Earliest { 0 } else { self.end };
            for entry in self.log.range_mut(next..) {
                entry.1.waiting += 1;
            }
            self.groups.insert(group.to_owned(), Group::new(next));
        }
        self.groups.entry(group.to_owned()).or_insert_with(|| Group::new(self.end)).join(member)
    }

    /// Takes the next message for a member.
    pub(super) fn take(
        &mut self,
        name: &str,
        member: u64,
        credit: usize,
        until: Instant,
        room: &Room,
    ) -> Next {
        let now = Instant::now();
        let Some(group) = self.groups.get_mut(name) else { return Next::Wait(None) };
        group.release(now);
        loop {
            let fresh = self.log.range(group.next()..).next().map(|(number, _)| *number);
            let (number, attempt) = match group.take(member, credit, now, until, fresh) {
                Taken::Message { number, attempt } => (number, attempt),
                Taken::Nothing(due) => return Next::Wait(due),
                Taken::NoCredit(due) => return Next::NoCredit(due),
            };
            let Some(entry) = self.log.get(&number).filter(|entry| entry.is_live(now)) else {
                group.settle(number);
                settle(&mut self.log, number, room);
                continue;
            };
            // One member wakes the next as long as there is something to take.
            if self.log.range(group.next()..).next().is_some() || group.is_due(now) {
                group.tell();
            }
            return Next::Message { number, attempt, message: entry.message.clone() };
        }
    }

    /// The group is done with a message, if the delivery is still its latest.
    pub(super) fn done(&mut self, name: &str, number: u64, member: u64, attempt: u32, room: &Room) -> bool {
        let Some(group) = self.groups.get_mut(name) else { return false };
        if !group.is_held(number, member, attempt) {
            return false;
        }
        group.settle(number);
        settle(&mut self.log, number, room);
        true
    }

    /// The group shall have a message again, if the delivery is still its latest.
    pub(super) fn again(
        &mut self,
        name: &str,
        number: u64,
        member: u64,
        attempt: u32,
        from: Instant,
    ) -> bool {
        let Some(group) = self.groups.get_mut(name) else { return false };
        let held = group.is_held(number, member, attempt);
        if held {
            group.put_back(number, from);
        }
        held
    }

    /// The same for a message that reached nobody.
    pub(super) fn returned(
        &mut self,
        name: &str,
        number: u64,
        member: u64,
        attempt: u32,
        from: Instant,
    ) -> bool {
        let held = self.again(name, number, member, attempt, from);
        if let Some(group) = self.groups.get_mut(name).filter(|_| held) {
            group.uncount(number);
        }
        held
    }

    pub(super) fn leave(&mut self, name: &str, member: u64) {
        if let Some(group) = self.groups.get_mut(name) {
            group.leave(member, Instant::now());
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Whether forgetting the topic loses nothing.
    pub(super) fn is_unused(&self) -> bool {
        self.groups.is_empty() && self.log.is_empty()
    }

    /// Forgets the oldest message if no group exists that could wait for it; false if there is none.
    pub(super) fn forget_unheard(&mut self, room: &Room) -> bool {
        if !self.groups.is_empty() {
            return false;
        }
        let oldest = self.log.pop_first();
        if let Some((_, oldest)) = &oldest {
            room.give_back(oldest.bytes);
        }
        oldest.is_some()
    }

    /// Forgets what has expired. The groups notice when they come to it.
    pub(super) fn expire(&mut self, room: &Room) {
        let now = Instant::now();
        for (_, expired) in self.log.extract_if(.., |_, entry| !entry.is_live(now)) {
            room.give_back(expired.bytes);
        }
    }
}

/// One group less waits for it; the last one frees it.
fn settle(log: &mut BTreeMap<u64, Entry>, number: u64, room: &Room) {
    let Some(entry) = log.get_mut(&number) else { return };
    entry.waiting = entry.waiting.saturating_sub(1);
    if entry.waiting == 0
        && let Some(entry) = log.remove(&number)
    {
        room.give_back(entry.bytes);
    }
}
