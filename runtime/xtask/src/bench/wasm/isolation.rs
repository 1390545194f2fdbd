//! What spins, on a route of its own, beside requests at half of what the proxy can do: a filter, and a function. How they
//! fare, and how long what spins is borne.

mod scene;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::scene::Scene;
use super::super::backend::Backend;
use super::super::load::Measured;
use super::super::{Options, median};
use super::{Goal, Limit};
use crate::process::scratch;
use crate::table::Table;
use crate::wasm::functions::{Language, functions};

const AT_MOST: f64 = 2.0;
const AT_MOST_OVER_MS: f64 = 20.0;

/// Never comes back from a request.
const FILTER: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0)))"#;

/// What spins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spinner {
    Filter,
    Function,
}

impl Spinner {
    const ALL: [Self; 2] = [Self::Filter, Self::Function];

    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Function => "function",
        }
    }

    /// How long it may.
    fn deadline(self) -> Duration {
        match self {
            Self::Filter => Duration::from_millis(5),
            Self::Function => Duration::from_millis(200),
        }
    }

    /// Between two requests for it. A function is asked again at once: one is always at it.
    fn pause(self) -> Duration {
        match self {
            Self::Filter => Duration::from_millis(100),
            Self::Function => Duration::ZERO,
        }
    }

    /// What tells that it was cut off.
    fn status(self) -> &'static str {
        match self {
            Self::Filter => "HTTP/1.1 503",
            Self::Function => "HTTP/1.1 504",
        }
    }
}

/// What the rounds found of one that spins.
struct Found {
    spinner: Spinner,
    beside: Vec<Measured>,
    /// Over its deadline, of each time it was cut off.
    over: Vec<Duration>,
}

pub(super) fn run(options: &Options, goals: &mut Vec<Goal>) -> Result<String> {
    let backend = Backend::start()?;
    let dir = scratch()?;
    let filter = dir.path().join("spinner.wasm");
    std::fs::write(&filter, wat::parse_str(FILTER)?)?;
    let function = functions(Language::Rust)?.join("busy.wasm");
    let set = || Scene::set(&backend, &filter, &function);
    let rate = half(&set()?)?;
    let mut quiet = Vec::new();
    let mut found = Spinner::ALL.map(|spinner| Found { spinner, beside: Vec::new(), over: Vec::new() });
    for _ in 0..options.rounds() {
        // A fresh one each time: a filter that goes on failing is not called any more.
        let scene = set()?;
        quiet.push(scene.load(Some(rate)).run(options.round())?);
        for found in &mut found {
            let (beside, over) = scene.beside(found.spinner, |load| load.run(options.round()), rate)?;
            ensure!(!over.is_empty(), "no {} spun", found.spinner.name());
            found.beside.push(beside);
            found.over.extend(over);
        }
    }
    let before = p99(&quiet);
    for found in &found {
        judge(found, before, goals);
    }
    Ok(format!(
        "\n## Isolation\n\nEverything of the sidecar on one core, load and backend on the other; {rate} requests a \
         second, half of what was possible. The filter is asked for ten times a second, cut off after {:?} each time and \
         given up after some; the function is asked for without a pause, and cut off after {:?}.\n\n{}",
        Spinner::Filter.deadline(),
        Spinner::Function.deadline(),
        render(&quiet, &found)
    ))
}

fn judge(found: &Found, before: f64, goals: &mut Vec<Goal>) {
    let name = found.spinner.name();
    let mut goal = |what: String, found, at_most, unit| {
        goals.push(Goal { what, found, limit: Limit::AtMost(at_most), unit });
    };
    goal(format!("p99 beside a {name} that spins"), p99(&found.beside) / before, AT_MOST, "times");
    goal(format!("a {name} that spins, over its deadline"), found.worst_ms(), AT_MOST_OVER_MS, "ms");
}

impl Found {
    fn worst_ms(&self) -> f64 {
        self.over.iter().max().map_or(0.0, |over| over.as_secs_f64() * 1000.0)
    }
}

fn p99(measured: &[Measured]) -> f64 {
    median(&measured.iter().map(|one| one.p99).collect::<Vec<_>>())
}

fn render(quiet: &[Measured], found: &[Found]) -> String {
    let mut table =
        Table::new(&["requests of others", "p50 ms", "p99 ms", "cut off", "over its deadline, at most ms"]);
    let row = |name: String, measured: &[Measured]| {
        let p50 = median(&measured.iter().map(|one| one.p50).collect::<Vec<_>>());
        [name, format!("{p50:.3}"), format!("{:.3}", p99(measured))]
    };
    table.row(row("alone".to_owned(), quiet));
    for found in found {
        let cells = row(format!("beside a {} that spins", found.spinner.name()), &found.beside);
        table
            .row(cells.into_iter().chain([found.over.len().to_string(), format!("{:.1}", found.worst_ms())]));
    }
    table.render()
}

/// Half of the requests a second that the proxy can do.
fn half(scene: &Scene) -> Result<u32> {
    let most = scene.load(None).run(Duration::from_secs(2)).context("looking for what is possible")?;
    Ok((most.per_second / 2.0) as u32)
}
