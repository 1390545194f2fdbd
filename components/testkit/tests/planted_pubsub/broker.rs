//! A small broker that does what the trait says, or almost. It looks for messages every few milliseconds: simple
//! matters here, not quick.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_component_api::{
    Component, Delivery, Error, ErrorKind, Message, Outcome, PubSub, PubSubCapabilities, Result, Settle,
    Start, SubscribeOptions, Subscription, async_trait,
};
use parking_lot::Mutex;

const CAPACITY: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    MixesTopics,
    TurnsBulkAround,
    IgnoresTtl,
    DeliversToOneGroup,
    DeliversToEveryMember,
    StartsAtTheBeginning,
    ForgetsEmptyGroups,
    KeepsWhatLeaversHeld,
    AcknowledgesOnDelivery,
    RetriesWhatWasGivenUp,
    IgnoresPauses,
    ForgetsAttempts,
    CountsWhatIsReturned,
    CountsWhatIsFetchedAhead,
    HoldsUpForRetries,
    CutsPausesShort,
    EndsPausesWithTheirMember,
    NeverTimesOut,
    KeepsCreditOfTheLate,
    HeedsTheLate,
    TimesOutEarly,
    IgnoresCredit,
    KeepsCreditOfDroppedSettling,
    LosesDroppedWaits,
    LosesOneInManyMessages,
    GrowsWithoutBound,
    ForgetsWhenFull,
    NeverMakesRoom,
    KeepsTheUnheard,
}

pub(crate) struct Broker(Arc<Shared>);

struct Shared {
    fault: Fault,
    topics: Mutex<BTreeMap<String, Topic>>,
    members: AtomicU64,
}

#[derive(Default)]
struct Topic {
    published: u64,
    log: BTreeMap<u64, (Message, Option<Instant>)>,
    groups: BTreeMap<String, Group>,
}

struct Group {
    /// The first message nobody of the group was given yet.
    next: u64,
    unsettled: BTreeMap<u64, Unsettled>,
}

struct Unsettled {
    attempts: u32,
    /// Who has it; nobody while it waits to be delivered again.
    holder: Option<u64>,
    /// When it may be delivered again.
    from: Instant,
}

impl Broker {
    pub(crate) fn subject(fault: Fault) -> Arc<dyn PubSub> {
        Arc::new(Self(Arc::new(Shared { fault, topics: Mutex::default(), members: AtomicU64::new(1) })))
    }

    fn name(&self, topic: &str) -> String {
        if self.0.fault == Fault::MixesTopics { topic.to_lowercase() } else { topic.to_owned() }
    }
}

impl Topic {
    /// Frees what every group has settled.
    fn free(&mut self) {
        let groups = &self.groups;
        self.log.retain(|id, _| {
            groups.values().any(|group| *id >= group.next || group.unsettled.contains_key(id))
        });
    }

    fn append(&mut self, message: Message, fault: Fault) -> Result<()> {
        let heard = !self.groups.is_empty() || fault == Fault::KeepsTheUnheard;
        if self.log.len() >= CAPACITY && fault != Fault::GrowsWithoutBound {
            if heard && fault != Fault::ForgetsWhenFull {
                return Err(Error::new(ErrorKind::RateLimited, "the topic is full"));
            }
            self.log.pop_first();
        }
        self.published += 1;
        if fault == Fault::LosesOneInManyMessages && self.published.is_multiple_of(400) {
            return Ok(());
        }
        let expires = message.ttl.filter(|_| fault != Fault::IgnoresTtl).map(|ttl| Instant::now() + ttl);
        self.log.insert(self.published, (message, expires));
        Ok(())
    }
}

