//! Load from wrk and h2load, and their reports read into numbers.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{LOAD_CORE, on_core};
use crate::process::scratch;
use crate::tools::program;
use crate::workspace::output;

/// What to send.
pub(super) struct Load {
    pub(super) url: String,
    pub(super) http2: bool,
    pub(super) connections: usize,
    /// Requests in flight on each connection; only HTTP/2 has more than one.
    pub(super) streams: usize,
    /// Fields each request has besides its host.
    pub(super) fields: usize,
    /// Requests a second, over all connections; without, as fast as they are answered.
    pub(super) rate: Option<u32>,
}

/// What the load generator saw. Latencies in milliseconds.
pub(super) struct Measured {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Load {
    /// Sends for `duration`; a request that fails is an error of the benchmark.
    pub(super) fn run(&self, duration: Duration) -> Result<Measured> {
        if self.http2 || self.rate.is_some() { self.h2load(duration) } else { self.wrk(duration) }
    }

    fn wrk(&self, duration: Duration) -> Result<Measured> {
        let mut command = on_core(LOAD_CORE, &program("wrk")?);
        command.args(["--latency", "-t1", &format!("-c{}", self.connections)]);
        command.arg(format!("-d{}s", duration.as_secs()));
        self.head(&mut command);
        command.arg(&self.url);
        read_wrk(&output(&mut command)?)
    }

    fn h2load(&self, duration: Duration) -> Result<Measured> {
        let dir = scratch()?;
        let log = dir.path().join("requests");
        let mut command: Command = on_core(LOAD_CORE, &program("h2load")?);
        command.args(["-t1", &format!("-c{}", self.connections), &format!("-m{}", self.streams)]);
        command.args([&format!("-D{}", duration.as_secs()), &format!("--log-file={}", log.display())]);
        if !self.http2 {
            command.arg("--h1");
        }
        if let Some(rate) = self.rate {
            command.arg(format!("--rps={}", (rate as usize).div_ceil(self.connections)));
        }
        self.head(&mut command);
        command.arg(&self.url);
        let report = output(&mut command)?;
        let times = std::fs::read_to_string(&log).context("h2load wrote no log")?;
        read_h2load(&report, &times)
    }

    fn head(&self, command: &mut Command) {
        for number in 0..self.fields {
            command.args(["-H", &format!("x-field-{number}: a value of some length, number {number}")]);
        }
    }
}

fn read_wrk(report: &str) -> Result<Measured> {
    let find = |start: &str| report.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    if let Some(errors) = find("Socket errors:").or_else(|| find("Non-2xx or 3xx responses:")) {
        bail!("wrk saw errors: {errors}");
    }
    let requests =
        report.lines().find_map(|line| line.split_once(" requests in ")).map(|(count, _)| count.trim());
    Ok(Measured {
        requests: requests.and_then(|count| count.parse().ok()).context("wrk counted no requests")?,
        per_second: find("Requests/sec:")
            .and_then(|rate| rate.parse().ok())
            .context("wrk printed no rate")?,
        p50: find("50%").and_then(milliseconds).context("wrk printed no median")?,
        p99: find("99%").and_then(milliseconds).context("wrk printed no p99")?,
    })
}

/// `120.00us`, `1.2ms`, `3.4s`.
fn milliseconds(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|value| value * factor)
}

/// The log has a line `START-µs STATUS DURATION-µs` for each request.
fn read_h2load(report: &str, log: &str) -> Result<Measured> {
    let rate = report
        .lines()
        .find_map(|line| line.strip_prefix("finished in ")?.split_once(", ")?.1.split(' ').next());
    let counts =
        report.lines().find_map(|line| line.strip_prefix("requests: ")).context("h2load counted nothing")?;
    let count = |name: &str| {
        let found = counts.split(", ").find_map(|part| part.strip_suffix(name));
        found.and_then(|count| count.trim().parse::<u64>().ok()).context("h2load's counts")
    };
    if count("failed")? + count("errored")? > 0 {
        bail!("h2load saw errors: {counts}");
    }
    let refused = report.lines().find_map(|line| line.strip_prefix("status codes: "));
    if refused.is_some_and(|codes| !codes.contains(" 0 4xx, 0 5xx")) {
        bail!("h2load saw refusals: {}", refused.unwrap_or_default());
    }
    let mut times: Vec<u64> =
        log.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
    times.sort_unstable();
    let quantile =
        |q: f64| times.get((times.len() as f64 * q) as usize).map_or(0.0, |us| *us as f64 / 1000.0);
    Ok(Measured {
        requests: count("succeeded")?,
        per_second: rate.and_then(|rate| rate.parse().ok()).context("h2load printed no rate")?,
        p50: quantile(0.5),
        p99: quantile(0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_wrk() {
        let report = "Running 2s test\n  Latency Distribution\n     50%    1.20ms\n     75%    2.00ms\n     90%    3.00ms\n     99%  650.00us\n  123456 requests in 2.00s, 30MB read\nRequests/sec:  61728.00\n";
        let measured = read_wrk(report).unwrap();
        assert_eq!((measured.requests, measured.p50, measured.p99), (123_456, 1.2, 0.65));
        assert!(read_wrk(&format!("{report}  Non-2xx or 3xx responses: 3\n")).is_err());
    }

    #[test]
    fn a_report_of_h2load() {
        let report = "finished in 2.00s, 500.00 req/s, 1MB/s\n\
            requests: 1000 total, 1010 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout\n\
            status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        let measured = read_h2load(report, "1\t200\t100\n2\t200\t300\n3\t200\t200\n").unwrap();
        assert_eq!((measured.requests, measured.p50, measured.p99), (1000, 0.2, 0.3));
        assert!(read_h2load(&report.replace("0 5xx", "7 5xx"), "").is_err());
        assert!(read_h2load(&report.replace("0 failed", "7 failed"), "").is_err());
    }
}
