//! Requests of twelve fields through a filter of the Rust SDK, and without it: the difference is what the filter costs.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::super::backend::Backend;
use super::super::load::Load;
use super::super::peer::{Certificate, Job, Peer, Running, Wire};
use super::super::proxy::{Rounds, round};
use super::super::{Options, median};
use super::{Goal, Limit};
use crate::table::Table;
use crate::wasm::{Language, filters};

const PEERS: [Peer; 2] = [Peer::Envoy, Peer::Outrigger];
/// No filter, one that is called and does nothing, and one that adds, replaces and removes a field both ways.
const MODULES: [Option<&str>; 3] = [None, Some("nothing"), Some(JUDGED)];
const JUDGED: &str = "add_header";
/// With the host.
const FIELDS: usize = 12;
const AT_MOST_US: f64 = 10.0;
const AT_MOST_OF_ENVOY: f64 = 0.7;

struct Contestant {
    module: Option<&'static str>,
    running: Running,
    load: Load,
    rounds: Rounds,
}

pub(super) fn run(options: &Options, goals: &mut Vec<Goal>) -> Result<String> {
    let backend = Backend::start()?;
    let certificate = Certificate::create()?;
    let modules = filters(Language::Rust)?;
    let mut contestants = Vec::new();
    for peer in PEERS.into_iter().filter(|peer| options.takes(*peer)) {
        for module in MODULES {
            let file = module.map(|module| modules.join(format!("{module}.wasm")));
            contestants.push(start(peer, module, file, &backend, &certificate)?);
        }
    }
    for _ in 0..options.rounds() {
        for contestant in &mut contestants {
            round(contestant.running.pid(), &contestant.load, options, &mut contestant.rounds)
                .with_context(|| format!("measuring {}", contestant.running.peer))?;
        }
    }
    judge(&contestants, goals);
    Ok(format!(
        "\n## A filter\n\nProxy on one core, load and backend on the other; requests of {FIELDS} fields, 128-byte \
         answers; median of {} interleaved rounds of {:?}. Envoy runs the same modules on V8. What a filter costs is \
         the difference to the rounds without it.\n\n{}",
        options.rounds(),
        options.round(),
        render(&contestants)
    ))
}

fn start(
    peer: Peer,
    module: Option<&'static str>,
    file: Option<PathBuf>,
    backend: &Backend,
    certificate: &Certificate,
) -> Result<Contestant> {
    let endpoints = vec![format!("127.0.0.1:{}", backend.http1)];
    let filter = file.as_deref();
    let job = Job { wire: Wire::Http1, endpoints, routes: 1, certificate, access_log: false, filter };
    let running = peer.start(&job)?;
    let url = format!("http://127.0.0.1:{}{}", running.port, job.path());
    let load = Load { url, http2: false, connections: 64, streams: 1, fields: FIELDS - 1, rate: None };
    load.run(std::time::Duration::from_secs(1)).with_context(|| format!("warming up {peer}"))?;
    Ok(Contestant { module, running, load, rounds: Rounds::default() })
}

/// What `module` adds to a request at `peer`: the middle of the differences of rounds that followed each other.
fn cost(contestants: &[Contestant], peer: Peer, module: &str) -> Option<f64> {
    let of = |module| contestants.iter().find(|one| one.running.peer == peer && one.module == module);
    let (with, without) = (&of(Some(module))?.rounds.cpu_us, &of(None)?.rounds.cpu_us);
    Some(median(&with.iter().zip(without).map(|(with, without)| with - without).collect::<Vec<_>>()))
}

fn judge(contestants: &[Contestant], goals: &mut Vec<Goal>) {
    let Some(ours) = cost(contestants, Peer::Outrigger, JUDGED) else { return };
    let goal = |what: &str, found, at_most, unit| Goal {
        what: what.to_owned(),
        found,
        limit: Limit::AtMost(at_most),
        unit,
    };
    goals.push(goal("a filter of headers, CPU per request", ours, AT_MOST_US, "µs"));
    if let Some(envoy) = cost(contestants, Peer::Envoy, JUDGED) {
        goals.push(goal("the same beside Envoy", ours / envoy, AT_MOST_OF_ENVOY, "times"));
    }
}

fn render(contestants: &[Contestant]) -> String {
    let mut table = Table::new(&[
        "filter",
        "proxy",
        "CPU µs/request",
        "of it the filter",
        "p50 ms",
        "p99 ms",
        "requests/s",
    ]);
    for Contestant { module, running, rounds, .. } in contestants {
        let cost = module.and_then(|module| cost(contestants, running.peer, module));
        table.row([
            module.unwrap_or("none").to_owned(),
            running.peer.to_string(),
            format!("{:.1}", median(&rounds.cpu_us)),
            cost.map_or_else(String::new, |cost| format!("{cost:.1}")),
            format!("{:.2}", median(&rounds.p50)),
            format!("{:.2}", median(&rounds.p99)),
            format!("{:.0}", median(&rounds.per_second)),
        ]);
    }
    table.render()
}
