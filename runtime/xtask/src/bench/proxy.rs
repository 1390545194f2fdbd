//! `bench proxy`: the scenarios, their rounds, and the report.

use anyhow::{Context, Result};

use super::backend::Backend;
use super::idle;
use super::load::Load;
use super::peer::{Certificate, Job, Peer, Running, Wire};
use super::{Options, median};
use crate::table::Table;
use crate::usage;

struct Scenario {
    name: &'static str,
    wire: Wire,
    routes: usize,
    endpoints: usize,
    access_log: bool,
    /// Connections of the load, and streams on each.
    load: (usize, usize),
    peers: &'static [Peer],
}

const EVERYONE: &[Peer] = &[Peer::Nginx, Peer::Haproxy, Peer::Envoy, Peer::Outrigger];
/// Debian's nginx speaks no HTTP/2 to backends, and its stream module is a package of its own.
const NOT_NGINX: &[Peer] = &[Peer::Haproxy, Peer::Envoy, Peer::Outrigger];

const HTTP1: Scenario = Scenario {
    name: "HTTP/1.1",
    wire: Wire::Http1,
    routes: 1,
    endpoints: 1,
    access_log: false,
    load: (64, 1),
    peers: EVERYONE,
};

const SCENARIOS: &[Scenario] = &[
    HTTP1,
    Scenario { name: "HTTP/1.1, access log", access_log: true, ..HTTP1 },
    Scenario { name: "h2c", wire: Wire::Http2, load: (8, 8), peers: NOT_NGINX, ..HTTP1 },
    Scenario { name: "L4", wire: Wire::Tcp, peers: NOT_NGINX, ..HTTP1 },
    Scenario { name: "TLS 1.3", wire: Wire::Tls, ..HTTP1 },
    Scenario { name: "10 routes", routes: 10, ..HTTP1 },
    Scenario { name: "10,000 routes", routes: 10_000, ..HTTP1 },
    Scenario { name: "10 endpoints", endpoints: 10, ..HTTP1 },
    Scenario { name: "1,000 endpoints", endpoints: 1_000, ..HTTP1 },
];

pub(super) fn run(options: &Options) -> Result<String> {
    let backend = Backend::start()?;
    let certificate = Certificate::create()?;
    let mut cost = Table::new(&[
        "scenario",
        "proxy",
        "CPU µs/request",
        "range",
        "system calls/request",
        "p50 ms",
        "p99 ms",
        "requests/s",
        "proxy core busy",
    ]);
    for scenario in SCENARIOS.iter().filter(|scenario| options.wants(scenario.name)) {
        eprintln!("{}", scenario.name);
        for (peer, rounds) in measure(scenario, options, &backend, &certificate)? {
            let row = rounds.row(scenario.name, peer);
            // Shown as it comes: a long run that breaks off has told something.
            eprintln!("  {}", row.join("  "));
            cost.row(row);
        }
    }
    let mut report = format!(
        "# Proxy\n\nProxy on one core, load and backend on the other; 128-byte answers; median of {} interleaved rounds \
         of {:?}. Nobody logs requests, which is Outrigger's default, except in the scenario that says so. Requests/s says something only where the proxy's \
         core is at least 95 % busy.\n\n{}",
        options.rounds(),
        options.round(),
        cost.render()
    );
    if options.wants("memory") {
        report += &format!(
            "\n## Memory\n\n{}",
            idle::run(&contestants(EVERYONE, options), &backend, &certificate)?
        );
    }
    Ok(report)
}

fn contestants(peers: &[Peer], options: &Options) -> Vec<Peer> {
    peers.iter().copied().filter(|peer| options.takes(*peer)).collect()
}

/// What the rounds of one contestant found.
#[derive(Default)]
pub(super) struct Rounds {
    pub(super) cpu_us: Vec<f64>,
    pub(super) p50: Vec<f64>,
    pub(super) p99: Vec<f64>,
    pub(super) per_second: Vec<f64>,
    busy: Vec<f64>,
    calls: f64,
}

impl Rounds {
    fn row(&self, scenario: &str, peer: Peer) -> [String; 9] {
        let low = self.cpu_us.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.cpu_us.iter().copied().fold(0.0, f64::max);
        [
            scenario.to_owned(),
            peer.to_string(),
            format!("{:.1}", median(&self.cpu_us)),
            format!("{low:.1}–{high:.1}"),
            format!("{:.2}", self.calls),
            format!("{:.2}", median(&self.p50)),
            format!("{:.2}", median(&self.p99)),
            format!("{:.0}", median(&self.per_second)),
            format!("{:.0} %", median(&self.busy) * 100.0),
        ]
    }
}

fn measure(
    scenario: &Scenario,
    options: &Options,
    backend: &Backend,
    certificate: &Certificate,
) -> Result<Vec<(Peer, Rounds)>> {
    let port = if scenario.wire == Wire::Http2 { backend.http2 } else { backend.http1 };
    let endpoints = endpoints(scenario.endpoints, port);
    let Scenario { wire, routes, access_log, .. } = *scenario;
    let job = Job { wire, endpoints, routes, certificate, access_log, filter: None };
    let mut running = Vec::new();
    for peer in contestants(scenario.peers, options) {
        let started = peer.start(&job)?;
        let load = load(scenario, &job, &started);
        load.run(std::time::Duration::from_secs(1)).with_context(|| format!("warming up {peer}"))?;
        running.push((started, load, Rounds::default()));
    }
    for _ in 0..options.rounds() {
        for (contestant, load, rounds) in &mut running {
            round(contestant.pid(), load, options, rounds)
                .with_context(|| format!("measuring {}", contestant.peer))?;
        }
    }
    for (contestant, load, rounds) in &mut running {
        rounds.calls = calls_per_request(contestant, load)?;
    }
    Ok(running.into_iter().map(|(contestant, _, rounds)| (contestant.peer, rounds)).collect())
}

/// One round of a load on the process `pid`.
pub(super) fn round(pid: u32, load: &Load, options: &Options, rounds: &mut Rounds) -> Result<()> {
    let before = usage::cpu_time(pid)?;
    let measured = load.run(options.round())?;
    let used = usage::cpu_time(pid)?.saturating_sub(before);
    let requests = measured.requests as f64;
    rounds.cpu_us.push(used.as_secs_f64() * 1e6 / requests);
    rounds.p50.push(measured.p50);
    rounds.p99.push(measured.p99);
    rounds.per_second.push(measured.per_second);
    // The generator's own clock: its start-up is not time the proxy could have used.
    rounds.busy.push(used.as_secs_f64() * measured.per_second / requests);
    Ok(())
}

fn calls_per_request(contestant: &Running, load: &Load) -> Result<f64> {
    let mut requests = 0;
    let calls = usage::system_calls(contestant.pid(), || {
        requests = load.run(std::time::Duration::from_secs(1))?.requests;
        Ok(())
    })?;
    Ok(calls as f64 / requests.max(1) as f64)
}

fn load(scenario: &Scenario, job: &Job<'_>, contestant: &Running) -> Load {
    let scheme = if scenario.wire == Wire::Tls { "https" } else { "http" };
    let (connections, streams) = scenario.load;
    let url = format!("{scheme}://127.0.0.1:{}{}", contestant.port, job.path());
    Load { url, http2: scenario.wire == Wire::Http2, connections, streams, fields: 0, rate: None }
}

/// Many addresses of one backend: all of 127.0.0.0/8 is loopback.
fn endpoints(count: usize, port: u16) -> Vec<String> {
    (0..count).map(|index| format!("127.0.{}.{}:{port}", index / 250, index % 250 + 1)).collect()
}
