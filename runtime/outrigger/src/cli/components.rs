//! `outrigger components`: which types this program knows, and what each can be told.

use std::process::ExitCode;

use clap::Args;

use crate::{backends, pages};

/// Lists the component types of this build, or shows the page of one
#[derive(Args)]
pub(super) struct ComponentsArgs {
    /// Show this type: its settings, an example, what it honours.
    r#type: Option<String>,
}

pub(super) fn run(args: ComponentsArgs) -> anyhow::Result<ExitCode> {
    let registry = backends::registry();
    if let Some(wanted) = args.r#type {
        let info = registry.find(&wanted).map_err(|error| anyhow::anyhow!("{}", error.message()))?;
        print!("{}", pages::blocking(pages::page(&registry, info))?);
        return Ok(ExitCode::SUCCESS);
    }
    for info in registry.types() {
        println!("{:<26} {:<13} {}", info.name, info.kind.as_str(), info.about);
    }
    for (name, feature) in registry.left_out() {
        println!("{name:<26} {:<13} not in this build: needs the `{feature}` feature", "-");
    }
    Ok(ExitCode::SUCCESS)
}
