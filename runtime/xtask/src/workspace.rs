//! Where things are in the checkout, and how cargo and other programs are called from it.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The checkout's root directory.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A directory under `.tools/`, created when missing. Nothing outside of it and `target/` is written.
pub(crate) fn tools_dir(name: &str) -> Result<PathBuf> {
    let dir = root().join(".tools").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

/// Where sidecars keep what they compile modules to, so that suites, demos and benchmarks compile each once. It runs as
/// native code: they take no folder that others can look into.
pub(crate) fn compiled_modules() -> Result<PathBuf> {
    let dir = tools_dir("wasm/compiled")?;
    set_permissions(&dir, Permissions::from_mode(0o700))
        .with_context(|| format!("closing {}", dir.display()))?;
    Ok(dir)
}

/// How a binary is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build: what `quickstart` uses.
    Dev,
    /// What suites and benchmarks run.
    Release,
    /// The smallest: slow to build.
    Dist,
}

impl Profile {
    /// What Cargo calls it, and, but for `Dev`, its directory.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }

    /// Under the target directory.
    fn folder(self) -> &'static str {
        if self == Self::Dev { "debug" } else { self.name() }
    }
}

/// Cargo, started in the checkout with the lock file held as it is.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    // `cargo run` describes xtask's own package in these; they would leak into build scripts of children.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
            command.env_remove(name);
        }
    }
    command
}

/// Cargo for features that include etcd, whose client's build script wants a protoc.
pub(crate) fn cargo_with_protoc(arguments: &[&str]) -> Result<Command> {
    let mut command = cargo(arguments);
    command.env("PROTOC", protoc()?);
    Ok(command)
}

/// A protoc: the one somebody set, or ours.
pub(crate) fn protoc() -> Result<PathBuf> {
    match std::env::var_os("PROTOC") {
        Some(protoc) => Ok(protoc.into()),
        None => build("xtask", "protoc", "proto", Profile::Dev),
    }
}

/// Builds one binary (`features` comma-separated, may be empty) and returns its path.
pub(crate) fn build(package: &str, binary: &str, features: &str, profile: Profile) -> Result<PathBuf> {
    build_all(&[(package, binary)], features, profile)?.pop().context("cargo built nothing")
}

/// Builds binaries, given with their packages, in one run of cargo, so that what they share is compiled once.
pub(crate) fn build_all(binaries: &[(&str, &str)], features: &str, profile: Profile) -> Result<Vec<PathBuf>> {
    let mut arguments = vec!["build", "--profile", profile.name()];
    for (package, binary) in binaries {
        arguments.extend(["--package", package, "--bin", binary]);
    }
    if !features.is_empty() {
        arguments.extend(["--features", features]);
    }
    let wants_protoc =
        features.split(',').any(|feature| feature.ends_with("full") || feature.ends_with("etcd"));
    run(&mut if wants_protoc { cargo_with_protoc(&arguments)? } else { cargo(&arguments) })?;
    let dir = target_dir()?.join(profile.folder());
    Ok(binaries.iter().map(|(_, binary)| dir.join(binary)).collect())
}

/// Builds the examples of a package for development and returns the directory they are in.
pub(crate) fn build_examples(package: &str) -> Result<PathBuf> {
    run(&mut cargo(&["build", "--package", package, "--examples"]))?;
    Ok(target_dir()?.join("debug/examples"))
}

/// Where Cargo builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let text = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: crate::metadata::TargetDirectory = serde_json::from_str(&text)?;
    Ok(metadata.target_directory)
}

/// Runs a program with its output on ours and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", describe(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs a program to its end and returns what it printed; its error output is part of a failure.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = finish(command)?;
    if !output.status.success() {
        bail!("{} failed: {}\n{}", describe(command), output.status, tail(&transcript(&output), 40));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same for a program that gets something from the network: one that fails has two more attempts.
pub(crate) fn fetch(command: &mut Command) -> Result<String> {
    for _ in 1..ATTEMPTS {
        if let Ok(printed) = output(command) {
            return Ok(printed);
        }
        println!("  trying again: {}", describe(command));
        std::thread::sleep(BETWEEN);
    }
    output(command)
}

const ATTEMPTS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(5);

/// Runs a program to its end, whatever its exit code.
pub(crate) fn finish(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", describe(command)))
}

/// Both streams of a finished program as one text.
pub(crate) fn transcript(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The last `lines` lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Finds a program on `PATH`, and where Debian keeps servers that an ordinary user's `PATH` leaves out.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The command line as a person would write it in the checkout, cut to one line.
fn describe(command: &Command) -> String {
    let root = format!("{}/", root().display());
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    let words: Vec<_> = std::iter::once(command.get_program().to_string_lossy()).chain(arguments).collect();
    words.join(" ").replace(&root, "").replace('\n', " ").chars().take(120).collect()
}
