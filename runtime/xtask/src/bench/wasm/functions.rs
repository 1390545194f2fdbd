//! Functions: what one costs a request, and what a second thread is worth.

mod cost;
mod scaling;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::Options;
use super::Goal;
use crate::process::scratch;
use crate::sidecar::release_binary;
use crate::wasm::functions::{Language, functions};
use crate::workspace::{compiled_modules, output};

pub(super) fn run(options: &Options, goals: &mut Vec<Goal>) -> Result<String> {
    Ok(cost::run(options, goals)? + &scaling::run(options, goals)?)
}

/// A function, and the requests it gets: below `/NAME`, with a path of their own.
struct Subject {
    name: &'static str,
    language: Language,
    module: &'static str,
    /// What the function is asked for.
    path: &'static str,
    /// Settings besides its file.
    settings: &'static str,
}

impl Subject {
    fn entry(&self) -> Result<String> {
        let file = functions(self.language)?.join(self.module).with_extension("wasm");
        Ok(format!("  {}: {{ file: \"{}\", {} }}\n", self.name, file.display(), self.settings))
    }

    fn route(&self) -> String {
        let Self { name, path, .. } = self;
        format!(
            "  {name}: {{ match: [ {{ path: {{ prefix: /{name} }} }} ], rewrite: {{ path: \"{path}\" }}, \
             backends: [ {{ cluster: {name} }} ] }}\n"
        )
    }

    fn cluster(&self) -> String {
        format!("  {0}: {{ endpoints: [ {{ function: {0} }} ] }}\n", self.name)
    }
}

/// Each subject behind a route of its own, beside a route the proxy answers by itself.
fn config(web: u16, subjects: &[Subject]) -> Result<String> {
    let entries: String = subjects.iter().map(Subject::entry).collect::<Result<_>>()?;
    let routes: String = subjects.iter().map(Subject::route).collect();
    let clusters: String = subjects.iter().map(Subject::cluster).collect();
    Ok(format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:{web}\", protocol: http }} }}\n\
         components:\n  \
         store: {{ type: state.in-memory }}\n  \
         bus: {{ type: pubsub.in-memory }}\n  \
         vault: {{ type: secretstores.local.env }}\n\
         functions:\n{entries}\
         routes:\n  \
         native: {{ match: [ {{ path: {{ prefix: /native }} }} ], respond: {{ headers: {{ content-type: \
         text/plain; charset=utf-8 }} }} }}\n{routes}\
         clusters:\n{clusters}"
    ))
}

/// The section `wasm`, with what is compiled kept for the next run.
fn section(functions: &str) -> Result<String> {
    let cache = compiled_modules()?;
    Ok(format!("wasm: {{ cache: \"{}\", functions: {{ {functions} }} }}\n", cache.display()))
}

/// Compiles what is not yet: CPython takes longer than a start is given.
fn compile(config: &str) -> Result<()> {
    let dir = scratch()?;
    let file = dir.path().join("outrigger.yaml");
    std::fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
    check(&file)
}

fn check(file: &Path) -> Result<()> {
    output(Command::new(release_binary()?).arg("check").arg(file)).map(drop)
}
