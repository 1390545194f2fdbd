//! `outrigger fn new`: a folder with a function to start from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::template::{Block, Language, Template, Trigger};

/// Writes a folder with a function to start from: its source, its settings, and how to build and run it
#[derive(Args)]
pub(super) struct NewArgs {
    /// The function's name, which is the folder's as well: lower-case letters, digits and hyphens.
    name: String,
    #[arg(long, value_enum)]
    lang: Language,
    /// What it is called for.
    #[arg(long = "on", value_name = "TRIGGER,…", value_enum, value_delimiter = ',', default_value = "http")]
    triggers: Vec<Trigger>,
    /// What it may call besides the log; nothing with `--use=`.
    #[arg(long = "use", value_name = "BLOCK,…", value_enum, value_delimiter = ',', default_value = "state")]
    blocks: Vec<Block>,
    /// Where to put the folder. Default: here.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

pub(super) fn run(args: &NewArgs) -> anyhow::Result<ExitCode> {
    check_name(&args.name)?;
    let folder = args.into.as_ref().map_or_else(|| PathBuf::from(&args.name), |into| into.join(&args.name));
    if folder.exists() {
        bail!("{} is there already", folder.display());
    }
    let template = Template::new(&args.name, args.lang, &args.triggers, &args.blocks);
    for (path, text) in template.files() {
        write(&folder.join(path), &text)?;
    }
    println!("wrote {0}; next: cd {0} && outrigger fn build", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// As functions are called in the configuration, but beginning with a letter: cargo wants that of its packages.
fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    ensure!(
        begins && name.len() <= 63 && name.chars().all(fits),
        "`{name}` is no name for a function: lower-case letters, digits and hyphens, a letter first, 63 at most"
    );
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("cart", true),
            ("cart-2", true),
            ("2cart", false),
            ("Cart", false),
            ("", false),
            ("../cart", false),
            (&"c".repeat(64), false),
        ] {
            assert_eq!(check_name(name).is_ok(), expected, "{name}");
        }
    }
}
