//! Functions in Rust, JavaScript and Python, built from source with their authors' tools, in the real sidecar: the same
//! behaviour of each, seen from outside. A function that does nothing has to fail every case of every other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::wasm::fails_throughout;
use super::{layotto, peer};
use crate::cases::Cases;
use crate::process::{Scratch, Server, free_port, scratch, wait_until};
use crate::sidecar::{Sidecar, release_binary};
use crate::wasm::functions::{Language, functions};
use crate::workspace::{cargo, compiled_modules, finish, output, root, transcript};

/// What `counter` is granted, and what of it each line is for.
const GRANTS: [(&str, &str); 3] =
    [("state", "state: [store]"), ("pubsub", "pubsub: [bus/counted]"), ("secrets", "secrets: [vault/word]")];

/// Compiling CPython takes a dozen seconds, and more on a busy machine; what is compiled is kept.
const COMPILED: Duration = Duration::from_secs(600);

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let stubs = layotto::python_stubs()?;
    cases.case("the crate functions in Rust are written on", guest);
    let rust = functions(Language::Rust)?;
    let nothing = rust.join("nothing.wasm");
    cases.case("Rust: a function on nothing but wit-bindgen", || plain(&rust.join("plain.wasm")));
    for language in Language::ALL {
        let counter = functions(language)?.join("counter.wasm");
        for (block, _) in GRANTS {
            cases.case(&format!("{language}: refused without the grant for {block}"), || {
                refused(&counter, block)
            });
        }
        cases.case(&format!("{language}: accepted with all of them"), || accepted(&Setup::new(&counter)?));
        let before = cases.passed + cases.failed.len();
        let run = Run::start(language, &counter)?;
        peer::client(cases, &mut run.client(&stubs))?;
        drop(run);
        let told = cases.passed + cases.failed.len() - before;
        cases.case(&format!("planted: {language} cases on a function that does nothing"), || {
            let run = Run::start(language, &nothing)?;
            let report = transcript(&finish(run.client(&stubs).env("PATIENCE", "1"))?);
            fails_throughout(&report, told)
        });
        cases.case(&format!("{language}: a new function is built and called"), || template(language));
    }
    cases.case("planted: a function that wants nothing is not refused", || {
        ensure!(refused(&nothing, "state").is_err(), "it was");
        Ok(())
    });
    Ok(())
}

fn guest() -> Result<()> {
    let mut test = cargo(&["test", "--quiet", "--locked", "--manifest-path", "wasm/guest/Cargo.toml"]);
    output(test.arg("--target-dir").arg(root().join(".tools/wasm/target"))).map(drop)
}

fn plain(component: &Path) -> Result<()> {
    let web = free_port()?;
    let config = format!(
        "components: {{ store: {{ type: state.in-memory }} }}\n\
         functions: {{ plain: {{ file: \"{}\", grants: {{ state: [store] }} }} }}\n\
         listeners: {{ web: {{ address: \"127.0.0.1:{web}\", protocol: http }} }}\n\
         routes: {{ plain: {{ backends: [ {{ cluster: plain }} ] }} }}\n",
        component.display(),
    );
    let _sidecar = Sidecar::start("functions-plain", &config, &[web])?;
    for visits in 1..=2 {
        let answer = output(Command::new("curl").args(["-sS", &format!("http://127.0.0.1:{web}/garden")]))?;
        ensure!(answer == format!("/garden was visited {visits} times\n"), "it answered {answer}");
    }
    Ok(())
}

/// A configuration and the files it names.
struct Setup {
    config: String,
    web: u16,
    dir: Scratch,
}

impl Setup {
    fn new(counter: &Path) -> Result<Self> {
        let grants: Vec<&str> = GRANTS.iter().map(|(_, grant)| *grant).collect();
        Self::with(counter, &grants.join(", "))
    }

