//! Filters and Layotto's functions in Rust, Go and AssemblyScript, built from source against the published SDKs, each on a route of the real
//! sidecar; what they do is seen from outside. A filter that does nothing has to fail every case of every other.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail, ensure};

use super::peer;
use crate::cases::Cases;
use crate::process::{Server, free_port, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::wasm::{self, Language};
use crate::workspace::{compiled_modules, finish, output, tail, transcript};

/// A plugin of the suite: its name, which is its route's prefix; the module, whose name is its root id; its settings.
struct Plugin {
    name: &'static str,
    module: &'static str,
    settings: &'static str,
}

const fn plugin(name: &'static str, settings: &'static str) -> Plugin {
    Plugin { name, module: name, settings }
}

/// `SET` stands for the name of the set, so that metrics of one are not another's.
const PLUGINS: &[Plugin] = &[
    plugin("add_header", "config: hello"),
    plugin("auth", "config: services"),
    Plugin { module: "auth", ..plugin("auth_nowhere", "config: nowhere") },
    plugin("body", "config: -X-"),
    plugin("calls", "config: services"),
    plugin("config", "vm_config: for the vm, config: for the plugin"),
    Plugin { module: "config", ..plugin("config_empty", "") },
    plugin("deny", "config: \"no\""),
    plugin("foreign", ""),
    plugin("grpc_call", "config: grpc"),
    plugin("grpc_stream", "config: grpc"),
    plugin("jwt", "config: services swordfish"),
    plugin("metrics", "config: SET_filter"),
    plugin("postpone", "config: \"50\""),
    plugin("queue_receiver", "vm_id: receivers, config: services"),
    plugin("queue_sender", "vm_id: senders, config: receivers"),
    plugin("random", ""),
    plugin("route", "config: inside.example"),
    plugin("scan", "config: gold"),
    plugin("shared_data", ""),
    plugin("tcp", "config: SET_connections"),
    plugin("tick", "config: services"),
    plugin("trailers", "config: hello"),
];

/// The one that filters connections; the others filter requests.
const TCP: &str = "tcp";

/// Functions of Layotto's: modules and what they are granted. A set has both of them or neither.
const FUNCTIONS: [(&str, &str); 2] = [("book_shop", "invoke: [id_2]"), ("book_stock", "state: [state_demo]")];

/// Filters built in one way, as the report calls them.
struct Set {
    name: &'static str,
    modules: PathBuf,
}

impl Set {
    /// The plugins this set has a module of.
    fn plugins(&self) -> impl Iterator<Item = &'static Plugin> {
        PLUGINS.iter().filter(|plugin| self.module(plugin.module).is_file())
    }

    fn has(&self, plugin: &str) -> bool {
        self.plugins().any(|found| found.name == plugin)
    }

    fn has_functions(&self) -> bool {
        FUNCTIONS.iter().all(|(name, _)| self.module(name).is_file())
    }

    fn module(&self, name: &str) -> PathBuf {
        self.modules.join(format!("{name}.wasm"))
    }
}

/// The ports of one run.
struct Ports {
    web: u16,
    line: u16,
    functions: u16,
    echo: u16,
    services: u16,
    grpc: u16,
    lines: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        let [web, line, functions, echo] = [free_port()?, free_port()?, free_port()?, free_port()?];
        let [services, grpc, lines] = [free_port()?, free_port()?, free_port()?];
        Ok(Self { web, line, functions, echo, services, grpc, lines })
    }

    /// The sidecar's own of them.
    fn listening(&self, set: &Set) -> Vec<u16> {
        let line = set.has(TCP).then_some(self.line);
        let functions = set.has_functions().then_some(self.functions);
        [Some(self.web), line, functions].into_iter().flatten().collect()
    }

    fn backend(&self) -> Result<Server> {
        let ports = [self.echo, self.services, self.grpc, self.lines].map(|port| port.to_string());
        let mut backend = peer::python("wasm_backend.py", &ports.each_ref().map(String::as_str));
        Server::start("wasm-backend", &mut backend, None)?.wait_port(self.echo)
    }
}

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    for set in sets()? {
        // Compiles them all, which takes longer than a start may: what is compiled is kept.
        cases.case(&format!("{} filters are accepted", set.name), || {
            check(&config(&set, Modules::Own, &Ports::free()?)?).map(drop)
        });
        if set.has("config") {
            cases.case(&format!("{} filter that refuses its configuration", set.name), || refuses(&set));
        }
        let before = cases.passed + cases.failed.len();
        peer::client(cases, &mut Run::start(&set, Modules::Own)?.client())?;
        let told = cases.passed + cases.failed.len() - before;
        cases.case(&format!("planted: {} filters that do nothing", set.name), || {
            let run = Run::start(&set, Modules::Nothing)?;
            let report = transcript(&finish(run.client().env("PATIENCE", "1"))?);
            fails_throughout(&report, told)
        });
    }
    Ok(())
}

fn sets() -> Result<[Set; 4]> {
    let rust = wasm::filters(Language::Rust)?;
    let unknown = rust.join("unknown");
    let [go, assemblyscript] = [Language::Go, Language::AssemblyScript].map(wasm::filters);
    Ok([
        Set { name: "rust", modules: rust },
        Set { name: "rust_unknown", modules: unknown },
        Set { name: "go", modules: go? },
        Set { name: "assemblyscript", modules: assemblyscript? },
    ])
}

/// Which modules stand behind the names of the plugins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modules {
    Own,
    /// The one that does nothing.
    Nothing,
}

