//! What a second thread is worth to functions that compute and use memory.

use anyhow::{Context, Result};

use super::super::super::load::Load;
use super::super::super::{Options, median};
use super::super::{Goal, Limit};
use super::{Subject, config, section};
use crate::process::free_port;
use crate::sidecar::{Sidecar, release_binary};
use crate::table::Table;
use crate::wasm::functions::Language;

const THREADS: [usize; 2] = [1, 2];
const CONNECTIONS: usize = 16;

/// With what the second thread is worth at least.
const SUBJECTS: [(Subject, f64); 2] = [(busy("reused", "reuse: 100"), 1.6), (busy("fresh", ""), 1.0)];

const fn busy(name: &'static str, settings: &'static str) -> Subject {
    Subject { name, language: Language::Rust, module: "busy", path: "/work", settings }
}

/// A sidecar with as many threads for functions, and the requests a second each subject came to in it.
struct Crew {
    web: u16,
    _sidecar: Sidecar,
    per_second: [Vec<f64>; SUBJECTS.len()],
}

pub(super) fn run(options: &Options, goals: &mut Vec<Goal>) -> Result<String> {
    let [mut one, mut two] = [Crew::with(THREADS[0])?, Crew::with(THREADS[1])?];
    for _ in 0..options.rounds() {
        for crew in [&mut one, &mut two] {
            crew.round(options)?;
        }
    }
    let mut table = Table::new(&["instances", "one thread, requests/s", "two threads", "times"]);
    for (((subject, least), one), two) in SUBJECTS.iter().zip(&one.per_second).zip(&two.per_second) {
        let worth = median(&one.iter().zip(two).map(|(one, two)| two / one).collect::<Vec<_>>());
        let what = format!("two threads beside one, {} instances", subject.name);
        goals.push(Goal { what, found: worth, limit: Limit::AtLeast(*least), unit: "times" });
        let [one, two] = [one, two].map(|per_second| format!("{:.0}", median(per_second)));
        table.row([subject.name.to_owned(), one, two, format!("{worth:.2}")]);
    }
    Ok(format!(
        "\n## Threads of functions\n\nThe sidecar on all cores, the load on one of them; a function that fills and reads \
         256 KiB several times; instances are `reused` for 100 requests or `fresh` for each; {CONNECTIONS} connections; \
         median of {} interleaved rounds of {:?}.\n\n{}",
        options.rounds(),
        options.round(),
        table.render()
    ))
}

impl Crew {
    fn with(threads: usize) -> Result<Self> {
        let web = free_port()?;
        let config =
            config(web, &SUBJECTS.map(|(subject, _)| subject))? + &section(&format!("threads: {threads}"))?;
        let name = format!("bench-functions-{threads}");
        let mut command = std::process::Command::new(release_binary()?);
        let sidecar = Sidecar::start_with(&name, &mut command, &config, &[web])?;
        Ok(Self { web, _sidecar: sidecar, per_second: Default::default() })
    }

    fn round(&mut self, options: &Options) -> Result<()> {
        for ((subject, _), per_second) in SUBJECTS.iter().zip(&mut self.per_second) {
            let url = format!("http://127.0.0.1:{}/{}", self.web, subject.name);
            let load =
                Load { url, http2: false, connections: CONNECTIONS, streams: 1, fields: 0, rate: None };
            let measured =
                load.run(options.round()).with_context(|| format!("measuring {}", subject.name))?;
            per_second.push(measured.per_second);
        }
        Ok(())
    }
}