impl Group {
    /// The first message that may be delivered now.
    fn pick(&self, log: &BTreeMap<u64, (Message, Option<Instant>)>, fault: Fault) -> Option<u64> {
        let now = Instant::now();
        let live =
            |id: &u64| log.get(id).is_some_and(|(_, expires)| expires.is_none_or(|expires| now < expires));
        let again = self.unsettled.iter().filter(|(_, unsettled)| {
            unsettled.from <= now && !(fault == Fault::NeverTimesOut && unsettled.holder.is_some())
        });
        let again = again.map(|(id, _)| *id).find(live);
        if fault == Fault::HoldsUpForRetries && self.unsettled.values().any(|one| one.holder.is_none()) {
            return again;
        }
        again.or_else(|| log.range(self.next..).map(|(id, _)| *id).find(live))
    }

    /// What a member has and is not late with.
    fn held_by(&self, member: u64, fault: Fault) -> usize {
        let now = Instant::now();
        let counts = |one: &&Unsettled| one.from > now || fault == Fault::KeepsCreditOfTheLate;
        self.unsettled.values().filter(|one| one.holder == Some(member)).filter(counts).count()
    }
}

#[async_trait]
impl Component for Broker {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PubSub for Broker {
    fn capabilities(&self) -> PubSubCapabilities {
        PubSubCapabilities {
            ttl: true,
            replay: true,
            latest: true,
            attempts: true,
            pauses: true,
            pulled: true,
            ..PubSubCapabilities::default()
        }
    }

    async fn publish(&self, topic: &str, message: Message) -> Result<()> {
        if topic.is_empty() {
            return Err(Error::invalid("topic is empty"));
        }
        self.0.topics.lock().entry(self.name(topic)).or_default().append(message, self.0.fault)
    }

    async fn publish_bulk(&self, topic: &str, mut messages: Vec<Message>) -> Result<Vec<Result<()>>> {
        if self.0.fault == Fault::TurnsBulkAround {
            messages.reverse();
        }
        let mut results = Vec::new();
        for message in messages {
            results.push(self.publish(topic, message).await);
        }
        Ok(results)
    }

    async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Box<dyn Subscription>> {
        if topic.is_empty() || options.group.is_empty() || options.credit == 0 {
            return Err(Error::invalid("topic, group and credit are needed"));
        }
        let topic = self.name(topic);
        let mut topics = self.0.topics.lock();
        let entry = topics.entry(topic.clone()).or_default();
        let from_now = options.start == Start::Latest && self.0.fault != Fault::StartsAtTheBeginning;
        let next = if from_now { entry.published + 1 } else { 0 };
        entry.groups.entry(options.group.clone()).or_insert(Group { next, unsettled: BTreeMap::new() });
        let member = self.0.members.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Member { shared: Arc::clone(&self.0), topic, options, member }))
    }
}

struct Member {
    shared: Arc<Shared>,
    topic: String,
    options: SubscribeOptions,
    member: u64,
}

