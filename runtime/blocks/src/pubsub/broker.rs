//! A configured broker: its slot, its rules and its counters.

use std::sync::Arc;

use outrigger_component_api::{Built, ComponentSpec, PubSub, Result};
use outrigger_telemetry::span::{Kind, Span, Tracer};
use outrigger_telemetry::trace::TraceContext;
use outrigger_telemetry::{Counter, Gauge};

use super::settings::Defaults;
use super::topics::TopicScopes;
use crate::guard::{Meter, Op, Policy};
use crate::slot::{Slot, SlotConfig};
use crate::stores::Member;

/// What the pub/sub block keeps for one broker.
pub struct BrokerComponent {
    pub(super) slot: Slot<dyn PubSub>,
    pub(super) topics: TopicScopes,
    pub(super) delivery: Defaults,
    pub(super) ops: Ops,
    pub(super) counts: Counts,
    tracer: Tracer,
}

pub(super) struct Ops {
    pub(super) publish: Op,
    pub(super) subscribe: Op,
    pub(super) bury: Op,
}

/// What becomes of events.
pub(super) struct Counts {
    pub(super) published: Counter,
    pub(super) delivered: Counter,
    pub(super) retried: Counter,
    pub(super) returned: Counter,
    pub(super) dropped: Counter,
    pub(super) buried: Counter,
    pub(super) expired: Counter,
    pub(super) in_flight: Gauge,
}

impl BrokerComponent {
    /// A span of an event below its parent, when that is being traced.
    pub(super) fn span(&self, kind: Kind, topic: &str, parent: Option<&TraceContext>) -> Option<Span> {
        let mut span = self.tracer.child(kind, "event", parent)?;
        let verb = if kind == Kind::Producer { "publish" } else { "deliver" };
        span.rename(format!("{verb} {topic}"));
        span.set("messaging.system", "outrigger");
        span.set("messaging.destination.name", topic.to_owned());
        span.set("outrigger.component", self.slot.name().to_owned());
        Some(span)
    }
}

impl Member for BrokerComponent {
    type Block = dyn PubSub;
    const BLOCK: &'static str = "pubsub";
    const NOUN: &'static str = "pub/sub component";
    const FIELD: &'static str = "pubsub_name";

    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self> {
        let op = |name| meter.op(Self::BLOCK, &spec.name, name);
        let ops = Ops { publish: op("publish"), subscribe: op("subscribe"), bury: op("dead_letter") };
        let counts = Counts::new(&spec.name, meter);
        let topics = TopicScopes::take(spec)?;
        let delivery = Defaults::take(spec)?;
        let slot = Slot::new(SlotConfig::of(spec, policy));
        Ok(Self { slot, topics, delivery, ops, counts, tracer: meter.tracer() })
    }

    fn slot(&self) -> &Slot<dyn PubSub> {
        &self.slot
    }

    fn backend(built: &Built) -> Option<&Arc<dyn PubSub>> {
        if let Built::PubSub(broker) = built { Some(broker) } else { None }
    }

    fn capabilities(broker: &dyn PubSub) -> Vec<&'static str> {
        broker.capabilities().words().collect()
    }
}

impl Counts {
    fn new(component: &str, meter: &Meter) -> Self {
        let events = |outcome| meter.events(component, outcome);
        Self {
            published: events("published"),
            delivered: events("delivered"),
            retried: events("retried"),
            returned: events("returned"),
            dropped: events("dropped"),
            buried: events("dead_lettered"),
            expired: events("expired"),
            in_flight: meter.events_in_flight(component),
        }
    }
}
