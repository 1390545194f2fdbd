//! A subscription's events one after the other, and what becomes of each.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use outrigger_component_api::{Delivery, Error, Message, Outcome, Result, Subscription};
use outrigger_resilience::Backoff;
use outrigger_telemetry::Gauge;
use outrigger_telemetry::span::{Kind, Span};
use tokio::time::{sleep, timeout};

use super::broker::BrokerComponent;
use super::event::{Event, open};
use super::settings::DeliverySettings;
use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stay::Stay;
use crate::stores::Member;

/// How long a broker may take to note an outcome.
const SETTLING: Duration = Duration::from_secs(10);
/// Between attempts to read from a broker that is away.
const AWAY: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };
/// Metadata of what is in a dead-letter topic.
const REASON: &str = "deadLetterReason";
const ATTEMPTS: &str = "deadLetterAttempts";
const ORIGIN: &str = "deadLetterTopic";

/// What a subscriber says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done with it.
    Success,
    /// Deliver it again.
    Retry,
    /// Give up on it.
    Drop,
    /// It never reached the subscriber, so nothing is said about it: deliver it again, and do not count this delivery.
    Unreached,
}

/// The events of one subscription. Dropping it unsubscribes.
pub struct Events {
    shared: Arc<Shared>,
    subscription: Box<dyn Subscription>,
    stay: Stay<BrokerComponent>,
    failures: u32,
    /// Done with one that has expired: kept here, so that dropping a wait does not leave it half done.
    discarding: Option<BoxFuture<'static, ()>>,
}

/// What the subscription and its events have in common.
pub(super) struct Shared {
    pub(super) broker: Arc<BrokerComponent>,
    pub(super) app_id: String,
    pub(super) topic: String,
    pub(super) raw: bool,
    pub(super) settings: DeliverySettings,
}

/// One event, to be settled. Dropped, it is delivered again.
pub struct Incoming {
    pub event: Event,
    /// Which delivery this is, counted from 1.
    pub attempt: u32,
    /// When somebody else may get it.
    pub until: Instant,
    delivery: Delivery,
    shared: Arc<Shared>,
    span: Option<Span>,
    _in_flight: InFlight,
}

