//! How fast the store is on this machine: `cargo run --release -p outrigger-sqlite --example bench_state [DIRECTORY]`.

#![expect(clippy::indexing_slicing, reason = "the remainder is below KEYS")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use outrigger_component_api::{GetOptions, Key, SetOptions, StateStore};
use outrigger_sqlite::{SqliteConfig, SqliteState};

const ROUND: Duration = Duration::from_secs(2);
const KEYS: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = match std::env::args_os().nth(1) {
        Some(directory) => tempfile::tempdir_in(PathBuf::from(directory))?,
        None => tempfile::tempdir()?,
    };
    let config = SqliteConfig { path: Some(directory.path().join("bench.db")), ..SqliteConfig::default() };
    let store: Arc<dyn StateStore> = Arc::new(SqliteState::new(config)?);
    let keys: Vec<Key> = (0..KEYS).map(|i| Key::new(format!("bench||key-{i}"))).collect::<Result<_, _>>()?;
    let value = Bytes::from(vec![b'x'; 128]);

    for callers in [1, 64, 512] {
        let (done, took) = measure(callers, |i| {
            let (store, key, value) = (&store, &keys[i % KEYS], value.clone());
            async move { store.set(key, value, SetOptions::default()).await.map(drop) }
        })
        .await?;
        report("set", callers, done, took);
    }
    let (done, took) = measure(1, |i| {
        let (store, key) = (&store, &keys[i % KEYS]);
        async move { store.get(key, GetOptions::default()).await.map(drop) }
    })
    .await?;
    report("get", 1, done, took);
    Ok(())
}

async fn measure<F>(
    callers: usize,
    call: impl Fn(usize) -> F,
) -> outrigger_component_api::Result<(usize, Duration)>
where
    F: Future<Output = outrigger_component_api::Result<()>>,
{
    let start = Instant::now();
    let caller = async |caller: usize| {
        let mut done = 0;
        while start.elapsed() < ROUND {
            call(caller + done * callers).await?;
            done += 1;
        }
        Ok(done)
    };
    let done: outrigger_component_api::Result<Vec<usize>> =
        join_all((0..callers).map(caller)).await.into_iter().collect();
    Ok((done?.into_iter().sum(), start.elapsed()))
}

fn report(what: &str, callers: usize, done: usize, took: Duration) {
    let each = took / u32::try_from(done.max(1)).unwrap_or(u32::MAX) * u32::try_from(callers).unwrap_or(1);
    println!("{what}, {callers:>3} at once: {:>9.0}/s, {each:?} each", done as f64 / took.as_secs_f64());
}
