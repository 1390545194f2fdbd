//! `outrigger fn build`: runs the tool of a function's language, and says what to install where there is none.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::template::{COMPONENTIZE_PY, JCO, Language, TARGET};

/// Builds the function of a folder, whatever it is written in; the component is `NAME.wasm`, named as the folder
#[derive(Args)]
pub(super) struct BuildArgs {
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let dir = args.dir.canonicalize().with_context(|| format!("looking for {}", args.dir.display()))?;
    let name = dir.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
    let language = language(&dir)?;
    // Renamed when it is whole: a sidecar may be watching the folder.
    let fresh = dir.join(format!(".{name}.wasm.new"));
    match language {
        Language::Rust => rust(&dir, &fresh),
        Language::Js => javascript(&dir, &fresh),
        Language::Python => python(&dir, &fresh),
    }?;
    let component = dir.join(format!("{name}.wasm"));
    fs::rename(&fresh, &component).with_context(|| format!("writing {}", component.display()))?;
    let size = fs::metadata(&component)?.len();
    println!("{}: {} KiB", component.display(), size.div_ceil(1024));
    Ok(ExitCode::SUCCESS)
}

/// Told by the source that is there.
fn language(dir: &Path) -> anyhow::Result<Language> {
    let languages = [Language::Rust, Language::Js, Language::Python];
    let found = languages.into_iter().find(|language| dir.join(language.told_by()).is_file());
    found.with_context(|| {
        let files = languages.map(Language::told_by).join(", ");
        format!("{} has none of {files}: `outrigger fn new` writes a folder to start from", dir.display())
    })
}

fn rust(dir: &Path, into: &Path) -> anyhow::Result<()> {
    let cargo = find("cargo", dir).context("cargo is not installed: get Rust from https://rustup.rs")?;
    ensure!(has_target(dir)?, "Rust's library for {TARGET} is not installed: rustup target add {TARGET}");
    let target = dir.join("target");
    let mut command = Command::new(cargo);
    command.current_dir(dir).args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(&target);
    call(&mut command)?;
    let built = target.join(TARGET).join("release/function.wasm");
    fs::copy(&built, into).with_context(|| format!("copying {}", built.display()))?;
    Ok(())
}

fn has_target(dir: &Path) -> anyhow::Result<bool> {
    let rustc = find("rustc", dir).context("rustc is not installed: get Rust from https://rustup.rs")?;
    let output = Command::new(rustc).current_dir(dir).args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir())
}

fn javascript(dir: &Path, into: &Path) -> anyhow::Result<()> {
    let install = format!("jco is not installed: npm install --global {JCO}");
    let jco = find("jco", dir).with_context(|| match find("npm", dir) {
        Some(_) => install,
        None => format!("{install} (npm comes with Node.js, https://nodejs.org, 20 or newer)"),
    })?;
    let mut command = Command::new(jco);
    command.current_dir(dir).args(["componentize", Language::Js.told_by(), "--wit", "wit", "-n", "function"]);
    // Asynchronous built-ins are of a later WASI than ours.
    call(command.args(["--backend", "qjs", "--backend-qjs-disable-async", "-o"]).arg(into))
}

fn python(dir: &Path, into: &Path) -> anyhow::Result<()> {
    let tool = find("componentize-py", dir)
        .with_context(|| format!("componentize-py is not installed: pip install {COMPONENTIZE_PY}"))?;
    let mut command = Command::new(tool);
    command.current_dir(dir).args(["-d", "wit", "-w", "function", "componentize", "function", "-o"]);
    call(command.arg(into))
}

/// A program of the folder's own packages, or else on `PATH`.
fn find(name: &str, dir: &Path) -> Option<PathBuf> {
    let own = [dir.join("node_modules/.bin"), dir.join(".venv/bin")];
    let path = env::var_os("PATH").unwrap_or_default();
    own.into_iter().chain(env::split_paths(&path)).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a tool with its output on ours.
fn call(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("starting {program}"))?;
    if !status.success() {
        bail!("{program}: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_function_is_told_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = language(dir.path()).unwrap_err().to_string();
        assert!(error.contains("Cargo.toml, function.js, function.py"), "{error}");
        fs::write(dir.path().join("function.py"), "").unwrap();
        assert_eq!(language(dir.path()).unwrap(), Language::Python);
    }

    #[test]
    fn packages_of_the_folder_come_first() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find("no-such-program", dir.path()), None);
        let own = dir.path().join("node_modules/.bin");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("sh"), "").unwrap();
        assert_eq!(find("sh", dir.path()), Some(own.join("sh")));
    }
}
