//! What suites and benchmarks need beyond Rust, and how it is installed: Debian packages for servers, and
//! pinned versions from PyPI, npm, Maven Central and the Go proxy into `.tools/`.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{fetch, find_program, output, root, tools_dir};

/// One thing a suite cannot run without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A program from a Debian package.
    Program(&'static str),
    /// The Python environment in `.tools/venv`.
    Python,
    /// The npm packages in `.tools/node`.
    Node,
    /// The jars in `.tools/java`.
    Java,
    /// The Go programs in `.tools/go`.
    Go,
    /// The toolchains of `wasm/filters`.
    Guests,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => f.write_str(name),
            Self::Python => f.write_str("python packages"),
            Self::Node => f.write_str("npm packages"),
            Self::Java => f.write_str("jars"),
            Self::Go => f.write_str("go programs"),
            Self::Guests => f.write_str("wasm toolchains"),
        }
    }
}

/// Programs and the Debian package each comes from.
const DEBIAN: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("etcd", "etcd-server"),
    ("mariadbd", "mariadb-server"),
    ("mariadb", "mariadb-client"),
    ("strace", "strace"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("etcd", "etcd-server"),
];

const REQUIREMENTS: &str = include_str!("tools/requirements.txt");
const PACKAGE_JSON: &str = include_str!("tools/package.json");
const POM: &str = include_str!("tools/pom.xml");

/// Go programs: the directory they go to (their own names are "client" and "server") and the pinned module.
const GO: &[(&str, &str)] = &[
    ("grpc-interop", "google.golang.org/grpc/interop/client@v1.85.0"),
    ("grpc-interop", "google.golang.org/grpc/interop/server@v1.85.0"),
    ("h2spec", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"),
    ("protoc", "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11"),
    ("protoc", "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1"),
];

/// OpenTelemetry's collector is put together from its parts, as its own builder does it.
const COLLECTOR: [(&str, &str); 2] = [
    ("main.go", include_str!("../peers/otelcol/main.go")),
    ("go.mod", include_str!("../peers/otelcol/go.mod")),
];

/// What is installed, and for each thing that is not, why.
pub(crate) struct Tools {
    missing: Vec<(Need, String)>,
}

impl Tools {
    /// Installs what `needs` name and is not there yet.
    pub(crate) fn install(needs: &[Need]) -> Self {
        let mut missing = install_debian(needs);
        for (need, install) in [
            (Need::Python, install_python as fn() -> Result<()>),
            (Need::Node, install_node),
            (Need::Java, install_java),
            (Need::Go, install_go),
            (Need::Guests, crate::wasm::install),
        ] {
            if needs.contains(&need)
                && let Err(error) = install()
            {
                missing.push((need, format!("{error:#}")));
            }
        }
        Self { missing }
    }

    /// Why the first of `needs` that is missing is missing.
    pub(crate) fn lacks(&self, needs: &[Need]) -> Option<String> {
        let (need, why) = self.missing.iter().find(|(need, _)| needs.contains(need))?;
        Some(format!("{need}: {why}"))
    }
}

/// A program from the Python environment.
pub(crate) fn python(name: &str) -> PathBuf {
    root().join(".tools/venv/bin").join(name)
}

/// A Go program: `grpc-interop/client`, `grpc-interop/server`, `h2spec/h2spec`, `otelcol/otelcol`.
pub(crate) fn go(name: &str) -> PathBuf {
    root().join(".tools/go").join(name)
}

/// What Java finds our jars with.
pub(crate) fn class_path() -> String {
    format!("{}/*", root().join(".tools/java/lib").display())
}

/// The directory Node finds our packages from.
pub(crate) fn node_path() -> PathBuf {
    root().join(".tools/node/node_modules")
}

/// A program of a Debian package, by its full path.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("{name} is not installed"))
}

