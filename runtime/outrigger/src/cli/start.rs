//! Layotto's command line: its verbs and flags, for scripts and images that start `layotto start -c config.json`.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    config::Sources,
    life::{self, Plan},
};

/// Runs the sidecar as Layotto's `start` does; its flags are accepted
#[derive(Args)]
pub(super) struct StartArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "RUNTIME_CONFIG", default_value = "configs/config.json")]
    config: PathBuf,
    #[command(flatten)]
    ignored: Ignored,
}

/// What Layotto takes for a mesh, or for a log that is configured elsewhere here.
#[derive(Args)]
struct Ignored {
    #[arg(long, hide = true)]
    service_cluster: Option<String>,
    #[arg(long, hide = true)]
    service_node: Option<String>,
    #[arg(long, hide = true)]
    service_type: Option<String>,
    #[arg(long, hide = true)]
    service_meta: Vec<String>,
    // Misspelled there.
    #[arg(long, hide = true)]
    service_lables: Vec<String>,
    #[arg(long, hide = true)]
    cluster_domain: Option<String>,
    #[arg(long, hide = true)]
    feature_gates: Option<String>,
    #[arg(long, hide = true)]
    pod_name: Option<String>,
    #[arg(long, hide = true)]
    pod_namespace: Option<String>,
    #[arg(long, hide = true)]
    pod_ip: Option<String>,
    #[arg(long, hide = true)]
    log_level: Option<String>,
    #[arg(long, hide = true)]
    logging_level: Option<String>,
    #[arg(long, hide = true)]
    logging_path: Option<String>,
    #[arg(long, hide = true)]
    drain_time_s: Option<String>,
}

impl Ignored {
    /// The flags given that change nothing.
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--service-cluster", self.service_cluster.is_some()),
            ("--service-node", self.service_node.is_some()),
            ("--service-type", self.service_type.is_some()),
            ("--service-meta", !self.service_meta.is_empty()),
            ("--service-lables", !self.service_lables.is_empty()),
            ("--cluster-domain", self.cluster_domain.is_some()),
            ("--feature-gates", self.feature_gates.is_some()),
            ("--pod-name", self.pod_name.is_some()),
            ("--pod-namespace", self.pod_namespace.is_some()),
            ("--pod-ip", self.pod_ip.is_some()),
            ("--log-level", self.log_level.is_some()),
            ("--logging-level", self.logging_level.is_some()),
            ("--logging-path", self.logging_path.is_some()),
            ("--drain-time-s", self.drain_time_s.is_some()),
        ];
        flags.into_iter().filter_map(|(flag, given)| given.then_some(flag)).collect()
    }
}

pub(super) fn run(args: StartArgs) -> anyhow::Result<ExitCode> {
    let ignored = args.ignored.given();
    if !ignored.is_empty() {
        eprintln!("outrigger: without effect: {}", ignored.join(", "));
    }
    let sources = Sources::new(vec![args.config], Vec::new());
    life::run(Plan { sources, watch: true, app: Vec::<OsString>::new() })
}

/// Layotto's `stop`: there is no file that says which process is meant.
pub(super) fn stop() -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "`stop` is not needed: send the process SIGTERM, and it finishes the calls under way and ends"
    )
}

/// Layotto's `reload`, which does nothing there either.
pub(super) fn reload() -> anyhow::Result<ExitCode> {
    anyhow::bail!("`reload` is not needed: a change of the file is applied by itself, or at once with SIGHUP")
}
