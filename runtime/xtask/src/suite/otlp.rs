//! OpenTelemetry's own collector at the other end of the export: traces over three processes, and metrics.

use std::process::Command;

use anyhow::{Context, Result};

use super::peer;
use crate::cases::Cases;
use crate::process::{Server, free_port, scratch};
use crate::sidecar::Sidecar;
use crate::tools;
use crate::workspace::tools_dir;

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let (listen, backend, otlp) = (free_port()?, free_port()?, free_port()?);
    let _collector = collector(otlp)?;
    let _backend = peer::python_server("h11_server.py", backend, &[])?;
    let target = format!("otlp: {{ endpoint: \"http://127.0.0.1:{otlp}\" }}");
    let config = peer::one_route(listen, backend, "protocol: http", "")
        + &format!(
            "components: {{ state: {{ type: state.in-memory }} }}\n\
             telemetry: {{ traces: {{ {target} }}, metrics: {{ interval: 500ms, {target} }} }}\n"
        );
    let sidecar = Sidecar::start("otlp-outrigger", &config, &[listen])?;
    let log = tools_dir("logs")?.join("otelcol.log").display().to_string();
    peer::client(
        cases,
        &mut peer::python("trace_client.py", &[&sidecar.api.to_string(), &listen.to_string(), &log]),
    )
}

fn collector(port: u16) -> Result<Server> {
    let dir = scratch()?;
    let file = dir.path().join("otelcol.yaml");
    let config = format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"127.0.0.1:{port}\" }} }} }} }}\n\
         exporters: {{ debug: {{ verbosity: detailed }} }}\n\
         service:\n  telemetry: {{ metrics: {{ level: none }} }}\n  pipelines:\n    \
         traces: {{ receivers: [otlp], exporters: [debug] }}\n    \
         metrics: {{ receivers: [otlp], exporters: [debug] }}\n"
    );
    std::fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
    let mut command = Command::new(tools::go("otelcol/otelcol"));
    command.arg(format!("--config=file:{}", file.display()));
    Server::start("otelcol", &mut command, Some(dir))?.wait_port(port)
}
