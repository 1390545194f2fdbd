//! The same promises made the wrong way, over the same program: a lock and a first write that look and then set, a
//! sequence that reads, adds and writes, and writes without their token. Each checker has to find them.

use std::time::{Duration, Instant};

use outrigger_sdk::Client;
use outrigger_testkit::history::{Given, Held, Write};
use tokio::{runtime::Runtime, task::JoinSet};

use super::{CALLERS, Histories, Shared, clients::connect};

const ROUNDS: usize = 20;

/// Panics unless each violation is found.
pub(super) fn is_found(runtime: &Runtime, endpoint: &str, shared: &Shared) {
    let began = shared.began;
    let all = runtime.block_on(async {
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let endpoint = endpoint.to_owned();
            callers.spawn(async move { caller(number, connect(endpoint).await, began).await });
        }
        let mut all = Histories::default();
        while let Some(seen) = callers.join_next().await {
            all.add(seen.unwrap());
        }
        all
    });
    for (checker, violations) in all.violations() {
        let planted = !matches!(checker, "weak sequences" | "what one client saw");
        assert_eq!(!violations.is_empty(), planted, "{checker}: {violations:?}");
    }
}

async fn caller(number: usize, client: Client, began: Instant) -> Histories {
    let mut careless = Careless { client, number, began, seen: Histories::default() };
    for round in 0..ROUNDS {
        careless.count().await;
        careless.write_first(round).await;
        careless.lock().await;
        careless.write_late(round).await;
    }
    careless.seen
}

struct Careless {
    client: Client,
    number: usize,
    began: Instant,
    seen: Histories,
}

impl Careless {
    async fn read(&self, key: &str) -> u64 {
        let entry = self.client.state("state").get(key).await.unwrap();
        entry.map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap())
    }

    async fn write(&self, key: &str, value: u64) {
        self.client.state("state").save((key, value.to_string())).await.unwrap();
    }

    async fn count(&mut self) {
        let asked = self.began.elapsed();
        let next = self.read("planted-number").await + 1;
        self.write("planted-number", next).await;
        let (name, number) = ("planted".to_owned(), i64::try_from(next).unwrap());
        let given = Given { name, number, asked, answered: self.began.elapsed() };
        self.seen.strong.push(given.clone());
        self.seen.tokens.push(given);
    }

    async fn write_first(&mut self, round: usize) {
        let key = format!("planted-first-{round}");
        if self.read(&key).await == 0 {
            self.write(&key, 1).await;
            self.seen.first.won.push(key);
        } else {
            self.seen.first.lost.push(key);
        }
    }

    async fn lock(&mut self) {
        if self.read("planted-lock").await != 0 {
            return;
        }
        self.write("planted-lock", 1).await;
        let from = self.began.elapsed();
        // Whoever looked before it was set is inside too.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (resource, owner) = ("planted".to_owned(), self.number.to_string());
        self.seen.held.push(Held { resource, owner, token: 0, from, until: self.began.elapsed() });
        self.write("planted-lock", 0).await;
    }

    /// One caller holds a token that was overtaken long ago, and nobody passes it along.
    async fn write_late(&mut self, round: usize) {
        let token = if self.number == 0 { 1 } else { round as u64 + 2 };
        let asked = self.began.elapsed();
        self.write("planted-fenced", token).await;
        let answered = self.began.elapsed();
        self.seen.fenced.push(Write { key: "planted".to_owned(), token, asked, answered });
    }
}