/// A backend and a sidecar with the filters of a set between it and the client.
struct Run<'a> {
    set: &'a Set,
    ports: Ports,
    sidecar: Sidecar,
    _backend: Server,
}

impl<'a> Run<'a> {
    fn start(set: &'a Set, modules: Modules) -> Result<Self> {
        let ports = Ports::free()?;
        let backend = ports.backend()?;
        let config = config(set, modules, &ports)?;
        let sidecar = Sidecar::start(&format!("wasm-{}", set.name), &config, &ports.listening(set))?;
        Ok(Self { set, ports, sidecar, _backend: backend })
    }

    fn client(&self) -> Command {
        let Ports { web, line, functions, services, .. } = self.ports;
        let ports = [web, line, functions, services, self.sidecar.admin, self.sidecar.api];
        let mut client = peer::python("wasm_client.py", &[self.set.name]);
        client.args(ports.map(|port| port.to_string())).args(self.set.plugins().map(|plugin| plugin.name));
        client.args(self.set.has_functions().then_some("functions"));
        client
    }
}

/// What `outrigger check` says to a configuration it accepts.
fn check(config: &str) -> Result<String> {
    let dir = scratch()?;
    let file = dir.path().join("outrigger.yaml");
    std::fs::write(&file, config)?;
    output(Command::new(release_binary()?).current_dir(dir.path()).arg("check").arg(file))
}

/// The program says which plugin does not want its configuration.
fn refuses(set: &Set) -> Result<()> {
    let config =
        config(set, Modules::Own, &Ports::free()?)?.replace("config: for the plugin", "config: refuse");
    let Err(error) = check(&config) else { bail!("it was accepted") };
    let said = error.to_string();
    ensure!(said.contains("wasm.plugins.config.") && said.contains("refused"), "{said}");
    Ok(())
}

/// Every case of the report failed, and there are as many as there should be.
pub(super) fn fails_throughout(report: &str, cases: usize) -> Result<()> {
    let passed: Vec<&str> = report.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    ensure!(passed.is_empty(), "these passed: {}", passed.join(", "));
    let failed = report.lines().filter(|line| line.starts_with("FAILED ")).count();
    ensure!(failed == cases, "{failed} cases failed of {cases}:\n{}", tail(report, 20));
    Ok(())
}

/// A route for each filter of requests, and a listener for the one of connections.
fn config(set: &Set, modules: Modules, ports: &Ports) -> Result<String> {
    let mut routes = String::new();
    let mut plugins = String::new();
    for plugin in set.plugins() {
        let name = plugin.name;
        plugins += &format!("    {name}: {{ {} }}\n", settings(set, plugin, modules));
        if name != TCP {
            routes += &format!(
                "  {name}: {{ match: [ {{ path: {{ prefix: /{name} }} }} ], filters: {{ wasm: [{name}] }}, \
                 backends: [ {{ cluster: echo }} ] }}\n"
            );
        }
    }
    let Ports { web, line, echo, services, grpc, lines, .. } = ports;
    let mut listeners = format!("  web: {{ address: \"127.0.0.1:{web}\", protocol: http }}\n");
    if set.has(TCP) {
        listeners += &format!(
            "  line: {{ address: \"127.0.0.1:{line}\", protocol: tcp, cluster: lines, wasm: [{TCP}] }}\n"
        );
    }
    let mut wasm = format!("  plugins:\n{plugins}");
    let mut rest = String::new();
    if set.has_functions() {
        let functions = ports.functions;
        let filters = if modules == Modules::Own { "filters: { wasm: [layotto] }, " } else { "" };
        listeners += &format!("  functions: {{ address: \"127.0.0.1:{functions}\", protocol: http }}\n");
        routes += &format!("  functions: {{ listeners: [functions], {filters}respond: {{}} }}\n");
        rest += "components: { state_demo: { type: state.in-memory } }\n";
        rest += &format!("apps: {{ id_2: {{ addresses: [\"127.0.0.1:{functions}\"] }} }}\n");
        wasm += "  layotto:\n";
        for (name, grants) in FUNCTIONS {
            let file = set.module(name);
            wasm += &format!("    {name}: {{ file: {}, grants: {{ {grants} }} }}\n", file.display());
        }
    }
    Ok(format!(
        "{rest}listeners:\n{listeners}routes:\n{routes}\
         clusters:\n  \
         echo: {{ endpoints: [\"127.0.0.1:{echo}\"] }}\n  \
         services: {{ endpoints: [\"127.0.0.1:{services}\"] }}\n  \
         grpc: {{ protocol: http2, endpoints: [\"127.0.0.1:{grpc}\"] }}\n  \
         lines: {{ endpoints: [\"127.0.0.1:{lines}\"] }}\n\
         wasm:\n  cache: {}\n{wasm}",
        compiled_modules()?.display()
    ))
}

fn settings(set: &Set, plugin: &Plugin, modules: Modules) -> String {
    let (module, own) = match modules {
        Modules::Own => (plugin.module, plugin.settings.replace("SET", set.name)),
        Modules::Nothing if plugin.name == TCP => ("nothing", format!("config: {TCP}")),
        // The AssemblyScript SDK cannot read an empty one.
        Modules::Nothing => ("nothing", "config: nothing".to_owned()),
    };
    format!("file: {}, root_id: {}, {own}", set.module(module).display(), plugin.module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_with_a_case_that_passed_or_one_too_few_is_noticed() {
        assert!(fails_throughout("FAILED a: x\nFAILED b: y\n", 2).is_ok());
        assert!(fails_throughout("FAILED a: x\nok b\n", 2).is_err());
        assert!(fails_throughout("FAILED a: x\n", 2).is_err());
    }
}
