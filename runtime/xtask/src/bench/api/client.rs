//! The client of `bench api`, run once per round, and what it and the servers' CPU clocks say.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::bench::{Options, median};
use crate::usage;

/// What the client prints: one line when it has warmed up, one at the end.
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
    #[serde(default)]
    published_us: f64,
}

/// What the rounds of one contestant found.
#[derive(Default)]
pub(super) struct Rounds {
    cpu_us: Vec<f64>,
    per_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    published: Vec<f64>,
}

impl Rounds {
    /// Runs the client once with `in_flight` callers. The CPU time of `servers` counts; the client's own without any.
    pub(super) fn round(
        &mut self,
        command: &mut Command,
        in_flight: usize,
        options: &Options,
        servers: &[u32],
    ) -> Result<()> {
        command.args(["--in-flight", &in_flight.to_string()]);
        command.args(["--seconds", &options.round().as_secs_f64().to_string()]);
        let mut client = command.stdout(Stdio::piped()).spawn()?;
        let own = [client.id()];
        let counted = if servers.is_empty() { &own } else { servers };
        let mut before = Duration::ZERO;
        for line in BufReader::new(client.stdout.take().context("the client's output")?).lines() {
            let line: Line = serde_json::from_str(&line?)?;
            if line.phase == "start" {
                before = cpu_time(counted)?;
            } else {
                self.ended(&line, cpu_time(counted)?.saturating_sub(before));
            }
        }
        let status = client.wait()?;
        ensure!(status.success(), "the client ended with {status}");
        Ok(())
    }

    fn ended(&mut self, line: &Line, used: Duration) {
        self.cpu_us.push(used.as_secs_f64() * 1e6 / line.operations as f64);
        self.per_second.push(line.operations as f64 / line.seconds);
        self.p50.push(line.p50_us);
        self.p99.push(line.p99_us);
        self.published.push(line.published_us);
    }

    /// Microseconds of CPU per operation.
    pub(super) fn cpu(&self) -> f64 {
        median(&self.cpu_us)
    }

    /// Operations per second.
    pub(super) fn rate(&self) -> f64 {
        median(&self.per_second)
    }

    /// Microseconds one operation takes.
    pub(super) fn p50(&self) -> f64 {
        median(&self.p50)
    }

    pub(super) fn p99(&self) -> f64 {
        median(&self.p99)
    }

    /// Microseconds until an event's publisher had its answer.
    pub(super) fn published(&self) -> f64 {
        median(&self.published)
    }
}

/// Of all of them together.
fn cpu_time(processes: &[u32]) -> Result<Duration> {
    processes.iter().map(|pid| usage::cpu_time(*pid)).sum()
}
