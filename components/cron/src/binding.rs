//! The binding: one event each time its schedule is due, as long as somebody waits for it.
//!
//! Where it stands belongs to the component and not to who listens: whoever listens next goes on there. What came due
//! while nobody waited, or while the one before was still being handled, is gone: only the next one counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use outrigger_component_api::{
    Backend, BindingEvents, BuildContext, Component, Delivery, Error, ErrorKind, InputBinding, Message,
    Outcome, Result, Settle, async_trait,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::clock::{Clock, SystemClock};
use crate::schedule::{Due, Schedule};

/// Registers [`CronBinding`] as `bindings.cron`.
pub struct CronBindingBackend;

/// Settings of `bindings.cron`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CronConfig {
    /// When: a cron expression of five fields, or six with seconds in front (`0 30 9 * * mon-fri`), or `@every 15m`,
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Times are UTC, or those of a zone named in front:
    /// `CRON_TZ=Europe/Paris 0 9 * * *`.
    pub schedule: Schedule,
}

#[async_trait]
impl Backend for CronBindingBackend {
    const TYPE: &'static str = "bindings.cron";
    const ABOUT: &'static str = "Calls the application by a schedule.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("schedule", "0 30 9 * * mon-fri")];
    type Config = CronConfig;
    type Block = dyn InputBinding;

    async fn build(config: CronConfig, _: &BuildContext) -> Result<Arc<dyn InputBinding>> {
        Ok(Arc::new(CronBinding::new(config)))
    }
}

/// An input binding that goes by the clock.
pub struct CronBinding(Arc<Timer>);

struct Timer {
    schedule: Schedule,
    clock: Box<dyn Clock>,
    /// What intervals are counted from.
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is waited for.
    due: Option<Due>,
    /// The last event, when it is to be delivered again.
    again: Option<Again>,
}

struct Again {
    tick: Tick,
    not_before: Instant,
}

/// One event.
#[derive(Clone)]
struct Tick {
    id: String,
    attempt: u32,
}

/// Clocks are looked at this often while waiting for one, as they may be set.
const LOOK: Duration = Duration::from_secs(60);
/// An event that nobody waited for when it came due is still worth delivering for so long: another listener may just
/// be taking over.
const GRACE: Duration = Duration::from_secs(5);

impl CronBinding {
    pub fn new(config: CronConfig) -> Self {
        Self::with(config, SystemClock)
    }

    fn with(config: CronConfig, clock: impl Clock) -> Self {
        let (clock, origin) = (Box::new(clock), Instant::now());
        Self(Arc::new(Timer { schedule: config.schedule, clock, origin, state: Mutex::default() }))
    }
}

impl Timer {
    /// How long until a moment; `None` once it has come.
    fn until(&self, due: Due) -> Option<Duration> {
        let left = match due {
            Due::After(instant) => instant.saturating_duration_since(Instant::now()),
            Due::On(time) => Duration::try_from(time.duration_since(self.clock.now())).unwrap_or_default(),
        };
        (!left.is_zero()).then_some(left)
    }

    fn is_stale(&self, due: Due) -> bool {
        match due {
            Due::After(instant) => instant.elapsed() > GRACE,
            Due::On(time) => {
                self.clock.now().duration_since(time) > SignedDuration::try_from(GRACE).unwrap_or_default()
            }
        }
    }

    /// How long to wait before looking again; `None` when an event is due.
    fn wait(&self) -> Result<Option<Duration>> {
        let mut state = self.state.lock();
        let due = match (state.due, self.schedule.next(&*self.clock, self.origin)) {
            // Clocks that were set back have the schedule's next time before the one that was waited for.
            (Some(Due::On(kept)), Some(Due::On(next))) => Some(Due::On(kept.min(next))),
            (kept, next) => kept.or(next),
        };
        state.due = due;
        let never = || Error::new(ErrorKind::FailedPrecondition, "the schedule has no further time");
        let next = self.until(due.ok_or_else(never)?);
        let again = state.again.as_ref().map(|again| self.until(Due::After(again.not_before)));
        Ok(match (next, again) {
            // The next event takes the place of the one before.
            (None, _) => None,
            (Some(_), Some(None)) => None,
            (Some(next), Some(Some(again))) => Some(next.min(again).min(LOOK)),
            (Some(next), None) => Some(next.min(LOOK)),
        })
    }

    /// The event that is due.
    fn take(&self) -> Tick {
        let mut state = self.state.lock();
        let again = state.again.take();
        match (state.due.filter(|due| self.until(*due).is_some()), again) {
            (Some(_), Some(Again { tick, .. })) => Tick { attempt: tick.attempt + 1, ..tick },
            _ => {
                state.due = None;
                Tick { id: self.clock.now().to_string(), attempt: 1 }
            }
        }
    }

    fn deliver_again(&self, tick: Tick, after: Duration) {
        let now = Instant::now();
        // What is too far away never comes: the next event takes its place.
        let not_before = now.checked_add(after);
        self.state.lock().again = not_before.map(|not_before| Again { tick, not_before });
    }

    /// Forgets what came due while nobody listened.
    fn catch_up(&self) {
        let mut state = self.state.lock();
        if state.due.is_some_and(|due| self.is_stale(due)) {
            state.due = None;
        }
        if state.again.as_ref().is_some_and(|again| self.is_stale(Due::After(again.not_before))) {
            state.again = None;
        }
    }
}

#[async_trait]
impl Component for CronBinding {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl InputBinding for CronBinding {
    async fn open(&self) -> Result<Box<dyn BindingEvents>> {
        self.0.catch_up();
        Ok(Box::new(Ticks(Arc::clone(&self.0))))
    }
}

/// Who listens.
struct Ticks(Arc<Timer>);

#[async_trait]
impl BindingEvents for Ticks {
    async fn next(&mut self) -> Result<Delivery> {
        while let Some(wait) = self.0.wait()? {
            tokio::time::sleep(wait).await;
        }
        let tick = self.0.take();
        let metadata = [
            ("readTimeUTC", self.0.clock.now().to_string()),
            ("timeZone", self.0.schedule.zone().to_owned()),
        ];
        let metadata: BTreeMap<_, _> =
            metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let message = Message { metadata, ..Message::default() };
        let Tick { id, attempt } = tick.clone();
        Ok(Delivery::new(id, attempt, message, Settlement { timer: Arc::clone(&self.0), tick }))
    }
}

/// What is to become of an event.
struct Settlement {
    timer: Arc<Timer>,
    tick: Tick,
}

#[async_trait]
impl Settle for Settlement {
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<()> {
        let Self { timer, tick } = *self;
        match outcome {
            Outcome::Ack | Outcome::Drop => {}
            Outcome::Retry { after } => timer.deliver_again(tick, after),
            Outcome::Return { after } => {
                timer.deliver_again(Tick { attempt: tick.attempt.saturating_sub(1), ..tick }, after);
            }
        }
        Ok(())
    }

    fn abandon(self: Box<Self>) {
        self.timer.deliver_again(self.tick, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests;
