//! Brings the events of input bindings to the application beside us, or to the function that takes them in its place, one
//! at a time for each binding.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use outrigger_component_api::{
    BindingEvents, Delivery, Error, ErrorKind, InputBinding, Outcome, Result, async_trait,
};
use outrigger_resilience::{Backoff, Deadline};
use outrigger_telemetry::span::Span;
use outrigger_telemetry::trace::TraceContext;
use tokio::sync::watch;
use tokio::task::JoinHandle;
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
    /// Who takes the events of which binding in place of the application, whatever it says.
    instead: BTreeMap<String, Arc<dyn AppInputs>>,
}

impl Wish {
    fn is(&self, other: &Self) -> bool {
        let same_app = match (&self.app, &other.app) {
            (Some(app), Some(other)) => Arc::ptr_eq(app, other),
            (None, None) => true,
            _ => false,
        };
        let mut pairs = self.bindings.iter().zip(&other.bindings);
        let mut takers = self.instead.iter().zip(&other.instead);
        same_app
            && self.bindings.len() == other.bindings.len()
            && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
            && self.instead.len() == other.instead.len()
            && takers.all(|((a, taker), (b, other))| a == b && Arc::ptr_eq(taker, other))
    }

    /// Who takes the events of a binding whatever the application says.
    fn taker(&self, binding: &InputComponent) -> Option<&Arc<dyn AppInputs>> {
        self.instead.get(binding.name()).or(self.app.as_ref().filter(|_| binding.is_declared()))
    }
}

