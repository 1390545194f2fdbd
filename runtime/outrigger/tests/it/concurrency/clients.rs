//! One client: what it does in turns, and what it writes down.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use outrigger_sdk::{self as sdk, Client, ErrorKind, Options};
use outrigger_testkit::history::{Given, Held, Moment, Write};

use super::{Histories, Shared};

/// The shortest time the wire can say.
const TTL: Duration = Duration::from_secs(1);
/// So few that most callers find them held.
const RESOURCES: usize = 8;
const SEQUENCES: usize = 4;
/// Every so many turns a caller forgets to unlock, and writes when its time is up.
const OVERSLEEPS: usize = 40;

pub(super) struct Caller {
    number: usize,
    client: Client,
    shared: Arc<Shared>,
    seen: Histories,
}

impl Caller {
    pub(super) async fn new(number: usize, endpoint: String, shared: Arc<Shared>) -> Self {
        let client = connect(endpoint).await;
        Self { number, client, shared, seen: Histories::default() }
    }

    pub(super) async fn run(mut self) -> Histories {
        let mut turn = self.number;
        while !self.shared.over.load(Ordering::SeqCst) {
            self.lock_and_write(turn).await;
            for _ in 0..4 {
                self.take_strong(turn % SEQUENCES).await;
            }
            for _ in 0..8 {
                self.take_weak(turn % SEQUENCES).await;
            }
            self.write_first(turn - self.number).await;
            turn += 1;
        }
        self.seen
    }

    fn now(&self) -> Moment {
        self.shared.began.elapsed()
    }

    /// Counts the answer; one that was lost gives the program time to come back.
    async fn answered<T>(&mut self, result: sdk::Result<T>) -> Option<sdk::Result<T>> {
        use ErrorKind::{Cancelled, Internal, Timeout, Unavailable};
        let lost = |kind| matches!(kind, Unavailable | Timeout | Cancelled | Internal);
        if result.as_ref().is_err_and(|error| lost(error.kind())) {
            self.seen.unanswered += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        }
        self.shared.answered.fetch_add(1, Ordering::SeqCst);
        Some(result)
    }

    async fn lock_and_write(&mut self, turn: usize) {
        let resource = format!("resource-{}", turn % RESOURCES);
        let owner = format!("owner-{}-{turn}", self.number);
        let asked = self.now();
        let result = self.client.lock("lock").try_lock_as(&resource, &owner, TTL).await;
        let answered = self.now();
        let Some(result) = self.answered(result).await else { return };
        let Some(lock) = result.unwrap() else { return };
        let token = lock.fencing_token().unwrap();
        let number = i64::try_from(token).unwrap();
        self.seen.tokens.push(Given { name: resource.clone(), number, asked, answered });
        let mut held = Held { resource, owner, token, from: answered, until: asked + TTL };
        self.write_fenced(&held).await;
        if turn.is_multiple_of(3) {
            let asked = self.now();
            let kept = lock.keep_alive(TTL).await;
            if let Some(Ok(sdk::Held::Yes)) = self.answered(kept).await {
                held.until = asked + TTL;
            }
        }
        if turn.is_multiple_of(OVERSLEEPS) {
            tokio::time::sleep(TTL + Duration::from_millis(100)).await;
            self.write_fenced(&held).await;
        } else {
            held.until = held.until.min(self.now());
            let unlocked = lock.unlock().await;
            self.answered(unlocked).await;
        }
        self.seen.held.push(held);
    }

    async fn write_fenced(&mut self, held: &Held) {
        let (key, token) = (format!("fenced-{}", held.resource), held.token);
        let asked = self.now();
        let write = sdk::Write::new(&key, held.owner.clone()).fence(token);
        let result = self.client.state("state").save(write).await;
        let answered = self.now();
        match self.answered(result).await {
            Some(Ok(())) => self.seen.fenced.push(Write { key, token, asked, answered }),
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                if answered < held.until {
                    self.seen.wrong.push(format!("{held:?} was refused at {answered:?}: {error}"));
                }
            }
            None => {}
        }
    }

    async fn take_strong(&mut self, sequence: usize) {
        let name = format!("strong-{sequence}");
        let asked = self.now();
        let result = self.client.sequencer("sequencer").next_strong(&name).await;
        let answered = self.now();
        if let Some(number) = self.answered(result).await {
            self.seen.strong.push(Given { name, number: number.unwrap(), asked, answered });
        }
    }

    /// Weak numbers promise no order between restarts, only that each is given once: all calls overlap.
    async fn take_weak(&mut self, sequence: usize) {
        let name = format!("weak-{sequence}");
        let result = self.client.sequencer("sequencer").next(&name).await;
        if let Some(number) = self.answered(result).await {
            let (asked, answered) = (Moment::ZERO, Moment::MAX);
            self.seen.weak.push(Given { name, number: number.unwrap(), asked, answered });
        }
    }

    async fn write_first(&mut self, round: usize) {
        let key = format!("first-{round}");
        let write = sdk::Write::new(&key, self.number.to_string()).first_write();
        let result = self.client.state("state").save(write).await;
        match self.answered(result).await {
            Some(Ok(())) => self.seen.first.won.push(key),
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                self.seen.first.lost.push(key);
            }
            None => self.seen.first.unknown.push(key),
        }
    }
}

/// A connection of its own, tried until the program takes it.
pub(super) async fn connect(endpoint: String) -> Client {
    let options = Options { endpoint, timeout: Duration::from_secs(5), ..Options::default() };
    let give_up = tokio::time::Instant::now() + crate::program::PATIENCE;
    loop {
        match Client::connect_with(options.clone()).await {
            Ok(client) => return client,
            Err(error) => assert!(tokio::time::Instant::now() < give_up, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
