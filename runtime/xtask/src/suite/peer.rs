//! The programs of `runtime/xtask/peers`: clients and servers in other languages, run for a suite.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cases::Cases;
use crate::process::Server;
use crate::tools;
use crate::workspace::{find_program, finish, root, tail, transcript};

fn file(script: &str) -> PathBuf {
    root().join("runtime/xtask/peers").join(script)
}

/// Python with our packages, on a script of `peers/`.
pub(super) fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::python("python"));
    command.arg(file(script)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Node with our packages, on a script of `peers/`.
pub(super) fn node(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(find_program("node").unwrap_or_else(|| "node".into()));
    command.arg(file(script)).args(arguments).env("NODE_PATH", tools::node_path());
    command
}

/// Starts a Python server that listens at `port` once it is ready.
pub(super) fn python_server(script: &str, port: u16, more: &[&str]) -> Result<Server> {
    let port_text = port.to_string();
    let arguments = [&[port_text.as_str()], more].concat();
    let name = script.trim_end_matches(".py").replace('_', "-");
    Server::start(&name, &mut python(script, &arguments), None)?.wait_port(port)
}

/// Runs a client that prints `ok NAME`, `FAILED NAME: WHY` and `note TEXT`, one a line, and counts them.
pub(super) fn client(cases: &mut Cases, command: &mut Command) -> Result<()> {
    // A client that hangs must not hang the suite.
    let mut limited = Command::new("timeout");
    limited.arg("180").arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    let output = finish(&mut limited)?;
    let text = transcript(&output);
    let before = (cases.passed, cases.failed.len());
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("ok", name)) => cases.case(name, || Ok(())),
            Some(("FAILED", rest)) => {
                let (name, why) = rest.split_once(": ").unwrap_or((rest, ""));
                cases.fail(name, why);
            }
            Some(("note", text)) => cases.note(text),
            _ => {}
        }
    }
    if before == (cases.passed, cases.failed.len())
        || !output.status.success() && cases.failed.len() == before.1
    {
        let script = command.get_args().next().unwrap_or(OsStr::new("client")).to_string_lossy();
        bail!("{script}: {}\n{}", output.status, tail(&text, 20));
    }
    Ok(())
}

/// A config of one listener in front of one cluster: every suite's simplest case.
pub(super) fn one_route(listen: u16, backend: u16, listener: &str, cluster: &str) -> String {
    format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:{listen}\", {listener} }} }}\n\
         routes: {{ all: {{ match: [ {{ path: {{ prefix: / }} }} ], backends: [ {{ cluster: backend }} ] }} }}\n\
         clusters: {{ backend: {{ {cluster} endpoints: [\"127.0.0.1:{backend}\"] }} }}\n"
    )
}

/// A config that forwards bytes.
pub(super) fn forward(listen: u16, backend: u16) -> String {
    format!(
        "listeners: {{ db: {{ address: \"127.0.0.1:{listen}\", protocol: tcp, cluster: backend }} }}\n\
         clusters: {{ backend: {{ endpoints: [\"127.0.0.1:{backend}\"] }} }}\n"
    )
}
