//! `outrigger fn list`: what is deployed.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::client::{Sidecar, SidecarArgs};

/// Lists the functions of a running sidecar and their versions
#[derive(Args)]
pub(super) struct ListArgs {
    /// As the admin listener tells it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// A function as the admin listener tells it.
#[derive(Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    origin: String,
    triggers: Vec<String>,
    pub(super) versions: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    version: String,
    pub(super) state: String,
    #[serde(default)]
    reason: String,
    weight: u8,
    calls: u64,
    errors: u64,
    in_flight: u64,
    since: String,
}

#[derive(Deserialize)]
struct Functions {
    functions: Vec<Function>,
}

pub(super) fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let answer = Sidecar::new(args.sidecar)?.simply("GET", "/functions".to_owned())?;
    if args.json {
        println!("{}", String::from_utf8_lossy(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let Functions { functions } = serde_json::from_slice(&answer).context("reading the answer")?;
    print!("{}", table(&functions));
    Ok(ExitCode::SUCCESS)
}

/// One line a version; a refused one with its reason below.
pub(super) fn table(functions: &[Function]) -> String {
    let mut out = format!(
        "{:<20} {:<13} {:<10} {:>6} {:>10} {:>8} {:>9}  {:<8} {:<24}  {}\n",
        "NAME", "VERSION", "STATE", "WEIGHT", "CALLS", "ERRORS", "IN FLIGHT", "FROM", "SINCE", "CALLED FOR"
    );
    for Function { name, origin, triggers, versions } in functions {
        for it in versions {
            let Version { version, state, reason, weight, calls, errors, in_flight, since } = it;
            let triggers = if state == "current" { triggers.join(" ") } else { String::new() };
            let line = format!(
                "{name:<20} {version:<13} {state:<10} {weight:>5}% {calls:>10} {errors:>8} {in_flight:>9}  \
                 {origin:<8} {since:<24}  {triggers}"
            );
            out += &format!("{}\n", line.trim_end());
            if !reason.is_empty() {
                out += &format!("{:<20} {reason}\n", "");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refused_version_says_why() {
        let version = json!({
            "version": "abc", "state": "refused", "reason": "no component", "weight": 0, "calls": 0, "errors": 0,
            "inFlight": 0, "since": "now",
        });
        let function = json!({"name": "cart", "origin": "folder", "triggers": [], "versions": [version]});
        let functions = [serde_json::from_value(function).unwrap()];
        let lines: Vec<_> = table(&functions).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("cart ") && lines[1].contains(" refused "), "{}", lines[1]);
        assert_eq!(lines[2].trim(), "no component");
    }
}
