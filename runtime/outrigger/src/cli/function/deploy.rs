//! `outrigger fn deploy`: a module into a running sidecar.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;

use super::{
    change::Changed,
    client::{Asked, Sidecar, SidecarArgs, escaped},
    list,
};

/// Compiling a large module takes a minute at most; fetching it comes on top.
const PATIENCE: Duration = Duration::from_secs(150);
/// The file with a function's settings, beside its module and of the same name.
const SETTINGS: &str = "yaml";

/// Brings a function, or a new version of one, into a running sidecar
#[derive(Args)]
pub(super) struct DeployArgs {
    /// The component, NAME.wasm, or the folder it is in. NAME.yaml beside it has its settings.
    #[arg(value_name = "FILE|FOLDER")]
    source: PathBuf,
    /// The function's name. Default: what the file is called.
    #[arg(long)]
    name: Option<String>,
    /// Its settings: an entry of the section `functions`, without file and url. Default: NAME.yaml, or else those the
    /// function has.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The percentage of calls it gets until it is promoted. Default: all.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    weight: Option<u8>,
    /// Refuse any other module than that of this SHA-256.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// What is deployed.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    module: PathBuf,
    settings: Option<PathBuf>,
    name: String,
}

pub(super) fn run(args: DeployArgs) -> anyhow::Result<ExitCode> {
    let source = find(&args.source)?;
    let name = args.name.unwrap_or(source.name);
    let settings = args.config.or(source.settings);
    let config =
        settings.map(|file| fs::read_to_string(&file).with_context(|| format!("reading {}", file.display())));
    let module = fs::read(&source.module).with_context(|| format!("reading {}", source.module.display()))?;
    let given = [
        ("config", config.transpose()?),
        ("sha256", args.sha256),
        ("weight", args.weight.map(|weight| weight.to_string())),
    ];
    let query = given.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", escaped(&value?))));
    let target = format!("/functions/{}?{}", escaped(&name), query.collect::<Vec<_>>().join("&"));
    let sidecar = Sidecar::new(args.sidecar)?;
    let answer = sidecar.ask(Asked {
        method: "PUT",
        target,
        content_type: Some("application/wasm"),
        body: module.into(),
        patience: PATIENCE,
    })?;
    let Changed { function, kept } = serde_json::from_slice(&answer).context("reading the answer")?;
    print!("{}", list::table(&[function]));
    if !kept {
        println!("it lasts until the process ends; wasm.functions.folder in its configuration keeps it");
    }
    Ok(ExitCode::SUCCESS)
}

/// The module at a path: a file, or the one in a folder.
fn find(path: &Path) -> anyhow::Result<Source> {
    let module = if path.is_dir() { only_module(path)? } else { path.to_owned() };
    let settings = Some(module.with_extension(SETTINGS)).filter(|file| file.is_file());
    Ok(Source { name: name_of(&module)?, module, settings })
}

fn only_module(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut modules = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "wasm") {
            modules.push(file);
        }
    }
    match <[PathBuf; 1]>::try_from(modules) {
        Ok([module]) => Ok(module),
        Err(none) if none.is_empty() => {
            bail!("{} has no .wasm file: `outrigger fn build` makes one", folder.display())
        }
        Err(_) => bail!("{} has several .wasm files: name one", folder.display()),
    }
}

/// Underscores, which toolchains put into file names, are no part of a function's name.
fn name_of(module: &Path) -> anyhow::Result<String> {
    let stem = module.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.with_context(|| format!("{} has no name: give --name", module.display()))?;
    Ok(stem.replace('_', "-").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_module() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(find(dir.path()).unwrap_err().to_string().contains("`outrigger fn build` makes one"));
        fs::write(at("my_cart.wasm"), "").unwrap();
        fs::write(at("my_cart.yaml"), "").unwrap();
        let found = find(dir.path()).unwrap();
        let settings = Some(at("my_cart.yaml"));
        assert_eq!(found, Source { module: at("my_cart.wasm"), settings, name: "my-cart".to_owned() });
        fs::write(at("other.wasm"), "").unwrap();
        assert!(find(dir.path()).unwrap_err().to_string().contains("name one"));
        let settings = None;
        let other = Source { module: at("other.wasm"), settings, name: "other".to_owned() };
        assert_eq!(find(&at("other.wasm")).unwrap(), other);
    }
}
