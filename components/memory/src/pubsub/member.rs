//! One subscriber and its deliveries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_component_api::{
    Delivery, Error, ErrorKind, Outcome, Result, Settle, SubscribeOptions, Subscription, async_trait,
};
use tokio::sync::Notify;

use super::Topics;
use super::topic::Next;

/// Far enough: a year and some.
const NEVER: Duration = Duration::from_secs(400 * 24 * 3600);

pub(super) struct Member {
    pub(super) topics: Arc<Topics>,
    pub(super) topic: String,
    pub(super) options: SubscribeOptions,
    pub(super) id: u64,
    /// Told when credit came back.
    pub(super) wake: Arc<Notify>,
    /// Told when the group has something to take.
    pub(super) news: Arc<Notify>,
}

impl Member {
    fn take(&self) -> Next {
        let until = after(self.options.processing_timeout);
        let (group, credit) = (&self.options.group, self.options.credit);
        self.topics.with(&self.topic, |topic| topic.take(group, self.id, credit, until, &self.topics.room))
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            let (due, signal) = match self.take() {
                Next::Message { number, attempt, message } => {
                    let topics = Arc::clone(&self.topics);
                    let (topic, group) = (self.topic.clone(), self.options.group.clone());
                    let held = Held { topics, topic, group, member: self.id, number, attempt };
                    return Ok(Delivery::new(number.to_string(), attempt, message, held));
                }
                Next::Wait(due) => (due, &self.news),
                Next::NoCredit(due) => (due, &self.wake),
            };
            let due = tokio::time::Instant::from_std(due.unwrap_or_else(|| after(NEVER)));
            tokio::select! {
                () = signal.notified() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.topics.with(&self.topic, |topic| topic.leave(&self.options.group, self.id));
    }
}

/// A delivery that is not settled yet.
struct Held {
    topics: Arc<Topics>,
    topic: String,
    group: String,
    member: u64,
    number: u64,
    attempt: u32,
}

impl Held {
    fn end(&self, outcome: Outcome) -> Result<()> {
        let (number, member, attempt) = (self.number, self.member, self.attempt);
        let ended = self.topics.with(&self.topic, |topic| match outcome {
            Outcome::Ack | Outcome::Drop => {
                topic.done(&self.group, number, member, attempt, &self.topics.room)
            }
            Outcome::Retry { after: pause } => {
                topic.again(&self.group, number, member, attempt, after(pause))
            }
            Outcome::Return { after: pause } => {
                topic.returned(&self.group, number, member, attempt, after(pause))
            }
        });
        if ended {
            return Ok(());
        }
        let message =
            "the message is no longer this subscriber's: it took longer than the processing timeout, or left";
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }
}

#[async_trait]
impl Settle for Held {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        self.end(outcome)
    }

    fn abandon(self: Box<Self>) {
        // Somebody else has it already: nothing to give back.
        drop(self.end(Outcome::Retry { after: Duration::ZERO }));
    }
}

fn after(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause.min(NEVER)).unwrap_or(now)
}