/// Counts one event under way.
struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Events {
    pub(super) fn new(
        shared: Shared,
        subscription: Box<dyn Subscription>,
        stay: Stay<BrokerComponent>,
    ) -> Self {
        Self { shared: Arc::new(shared), subscription, stay, failures: 0, discarding: None }
    }

    /// How many events it has under way at most.
    pub fn concurrency(&self) -> usize {
        self.shared.settings.concurrency
    }

    /// The next event. While the broker is away this waits; an error ends the subscription. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Result<Incoming> {
        loop {
            if let Some(discarding) = &mut self.discarding {
                discarding.await;
                self.discarding = None;
            }
            let delivery = tokio::select! {
                delivery = self.subscription.next() => delivery,
                why = self.stay.over() => return Err(why),
            };
            match delivery {
                Ok(delivery) => {
                    self.failures = 0;
                    match Shared::open(&self.shared, delivery) {
                        Ok(incoming) => return Ok(incoming),
                        Err(expired) => self.discarding = Some(discard(&self.shared, expired)),
                    }
                }
                Err(error) if error.is_retryable() || error.kind().is_refusal() => {
                    self.wait_out(&error).await
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn wait_out(&mut self, error: &Error) {
        let (component, topic) = (self.shared.broker.slot().name(), self.shared.topic.as_str());
        if self.failures == 0 {
            tracing::warn!(component, topic, %error, "the broker is away; trying again");
        }
        self.failures = self.failures.saturating_add(1);
        sleep(AWAY.delay(self.failures, &mut fastrand::Rng::new())).await;
    }
}

impl Incoming {
    /// Whether the broker delivers the same message once more.
    pub fn is_redelivery_of(&self, earlier: &Self) -> bool {
        self.delivery.id == earlier.delivery.id
    }

    /// Says what became of it. What cannot be noted is logged and delivered again.
    pub async fn settle(self, answer: Answer) {
        let Self { event, attempt, delivery, shared, span, _in_flight, .. } = self;
        let counts = &shared.broker.counts;
        let again = Outcome::Retry { after: shared.settings.pause(attempt) };
        let outcome = match answer {
            Answer::Success => Outcome::Ack,
            Answer::Unreached => Outcome::Return { after: shared.settings.pause(attempt) },
            Answer::Retry if !shared.settings.is_last(attempt) => again,
            Answer::Retry => shared.give_up(&event, &delivery, "retries exhausted").await.unwrap_or(again),
            Answer::Drop => {
                shared.give_up(&event, &delivery, "dropped by the subscriber").await.unwrap_or(again)
            }
        };
        if let (Some(mut span), Some(failure)) = (span, failure(outcome)) {
            span.fail(failure);
        }
        match outcome {
            Outcome::Ack => counts.delivered.inc(),
            Outcome::Retry { .. } => counts.retried.inc(),
            Outcome::Return { .. } => counts.returned.inc(),
            Outcome::Drop if shared.settings.dead_letter_topic.is_some() => counts.buried.inc(),
            Outcome::Drop => counts.dropped.inc(),
        }
        noted(&shared, delivery.settle(outcome)).await;
    }
}

/// What a span says of an event that was not taken.
fn failure(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ack => None,
        Outcome::Retry { .. } => Some("to be delivered again"),
        Outcome::Return { .. } => Some("reached nobody"),
        Outcome::Drop => Some("given up on"),
    }
}

/// Is done with a delivery that has expired.
fn discard(shared: &Arc<Shared>, delivery: Delivery) -> BoxFuture<'static, ()> {
    let shared = Arc::clone(shared);
    shared.broker.counts.expired.inc();
    async move { noted(&shared, delivery.settle(Outcome::Drop)).await }.boxed()
}

impl Shared {
    /// The event, or the delivery again if it has expired. What lies in a dead-letter topic does not expire any more.
    fn open(shared: &Arc<Self>, delivery: Delivery) -> Result<Incoming, Delivery> {
        let shared = Arc::clone(shared);
        let mut event = open(&delivery.id, delivery.message.clone(), shared.raw);
        let expired = event.expiration.is_some_and(|expiration| expiration <= SystemTime::now());
        if expired && !event.metadata.contains_key(REASON) {
            return Err(delivery);
        }
        shared.broker.slot().name().clone_into(&mut event.pubsub);
        event.topic.clone_from(&shared.topic);
        shared.broker.counts.in_flight.inc();
        let in_flight = InFlight(shared.broker.counts.in_flight.clone());
        let span = shared.broker.span(Kind::Consumer, &shared.topic, event.trace.as_ref());
        if let Some(own) = span.as_ref().and_then(Span::context) {
            event.trace = Some(own.clone());
        }
        let until = Instant::now() + shared.settings.processing_timeout;
        Ok(Incoming {
            event,
            attempt: delivery.attempt,
            until,
            delivery,
            shared,
            span,
            _in_flight: in_flight,
        })
    }

    /// Puts an event into the dead-letter topic, or nowhere if there is none. `None`: it could not be put there.
    async fn give_up(&self, event: &Event, delivery: &Delivery, reason: &'static str) -> Option<Outcome> {
        let (component, topic, id) = (self.broker.slot().name(), self.topic.as_str(), event.id.as_str());
        let attempts = delivery.attempt;
        let Some(dead) = &self.settings.dead_letter_topic else {
            tracing::warn!(
                component,
                topic,
                id,
                attempts,
                reason,
                "event dropped: there is no dead-letter topic"
            );
            return Some(Outcome::Drop);
        };
        match self.bury(dead, delivery, reason).await {
            Ok(()) => {
                tracing::info!(component, topic, id, attempts, reason, dead_letter_topic = %dead, "event dead-lettered");
                Some(Outcome::Drop)
            }
            Err(error) => {
                tracing::warn!(component, topic, id, %error, "event could not be dead-lettered; delivering it again");
                None
            }
        }
    }

    async fn bury(&self, dead: &str, delivery: &Delivery, reason: &str) -> Result<()> {
        let mut metadata = delivery.message.metadata.clone();
        metadata.insert(REASON.to_owned(), reason.to_owned());
        metadata.insert(ATTEMPTS.to_owned(), delivery.attempt.to_string());
        metadata.insert(ORIGIN.to_owned(), self.topic.clone());
        let message = &Message { data: delivery.message.data.clone(), metadata, ttl: None };
        let caller = &Caller::new(&self.app_id);
        let call = Call { op: &self.broker.ops.bury, class: Class::Idempotent, caller };
        let publish = |backend: Arc<dyn outrigger_component_api::PubSub>| async move {
            backend.publish(dead, message.clone()).await
        };
        self.broker.slot.run(call, publish).await
    }
}

/// Waits until the broker has noted an outcome. If it does not, the event comes again: nothing is lost.
async fn noted(shared: &Shared, settling: impl Future<Output = Result<()>>) {
    let (component, topic) = (shared.broker.slot().name(), shared.topic.as_str());
    match timeout(SETTLING, settling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(component, topic, %error, "an outcome was not noted; it may come again")
        }
        Err(_) => {
            tracing::warn!(component, topic, "the broker did not note an outcome in time; it may come again")
        }
    }
}
