//! Layotto's published SDKs, unmodified, and programs in Go and Python on stubs of our own: every API each has, on the
//! embedded store, Redis and etcd. One program, three configurations: only the components differ.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::backends;
use crate::cases::Cases;
use crate::process::{Scratch, Server, free_port, scratch};
use crate::sidecar::Sidecar;
use crate::tools;
use crate::workspace::{fetch, finish, output, root, tools_dir, transcript};

/// A configuration of the components that have a choice: its name, and what makes it.
const STORES: &[(&str, Start)] = &[("sqlite", embedded), ("redis", redis), ("etcd", etcd)];

type Start = fn() -> Result<Stores>;

/// The components of one case, and what must run while they are used.
struct Stores {
    components: String,
    _servers: Vec<Server>,
    _dir: Option<Scratch>,
}

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let programs = Programs::build()?;
    for (name, start) in STORES {
        let stores = start()?;
        let dir = scratch()?;
        let [app, http] = [free_port()?, free_port()?];
        let config = config(dir.path(), app, http, &stores.components)?;
        let sidecar = Sidecar::start(&format!("layotto-{name}"), &config, &[])?;
        let arguments = [sidecar.api, app, http].map(|port| port.to_string());
        for (language, client) in programs.all() {
            cases.case(&format!("the {language} on {name}"), || {
                output(limited(&client).args(&arguments)).map(drop)
            });
        }
        if *name == "sqlite" {
            planted(cases, &programs, app, http)?;
        }
    }
    Ok(())
}

/// The same programs where something is missing must fail, or they check nothing.
fn planted(cases: &mut Cases, programs: &Programs, app: u16, http: u16) -> Result<()> {
    let memory = "  state: { type: state.in-memory }\n  lock: { type: lock.in-memory }\n";
    let dir = scratch()?;
    let sidecar = Sidecar::start("layotto-planted", &config(dir.path(), app, http, memory)?, &[])?;
    let arguments = [sidecar.api, app, http].map(|port| port.to_string());
    for (language, client) in programs.all() {
        cases.case(&format!("planted: the {language} notices missing components"), || {
            let output = finish(limited(&client).args(&arguments))?;
            // Neither a time limit nor a program that is missing.
            let failed = output.status.code().is_some_and(|code| code != 0 && code < 124);
            ensure!(failed, "{}: {}", output.status, transcript(&output));
            Ok(())
        });
    }
    Ok(())
}

