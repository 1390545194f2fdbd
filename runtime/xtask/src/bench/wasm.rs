//! `bench wasm`: what a filter costs a request, here and in Envoy running the same module; what a filter that spins
//! does to everybody else; and what the engine costs those who do not use it. Goals are compared, not asserted.

mod filter;
mod isolation;
mod size;

use anyhow::Result;

use super::Options;
use crate::table::Table;

/// Something measured that was to stay under a limit.
struct Goal {
    what: String,
    found: f64,
    at_most: f64,
    unit: &'static str,
}

pub(super) fn run(options: &Options) -> Result<String> {
    let mut report = "# WebAssembly\n".to_owned();
    let mut goals = Vec::new();
    for (name, section) in [
        ("filter", filter::run as fn(&Options, &mut Vec<Goal>) -> Result<String>),
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
    for Goal { what, found, at_most, unit } in goals {
        let verdict = if found <= at_most { "met" } else { "missed" };
        table.row([
            what.clone(),
            format!("{found:.2} {unit}"),
            format!("≤ {at_most} {unit}"),
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
        let goal = |found| Goal { what: "x".into(), found, at_most: 3.0, unit: "MB" };
        assert!(verdicts(&[goal(3.0)]).contains("| met"));
        assert!(verdicts(&[goal(3.1)]).contains("| missed"));
    }
}
