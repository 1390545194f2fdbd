//! What calls functions by itself: the events of their topics, and their schedules. It follows what is deployed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::schedule::{Clock, Counts, Schedule, Times};
use super::{Deployed, EventTrigger, ScheduleTrigger, Taker};
use crate::Blocks;
use crate::pubsub::{Courier, Subscriber, Topic};

/// Reads a schedule; says what is wrong with it.
pub type ReadTimes = Arc<dyn Fn(&str) -> Result<Arc<dyn Times>, String> + Send + Sync>;

/// What a trigger that left the configuration may take to finish.
const LEAVING: Duration = Duration::from_secs(60);

/// Calls functions as their configurations say. Dropping it ends that at once; events under way are delivered again.
pub struct Summons {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Summons {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Summons {
    /// Follows what is deployed from now on.
    pub fn start(blocks: Arc<Blocks>, read: ReadTimes, clock: Clock) -> Self {
        let (stop, stopped) = watch::channel(false);
        let round = Round {
            blocks,
            read,
            clock,
            stopped,
            events: BTreeMap::new(),
            schedules: BTreeMap::new(),
            leaving: JoinSet::new(),
        };
        Self { stop, task: tokio::spawn(round.run()) }
    }

    /// Takes no more events, begins no more runs, and waits until those under way have ended, at most this long.
    pub async fn drain(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if timeout(limit, &mut self.task).await.is_err() {
            tracing::warn!(?limit, "functions did not finish their events and runs in time");
        }
    }
}

/// A function's name and that of a trigger of it.
type Key = (Arc<str>, String);

/// What runs.
struct Round {
    blocks: Arc<Blocks>,
    read: ReadTimes,
    clock: Clock,
    stopped: watch::Receiver<bool>,
    events: BTreeMap<Key, (EventTrigger, Courier)>,
    schedules: BTreeMap<Key, (ScheduleTrigger, Running)>,
    /// Triggers that finish what they have.
    leaving: JoinSet<()>,
}

/// A schedule's task, which ends with it.
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    async fn end(mut self) {
        self.stop.send_replace(true);
        // One that panicked has nothing under way.
        let _ended = (&mut self.task).await;
    }
}

impl Round {
    async fn run(mut self) {
        let (mut changes, mut stopped) = (self.blocks.functions.changes(), self.stopped.clone());
        loop {
            changes.borrow_and_update();
            self.settle_on(&self.blocks.functions.all());
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        // Whoever waits for this has a limit.
        let couriers = self.events.into_values().map(|(_, courier)| courier.drain(Duration::MAX));
        let runs = self.schedules.into_values().map(|(_, running)| running.end());
        let left = async { while self.leaving.join_next().await.is_some() {} };
        tokio::join!(join_all(couriers), join_all(runs), left);
    }

    /// Ends what is no longer wanted, starts what is new, and leaves alone what stays: another version alone changes
    /// nothing here.
    fn settle_on(&mut self, deployed: &[Deployed]) {
        while self.leaving.try_join_next().is_some() {}
        let (events, schedules) = wanted(deployed);
        for (key, (trigger, courier)) in std::mem::take(&mut self.events) {
            match events.get(&key) {
                Some(wanted) if *wanted == trigger => drop(self.events.insert(key, (trigger, courier))),
                _ => drop(self.leaving.spawn(courier.drain(LEAVING))),
            }
        }
        for (key, (trigger, running)) in std::mem::take(&mut self.schedules) {
            match schedules.get(&key) {
                Some(wanted) if *wanted == trigger => drop(self.schedules.insert(key, (trigger, running))),
                _ => drop(self.leaving.spawn(end_within(running, LEAVING))),
            }
        }
        for (key, trigger) in events {
            if !self.events.contains_key(&key) {
                let courier = self.subscribe(&key.0, &trigger);
                self.events.insert(key, (trigger, courier));
            }
        }
        for (key, trigger) in schedules {
            if !self.schedules.contains_key(&key)
                && let Some(running) = self.schedule(&key, &trigger)
            {
                self.schedules.insert(key, (trigger, running));
            }
        }
    }

    fn subscribe(&self, function: &Arc<str>, trigger: &EventTrigger) -> Courier {
        let EventTrigger { pubsub, topic, metadata } = trigger.clone();
        let topic = Topic { pubsub, topic, metadata, route: None };
        let taker = Taker::new(Arc::clone(&self.blocks), Arc::clone(function));
        let who = Subscriber::Function(Arc::clone(function));
        Courier::start_for(who, Arc::clone(&self.blocks), Arc::new(taker), vec![topic])
    }

    fn schedule(&self, (function, name): &Key, trigger: &ScheduleTrigger) -> Option<Running> {
        let times = (self.read)(&trigger.schedule);
        let times = times
            .inspect_err(|why| tracing::error!(%function, schedule = name, why, "the schedule is left out"))
            .ok()?;
        let (stop, stopped) = watch::channel(false);
        let schedule = Schedule {
            name: name.as_str().into(),
            function: Arc::clone(function),
            times,
            clock: Arc::clone(&self.clock),
            blocks: Arc::clone(&self.blocks),
            claims: Schedule::claims(trigger, function, name),
            counts: Counts::new(&self.blocks, function, name),
            stopped,
        };
        Some(Running { stop, task: tokio::spawn(schedule.run()) })
    }
}

async fn end_within(running: Running, limit: Duration) {
    if timeout(limit, running.end()).await.is_err() {
        tracing::warn!(
            ?limit,
            "a scheduled call is cut off: its schedule is gone and it did not end in time"
        );
    }
}

/// What the functions there are want to be called for, as far as they can be.
fn wanted(deployed: &[Deployed]) -> (BTreeMap<Key, EventTrigger>, BTreeMap<Key, ScheduleTrigger>) {
    let (mut events, mut schedules) = (BTreeMap::new(), BTreeMap::new());
    for Deployed { name, config, triggers, .. } in deployed {
        let key = |trigger: &String| (Arc::clone(name), trigger.clone());
        if triggers.event {
            events.extend(config.events.iter().map(|(trigger, event)| (key(trigger), event.clone())));
        } else if !config.events.is_empty() {
            tracing::warn!(function = %name, "the function has events and does not export `event`: it gets none");
        }
        if triggers.schedule {
            schedules.extend(config.schedules.iter().map(|(trigger, times)| (key(trigger), times.clone())));
        } else if !config.schedules.is_empty() {
            tracing::warn!(function = %name, "the function has schedules and does not export `schedule`");
        }
    }
    (events, schedules)
}

#[cfg(test)]
mod tests;
