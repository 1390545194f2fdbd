//! One subscriber's place in a group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use outrigger_component_api::{Delivery, Result, SubscribeOptions, Subscription, async_trait};
use parking_lot::Mutex;
use tokio::runtime::{self, Handle};
use tokio::sync::watch;
use tokio::time::Instant;

use super::group::{Group, Reclaimed};
use super::message::Entry;
use super::reader::{Read, Reader};
use super::settle::{Again, Hand};
use crate::config::RedisPubSubConfig;

/// The most messages that wait to be delivered again; more are not fetched until some have been.
const MOST_WAITING: usize = 10_000;

/// When to look for abandoned messages after that has failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A member of a group. What it has begun with Redis goes on when a call of [`Subscription::next`] is dropped, in a
/// future that is kept here and asked again by the next call.
pub(super) struct Member {
    hand: Arc<Hand>,
    credit: usize,
    depth: usize,
    patience: Duration,
    /// The longest time between two looks for abandoned messages.
    interval: Duration,
    next_look: Instant,
    go_on: Option<String>,
    /// When something may be due, of what the look under way has passed.
    soonest: Option<Duration>,
    releases: watch::Receiver<u64>,
    /// Fetched and not yet handed out.
    ready: VecDeque<Entry>,
    reading: Option<BoxFuture<'static, (Reader, Result<Read>)>>,
    reader: Option<Reader>,
    work: Option<BoxFuture<'static, Result<Work>>>,
    /// What the futures belong to: they cannot go on in another.
    runtime: Option<runtime::Id>,
    /// Since when nobody asks for messages.
    unasked: Arc<Mutex<Option<Instant>>>,
    /// Since when the answer to what is being read may have been lying there.
    answered: Option<Instant>,
}

/// Somebody asks for messages.
struct Asking(Arc<Mutex<Option<Instant>>>);

impl Drop for Asking {
    fn drop(&mut self) {
        *self.0.lock() = Some(Instant::now());
    }
}

/// What came of asking Redis for messages this member knows or somebody else had.
enum Work {
    Again(String, Option<Entry>),
    Reclaimed(Reclaimed),
}

impl Member {
    pub(super) fn join(group: Arc<Group>, options: &SubscribeOptions, config: &RedisPubSubConfig) -> Self {
        let consumer: Arc<str> = format!("outrigger-{:016x}", fastrand::u64(..)).into();
        let patience = options.processing_timeout.max(Duration::from_millis(1));
        Self {
            releases: group.releases(),
            reader: Some(Reader::new(Arc::clone(&group), Arc::clone(&consumer))),
            hand: Arc::new(Hand::new(group, consumer)),
            credit: options.credit,
            depth: config.queue_depth.get() as usize,
            patience,
            interval: config.redeliver_interval.map_or(patience, |interval| interval.min(patience)),
            next_look: Instant::now(),
            go_on: None,
            soonest: None,
            ready: VecDeque::new(),
            reading: None,
            work: None,
            runtime: None,
            unasked: Arc::default(),
            answered: None,
        }
    }

    /// Notes that somebody asks, and how long nobody did.
    fn asking(&mut self) -> Asking {
        let since = self.unasked.lock().take();
        if self.reading.is_some() {
            self.answered = self.answered.or(since);
        }
        Asking(Arc::clone(&self.unasked))
    }

    /// Futures of another runtime are given up; what they may have got is asked for again.
    fn settle_here(&mut self) {
        let here = Handle::current().id();
        if self.runtime.replace(here).is_some_and(|before| before != here) {
            self.work = None;
            self.reading = None;
            let (group, consumer) = (&self.hand.group, &self.hand.consumer);
            self.reader = Some(Reader::anew(Arc::clone(group), Arc::clone(consumer)));
        }
    }

    /// How many more may be handed out.
    fn free(&self) -> usize {
        self.credit.saturating_sub(self.hand.unsettled().0)
    }

    /// Begins what is due and not under way.
    fn begin(&mut self) {
        if self.work.is_none() {
            self.work = self.due_again().or_else(|| self.due_look());
        }
        if self.reading.is_none()
            && self.hand.waiting() < MOST_WAITING
            && let Some(reader) = self.reader.take()
        {
            self.reading = Some(Box::pin(reader.read(self.free().min(self.depth).max(1))));
        }
    }