fn install_debian(needs: &[Need]) -> Vec<(Need, String)> {
    let wanted: Vec<_> = DEBIAN.iter().filter(|(name, _)| needs.contains(&Need::Program(name))).collect();
    let absent = || wanted.iter().filter(|(name, _)| find_program(name).is_none()).collect::<Vec<_>>();
    let before = absent();
    if before.is_empty() {
        return Vec::new();
    }
    let packages: Vec<&str> = before.iter().map(|(_, package)| *package).collect();
    let why = match apt_install(&packages) {
        Ok(()) => "still absent after installing its package".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    absent().into_iter().map(|(name, _)| (Need::Program(name), why.clone())).collect()
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("install it with `apt-get install --no-install-recommends {}`", packages.join(" "));
    if find_program("apt-get").is_none() {
        bail!("not a Debian system; {by_hand} or your system's like");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("not root; {by_hand}");
    }
    println!("installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        fetch(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(arguments))
    };
    apt(&["update"])?;
    apt(&[["install", "-y", "--no-install-recommends"].as_slice(), packages].concat())?;
    Ok(())
}

/// Runs `install` unless `dir` carries the stamp of the same content.
fn once(dir: &Path, content: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = dir.join(".installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == content) {
        return Ok(());
    }
    install()?;
    std::fs::write(&stamp, content).with_context(|| format!("writing {}", stamp.display()))
}

fn install_python() -> Result<()> {
    let dir = tools_dir("venv")?;
    once(&dir, REQUIREMENTS, || {
        println!("installing Python packages");
        let file = dir.join("requirements.txt");
        std::fs::write(&file, REQUIREMENTS)?;
        pip_install(&dir, &[OsStr::new("-r"), file.as_os_str()])
    })
}

/// Makes a Python environment of `dir` and installs into it what pip's arguments say.
pub(crate) fn pip_install(dir: &Path, arguments: &[&OsStr]) -> Result<()> {
    if output(Command::new("python3").args(["-m", "venv"]).arg(dir)).is_err() {
        // Debian splits venv off from python3; a Python from elsewhere has it.
        apt_install(&["python3", "python3-venv"])?;
        output(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    }
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(arguments);
    fetch(&mut pip).map(drop)
}

fn install_node() -> Result<()> {
    npm_install(&tools_dir("node")?, PACKAGE_JSON)
}

/// Installs what a `package.json` names into `dir`, once.
pub(crate) fn npm_install(dir: &Path, package_json: &str) -> Result<()> {
    if find_program("npm").is_none() {
        bail!("Node.js 18 or newer with npm is not installed");
    }
    once(dir, package_json, || {
        println!("installing npm packages");
        std::fs::write(dir.join("package.json"), package_json)?;
        let mut npm = Command::new("npm");
        npm.current_dir(dir).args(["install", "--silent", "--no-audit", "--no-fund"]);
        fetch(&mut npm).map(drop)
    })
}

/// Maven only fetches; programs are single files that `java` compiles as it starts them.
fn install_java() -> Result<()> {
    let dir = tools_dir("java")?;
    once(&dir, POM, || {
        if find_program("java").is_none() || find_program("mvn").is_none() {
            apt_install(&["default-jdk-headless", "maven"])?;
        }
        println!("installing jars");
        std::fs::write(dir.join("pom.xml"), POM)?;
        let mut mvn = Command::new("mvn");
        mvn.current_dir(&dir).args([
            "--quiet",
            "--batch-mode",
            "dependency:copy-dependencies",
            "-DoutputDirectory=lib",
        ]);
        fetch(&mut mvn).map(drop)
    })
}

fn install_go() -> Result<()> {
    let dir = tools_dir("go")?;
    let pins: Vec<&str> = GO.iter().chain(&COLLECTOR).map(|(_, module)| *module).collect();
    once(&dir, &pins.join("\n"), || {
        if find_program("go").is_none() {
            bail!("Go 1.25 or newer is not installed");
        }
        println!("installing Go programs");
        for (folder, module) in GO {
            fetch(Command::new("go").env("GOBIN", dir.join(folder)).args(["install", module]))?;
        }
        build_collector(&dir.join("otelcol"))
    })
}

fn build_collector(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    for (name, text) in COLLECTOR {
        std::fs::write(dir.join(name), text)?;
    }
    // The list of sums is made here: the pins decide every version.
    let mut go = Command::new("go");
    fetch(go.current_dir(dir).args(["build", "-mod=mod", "-o", "otelcol", "."])).map(drop)
}