/// How long the application may take to say whether it wants a binding's events.
const ASKING: Duration = Duration::from_secs(5);
/// Between attempts to reach an application that is not up: it is found within a second.
const NOT_UP: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };
/// Between questions to one that seems to come and go, or fails to answer.
const RESTARTING: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(60) };
/// An application that was there for so long is asked again at once when it goes.
const SETTLED: Duration = Duration::from_secs(30);
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
        let round = Round { wished, stopped, running: BTreeMap::new(), ending: BTreeMap::new() };
        Self { wish, stop, task: tokio::spawn(round.run()) }
    }

    /// From now on these bindings go to this application, as far as it wants them. What stays the same goes on
    /// undisturbed; what does not first finishes the event it has under way.
    pub fn follow(&self, app: Option<Arc<dyn AppInputs>>, bindings: Vec<Arc<InputComponent>>) {
        self.follow_with(app, bindings, BTreeMap::new());
    }

    /// [`follow`](Self::follow), but for the bindings that somebody takes in place of the application.
    pub fn follow_with(
        &self,
        app: Option<Arc<dyn AppInputs>>,
        bindings: Vec<Arc<InputComponent>>,
        instead: BTreeMap<String, Arc<dyn AppInputs>>,
    ) {
        self.wish.send_if_modified(|wish| {
            let next = Wish { app, bindings, instead };
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
    /// Those that finish their last event. One that is wanted again begins after it.
    ending: BTreeMap<String, Running>,
}

/// One binding on its way. Its task ends with it, or when told to, after the event it has.
struct Running {
    app: Arc<dyn AppInputs>,
    /// It is not the application.
    instead: bool,
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

    fn stop(&self) {
        self.stop.send_replace(true);
    }

    async fn end(mut self) {
        self.stop();
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
        let all = [std::mem::take(&mut self.running), std::mem::take(&mut self.ending)];
        join_all(all.into_iter().flat_map(BTreeMap::into_values).map(Running::end)).await;
    }

    /// Has run what the application wants; it is asked again each time it may have changed its mind.
    async fn attend(&mut self, wish: &Wish) -> std::convert::Infallible {
        // What runs already goes on until the answer.
        self.settle_on(wish, &BTreeMap::new());
        let asked = wish
            .bindings
            .iter()
            .filter(|binding| !binding.is_declared() && !wish.instead.contains_key(binding.name()));
        let mut questions: Vec<_> = asked.cloned().map(Question::new).collect();
        let Some(app) = wish.app.as_ref().filter(|_| !questions.is_empty()) else {
            return std::future::pending().await;
        };
        let mut restarts = 0;
        loop {
            let there_since = self.ask(wish, &**app, &mut questions).await;
            restarts = if now().saturating_duration_since(there_since) > SETTLED { 1 } else { restarts + 1 };
            sleep(RESTARTING.delay(restarts, &mut fastrand::Rng::new())).await;
        }
    }

    /// Goes by each answer as it comes: one that is owed keeps no other binding waiting. Returns when the application
    /// may have gone, with the time it was first heard.
    async fn ask(&mut self, wish: &Wish, app: &dyn AppInputs, questions: &mut [Question]) -> Instant {
        let mut open: FuturesUnordered<_> = questions.iter_mut().map(|question| question.ask(app)).collect();
        let (mut gone, mut answers, mut there_since) = (app.gone(), BTreeMap::new(), now());
        loop {
            tokio::select! {
                biased;
                Some((binding, wanted)) = open.next() => {
                    if answers.is_empty() {
                        there_since = now();
                    }
                    answers.insert(binding, wanted);
                    self.settle_on(wish, &answers);
                }
                () = &mut gone, if !answers.is_empty() => return there_since,
            }
        }
    }

    /// Whether the application has its events.
    fn runs(&self, binding: &str) -> bool {
        self.running.get(binding).is_some_and(|running| !running.instead && !running.task.is_finished())
    }

    /// Ends what is no longer wanted, starts what is new, and leaves alone what stays. A binding that has to be asked
    /// about stays as it is until there is an answer.
    fn settle_on(&mut self, wish: &Wish, answers: &BTreeMap<String, bool>) {
        let answer = |name: &str| answers.get(name).copied().unwrap_or_else(|| self.runs(name));
        let asked = |binding: &InputComponent| wish.app.as_ref().filter(|_| answer(binding.name()));
        let mut wanted = Vec::new();
        for binding in &wish.bindings {
            let app = wish.taker(binding).or_else(|| asked(binding));
            wanted.extend(app.map(|app| (app, binding)));
        }
        self.ending.retain(|_, ending| !ending.task.is_finished());
        let mut before = std::mem::take(&mut self.running);
        for (app, binding) in wanted {
            let name = binding.name();
            let running = match before.remove(name) {
                Some(running) if running.is(app, binding) => running,
                before => {
                    let before = before.or_else(|| self.ending.remove(name));
                    let instead = wish.instead.contains_key(name);
                    start(Arc::clone(app), instead, Arc::clone(binding), before)
                }
            };
            self.running.insert(name.to_owned(), running);
        }
        before.values().for_each(Running::stop);
        // None of that name is there: the one that ran took over from it.
        self.ending.append(&mut before);
    }
}

/// Whether the application takes the events of a binding.
struct Question {
    binding: Arc<InputComponent>,
    /// What it said the last time it was asked.
    said: Option<Said>,
}

#[derive(Clone, Copy, PartialEq)]
enum Said {
    Yes,
    No,
    Nothing,
}

impl Question {
    fn new(binding: Arc<InputComponent>) -> Self {
        Self { binding, said: None }
    }

    /// Asks until there is an answer, and tells whose it is.
    async fn ask(&mut self, app: &dyn AppInputs) -> (String, bool) {
        let mut attempt = 0;
        loop {
            let error = match app.wants(&self.binding, Deadline::after(now(), ASKING)).await {
                Ok(wanted) => {
                    self.note(if wanted { Said::Yes } else { Said::No }, None);
                    return (self.binding.name().to_owned(), wanted);
                }
                Err(error) => error,
            };
            let absent = error.kind() == ErrorKind::Unavailable;
            self.note(Said::Nothing, Some(error));
            attempt += 1;
            let pause = if absent { NOT_UP } else { RESTARTING };
            sleep(pause.delay(attempt, &mut fastrand::Rng::new())).await;
        }
    }

    /// Logs what is new.
    fn note(&mut self, said: Said, error: Option<Error>) {
        if self.said.replace(said) == Some(said) {
            return;
        }
        let (binding, route) = (self.binding.name(), self.binding.route());
        match said {
            Said::Yes => tracing::info!(binding, route, "the application takes the events"),
            Said::No => tracing::warn!(binding, route, "the application does not take the events"),
            Said::Nothing => {
                let error = error.map(tracing::field::display);
                tracing::info!(
                    binding,
                    route,
                    error,
                    "the application does not say whether it takes the events; asking again until it does"
                );
            }
        }
    }
}

fn start(
    app: Arc<dyn AppInputs>,
    instead: bool,
    binding: Arc<InputComponent>,
    before: Option<Running>,
) -> Running {
    let (stop, stopped) = watch::channel(false);
    let way = Way { app: Arc::clone(&app), binding: Arc::clone(&binding), stopped };
    let task = tokio::spawn(async move {
        // Two at a time could bring one event twice.
        if let Some(before) = before {
            before.end().await;
        }
        way.run().await;
    });
    Running { app, instead, binding, stop, task }
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
                tracing::warn!(binding, attempt, last, %error, "an event failed");
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
