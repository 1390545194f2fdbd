//! `outrigger components`: which types this program knows, and what each can be told.

use std::process::ExitCode;

use clap::Args;
use outrigger_component_api::TypeInfo;
use serde_json::Value as Json;

use crate::backends;

/// Lists the component types of this build, or one type's settings
#[derive(Args)]
pub(super) struct ComponentsArgs {
    /// Show the settings of this type only.
    r#type: Option<String>,
}

pub(super) fn run(args: ComponentsArgs) -> anyhow::Result<ExitCode> {
    let registry = backends::registry();
    if let Some(wanted) = args.r#type {
        print!("{}", page(registry.find(&wanted).map_err(|error| anyhow::anyhow!("{}", error.message()))?));
        return Ok(ExitCode::SUCCESS);
    }
    for info in registry.types() {
        println!("{:<26} {:<8} {}", info.name, info.kind.as_str(), info.about);
    }
    for (name, feature) in registry.left_out() {
        println!("{name:<26} {:<8} not in this build: needs the `{feature}` feature", "-");
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything the registry knows of a type.
fn page(info: &TypeInfo) -> String {
    let mut out = format!("{}  ({} block)\n{}\n", info.name, info.kind.as_str(), info.about);
    if !info.aliases.is_empty() {
        out += &format!("Also known as: {}\n", info.aliases.join(", "));
    }
    let schema = (info.schema)().to_value();
    let Some(Json::Object(settings)) = schema.get("properties") else {
        return out + "\nIt has no settings.\n";
    };
    let required = schema.get("required").and_then(Json::as_array).cloned().unwrap_or_default();
    out += "\nSettings:\n";
    for (name, setting) in settings {
        out += &line(name, setting, required.contains(&Json::from(name.as_str())));
    }
    out
}

fn line(name: &str, setting: &Json, required: bool) -> String {
    let kind = match setting.get("type") {
        Some(Json::String(kind)) => kind.clone(),
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" or "),
        _ => "value".to_owned(),
    };
    let default = match setting.get("default") {
        Some(default) if !default.is_null() => format!(", default {default}"),
        _ if required => ", required".to_owned(),
        _ => String::new(),
    };
    let about =
        setting.get("description").and_then(Json::as_str).unwrap_or_default().replace('\n', "\n      ");
    format!("  {name} ({kind}{default})\n      {about}\n")
}