    fn due_again(&self) -> Option<BoxFuture<'static, Result<Work>>> {
        let Again { id, counted, .. } =
            self.hand.first_again().filter(|again| again.due <= Instant::now())?;
        let hand = Arc::clone(&self.hand);
        Some(Box::pin(async move {
            let entry = hand.group.claim(&hand.consumer, &id, counted).await?;
            Ok(Work::Again(id, entry))
        }))
    }

    fn due_look(&mut self) -> Option<BoxFuture<'static, Result<Work>>> {
        if self.next_look > Instant::now() {
            return None;
        }
        let (hand, patience) = (Arc::clone(&self.hand), self.patience);
        let (count, from) = (self.free().min(self.depth).max(1), self.go_on.take());
        Some(Box::pin(async move {
            hand.group.reclaim(&hand.consumer, patience, count, from).await.map(Work::Reclaimed)
        }))
    }

    /// Waits until something has happened.
    async fn wait(&mut self) -> Result<()> {
        let wake = self.wake_time();
        let hand = Arc::clone(&self.hand);
        tokio::select! {
            // What somebody had before comes before what is new.
            biased;
            work = finished(&mut self.work) => {
                self.work = None;
                let soon = self.interval.min(LOOK_AGAIN);
                let work = work.inspect_err(|_| self.next_look = Instant::now() + soon)?;
                self.take(work);
            }
            (reader, read) = finished(&mut self.reading) => {
                self.reading = None;
                self.reader = Some(reader);
                self.sort(read?);
            }
            _ = self.releases.changed() => self.next_look = Instant::now(),
            () = hand.changed.notified() => {}
            () = tokio::time::sleep_until(wake) => {}
        }
        Ok(())
    }

    /// When to look around even if nothing happens. While something is under way, its end is what counts.
    fn wake_time(&self) -> Instant {
        let again = self.hand.first_again().map(|again| again.due);
        match &self.work {
            Some(_) => Instant::now() + self.patience.max(Duration::from_secs(1)),
            None => again.map_or(self.next_look, |again| again.min(self.next_look)),
        }
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Again(id, entry) => {
                self.hand.forget(&id);
                self.ready.extend(entry);
            }
            Work::Reclaimed(Reclaimed { entries, more, due }) => {
                // What came of it here took too long.
                entries.iter().for_each(|entry| self.hand.forget(&entry.id));
                self.ready.extend(entries);
                let soonest = self.soonest.take().map_or(due, |soonest| soonest.min(due));
                let pause = if more.is_some() { Duration::ZERO } else { soonest.min(self.interval) };
                self.soonest = more.is_some().then_some(soonest);
                self.go_on = more;
                // A millisecond more, so that what is due then is due for Redis too.
                self.next_look = Instant::now() + pause + Duration::from_millis(1);
            }
        }
    }

    fn sort(&mut self, read: Read) {
        match read {
            Read::New(mut entries) => {
                if let Some(answered) = self.answered.take() {
                    entries.iter_mut().for_each(|entry| entry.fetched = answered);
                }
                self.ready.extend(entries);
            }
            Read::Ours(ids) => {
                let lost =
                    |id: &&String| !self.hand.has(id) && self.ready.iter().all(|entry| entry.id != **id);
                for id in ids.iter().filter(lost) {
                    self.hand.again_unseen(id);
                }
            }
        }
    }

    /// The first message that is ready, if it may be handed out. One that expired is done with on the way, and one that
    /// has been here for long may be somebody else's by now.
    async fn hand_out(&mut self) -> Result<Option<Delivery>> {
        while self.free() > 0 {
            let Some(entry) = self.ready.front() else { return Ok(None) };
            if entry.is_expired() {
                self.hand.group.acknowledge(&entry.id).await?;
                self.ready.pop_front();
                continue;
            }
            let Some(entry) = self.ready.pop_front() else { return Ok(None) };
            if entry.fetched.elapsed() > self.patience / 2 {
                self.hand.again_unseen(&entry.id);
                continue;
            }
            let settlement = self.hand.hand_out(&entry.id, entry.fetched + self.patience);
            return Ok(Some(Delivery::new(entry.id, entry.attempt, entry.message, settlement)));
        }
        Ok(None)
    }
}

/// Waits for a future that is kept; for ever where there is none.
async fn finished<T>(kept: &mut Option<BoxFuture<'static, T>>) -> T {
    match kept {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<Delivery> {
        self.settle_here();
        let _asking = self.asking();
        loop {
            if let Some(delivery) = self.hand_out().await? {
                return Ok(delivery);
            }
            if let (unsettled, Some(until)) = self.hand.unsettled()
                && unsettled >= self.credit
            {
                tokio::select! {
                    () = self.hand.changed.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
                continue;
            }
            self.begin();
            self.wait().await?;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let handed_out = self.hand.leave();
        // Closes the connection, so that nothing more is given to us.
        self.reading = None;
        self.reader = None;
        let hand = Arc::clone(&self.hand);
        // Without a runtime, the others take over what is left after the processing timeout. The task ends by itself:
        // each of its steps has a deadline.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = hand.group.release(&hand.consumer, &handed_out).await {
                    tracing::debug!(topic = hand.group.topic, %error, "messages wait for their timeout");
                }
            });
        }
    }
}
