//! Layotto's published SDKs, unmodified, and a program on stubs of our own: every API each has, on the embedded store,
//! Redis and etcd. One program, three configurations: only the components differ.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::backends;
use crate::cases::Cases;
use crate::process::{Scratch, Server, free_port, scratch};
use crate::sidecar::Sidecar;
use crate::tools;
use crate::workspace::{finish, output, root, tools_dir, transcript};

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
    let go = go_client()?;
    for (name, start) in STORES {
        let stores = start()?;
        let dir = scratch()?;
        let [app, http] = [free_port()?, free_port()?];
        let config = config(dir.path(), app, http, &stores.components)?;
        let sidecar = Sidecar::start(&format!("layotto-{name}"), &config, &[])?;
        let arguments = [sidecar.api, app, http].map(|port| port.to_string());
        for (language, mut client) in
            [("Node SDK", node()), ("Java SDK", java()), ("Go stubs", Command::new(&go))]
        {
            cases.case(&format!("the {language} on {name}"), || {
                output(limited(&mut client).args(&arguments)).map(drop)
            });
        }
        if *name == "sqlite" {
            planted(cases, &go, app, http)?;
        }
    }
    Ok(())
}

/// The same programs where something is missing must fail, or they check nothing.
fn planted(cases: &mut Cases, go: &Path, app: u16, http: u16) -> Result<()> {
    let memory = "  state: { type: state.in-memory }\n  lock: { type: lock.in-memory }\n";
    let dir = scratch()?;
    let sidecar = Sidecar::start("layotto-planted", &config(dir.path(), app, http, memory)?, &[])?;
    let arguments = [sidecar.api, app, http].map(|port| port.to_string());
    for (language, mut client) in [("Node SDK", node()), ("Java SDK", java()), ("Go stubs", Command::new(go))]
    {
        cases.case(&format!("planted: the {language} notices missing components"), || {
            let output = finish(limited(&mut client).args(&arguments))?;
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

fn clients() -> std::path::PathBuf {
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

/// The Go program, built from our .proto files.
fn go_client() -> Result<std::path::PathBuf> {
    let dir = tools_dir("go-layotto")?;
    let stubs = dir.join("layotto");
    std::fs::create_dir_all(&stubs)?;
    for file in ["go.mod", "go.sum", "main.go"] {
        std::fs::copy(clients().join("go").join(file), dir.join(file))
            .with_context(|| format!("copying {file}"))?;
    }
    let proto = root().join("proto");
    let mut protoc = Command::new(tools::python("python"));
    protoc.current_dir(&proto).args(["-m", "grpc_tools.protoc", "-I."]);
    for plugin in ["go", "go-grpc"] {
        let program = tools::go(&format!("protoc/protoc-gen-{plugin}"));
        protoc.arg(format!("--plugin=protoc-gen-{plugin}={}", program.display()));
        protoc.arg(format!("--{plugin}_out={}", stubs.display()));
        protoc.arg(format!("--{plugin}_opt=module=outrigger/check/layotto"));
    }
    for entry in std::fs::read_dir(proto.join("layotto"))? {
        let file = format!("layotto/{}", entry?.file_name().to_string_lossy());
        for plugin in ["go", "go-grpc"] {
            protoc.arg(format!("--{plugin}_opt=M{file}=outrigger/check/layotto"));
        }
        protoc.arg(file);
    }
    output(&mut protoc)?;
    output(Command::new("go").current_dir(&dir).args(["build", "-o", "client", "."]))?;
    Ok(dir.join("client"))
}

/// A client that hangs must not hang the suite.
fn limited(command: &mut Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.arg("120").arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    limited
}
