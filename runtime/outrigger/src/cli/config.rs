//! `outrigger config`: write a first file, print the schema, show what is in force.

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::ConfigFrom;
use crate::{
    backends,
    config::{self, schema, show},
};

/// Writes, explains and shows configuration
#[derive(Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Writes a first outrigger.yaml, with comments
    Init {
        /// Where to. An existing file is left alone.
        #[arg(default_value = "outrigger.yaml")]
        file: PathBuf,
    },
    /// Prints the JSON schema of outrigger.yaml
    Schema,
    /// Prints the configuration in force: all layers and defaults, secrets masked
    Show {
        #[command(flatten)]
        from: ConfigFrom,
        /// One line a value, with the place it comes from.
        #[arg(long)]
        origin: bool,
    },
}

const FIRST: &str = include_str!("../../../../configs/quickstart.yaml");

pub(super) fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let registry = backends::registry();
    match args.verb {
        ConfigVerb::Init { file } => init(&file)?,
        ConfigVerb::Schema => println!("{:#}", schema::schema(&registry)),
        ConfigVerb::Show { from, origin } => {
            let loaded = config::load(&from.sources(), &registry)?;
            let text = match origin {
                true => show::with_origins(&loaded, &registry),
                false => show::yaml(&show::effective(&loaded, &registry)),
            };
            print!("{text}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn init(file: &std::path::Path) -> anyhow::Result<()> {
    let created = fs::OpenOptions::new().write(true).create_new(true).open(file);
    let write = |mut file: fs::File| file.write_all(FIRST.as_bytes());
    created.and_then(write).with_context(|| format!("writing {}", file.display()))?;
    println!("wrote {0}; run it with: outrigger -c {0}", file.display());
    Ok(())
}
