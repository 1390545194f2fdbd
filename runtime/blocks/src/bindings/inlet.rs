//! Brings the events of input bindings to the application beside us, one at a time for each binding.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use outrigger_component_api::{
    BindingEvents, Delivery, ErrorKind, InputBinding, Outcome, Result, async_trait,
};
use outrigger_resilience::{Backoff, Deadline};
use outrigger_telemetry::span::Span;
use outrigger_telemetry::trace::TraceContext;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::input::{InputComponent, InputEvent};
use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stores::Member as _;

/// The application as input bindings see it. How it is called is the business of whoever implements this.
#[async_trait]
pub trait AppInputs: Send + Sync + 'static {
    /// Whether it takes the events of a binding.
    async fn wants(&self, binding: &InputComponent, deadline: Deadline) -> Result<bool>;

    /// Gives it an event. [`Unavailable`](ErrorKind::Unavailable) means that it never got it; any other error that it
    /// may have.
    async fn deliver(&self, event: &InputEvent, deadline: Deadline) -> Result<()>;

    /// Returns when the application may have ended or been replaced, as soon as that can be known.
    async fn gone(&self);
}

/// What is to be delivered, and to whom.
#[derive(Clone, Default)]
struct Wish {
    app: Option<Arc<dyn AppInputs>>,
    bindings: Vec<Arc<InputComponent>>,
}

impl Wish {
    fn is(&self, other: &Self) -> bool {
        let same_app = match (&self.app, &other.app) {
            (Some(app), Some(other)) => Arc::ptr_eq(app, other),
            (None, None) => true,
            _ => false,
        };
        let mut pairs = self.bindings.iter().zip(&other.bindings);
        same_app && self.bindings.len() == other.bindings.len() && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// How long the application may take to say whether it wants a binding's events.
const ASKING: Duration = Duration::from_secs(5);
/// Between attempts to reach an application that is not up: it is found within a second.
const NOT_UP: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };
/// Between questions to one that seems to come and go, or fails to answer.
const RESTARTING: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(60) };
/// An application that was there for so long is asked again at once when it goes.
const SETTLED: Duration = Duration::from_secs(120);
/// How long a binding may take to note an outcome.
const SETTLING: Duration = Duration::from_secs(5);

/// Delivers what it was last told to. Dropping it ends that at once.
pub struct Inlet {
    wish: watch::Sender<Wish>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inlet {
    /// One that delivers nothing yet.
    pub fn start() -> Self {
        let (wish, wished) = watch::channel(Wish::default());
        let (stop, stopped) = watch::channel(false);
        let round = Round { wished, stopped, running: BTreeMap::new(), ending: JoinSet::new() };
        Self { wish, stop, task: tokio::spawn(round.run()) }
    }

    /// From now on these bindings go to this application, as far as it wants them. What stays the same goes on
    /// undisturbed; what does not first finishes the event it has under way.
    pub fn follow(&self, app: Option<Arc<dyn AppInputs>>, bindings: Vec<Arc<InputComponent>>) {
        self.wish.send_if_modified(|wish| {
            let next = Wish { app, bindings };
            let differs = !next.is(wish);
            *wish = next;
            differs
        });
    }

    /// Takes no more events and waits until those under way are settled, at most this long.
    pub async fn drain(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if timeout(limit, &mut self.task).await.is_err() {
            tracing::warn!(?limit, "the application did not finish the events of its bindings in time");
        }
    }
}

/// The bindings that run, by name, and what decides which.
struct Round {
    wished: watch::Receiver<Wish>,
    stopped: watch::Receiver<bool>,
    running: BTreeMap<String, Running>,
    /// Those that finish their last event.
    ending: JoinSet<()>,
}

/// One binding on its way. Its task ends with it, or when told to, after the event it has.
struct Running {
    app: Arc<dyn AppInputs>,
    binding: Arc<InputComponent>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn is(&self, app: &Arc<dyn AppInputs>, binding: &Arc<InputComponent>) -> bool {
        Arc::ptr_eq(&self.app, app) && Arc::ptr_eq(&self.binding, binding) && !self.task.is_finished()
    }