impl Member {
    fn take(&self) -> Option<Delivery> {
        let fault = self.shared.fault;
        let mut topics = self.shared.topics.lock();
        let topic = topics.get_mut(&self.topic)?;
        if fault == Fault::DeliversToOneGroup && topic.groups.keys().next() != Some(&self.options.group) {
            return None;
        }
        let group = topic.groups.get_mut(&self.options.group)?;
        if group.held_by(self.member, fault) >= self.options.credit && fault != Fault::IgnoresCredit {
            return None;
        }
        let id = group.pick(&topic.log, fault)?;
        let early = if fault == Fault::TimesOutEarly { 4 } else { 1 };
        let from = Instant::now() + self.options.processing_timeout / early;
        let from = if fault == Fault::DeliversToEveryMember { Instant::now() } else { from };
        let first = Unsettled { attempts: 0, holder: None, from };
        let unsettled = group.unsettled.entry(id).or_insert(first);
        unsettled.attempts += u32::from(fault != Fault::ForgetsAttempts || unsettled.attempts == 0);
        unsettled.from = from;
        unsettled.holder = Some(self.member);
        let attempt = unsettled.attempts;
        group.next = group.next.max(id + 1);
        if fault == Fault::CountsWhatIsFetchedAhead
            && let Some((next, _)) = topic.log.range(group.next..).next()
        {
            let ahead = Unsettled { attempts: 1, holder: None, from: Instant::now() };
            group.unsettled.entry(*next).or_insert(ahead);
        }
        if fault == Fault::AcknowledgesOnDelivery {
            group.unsettled.remove(&id);
        }
        let (shared, member) = (Arc::clone(&self.shared), self.member);
        let (topic_name, group, timeout) =
            (self.topic.clone(), self.options.group.clone(), self.options.processing_timeout);
        let held = Held { shared, topic: topic_name, group, timeout, id, attempt, member };
        Some(Delivery::new(id.to_string(), attempt, topic.log.get(&id)?.0.clone(), held))
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            if let Some(delivery) = self.take() {
                if self.shared.fault == Fault::LosesDroppedWaits {
                    let mut delivery = std::mem::ManuallyDrop::new(delivery);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let message = std::mem::take(&mut delivery.message);
                    let settle = Acknowledged;
                    return Ok(Delivery::new(std::mem::take(&mut delivery.id), 1, message, settle));
                }
                return Ok(delivery);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut topics = self.shared.topics.lock();
        let Some(topic) = topics.get_mut(&self.topic) else { return };
        if self.shared.fault == Fault::ForgetsEmptyGroups {
            topic.groups.remove(&self.options.group);
            return;
        }
        let Some(group) = topic.groups.get_mut(&self.options.group) else { return };
        if self.shared.fault == Fault::EndsPausesWithTheirMember {
            group.unsettled.values_mut().for_each(|one| one.from = one.from.min(Instant::now()));
        }
        for one in group.unsettled.values_mut().filter(|one| one.holder == Some(self.member)) {
            match self.shared.fault {
                Fault::KeepsWhatLeaversHeld => one.from = Instant::now() + Duration::from_secs(3600),
                _ => (one.holder, one.from) = (None, Instant::now()),
            }
        }
    }
}

struct Held {
    shared: Arc<Shared>,
    topic: String,
    group: String,
    timeout: Duration,
    id: u64,
    attempt: u32,
    member: u64,
}

impl Held {
    fn end(&self, outcome: Outcome) -> Result<()> {
        let late = || Error::new(ErrorKind::FailedPrecondition, "somebody else has it");
        let fault = self.shared.fault;
        let mut topics = self.shared.topics.lock();
        let topic = topics.get_mut(&self.topic).ok_or_else(late)?;
        let group = topic.groups.get_mut(&self.group).ok_or_else(late)?;
        let Some(unsettled) = group.unsettled.get_mut(&self.id) else { return Ok(()) };
        let latest = unsettled.attempts == self.attempt || fault == Fault::HeedsTheLate;
        if unsettled.holder != Some(self.member) || !latest {
            return Err(late());
        }
        if matches!(outcome, Outcome::Return { .. }) && fault != Fault::CountsWhatIsReturned {
            unsettled.attempts -= 1;
        }
        let again = match outcome {
            Outcome::Retry { .. } if fault == Fault::IgnoresPauses => Some(Duration::ZERO),
            Outcome::Retry { after } if fault == Fault::CutsPausesShort => Some(after.min(self.timeout)),
            Outcome::Retry { after } | Outcome::Return { after } => Some(after),
            Outcome::Drop if fault == Fault::RetriesWhatWasGivenUp => Some(Duration::ZERO),
            Outcome::Ack | Outcome::Drop => None,
        };
        match again {
            Some(after) => (unsettled.holder, unsettled.from) = (None, Instant::now() + after),
            None => {
                group.unsettled.remove(&self.id);
                if fault != Fault::NeverMakesRoom {
                    topic.free();
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Settle for Held {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        if self.shared.fault == Fault::KeepsCreditOfDroppedSettling {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.end(outcome)
    }

    fn abandon(self: Box<Self>) {
        drop(self.end(Outcome::Retry { after: Duration::ZERO }));
    }
}

/// Settling that settles nothing.
struct Acknowledged;

#[async_trait]
impl Settle for Acknowledged {
    async fn settle(self: Box<Self>, _: Outcome) -> Result<()> {
        Ok(())
    }

    fn abandon(self: Box<Self>) {}
}
