//! Brings events to the application beside us: asks it what it wants, and calls it for each event. Functions get theirs
//! in the same way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use outrigger_component_api::{Error, ErrorKind, Result, async_trait};
use outrigger_resilience::{Backoff, Deadline};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::event::Event;
use super::events::{Answer, Events, Incoming};
use super::subscriber::Subscriber;
use crate::Blocks;
use crate::caller::Caller;

/// The application as the block sees it. How it is called is the business of whoever implements this.
#[async_trait]
pub trait AppEvents: Send + Sync + 'static {
    /// The topics it wants. An application that does not know the question wants none.
    async fn topics(&self, deadline: Deadline) -> Result<Vec<Topic>>;

    /// Gives it an event of a topic it wants. [`Unavailable`](ErrorKind::Unavailable) means that it never got it; any
    /// other error that it may have. `attempt` counts deliveries from 1.
    async fn deliver(&self, topic: &Topic, event: &Event, attempt: u32, deadline: Deadline)
    -> Result<Answer>;

    /// Returns when the application may want other topics, because it has ended or been replaced.
    async fn gone(&self);
}

/// A topic the application wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    pub pubsub: String,
    pub topic: String,
    /// Where it takes the events, if it has a place for each topic.
    pub route: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// How long the application may take to say what it wants.
const ASKING: Duration = Duration::from_secs(5);
/// Between questions to an application that is not up: it is found within a second.
const NOT_UP: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };
/// Between questions to one that seems to come and go.
const RESTARTING: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(60) };
/// An application that was there for so long is asked again at once when it goes.
const SETTLED: Duration = Duration::from_secs(120);

/// Runs the application's subscriptions. Dropping it ends them at once; what is under way is delivered again.
pub struct Courier {
    who: Subscriber,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Courier {
    /// Starts to ask and to deliver. `declared` are topics the application wants whatever it says.
    pub fn start(blocks: Arc<Blocks>, app: Arc<dyn AppEvents>, declared: Vec<Topic>) -> Self {
        Self::start_for(Subscriber::App, blocks, app, declared)
    }

    /// [`start`](Self::start) for whoever it is.
    pub(crate) fn start_for(
        who: Subscriber,
        blocks: Arc<Blocks>,
        app: Arc<dyn AppEvents>,
        declared: Vec<Topic>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let round = Round { who: who.clone(), blocks, app, declared, stopped, running: BTreeMap::new() };
        Self { who, stop, task: tokio::spawn(round.run()) }
    }

    /// Takes no more events and waits until those under way are settled, at most this long.
    pub async fn drain(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if timeout(limit, &mut self.task).await.is_err() {
            let who = &self.who;
            tracing::warn!(?limit, "{who} did not finish its events in time; they will be delivered again");
        }
    }
}

/// The subscriptions that run, and what decides which.
struct Round {
    who: Subscriber,
    blocks: Arc<Blocks>,
    app: Arc<dyn AppEvents>,
    declared: Vec<Topic>,
    stopped: watch::Receiver<bool>,
    running: BTreeMap<Topic, Running>,
}

/// One subscription; its task ends with it.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Round {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            never = self.ask() => match never {},
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        for running in self.running.values_mut() {
            // A subscription that panicked has nothing under way.
            let _ended = (&mut running.0).await;
        }
    }

    /// Asks what the application wants, again each time it may have changed its mind.
    async fn ask(&mut self) -> std::convert::Infallible {
        let mut restarts = 0;
        let mut wanted = Vec::new();
        // What is declared does not depend on the answer.
        self.settle_on(&wanted);
        loop {
            wanted = self.answer().await;
            self.settle_on(&wanted);
            let there_since = Instant::now();
            self.app.gone().await;
            restarts = if there_since.elapsed() > SETTLED { 1 } else { restarts + 1 };
            sleep(RESTARTING.delay(restarts, &mut fastrand::Rng::new())).await;
        }
    }

    async fn answer(&self) -> Vec<Topic> {
        let mut attempt = 0;
        loop {
            match self.app.topics(Deadline::after(now(), ASKING)).await {
                Ok(topics) => return topics,
                Err(error) if attempt == 0 => {
                    tracing::info!(%error, "the application does not say what it subscribes to; asking again until it does");
                }
                Err(_) => {}
            }
            attempt += 1;
            sleep(NOT_UP.delay(attempt, &mut fastrand::Rng::new())).await;
        }
    }

    /// Ends what is no longer wanted, starts what is new, and leaves alone what stays.
    fn settle_on(&mut self, wanted: &[Topic]) {
        let mut next = BTreeMap::new();
        // One subscription for each topic: what is declared has the last word.
        let by_name = wanted.iter().chain(&self.declared).map(|topic| ((&topic.pubsub, &topic.topic), topic));
        for topic in by_name.collect::<BTreeMap<_, _>>().into_values() {
            let running = self.running.remove(topic).filter(|running| !running.0.is_finished());
            next.insert(topic.clone(), running.unwrap_or_else(|| self.start(topic.clone())));
        }
        self.running = next;
    }

    fn start(&self, topic: Topic) -> Running {
        let (who, blocks, app) = (self.who.clone(), Arc::clone(&self.blocks), Arc::clone(&self.app));
        let topic = Arc::new(topic);
        Running(tokio::spawn(Route { who, blocks, app, topic, stopped: self.stopped.clone() }.run()))
    }
}