    fn with(counter: &Path, grants: &str) -> Result<Self> {
        let (dir, web) = (scratch()?, free_port()?);
        let vault = dir.path().join("vault.json");
        std::fs::write(&vault, r#"{ "word": "swordfish", "other": "herring" }"#)?;
        let config = format!(
            "app: {{ id: shop }}\n\
             components:\n  \
             store: {{ type: state.in-memory }}\n  \
             bus: {{ type: pubsub.in-memory }}\n  \
             vault: {{ type: secretstores.local.file, settings: {{ secretsFile: \"{vault}\" }} }}\n  \
             clock: {{ type: bindings.cron, settings: {{ schedule: \"@every 1s\" }} }}\n\
             wasm: {{ cache: \"{cache}\" }}\n\
             functions:\n  \
             counter:\n    \
             file: \"{counter}\"\n    \
             memory: 268435456\n    \
             deadline: 10s\n    \
             cpu: 5s\n    \
             grants: {{ {grants} }}\n    \
             events: {{ orders: {{ pubsub: bus, topic: orders }}, own: {{ pubsub: bus, topic: counted }} }}\n    \
             schedules: {{ often: {{ schedule: \"@every 1s\" }} }}\n    \
             bindings: [clock]\n\
             listeners: {{ web: {{ address: \"127.0.0.1:{web}\", protocol: http }} }}\n\
             routes:\n  \
             counter: {{ match: [ {{ path: {{ prefix: / }} }} ], backends: [ {{ cluster: counter }} ] }}\n\
             clusters:\n  \
             counter: {{ endpoints: [ {{ function: counter }} ] }}\n",
            vault = vault.display(),
            cache = compiled_modules()?.display(),
            counter = counter.display(),
        );
        Ok(Self { config, web, dir })
    }

    /// With the component of `wasi:http` before it.
    fn serving(mut self, served: &Path) -> Self {
        let function = format!(
            "functions:\n  served: {{ file: \"{}\", memory: 268435456, deadline: 10s, cpu: 5s }}\n",
            served.display()
        );
        self.config = self.config.replace("functions:\n", &function);
        let route = "routes:\n  served: { match: [ { path: { prefix: /served } } ], \
                     backends: [ { cluster: served } ] }\n";
        self.config = self.config.replace("routes:\n", route);
        self.config += "  served: { endpoints: [ { function: served } ] }\n";
        self
    }

    /// The program on it, with the admin listener's port; its output is in the log.
    fn start(&self, name: &str) -> Result<Server> {
        let (api, admin) = (free_port()?, free_port()?);
        let file = self.dir.path().join("outrigger.yaml");
        let head = format!(
            "api: {{ listeners: {{ main: {{ address: \"127.0.0.1:{api}\" }} }} }}\n\
             admin: {{ address: \"127.0.0.1:{admin}\" }}\n"
        );
        std::fs::write(&file, head + &self.config)?;
        let mut command = Command::new(release_binary()?);
        command.current_dir(&self.dir).arg("run").arg("-c").arg(&file);
        Server::start(name, &mut command, None)
    }
}

/// The sidecar does not start, and says which grant is missing.
fn refused(counter: &Path, block: &str) -> Result<()> {
    let grants: Vec<&str> =
        GRANTS.iter().filter(|(name, _)| *name != block).map(|(_, grant)| *grant).collect();
    let setup = Setup::with(counter, &grants.join(", "))?;
    let mut server = setup.start("functions-refused")?;
    let ended = starts_or_ends(&mut server)?;
    let said = server.log_tail();
    ensure!(ended, "it was accepted");
    ensure!(said.contains("counter") && said.contains(block) && said.contains("grant"), "{said}");
    Ok(())
}

/// Compiles it as well, so that later starts are quick.
fn accepted(setup: &Setup) -> Result<()> {
    let mut server = setup.start("functions-accepted")?;
    let ended = starts_or_ends(&mut server)?;
    if ended {
        bail!("it was not: {}", server.log_tail());
    }
    Ok(())
}

/// Whether it ended in place of starting. Its sockets are open before anybody knows.
fn starts_or_ends(server: &mut Server) -> Result<bool> {
    let mut ended = false;
    wait_until("the sidecar starts, or ends", COMPILED, || {
        ended = server.wait_end(Duration::ZERO).is_ok();
        ended || server.log_tail().contains("outrigger::app: ready")
    })?;
    Ok(ended)
}

/// A sidecar with the function behind every trigger there is.
struct Run {
    language: Language,
    setup: Setup,
    sidecar: Sidecar,
}

impl Run {
    fn start(language: Language, counter: &Path) -> Result<Self> {
        let mut setup = Setup::new(counter)?;
        if language == Language::JavaScript {
            let planted = counter.ends_with("nothing.wasm");
            let served = if planted { counter.to_owned() } else { functions(language)?.join("served.wasm") };
            setup = setup.serving(&served);
            accepted(&setup)?;
        }
        let name = format!("functions-{}", language.folder());
        let sidecar = Sidecar::start(&name, &setup.config, &[setup.web])?;
        Ok(Self { language, setup, sidecar })
    }

    fn client(&self, stubs: &Path) -> Command {
        let language = self.language.to_string().to_lowercase();
        let mut client = peer::python("functions_client.py", &[&language]);
        client.args([self.setup.web, self.sidecar.api, self.sidecar.admin].map(|port| port.to_string()));
        client.env("PYTHONPATH", stubs);
        client
    }
}

/// `outrigger fn new`, `outrigger fn build`, and the folder's own configuration: what a newcomer does.
fn template(language: Language) -> Result<()> {
    let (dir, binary) = (scratch()?, release_binary()?);
    let name = "hello";
    let tools = language.toolchain()?.path();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(tools.into_iter().chain(std::env::split_paths(&path)))?;
    output(Command::new(binary).current_dir(&dir).args(["fn", "new", "--lang", language.folder(), name]))?;
    let folder: PathBuf = dir.path().join(name);
    output(Command::new(binary).current_dir(&folder).args(["fn", "build"]).env("PATH", &path))?;
    let (api, admin) = (free_port()?, free_port()?);
    let mut command = Command::new(binary);
    command.current_dir(&folder).env("HOME", dir.path()).args(["run", "-c", "outrigger.yaml"]);
    command.arg("--set").arg(format!("api.listeners.main.address=127.0.0.1:{api}"));
    command.arg("--set").arg(format!("admin.address=127.0.0.1:{admin}"));
    let server = Server::start("functions-template", &mut command, None)?;
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-H", &format!("dapr-app-id: {name}")]).arg(format!("http://127.0.0.1:{api}/hello"));
    let (mut last, mut visits) = (String::new(), None);
    wait_until("the function answers", COMPILED, || {
        last = finish(&mut curl).map(|output| transcript(&output)).unwrap_or_default();
        visits = visits_of(&last);
        visits.is_some()
    })
    .with_context(|| format!("it answered {last}\n{}", server.log_tail()))?;
    let second = output(&mut curl)?;
    // A visit whose answer was late has been counted.
    ensure!(visits_of(&second) == visits.map(|visits| visits + 1), "first {last}, then {second}");
    Ok(())
}

/// How often it says that it was visited.
fn visits_of(answer: &str) -> Option<u32> {
    answer.split_once("/hello was visited ")?.1.split_once(" times")?.0.parse().ok()
}
