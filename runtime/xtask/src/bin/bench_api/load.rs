//! The load: a number of callers, each with one call in flight, over a thousand keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use outrigger_component_api::{GetOptions, Key, SetOptions, StateStore};
use outrigger_proto::layotto::runtime_client::RuntimeClient;
use outrigger_proto::layotto::{GetStateRequest, SaveStateRequest, StateItem};
use tonic::codegen::Bytes;
use tonic::transport::{Channel, Endpoint};

const KEYS: usize = 1000;
const VALUE: Bytes = Bytes::from_static(&[b'x'; 128]);

#[derive(Args)]
pub(crate) struct Plan {
    #[arg(long)]
    operation: Operation,
    #[arg(long)]
    in_flight: usize,
    #[arg(long)]
    seconds: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Operation {
    Get,
    Set,
}

/// What is called.
pub(crate) trait Target: Clone + 'static {
    async fn get(&mut self, key: String) -> Result<Bytes>;
    async fn set(&mut self, key: String, value: Bytes) -> Result<()>;
}

/// Writes every key, warms up, measures, and prints the result as one line of JSON.
pub(crate) async fn run(plan: &Plan, target: impl Target) -> Result<()> {
    fill(&target).await?;
    let warm_up = Duration::from_secs_f64(plan.seconds.min(1.0));
    callers(plan, &target, warm_up).await?;
    // The process that counts our CPU time, and the server's, looks at these two lines.
    println!("{{\"phase\":\"start\"}}");
    let start = Instant::now();
    let mut times = callers(plan, &target, Duration::from_secs_f64(plan.seconds)).await?;
    let elapsed = start.elapsed();
    times.sort_unstable();
    println!(
        "{}",
        serde_json::json!({
            "phase": "end",
            "operations": times.len(),
            "seconds": elapsed.as_secs_f64(),
            "p50_us": microseconds(&times, 0.5),
            "p99_us": microseconds(&times, 0.99),
        })
    );
    Ok(())
}

/// A quantile of sorted nanoseconds, in microseconds; 0 without any.
pub(crate) fn microseconds(sorted: &[u64], quantile: f64) -> f64 {
    sorted.get((sorted.len() as f64 * quantile) as usize).map_or(0.0, |ns| *ns as f64 / 1000.0)
}

/// Writes and reads one key in each of these stores of a server.
pub(crate) async fn touch(endpoint: &str, stores: Vec<String>) -> Result<()> {
    let mut remote = Remote::connect(endpoint).await?;
    for store in stores {
        remote.store = store;
        remote.set(key(0), VALUE).await?;
        ensure!(remote.get(key(0)).await? == VALUE, "{} gave another value", remote.store);
    }
    Ok(())
}

/// Many at a time, as a store that syncs may take milliseconds over each.
async fn fill(target: &impl Target) -> Result<()> {
    const AT_ONCE: usize = 100;
    for first in (0..KEYS).step_by(AT_ONCE) {
        let keys = first..KEYS.min(first + AT_ONCE);
        let writes = keys.map(|index| {
            let mut target = target.clone();
            async move { target.set(key(index), VALUE).await }
        });
        futures_util::future::try_join_all(writes).await?;
    }
    Ok(())
}

async fn callers<T: Target>(plan: &Plan, target: &T, duration: Duration) -> Result<Vec<u64>> {
    let end = Instant::now() + duration;
    at_once(plan.in_flight, |caller| one_caller(target.clone(), plan.operation, caller, end)).await
}

/// What callers have seen, all together; each is a task of this thread.
pub(crate) async fn at_once<T: 'static, F: Future<Output = Result<Vec<T>>> + 'static>(
    callers: usize,
    call: impl Fn(usize) -> F,
) -> Result<Vec<T>> {
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..callers).map(|caller| local.spawn_local(call(caller))).collect();
    local
        .run_until(async {
            let mut times = Vec::new();
            for task in tasks {
                times.extend(task.await??);
            }
            Ok(times)
        })
        .await
}

async fn one_caller(
    mut target: impl Target,
    operation: Operation,
    caller: usize,
    end: Instant,
) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    let mut index = caller;
    loop {
        index = (index + 7919) % KEYS;
        let start = Instant::now();
        if start >= end {
            return Ok(times);
        }
        match operation {
            Operation::Get => ensure!(target.get(key(index)).await? == VALUE, "another value came back"),
            Operation::Set => target.set(key(index), VALUE).await?,
        }
        times.push(u64::try_from(start.elapsed().as_nanos())?);
    }
}

fn key(index: usize) -> String {
    format!("key-{index}")
}

/// A server of the Layotto dialect.
#[derive(Clone)]
pub(crate) struct Remote {
    client: RuntimeClient<Channel>,
    store: String,
}

impl Remote {
    pub(crate) async fn connect(endpoint: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(endpoint.to_owned())?.tcp_nodelay(true).connect().await;
        let client = RuntimeClient::new(channel.with_context(|| format!("connecting to {endpoint}"))?);
        Ok(Self { client, store: "state".to_owned() })
    }
}

impl Target for Remote {
    async fn get(&mut self, key: String) -> Result<Bytes> {
        let request = GetStateRequest { store_name: self.store.clone(), key, ..Default::default() };
        Ok(self.client.get_state(request).await?.into_inner().data)
    }

    async fn set(&mut self, key: String, value: Bytes) -> Result<()> {
        let states = vec![StateItem { key, value, ..Default::default() }];
        self.client.save_state(SaveStateRequest { store_name: self.store.clone(), states }).await?;
        Ok(())
    }
}

/// A store without a wire.
#[derive(Clone)]
pub(crate) struct Direct(Arc<dyn StateStore>);

impl Direct {
    pub(crate) fn new(store: Arc<dyn StateStore>) -> Self {
        Self(store)
    }
}

impl Target for Direct {
    async fn get(&mut self, key: String) -> Result<Bytes> {
        let entry = self.0.get(&Key::new(key)?, GetOptions::default()).await?;
        Ok(entry.context("no such key")?.value)
    }

    async fn set(&mut self, key: String, value: Bytes) -> Result<()> {
        self.0.set(&Key::new(key)?, value, SetOptions::default()).await?;
        Ok(())
    }
}
