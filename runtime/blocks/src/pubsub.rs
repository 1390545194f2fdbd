//! Publish and subscribe: events in envelopes, delivered at least once to every group of subscribers.

mod broker;
mod config;
mod courier;
mod envelope;
mod event;
mod events;
mod settings;
mod structured;
mod subscriber;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_component_api::{ComponentSpec, Error, Message, PubSub as Broker, Result, SubscribeOptions};
use outrigger_telemetry::span::{Kind, Span};

pub use broker::BrokerComponent;
pub use config::SubscriptionConfig;
pub use courier::{AppEvents, Courier, Topic};
pub use envelope::Publication;
pub use event::Event;
pub use events::{Answer, Events, Incoming};
pub use settings::DeliverySettings;
pub(crate) use subscriber::Subscriber;
pub use topics::TopicScopes;

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::state::ttl;
use crate::stores::Stores;
use envelope::{Circumstances, is_raw, new_id, seal};
use event::EXPIRATION;
use events::Shared;
use settings::Defaults;
use topics::Wish;

/// The pub/sub block.
#[derive(Default)]
pub struct PubSub {
    /// The brokers calls can name.
    pub brokers: Arc<Stores<BrokerComponent>>,
}

impl PubSub {
    /// Publishes an event. `Ok` means that every group that exists will get it at least once.
    pub async fn publish(
        &self,
        caller: &Caller<'_>,
        broker: &str,
        topic: &str,
        publication: &Publication,
    ) -> Result<()> {
        let broker = self.brokers.find(caller, broker)?;
        named(topic)?;
        broker.topics.check(Wish::Publish, caller.app_id, topic)?;
        let ttl = ttl(&publication.metadata)?;
        let expires = ttl.and_then(|ttl| SystemTime::now().checked_add(ttl));
        let span = broker.span(Kind::Producer, topic, caller.trace.as_ref());
        let own = span.as_ref().and_then(Span::context).cloned();
        let trace = own.or_else(|| caller.trace.as_ref().map(|trace| trace.child()));
        let (name, id) = (broker.slot.name(), &new_id());
        let publish = |backend: Arc<dyn Broker>| {
            let native = backend.capabilities().ttl;
            let about = Circumstances {
                id,
                pubsub: name,
                topic,
                trace: trace.as_ref(),
                expiration: expires.filter(|_| !native),
            };
            let message = message(publication, &about)
                .map(|message| Message { ttl: ttl.filter(|_| native), ..message });
            async move { backend.publish(topic, message?).await }
        };
        // The same event twice is what at-least-once allows, but what a caller can avoid: it is not repeated here.
        let call = Call { op: &broker.ops.publish, class: Class::Once, caller };
        let published = broker.slot.run(call, publish).await;
        match (&published, span) {
            (Ok(()), _) => broker.counts.published.inc(),
            (Err(error), Some(mut span)) => span.fail(error.kind().as_str()),
            (Err(_), None) => {}
        }
        published
    }

    /// Subscribes the caller's group to a topic. Metadata may set what the component says about delivery otherwise,
    /// and `rawPayload`.
    pub async fn subscribe(
        &self,
        caller: &Caller<'_>,
        broker: &str,
        topic: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Events> {
        self.subscribe_for(&Subscriber::App, caller, broker, topic, metadata).await
    }

    /// [`subscribe`](Self::subscribe) for whoever it is, in a group accordingly.
    pub(crate) async fn subscribe_for(
        &self,
        who: &Subscriber,
        caller: &Caller<'_>,
        broker: &str,
        topic: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Events> {
        let stay = self.brokers.stay(caller, broker)?;
        let broker = Arc::clone(stay.member());
        named(topic)?;
        broker.topics.check(Wish::Subscribe, caller.app_id, topic)?;
        let settings = broker.delivery.with(metadata)?;
        if settings.dead_letter_topic.as_deref() == Some(topic) {
            return Err(Error::invalid(format!("topic '{topic}' cannot be its own dead-letter topic")));
        }
        // A subscriber that names the topic itself publishes there as much as anybody.
        let named_here = metadata.keys().any(|name| name.eq_ignore_ascii_case("deadLetterTopic"));
        if let Some(dead) = settings.dead_letter_topic.as_deref().filter(|_| named_here) {
            broker.topics.check(Wish::Publish, caller.app_id, dead)?;
        }
        let options = &SubscribeOptions {
            credit: settings.concurrency,
            processing_timeout: settings.processing_timeout,
            metadata: metadata.clone(),
            ..SubscribeOptions::new(who.group(&settings, caller.app_id, metadata))
        };
        let call = Call { op: &broker.ops.subscribe, class: Class::Idempotent, caller };
        let subscribe =
            |backend: Arc<dyn Broker>| async move { backend.subscribe(topic, options.clone()).await };
        let subscription = broker.slot.run(call, subscribe).await?;
        let (app_id, topic) = (caller.app_id.to_owned(), topic.to_owned());
        let shared = Shared { broker, app_id, topic, raw: is_raw(metadata), settings };
        Ok(Events::new(shared, subscription, stay))
    }
}

/// Takes the block's own settings out of a component's and checks them; the rest is the backend's.
pub(crate) fn check_settings(spec: &mut ComponentSpec) -> Result<()> {
    TopicScopes::take(spec)?;
    Defaults::take(spec).map(drop)
}

fn named(topic: &str) -> Result<()> {
    if topic.is_empty() { Err(Error::invalid("topic is empty")) } else { Ok(()) }
}

/// The event in its envelope, or as it is where the publisher wants it raw.
fn message(publication: &Publication, about: &Circumstances<'_>) -> Result<Message> {
    let mut metadata = publication.metadata.clone();
    if !is_raw(&metadata) {
        return Ok(Message { data: seal(publication, about)?, metadata, ttl: None });
    }
    if let Some(expiration) = about.expiration {
        let expiration = humantime::format_rfc3339_millis(expiration).to_string();
        metadata.insert(EXPIRATION.to_owned(), expiration);
    }
    Ok(Message { data: publication.data.clone(), metadata, ttl: None })
}

#[cfg(test)]
mod tests;