    async fn end(mut self) {
        self.stop.send_replace(true);
        // One that panicked has nothing under way.
        let _ended = (&mut self.task).await;
    }
}

impl Round {
    async fn run(mut self) {
        let (mut wished, mut stopped) = (self.wished.clone(), self.stopped.clone());
        loop {
            let wish = wished.borrow_and_update().clone();
            tokio::select! {
                never = self.attend(&wish) => match never {},
                changed = wished.changed() => if changed.is_err() { break },
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        join_all(std::mem::take(&mut self.running).into_values().map(Running::end)).await;
        while self.ending.join_next().await.is_some() {}
    }

    /// Has run what the application wants; it is asked again each time it may have changed its mind.
    async fn attend(&mut self, wish: &Wish) -> std::convert::Infallible {
        let Some(app) = &wish.app else {
            self.settle_on(wish, &[]);
            return std::future::pending().await;
        };
        let (mut wanted, asked): (Vec<_>, Vec<_>) =
            wish.bindings.iter().cloned().partition(|binding| binding.is_declared());
        // What runs already goes on until the answer.
        let running = asked.iter().filter(|binding| self.runs(binding.name())).cloned();
        self.settle_on(wish, &[wanted.clone(), running.collect()].concat());
        if asked.is_empty() {
            return std::future::pending().await;
        }
        let declared = std::mem::take(&mut wanted);
        let (mut restarts, mut answers) = (0, vec![None; asked.len()]);
        loop {
            let questions =
                asked.iter().zip(&answers).map(|(binding, before)| wants(&**app, binding, *before));
            let said = join_all(questions).await;
            answers = said.iter().copied().map(Some).collect();
            let wanted = asked.iter().zip(said).filter(|(_, wanted)| *wanted).map(|(binding, _)| binding);
            self.settle_on(wish, &declared.iter().chain(wanted).cloned().collect::<Vec<_>>());
            let there_since = now();
            app.gone().await;
            restarts = if now().saturating_duration_since(there_since) > SETTLED { 1 } else { restarts + 1 };
            sleep(RESTARTING.delay(restarts, &mut fastrand::Rng::new())).await;
        }
    }

    fn runs(&self, binding: &str) -> bool {
        self.running.get(binding).is_some_and(|running| !running.task.is_finished())
    }

    /// Ends what is no longer wanted, starts what is new, and leaves alone what stays.
    fn settle_on(&mut self, wish: &Wish, wanted: &[Arc<InputComponent>]) {
        let mut before = std::mem::take(&mut self.running);
        for (app, binding) in wanted.iter().filter_map(|binding| Some((wish.app.as_ref()?, binding))) {
            let running = match before.remove(binding.name()) {
                Some(running) if running.is(app, binding) => running,
                before => start(Arc::clone(app), Arc::clone(binding), before),
            };
            self.running.insert(binding.name().to_owned(), running);
        }
        while self.ending.try_join_next().is_some() {}
        for ended in before.into_values() {
            self.ending.spawn(ended.end());
        }
    }
}

/// Asks until there is an answer. One that is the same as before is no news.
async fn wants(app: &dyn AppInputs, binding: &InputComponent, before: Option<bool>) -> bool {
    let (name, route) = (binding.name(), binding.route());
    let mut attempt = 0;
    loop {
        let error = match app.wants(binding, Deadline::after(now(), ASKING)).await {
            Ok(answer) if before == Some(answer) => return answer,
            Ok(true) => {
                tracing::info!(binding = name, route, "the application takes the events");
                return true;
            }
            Ok(false) => {
                tracing::warn!(binding = name, route, "the application does not take the events");
                return false;
            }
            Err(error) => error,
        };
        if attempt == 0 {
            tracing::info!(binding = name, route, %error, "the application does not say whether it takes the events; asking again until it does");
        }
        attempt += 1;
        let absent = error.kind() == ErrorKind::Unavailable;
        let pause = if absent { NOT_UP } else { RESTARTING };
        sleep(pause.delay(attempt, &mut fastrand::Rng::new())).await;
    }
}

fn start(app: Arc<dyn AppInputs>, binding: Arc<InputComponent>, before: Option<Running>) -> Running {
    let (stop, stopped) = watch::channel(false);
    let way = Way { app: Arc::clone(&app), binding: Arc::clone(&binding), stopped };
    let task = tokio::spawn(async move {
        // Two at a time could bring one event twice.
        if let Some(before) = before {
            before.end().await;
        }
        way.run().await;
    });
    Running { app, binding, stop, task }
}

/// One binding's way to the application.
struct Way {
    app: Arc<dyn AppInputs>,
    binding: Arc<InputComponent>,
    stopped: watch::Receiver<bool>,
}

impl Way {
    async fn run(mut self) {
        let mut failures = 0;
        while !*self.stopped.borrow() {
            let error = match self.open().await {
                Ok(events) => {
                    failures = 0;
                    match self.carry(events).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if failures == 0 {
                tracing::warn!(binding = self.binding.name(), %error, "the binding yields no events");
            }
            failures += 1;
            let pause = if error.is_retryable() { NOT_UP } else { RESTARTING };
            tokio::select! {
                () = sleep(pause.delay(failures, &mut fastrand::Rng::new())) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => {}
            }
        }
    }

    async fn open(&self) -> Result<Box<dyn BindingEvents>> {
        let caller = &Caller::new("");
        let call = Call { op: &self.binding.open, class: Class::Idempotent, caller };
        let open = |backend: Arc<dyn InputBinding>| async move { backend.open().await };
        self.binding.slot().run(call, open).await
    }

    /// Carries events until told to stop, or until there are no more.
    async fn carry(&mut self, mut events: Box<dyn BindingEvents>) -> Result<()> {
        let mut stopped = self.stopped.clone();
        loop {
            let delivery = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                delivery = events.next() => delivery?,
            };
            self.deliver(delivery).await;
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        let begun = now();
        let span = self.binding.span();
        let trace = span.as_ref().and_then(Span::context).cloned();
        let event = InputEvent {
            binding: self.binding.name().to_owned(),
            route: self.binding.route().to_owned(),
            data: delivery.message.data.clone(),
            metadata: delivery.message.metadata.clone(),
            trace: Some(trace.unwrap_or_else(|| TraceContext::root(false))),
        };
        let result = self.give(&event, begun + self.binding.delivery.processing_timeout).await;
        self.binding.counts.seconds.observe(now().saturating_duration_since(begun));
        if let (Some(mut span), Err(error)) = (span, &result) {
            span.fail(error.kind().as_str());
        }
        self.settle(delivery, result).await;
    }

    /// Gives the application one event. One that is not up is tried again, as long as the event has time.
    async fn give(&mut self, event: &InputEvent, until: Instant) -> Result<()> {
        let mut attempt = 0;
        loop {
            let error = match self.app.deliver(event, Deadline::at(until)).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                result => return result,
            };
            attempt += 1;
            let pause = NOT_UP.delay(attempt, &mut fastrand::Rng::new());
            if now() + pause >= until {
                return Err(error);
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return Err(error),
            }
        }
    }

    async fn settle(&self, delivery: Delivery, result: Result<()>) {
        let (binding, attempt) = (self.binding.name().to_owned(), delivery.attempt);
        let (settings, counts) = (&self.binding.delivery, &self.binding.counts);
        let outcome = match result {
            Ok(()) => Outcome::Ack,
            Err(error) if *self.stopped.borrow() && error.kind() == ErrorKind::Unavailable => {
                // Whoever takes over has it at once.
                Outcome::Return { after: Duration::ZERO }
            }
            Err(error) => {
                let last = settings.is_last(attempt);
                tracing::warn!(binding, attempt, last, %error, "the application failed an event");
                if last { Outcome::Drop } else { Outcome::Retry { after: settings.pause(attempt) } }
            }
        };
        match outcome {
            Outcome::Ack => counts.delivered.inc(),
            Outcome::Retry { .. } | Outcome::Return { .. } => counts.retried.inc(),
            Outcome::Drop => counts.dropped.inc(),
        }
        match timeout(SETTLING, delivery.settle(outcome)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(binding, %error, "an outcome was not noted; it may come again"),
            Err(_) => {
                tracing::warn!(binding, "the binding did not note an outcome in time; it may come again")
            }
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
