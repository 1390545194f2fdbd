//! `cargo xtask bench`: Outrigger beside its peers, all in one run. The proxy has core 0 to itself; load and
//! backend share core 1; rounds of the contestants are interleaved, so that a noisy machine hits all alike.

mod api;
mod backend;
mod idle;
mod load;
mod peer;
mod proxy;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use peer::Peer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sidecar::choose_binary;
use crate::tools::{Need, Tools};
use crate::workspace::tools_dir;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The data plane beside nginx, HAProxy and Envoy.
    Proxy(Options),
    /// State through the sidecar beside a bare tonic handler; events; the sidecar at rest.
    Api(Options),
    /// Filters beside Envoy running the same modules, and what WebAssembly costs those who do not use it.
    Wasm(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Shorter rounds, fewer of them.
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Leaves Outrigger out: the peers alone.
    #[arg(long, conflicts_with = "program")]
    peers: bool,
    /// Measures this program in place of the release build: another profile of it, or an earlier one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Leaves the peers out: Outrigger alone.
    #[arg(skip)]
    alone: bool,
}

impl Options {
    fn rounds(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    fn round(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 4 })
    }

    fn takes(&self, peer: Peer) -> bool {
        if peer == Peer::Outrigger { !self.peers } else { !self.alone }
    }

    fn wants(&self, scenario: &str) -> bool {
        scenario.contains(&self.only)
    }
}

const PROXY_NEEDS: &[Need] = &[
    Need::Program("nginx"),
    Need::Program("haproxy"),
    Need::Program("wrk"),
    Need::Program("h2load"),
    Need::Program("strace"),
    Need::Program("openssl"),
    // Envoy comes from PyPI.
    Need::Python,
];
const WASM_NEEDS: &[Need] = &[
    Need::Program("nginx"),
    Need::Program("wrk"),
    Need::Program("h2load"),
    Need::Program("openssl"),
    // Envoy comes from PyPI.
    Need::Python,
    Need::Guests,
];
const API_NEEDS: &[Need] = &[Need::Program("redis-server"), Need::Program("etcd")];

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let (needs, options) = match bench {
        Bench::Proxy(options) => (PROXY_NEEDS, options),
        Bench::Api(options) => (API_NEEDS, options),
        Bench::Wasm(options) => (WASM_NEEDS, options),
    };
    ready(needs)?;
    if let Some(program) = &options.program {
        choose_binary(program)?;
    }
    let (name, report) = match bench {
        Bench::Proxy(options) => ("proxy", proxy::run(options)?),
        Bench::Api(options) => ("api", api::run(options)?),
        Bench::Wasm(options) => ("wasm", wasm::run(options)?),
    };
    let file = tools_dir("bench")?.join(format!("{name}.md"));
    std::fs::write(&file, &report).with_context(|| format!("writing {}", file.display()))?;
    println!("\n{report}\nwritten to {}", file.display());
    Ok(())
}

fn ready(needs: &[Need]) -> Result<()> {
    if let Some(why) = Tools::install(needs).lacks(needs) {
        bail!("the benchmark needs {why}");
    }
    raise_file_limit()
}

/// Installs what [`train`] needs.
pub(crate) fn ready_to_train() -> Result<()> {
    [PROXY_NEEDS, API_NEEDS, WASM_NEEDS].into_iter().try_for_each(ready)
}

/// Everyday work for the program in use: each protocol of the data plane, state on each store, filters. It need not be
/// measured well, so the machine may be busy.
pub(crate) fn train() -> Result<()> {
    let work =
        |only: &str| Options { quick: true, only: only.into(), peers: false, program: None, alone: true };
    for protocol in ["HTTP/1.1", "h2c", "L4", "TLS"] {
        proxy::run(&work(protocol))?;
    }
    api::run(&work("64 in flight"))?;
    wasm::run(&work("filter"))?;
    Ok(())
}

/// A command that runs `program` on one core.
fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// The core that belongs to the proxy, and the one that load and backend share.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// 10,000 idle connections need as many files, in us and (inherited) in every contestant.
fn raise_file_limit() -> Result<()> {
    let now = getrlimit(Resource::Nofile);
    let more = Rlimit { current: Some(65_536), maximum: Some(65_536) };
    if setrlimit(Resource::Nofile, more).is_err() {
        setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?;
    }
    Ok(())
}

/// The middle of the values; 0 without any.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
