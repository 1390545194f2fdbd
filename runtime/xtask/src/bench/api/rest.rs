//! Start-up, memory and wake-ups of a sidecar nobody calls: with the embedded stores, and connected to Redis and etcd.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::backends;
use crate::bench::idle::wake_ups_per_second;
use crate::bench::{Options, median};
use crate::process::{accepts, free_port, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::table::Table;
use crate::usage;
use crate::workspace::run as run_command;

const STARTS: usize = 10;
/// Longer than between two keep-alives of etcd's client.
const WATCHED: Duration = Duration::from_secs(12);

pub(super) fn run(options: &Options, client: &Path) -> Result<String> {
    let mut table = Table::new(&["at rest", "ready ms (API accepts)", "idle RSS MiB", "wake-ups/s"]);
    let mut add = |row: [String; 4]| {
        eprintln!("  {}", row.join("  "));
        table.row(row);
    };
    for (name, measure) in [
        ("embedded stores", embedded as fn(&Path) -> Result<[String; 3]>),
        ("Redis and etcd connected", connected),
    ] {
        let scenario = format!("at rest, {name}");
        if options.wants(&scenario) {
            eprintln!("{scenario}");
            let [ready, memory, wake_ups] = measure(client)?;
            add([name.to_owned(), ready, memory, wake_ups]);
        }
    }
    Ok(format!("\n## At rest\n\n{}", table.render()))
}

fn embedded(_: &Path) -> Result<[String; 3]> {
    let dir = scratch()?;
    let config = format!(
        "components: {{ memory: {{ type: state.in-memory }}, \
         state: {{ type: state.sqlite, settings: {{ path: \"{}\" }} }} }}\n",
        dir.path().join("state.db").display()
    );
    let ready = ready(&config)?;
    let sidecar = start(&config)?;
    costs(ready, &sidecar)
}

/// One key written and read in each is what connects a sidecar to them.
fn connected(client: &Path) -> Result<[String; 3]> {
    let (redis, etcd) = (free_port()?, free_port()?);
    let _servers = [backends::redis(redis, "")?, backends::etcd(etcd)?];
    let config = format!(
        "components: {{ redis: {{ type: state.redis, settings: {{ redisHost: \"127.0.0.1:{redis}\" }} }}, \
         etcd: {{ type: state.etcd, settings: {{ endpoints: \"127.0.0.1:{etcd}\" }} }} }}\n",
    );
    let ready = ready(&config)?;
    let sidecar = start(&config)?;
    let endpoint = format!("http://127.0.0.1:{}", sidecar.api);
    run_command(Command::new(client).args(["touch", "--endpoint", &endpoint, "redis", "etcd"]))?;
    costs(ready, &sidecar)
}

fn start(config: &str) -> Result<Sidecar> {
    Sidecar::start_with("bench-rest", &mut Command::new(release_binary()?), config, &[])
}

/// The median of some starts, in milliseconds.
fn ready(config: &str) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let sidecar = start(config)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(accepts(sidecar.api), "not ready after all");
    }
    Ok(median(&times))
}

fn costs(ready: f64, sidecar: &Sidecar) -> Result<[String; 3]> {
    std::thread::sleep(Duration::from_secs(2));
    let pid = sidecar.server.pid();
    let wake_ups = wake_ups_per_second(pid, WATCHED)?;
    let memory = usage::resident_kib(pid)? as f64 / 1024.0;
    Ok([format!("{ready:.0}"), format!("{memory:.1}"), format!("{wake_ups:.1}")])
}
