//! Requests that a function answers, beside the same answer of the proxy's own: the difference is what the function costs.

use anyhow::{Context, Result};

use super::super::super::load::Load;
use super::super::super::proxy::{Rounds, round};
use super::super::super::{Options, PROXY_CORE, median, on_core};
use super::super::{Goal, Limit};
use super::{Subject, compile, config, section};
use crate::process::free_port;
use crate::sidecar::{Sidecar, release_binary};
use crate::table::Table;
use crate::wasm::functions::Language;

/// Enough that nobody waits for the load, and one: what a caller waits by itself.
const CONNECTIONS: [usize; 2] = [16, 1];
const AT_MOST_US: f64 = 30.0;
/// What the proxy answers by itself, and who is compared with it.
const NATIVE: &str = "native";
const JUDGED: &str = "rust";

/// What QuickJS and CPython need.
const LARGE: &str = "memory: 268435456, grants: { state: [store], pubsub: [bus], secrets: [vault] }";
const LARGE_REUSED: &str =
    "memory: 268435456, reuse: 100, grants: { state: [store], pubsub: [bus], secrets: [vault] }";

const SUBJECTS: &[Subject] = &[
    rust(JUDGED, "nothing", "/", ""),
    rust("rust-reused", "nothing", "/", "reuse: 100"),
    rust("rust-echo", "counter", "/echo", LARGE),
    Subject { name: "js-echo", language: Language::JavaScript, ..rust("", "counter", "/echo", LARGE) },
    Subject {
        name: "js-echo-reused",
        language: Language::JavaScript,
        ..rust("", "counter", "/echo", LARGE_REUSED)
    },
    Subject { name: "python-echo", language: Language::Python, ..rust("", "counter", "/echo", LARGE) },
    Subject {
        name: "python-echo-reused",
        language: Language::Python,
        ..rust("", "counter", "/echo", LARGE_REUSED)
    },
];

const fn rust(
    name: &'static str,
    module: &'static str,
    path: &'static str,
    settings: &'static str,
) -> Subject {
    Subject { name, language: Language::Rust, module, path, settings }
}

/// What the rounds found, under load and one at a time.
struct Contestant {
    name: &'static str,
    loads: [(Load, Rounds); 2],
}

pub(super) fn run(options: &Options, goals: &mut Vec<Goal>) -> Result<String> {
    let web = free_port()?;
    let config = config(web, SUBJECTS)? + &section("")?;
    compile(&config)?;
    let mut command = on_core(PROXY_CORE, release_binary()?);
    let sidecar = Sidecar::start_with("bench-functions", &mut command, &config, &[web])?;
    let names = std::iter::once(NATIVE).chain(SUBJECTS.iter().map(|subject| subject.name));
    let mut contestants: Vec<Contestant> = names.map(|name| Contestant::new(name, web)).collect();
    for contestant in &contestants {
        contestant.warm_up()?;
    }
    for _ in 0..options.rounds() {
        for Contestant { name, loads } in &mut contestants {
            for (load, rounds) in loads {
                round(sidecar.server.pid(), load, options, rounds)
                    .with_context(|| format!("measuring {name}"))?;
            }
        }
    }
    judge(&contestants, goals);
    Ok(format!(
        "\n## A function\n\nEverything of the sidecar on one core, load on the other; an instance for each request, \
         except where it is reused for 100; median of {} interleaved rounds of {:?}. `{NATIVE}` is a route that answers \
         by itself, `{JUDGED}` a function that gives the same answer, and `echo` one that answers with the request as \
         JSON. CPU with {} connections, p50 with {}.\n\n{}",
        options.rounds(),
        options.round(),
        CONNECTIONS[0],
        CONNECTIONS[1],
        render(&contestants)
    ))
}

impl Contestant {
    fn new(name: &'static str, web: u16) -> Self {
        let loads = CONNECTIONS.map(|connections| {
            let url = format!("http://127.0.0.1:{web}/{name}");
            (Load { url, http2: false, connections, streams: 1, fields: 0, rate: None }, Rounds::default())
        });
        Self { name, loads }
    }

    fn warm_up(&self) -> Result<()> {
        let (load, _) = &self.loads[0];
        let warmed = load.run(std::time::Duration::from_secs(1));
        warmed.map(drop).with_context(|| format!("warming up {}", self.name))
    }

    fn cpu_us(&self) -> &[f64] {
        &self.loads[0].1.cpu_us
    }

    /// In microseconds.
    fn p50(&self) -> Vec<f64> {
        self.loads[1].1.p50.iter().map(|ms| ms * 1000.0).collect()
    }
}

/// The middle of the differences of rounds that followed each other.
fn over(mine: &[f64], native: &[f64]) -> f64 {
    median(&mine.iter().zip(native).map(|(mine, native)| mine - native).collect::<Vec<_>>())
}

fn judge(contestants: &[Contestant], goals: &mut Vec<Goal>) {
    let of = |name| contestants.iter().find(|one| one.name == name);
    let (Some(mine), Some(native)) = (of(JUDGED), of(NATIVE)) else { return };
    let mut goal = |what: &str, found| {
        goals.push(Goal { what: what.to_owned(), found, limit: Limit::AtMost(AT_MOST_US), unit: "µs" });
    };
    goal("a function in a fresh instance, CPU over a native answer", over(mine.cpu_us(), native.cpu_us()));
    goal("the same, p50 of one at a time", over(&mine.p50(), &native.p50()));
}

fn render(contestants: &[Contestant]) -> String {
    let mut table =
        Table::new(&["answered by", "CPU µs/request", "over native", "p50 µs", "over native", "requests/s"]);
    let native = contestants.iter().find(|one| one.name == NATIVE);
    for one in contestants {
        let over = |mine: &[f64], native: Option<Vec<f64>>| {
            native.map_or_else(String::new, |native| format!("{:.1}", over(mine, &native)))
        };
        let native = native.filter(|native| native.name != one.name);
        table.row([
            one.name.to_owned(),
            format!("{:.1}", median(one.cpu_us())),
            over(one.cpu_us(), native.map(|native| native.cpu_us().to_vec())),
            format!("{:.0}", median(&one.p50())),
            over(&one.p50(), native.map(Contestant::p50)),
            format!("{:.0}", median(&one.loads[0].1.per_second)),
        ]);
    }
    table.render()
}
