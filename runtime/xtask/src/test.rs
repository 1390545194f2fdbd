//! `cargo xtask test`: installs what is missing, runs the suites, and says what ran, what did not and why.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::cases::{Cases, seconds};
use crate::suite::{ALL, Suite};
use crate::table::Table;
use crate::tools::{Need, Tools};

#[derive(Args)]
pub(crate) struct Options {
    /// Runs only these suites.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(ALL.iter().map(|suite| suite.name)))]
    suites: Vec<String>,
    /// Lists the suites and what they need.
    #[arg(long)]
    list: bool,
}

/// Runs the chosen suites. With `OUTRIGGER_TEST_REQUIRE=all`, a suite that cannot run counts as failed.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let chosen =
        |suite: &&Suite| options.suites.is_empty() || options.suites.iter().any(|name| name == suite.name);
    let suites: Vec<&Suite> = ALL.iter().filter(chosen).collect();
    if options.list {
        print!("{}", list(&suites));
        return Ok(ExitCode::SUCCESS);
    }
    let required = std::env::var("OUTRIGGER_TEST_REQUIRE").is_ok_and(|value| value == "all");
    let needs: Vec<Need> = suites.iter().flat_map(|suite| suite.needs).copied().collect();
    let tools = Tools::install(&needs);
    let mut report = Report::new();
    for suite in suites {
        println!("\n== {}: {}", suite.name, suite.about);
        let start = Instant::now();
        let mut cases = Cases::default();
        match tools.lacks(suite.needs) {
            Some(why) if required => cases.fail(suite.name, &format!("required, but {why}")),
            Some(why) => cases.skip(suite.name, &why),
            None => {
                if let Err(error) = (suite.run)(&mut cases) {
                    cases.fail(suite.name, &format!("{error:#}"));
                }
            }
        }
        if required {
            for (name, why) in std::mem::take(&mut cases.skipped) {
                cases.failed.push((name, format!("skipped, and every suite is required: {why}")));
            }
        }
        report.add(suite, &cases, start.elapsed());
    }
    Ok(report.finish())
}

fn list(suites: &[&Suite]) -> String {
    let mut table = Table::new(&["suite", "what it shows", "needs"]);
    for suite in suites {
        let needs: Vec<String> = suite.needs.iter().map(ToString::to_string).collect();
        table.row([suite.name.into(), suite.about.into(), needs.join(", ")]);
    }
    table.render()
}

struct Report {
    table: Table,
    passed: usize,
    failed: usize,
    skipped: usize,
    start: Instant,
}

impl Report {
    fn new() -> Self {
        let table = Table::new(&["suite", "result", "passed", "failed", "skipped", "time", "why / notes"]);
        Self { table, passed: 0, failed: 0, skipped: 0, start: Instant::now() }
    }

    fn add(&mut self, suite: &Suite, cases: &Cases, took: Duration) {
        self.passed += cases.passed;
        self.failed += cases.failed.len();
        self.skipped += cases.skipped.len();
        let result = match (cases.failed.is_empty(), cases.passed, cases.skipped.len()) {
            (false, _, _) => "FAILED",
            (true, 0, 1..) => "skipped",
            _ => "ran",
        };
        let reasons = cases.failed.iter().chain(&cases.skipped).map(|(name, why)| format!("{name}: {why}"));
        let why: Vec<String> = reasons.chain(cases.notes.iter().cloned()).map(|why| short(&why)).collect();
        let mut shown = why.iter().take(6).cloned().collect::<Vec<_>>().join("; ");
        if why.len() > 6 {
            shown.push_str(&format!("; and {} more", why.len() - 6));
        }
        let counts = [cases.passed, cases.failed.len(), cases.skipped.len()].map(|n| n.to_string());
        let [passed, failed, skipped] = counts;
        self.table.row([suite.name.into(), result.into(), passed, failed, skipped, seconds(took), shown]);
    }

    /// Prints the table and, last and alone on its line, the totals.
    fn finish(self) -> ExitCode {
        println!("\n{}", self.table.render());
        println!("took {}", seconds(self.start.elapsed()));
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// One line of at most 160 characters, fit for a table's cell.
fn short(text: &str) -> String {
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let line = line.replace('|', "/");
    if line.chars().count() <= 160 { line } else { line.chars().take(157).chain("...".chars()).collect() }
}
