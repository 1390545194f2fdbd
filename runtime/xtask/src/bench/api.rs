//! `bench api`: what a State call costs in a store, through a bare tonic handler, and through the sidecar; and what
//! the sidecar costs when nothing happens.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::idle::wake_ups_per_second;
use super::{LOAD_CORE, Options, PROXY_CORE, median, on_core};
use crate::process::{Server, accepts, free_port, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::table::Table;
use crate::usage;
use crate::workspace::{Profile, build};

pub(super) fn run(options: &Options) -> Result<String> {
    let bench = build("xtask", "bench_api", "bench", Profile::Release)?;
    let mut table = Table::new(&[
        "store",
        "operation",
        "in flight",
        "path",
        "p50 µs",
        "p99 µs",
        "CPU µs/operation",
        "operations/s",
    ]);
    for store in ["memory", "sqlite"] {
        let wanted: Vec<_> = SCENARIOS
            .iter()
            .map(|(operation, in_flight)| {
                (format!("{store} {operation}, {in_flight} in flight"), *operation, *in_flight)
            })
            .filter(|(name, ..)| options.wants(name))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let contest = Contest::start(&bench, store)?;
        for (name, operation, in_flight) in wanted {
            eprintln!("{name}");
            for (path, rounds) in contest.measure(options, operation, in_flight)? {
                let row = rounds.row(store, operation, in_flight, &path);
                // Shown as it comes: a long run that breaks off has told something.
                eprintln!("  {}", row.join("  "));
                table.row(row);
            }
        }
    }
    let mut report = format!(
        "# API\n\nState with 1,000 keys of 128 bytes; server on one core, client on the other; median of {} interleaved \
         rounds of {:?}. CPU is the server's; for the direct path it is the whole process's. The bare tonic handler \
         calls the same store from one thread.\n\n{}",
        options.rounds(),
        options.round(),
        table.render(),
    );
    if options.wants("at rest") {
        report += &format!("\n## At rest\n\n{}", at_rest()?);
    }
    Ok(report)
}

/// Operations, and how many of them are in flight.
const SCENARIOS: &[(&str, usize)] = &[("get", 1), ("get", 64), ("set", 1), ("set", 64)];

/// Both servers over a store of the same kind, ready to be measured in turn.
struct Contest {
    bench: PathBuf,
    store: &'static str,
    dir: tempfile::TempDir,
    control: Server,
    control_port: u16,
    sidecar: Sidecar,
}

impl Contest {
    fn start(bench: &Path, store: &'static str) -> Result<Self> {
        let dir = scratch()?;
        let port = free_port()?;
        let mut command = on_core(PROXY_CORE, bench);
        command.args(["control", "--store", store, "--tcp", &format!("127.0.0.1:{port}"), "--unix"]);
        command.arg(dir.path().join("control.sock")).arg("--path").arg(dir.path().join("control.db"));
        let control = Server::start("bench-control", &mut command, None)?.wait_port(port)?;
        let component = match store {
            "memory" => "type: state.in-memory".to_owned(),
            _ => format!(
                "type: state.sqlite, settings: {{ path: \"{}\" }}",
                dir.path().join("sidecar.db").display()
            ),
        };
        let config = format!("components: {{ state: {{ {component} }} }}\n");
        let mut command = on_core(PROXY_CORE, release_binary()?);
        let sidecar = Sidecar::start_with("bench-api-outrigger", &mut command, &config, &[])?;
        Ok(Self { bench: bench.to_owned(), store, dir, control, control_port: port, sidecar })
    }

    fn measure(&self, options: &Options, operation: &str, in_flight: usize) -> Result<Vec<(String, Rounds)>> {
        let tcp = |port: u16| Some(format!("http://127.0.0.1:{port}"));
        let unix = |path: &Path| Some(format!("unix:{}", path.display()));
        let (control, sidecar) = (Some(self.control.pid()), Some(self.sidecar.server.pid()));
        let paths = [
            ("direct", None, None),
            ("bare tonic, TCP", tcp(self.control_port), control),
            ("sidecar, TCP", tcp(self.sidecar.api), sidecar),
            ("bare tonic, UDS", unix(&self.dir.path().join("control.sock")), control),
            ("sidecar, UDS", unix(&self.sidecar.api_socket), sidecar),
        ];
        let mut measured: Vec<(String, Rounds)> =
            paths.iter().map(|(name, ..)| ((*name).to_owned(), Rounds::default())).collect();
        for _ in 0..options.rounds() {
            for ((name, endpoint, server), (_, rounds)) in paths.iter().zip(&mut measured) {
                let mut command = on_core(LOAD_CORE, &self.bench);
                match endpoint {
                    Some(endpoint) => command.args(["load", "--endpoint", endpoint]),
                    None => command
                        .args(["direct", "--store", self.store, "--path"])
                        .arg(self.dir.path().join("direct.db")),
                };
                command.args(["--operation", operation, "--in-flight", &in_flight.to_string()]);
                command.args(["--seconds", &options.round().as_secs_f64().to_string()]);
                round(&mut command, *server, rounds).with_context(|| format!("{name}, {operation}"))?;
            }
        }
        Ok(measured)
    }
}

#[derive(Deserialize)]
struct Line {
    phase: String,
    #[serde(default)]
    operations: u64,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    p50_us: f64,
    #[serde(default)]
    p99_us: f64,
}

/// Runs the client once. `server` is whose CPU time counts; the client's own without one.
fn round(command: &mut Command, server: Option<u32>, rounds: &mut Rounds) -> Result<()> {
    let mut client = command.stdout(Stdio::piped()).spawn()?;
    let pid = server.unwrap_or(client.id());
    let mut before = Duration::ZERO;
    for line in BufReader::new(client.stdout.take().context("the client's output")?).lines() {
        let line: Line = serde_json::from_str(&line?)?;
        if line.phase == "start" {
            before = usage::cpu_time(pid)?;
            continue;
        }
        let used = usage::cpu_time(pid)?.saturating_sub(before);
        rounds.cpu_us.push(used.as_secs_f64() * 1e6 / line.operations as f64);
        rounds.per_second.push(line.operations as f64 / line.seconds);
        rounds.p50.push(line.p50_us);
        rounds.p99.push(line.p99_us);
    }
    let status = client.wait()?;
    ensure!(status.success(), "the client ended with {status}");
    Ok(())
}

#[derive(Default)]
struct Rounds {
    cpu_us: Vec<f64>,
    per_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Rounds {
    fn row(&self, store: &str, operation: &str, in_flight: usize, path: &str) -> [String; 8] {
        [
            store.to_owned(),
            operation.to_owned(),
            in_flight.to_string(),
            path.to_owned(),
            format!("{:.1}", median(&self.p50)),
            format!("{:.1}", median(&self.p99)),
            format!("{:.1}", median(&self.cpu_us)),
            format!("{:.0}", median(&self.per_second)),
        ]
    }
}

/// Start-up, memory and wake-ups of a sidecar with both stores.
fn at_rest() -> Result<String> {
    const STARTS: usize = 10;
    let dir = scratch()?;
    let config = format!(
        "components: {{ memory: {{ type: state.in-memory }}, \
         state: {{ type: state.sqlite, settings: {{ path: \"{}\" }} }} }}\n",
        dir.path().join("state.db").display()
    );
    let binary = release_binary()?;
    let mut ready = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let sidecar = Sidecar::start_with("bench-ready", &mut Command::new(binary), &config, &[])?;
        ready.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(accepts(sidecar.api), "not ready after all");
    }
    let sidecar = Sidecar::start_with("bench-rest", &mut Command::new(binary), &config, &[])?;
    std::thread::sleep(Duration::from_secs(2));
    let pid = sidecar.server.pid();
    let wake_ups = wake_ups_per_second(pid)?;
    let mut table = Table::new(&["ready ms (API accepts)", "idle RSS MiB", "wake-ups/s"]);
    table.row([
        format!("{:.0}", median(&ready)),
        format!("{:.1}", usage::resident_kib(pid)? as f64 / 1024.0),
        format!("{wake_ups:.1}"),
    ]);
    Ok(table.render())
}