fn config(dir: &Path, app: u16, http: u16, stores: &str) -> Result<String> {
    let (files, vault) = (dir.join("files"), dir.join("vault.json"));
    std::fs::create_dir(&files)?;
    std::fs::write(&vault, r#"{ "db-password": "swordfish" }"#)?;
    Ok(format!(
        "app: {{ id: orders, port: {app}, protocol: grpc }}\n\
         apps: {{ echo: {{ addresses: [\"127.0.0.1:{http}\"] }} }}\n\
         components:\n  \
         hello: {{ type: hello.helloworld, settings: {{ hello: greeting }} }}\n  \
         vault: {{ type: secretstores.local.file, settings: {{ secretsFile: \"{vault}\" }} }}\n  \
         files: {{ type: file.local, settings: {{ rootPath: \"{files}\" }} }}\n  \
         web: {{ type: bindings.http, settings: {{ url: \"http://127.0.0.1:{http}\" }} }}\n{stores}",
        vault = vault.display(),
        files = files.display(),
    ))
}

/// One line a component, each with the same settings.
fn components(technology: &str, settings: &str, types: &[(&str, &str)]) -> String {
    let line = |(name, block): &(&str, &str)| {
        format!("  {name}: {{ type: {block}.{technology}, settings: {{ {settings} }} }}\n")
    };
    types.iter().map(line).collect()
}

const ALL: &[(&str, &str)] = &[
    ("state", "state"),
    ("lock", "lock"),
    ("ids", "sequencer"),
    ("settings", "configuration"),
    ("events", "pubsub"),
];

fn embedded() -> Result<Stores> {
    let dir = scratch()?;
    let settings = format!("path: \"{}\"", dir.path().join("outrigger.db").display());
    Ok(Stores { components: components("sqlite", &settings, ALL), _servers: Vec::new(), _dir: Some(dir) })
}

fn redis() -> Result<Stores> {
    let port = free_port()?;
    let server = backends::redis(port, "")?;
    let settings = format!("redisHost: \"127.0.0.1:{port}\"");
    Ok(Stores { components: components("redis", &settings, ALL), _servers: vec![server], _dir: None })
}

/// etcd has no pub/sub; the embedded one stands in.
fn etcd() -> Result<Stores> {
    let (port, dir) = (free_port()?, scratch()?);
    let server = backends::etcd(port)?;
    let (pubsub, others) = ALL.split_last().context("there are blocks")?;
    let path = format!("path: \"{}\"", dir.path().join("outrigger.db").display());
    let etcd = components("etcd", &format!("endpoints: \"127.0.0.1:{port}\""), others);
    Ok(Stores {
        components: etcd + &components("sqlite", &path, &[*pubsub]),
        _servers: vec![server],
        _dir: Some(dir),
    })
}

/// The programs on stubs of our own, made from our .proto files.
struct Programs {
    go: PathBuf,
    python_stubs: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        Ok(Self { go: go_client()?, python_stubs: python_stubs()? })
    }

    fn all(&self) -> [(&'static str, Command); 4] {
        [
            ("Node SDK", node()),
            ("Java SDK", java()),
            ("Go stubs", Command::new(&self.go)),
            ("Python stubs", python(&self.python_stubs)),
        ]
    }
}

fn clients() -> PathBuf {
    root().join("runtime/api/tests/clients")
}

fn node() -> Command {
    let mut command = Command::new("node");
    // The packages are looked for from the working directory as well.
    command.current_dir(root().join(".tools/node")).arg(clients().join("node/layotto.js"));
    command
}

fn java() -> Command {
    let mut command = Command::new("java");
    command.args(["-cp", &tools::class_path()]).arg(clients().join("java/Layotto.java"));
    command
}

fn python(stubs: &Path) -> Command {
    let mut command = Command::new(tools::python("python"));
    command.env("PYTHONPATH", stubs).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(clients().join("python/runtime.py"));
    command
}

/// What Python finds our messages and services with.
pub(super) fn python_stubs() -> Result<PathBuf> {
    let dir = tools_dir("python-layotto")?;
    let mut protoc = protoc();
    for plugin in ["python", "grpc_python"] {
        protoc.arg(format!("--{plugin}_out={}", dir.display()));
    }
    output(protoc.args(protos()?))?;
    Ok(dir)
}

fn protoc() -> Command {
    let mut protoc = Command::new(tools::python("python"));
    protoc.current_dir(root().join("proto")).args(["-m", "grpc_tools.protoc", "-I."]);
    protoc
}

/// The files of the dialect, as their imports name them.
fn protos() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(root().join("proto/layotto"))?;
    entries.map(|entry| Ok(format!("layotto/{}", entry?.file_name().to_string_lossy()))).collect()
}

/// The Go program.
fn go_client() -> Result<PathBuf> {
    let dir = tools_dir("go-layotto")?;
    let stubs = dir.join("layotto");
    std::fs::create_dir_all(&stubs)?;
    for file in ["go.mod", "go.sum", "main.go"] {
        std::fs::copy(clients().join("go").join(file), dir.join(file))
            .with_context(|| format!("copying {file}"))?;
    }
    let mut protoc = protoc();
    for plugin in ["go", "go-grpc"] {
        let program = tools::go(&format!("protoc/protoc-gen-{plugin}"));
        protoc.arg(format!("--plugin=protoc-gen-{plugin}={}", program.display()));
        protoc.arg(format!("--{plugin}_out={}", stubs.display()));
        protoc.arg(format!("--{plugin}_opt=module=outrigger/check/layotto"));
    }
    for file in protos()? {
        for plugin in ["go", "go-grpc"] {
            protoc.arg(format!("--{plugin}_opt=M{file}=outrigger/check/layotto"));
        }
        protoc.arg(file);
    }
    output(&mut protoc)?;
    fetch(Command::new("go").current_dir(&dir).args(["build", "-o", "client", "."]))?;
    Ok(dir.join("client"))
}

/// A client that hangs must not hang the suite.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.arg("300").arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    limited
}
