//! `outrigger check`: would this configuration start? No port is opened and no backend asked.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use outrigger_blocks::Blocks;
use outrigger_cluster::Context;
use outrigger_telemetry::Metrics;

use super::ConfigFrom;
use crate::{
    backends,
    config::{self, Problems},
    functions::Managed,
    listeners,
    traffic::Traffic,
    wasm,
};

/// Reads a configuration and reports every problem with its place
#[derive(Args)]
pub(super) struct CheckArgs {
    /// Files to check; the same as -c.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    from: ConfigFrom,
}

pub(super) fn run(mut args: CheckArgs) -> anyhow::Result<ExitCode> {
    args.from.config.append(&mut args.files);
    let loaded = config::load(&args.from.sources(), &backends::registry())?;
    // Only filters and functions run, once each and in here; clusters are told what to run on one day.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let metrics = Metrics::new();
    let nothing = Traffic::none(Context::new(metrics.clone(), runtime.handle().clone()));
    let ours = listeners::check(&loaded);
    let host = wasm::Host::new(Vec::new(), &metrics);
    let plugins = runtime.block_on(wasm::compile(&host, &loaded, &wasm::Plugins::default()));
    // Without its filters a route has a problem that is none of its own.
    let theirs = plugins
        .and_then(|plugins| Traffic::compile(&loaded, &plugins.modules(), &metrics, &nothing).map(drop));
    let blocks = Arc::new(Blocks::new(loaded.config.app.id.as_str(), &metrics));
    wasm::run_functions(&host, &loaded.config.wasm, &blocks);
    let context = Context::new(metrics.clone(), runtime.handle().clone());
    let functions = Managed::new(blocks, runtime.handle().clone(), context);
    let functions = runtime.block_on(functions.check(&loaded));
    let found = [ours, theirs, functions].into_iter().filter_map(Result::err).flat_map(|problems| problems.0);
    let problems = Problems::sorted(found.collect());
    if !problems.0.is_empty() {
        return Err(problems.into());
    }
    for note in &loaded.notes {
        println!("note: {note}");
    }
    println!("ok: {}", summary(&loaded.config));
    Ok(ExitCode::SUCCESS)
}

fn summary(config: &config::Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let counts = [
        count(config.components.len(), "component"),
        count(config.api.listeners.len(), "API listener"),
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.clusters.len(), "cluster"),
    ];
    counts.into_iter().filter(|count| !count.starts_with("0 ")).collect::<Vec<_>>().join(", ")
}
