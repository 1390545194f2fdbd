//! `bench wasm`: what a filter costs a request, here and in Envoy running the same module; what a function costs beside an
//! answer of the proxy's own, and what a second thread is worth to it; what either does to everybody else when it spins;
//! and what the engine costs those who do not use it. Goals are compared, not asserted.

mod filter;
mod functions;
mod isolation;
mod size;

use std::fmt;

use anyhow::Result;

use super::Options;
use crate::table::Table;

/// Something measured that was to stay within a limit.
struct Goal {
    what: String,
    found: f64,
    limit: Limit,
    unit: &'static str,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn holds(self, found: f64) -> bool {
        match self {
            Self::AtMost(most) => found <= most,
            Self::AtLeast(least) => found >= least,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

pub(super) fn run(options: &Options) -> Result<String> {
    let mut report = "# WebAssembly\n".to_owned();
    let mut goals = Vec::new();
    for (name, section) in [
        ("filter", filter::run as fn(&Options, &mut Vec<Goal>) -> Result<String>),
        ("functions", functions::run),
        ("isolation", isolation::run),
        ("size", size::run),
    ] {
        if options.wants(name) {
            let text = section(options, &mut goals)?;
            // Shown as it comes: a long run that breaks off has told something.
            eprintln!("{text}");
            report += &text;
        }
    }
    Ok(format!("{report}\n## Goals\n\n{}", verdicts(&goals)))
}

fn verdicts(goals: &[Goal]) -> String {
    let mut table = Table::new(&["what", "found", "goal", ""]);
    for Goal { what, found, limit, unit } in goals {
        let verdict = if limit.holds(*found) { "met" } else { "missed" };
        table.row([
            what.clone(),
            format!("{found:.2} {unit}"),
            format!("{limit} {unit}"),
            verdict.to_owned(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_up_to_its_limit() {
        let check = |found, limit, expected| {
            let goal = Goal { what: "x".into(), found, limit, unit: "MB" };
            assert!(verdicts(&[goal]).contains(expected));
        };
        check(3.0, Limit::AtMost(3.0), "| ≤ 3 MB | met");
        check(3.1, Limit::AtMost(3.0), "| ≤ 3 MB | missed");
        check(1.6, Limit::AtLeast(1.6), "| ≥ 1.6 MB | met");
        check(1.5, Limit::AtLeast(1.6), "| ≥ 1.6 MB | missed");
        check(f64::NAN, Limit::AtLeast(1.6), "| ≥ 1.6 MB | missed");
    }
}