/// One topic on its way to the application.
struct Route {
    who: Subscriber,
    blocks: Arc<Blocks>,
    app: Arc<dyn AppEvents>,
    topic: Arc<Topic>,
    stopped: watch::Receiver<bool>,
}

impl Route {
    async fn run(mut self) {
        let mut failures = 0;
        while !*self.stopped.borrow() {
            let mut changes = self.blocks.pubsub.brokers.changes();
            let Topic { pubsub, topic, metadata, .. } = &*self.topic;
            let caller = Caller::new(self.blocks.app_id());
            let subscribed = self.blocks.pubsub.subscribe_for(&self.who, &caller, pubsub, topic, metadata);
            let error = match subscribed.await {
                Ok(events) => {
                    tracing::info!(pubsub, topic, "{} is subscribed", self.who);
                    failures = 0;
                    match self.carry(events).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if failures == 0 {
                let Topic { pubsub, topic, .. } = &*self.topic;
                tracing::warn!(pubsub, topic, %error, "the subscription of {} is interrupted", self.who);
            }
            failures += 1;
            tokio::select! {
                () = pause(&error, failures) => {}
                // Only another configuration can help.
                _ = changes.changed() => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => {}
            }
        }
    }

    /// Carries events until told to stop, or until the subscription ends.
    async fn carry(&mut self, mut events: Events) -> Result<()> {
        let credit = events.concurrency();
        let mut under_way = FuturesUnordered::new();
        let (over, ending) = watch::channel(false);
        let ended = loop {
            let may_take = under_way.len() < credit;
            tokio::select! {
                incoming = events.next(), if may_take => match incoming {
                    Ok(incoming) => {
                        let (app, topic) = (Arc::clone(&self.app), Arc::clone(&self.topic));
                        under_way.push(deliver(app, topic, incoming, ending.clone()));
                    }
                    Err(error) => break Err(error),
                },
                Some(()) = under_way.next() => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => break Ok(()),
            }
        };
        // The subscription stays until they are settled: what the application has is finished, what it could not be
        // given is not tried again.
        over.send_replace(true);
        while under_way.next().await.is_some() {}
        ended
    }
}

/// What may pass is tried again soon, the rest only when the configuration has changed.
async fn pause(error: &Error, failures: u32) {
    // Also while the broker is given a rest: that passes too.
    if error.kind().is_transient() || error.kind().is_refusal() {
        sleep(NOT_UP.delay(failures, &mut fastrand::Rng::new())).await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// Gives the application one event, for as long as it is ours to give. One that is not up is tried again here, so that
/// its absence does not count as its answer.
async fn deliver(
    app: Arc<dyn AppEvents>,
    topic: Arc<Topic>,
    incoming: Incoming,
    mut ending: watch::Receiver<bool>,
) {
    // Somebody else gets it at `until`, so the answer has to be noted before.
    let patience = incoming.until.saturating_duration_since(now()).mul_f32(0.9);
    let deadline = now() + patience;
    let mut attempt = 0;
    let answer = loop {
        match app.deliver(&topic, &incoming.event, incoming.attempt, Deadline::at(deadline)).await {
            Ok(answer) => break answer,
            Err(error) if error.kind() != ErrorKind::Unavailable => {
                let (id, topic) = (incoming.event.id.as_str(), incoming.event.topic.as_str());
                tracing::debug!(id, topic, attempt = incoming.attempt, %error, "a subscriber failed an event");
                break Answer::Retry;
            }
            Err(_) => attempt += 1,
        }
        let pause = NOT_UP.delay(attempt, &mut fastrand::Rng::new());
        if now() + pause >= deadline {
            break Answer::Unreached;
        }
        tokio::select! {
            () = sleep_until((now() + pause).into()) => {}
            _ = ending.wait_for(|over| *over) => break Answer::Unreached,
        }
    };
    incoming.settle(answer).await;
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
