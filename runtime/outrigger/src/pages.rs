//! The page of a component type, made from what its backend declares: so nothing is said twice.

use std::fmt::Write as _;

use anyhow::Context as _;
use outrigger_blocks::block_settings;
use outrigger_component_api::{BlockKind, Capability, ComponentSpec, Registry, TypeInfo};
use serde_json::Value as Json;

/// The page of one type, in Markdown.
pub(crate) async fn page(registry: &Registry, info: &TypeInfo) -> anyhow::Result<String> {
    let mut page = format!("# {}\n\n{} Block: {}.\n", info.name, info.about, info.kind.as_str());
    if !info.aliases.is_empty() {
        let _ = writeln!(page, "\nAlso known as {}.", info.aliases.join(", "));
    }
    page += &example(info);
    page += &settings(info);
    page += &capabilities(&honoured(registry, info).await?);
    Ok(page)
}

/// Runs the making of pages to its end, where nothing else runs.
pub(crate) fn blocking<T>(making: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(making)
}

/// The page that leads to the others: a table of all types, by block.
pub(crate) fn index(registry: &Registry) -> String {
    let mut page = String::from("# Component types\n\n| Block | Type | |\n|---|---|---|\n");
    for kind in BlockKind::ALL {
        for info in registry.types().filter(|info| info.kind == *kind) {
            let _ = writeln!(
                page,
                "| {} | [{name}]({name}.md) | {} |",
                kind.as_str(),
                info.about,
                name = info.name
            );
        }
    }
    page
}

/// What the type honours: asked of one that is built as the example says, which reaches for no server or file
/// before the first call.
async fn honoured(registry: &Registry, info: &TypeInfo) -> anyhow::Result<Vec<Capability>> {
    use BlockKind::{Configuration, Lock, PubSub, Sequencer, State};
    if !matches!(info.kind, State | PubSub | Configuration | Lock | Sequencer) {
        return Ok(Vec::new());
    }
    let built = registry.build(&example_spec(info), "").await;
    Ok(built.with_context(|| format!("building the example of {}", info.name))?.capabilities())
}

fn example_spec(info: &TypeInfo) -> ComponentSpec {
    let settings = info.example.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
    ComponentSpec {
        name: "example".to_owned(),
        r#type: info.name.to_owned(),
        settings: settings.collect(),
        ..ComponentSpec::default()
    }
}

fn example(info: &TypeInfo) -> String {
    let mut text = format!("\n```yaml\ncomponents:\n  {}:\n    type: {}\n", info.kind.as_str(), info.name);
    if !info.example.is_empty() {
        text += "    settings:\n";
    }
    for (name, value) in info.example {
        let _ = writeln!(text, "      {name}: {value}");
    }
    text + "```\n"
}

fn settings(info: &TypeInfo) -> String {
    let schema = (info.schema)().to_value();
    let required = schema.get("required").and_then(Json::as_array).cloned().unwrap_or_default();
    let own = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let mut rows: Vec<String> = own
        .map(|(name, setting)| row(name, setting, &schema, required.contains(&Json::from(name.as_str()))))
        .collect();
    rows.extend(block_settings(info.kind).iter().map(|(name, setting)| row(name, setting, &schema, false)));
    if rows.is_empty() {
        return "\nIt has no settings.\n".to_owned();
    }
    format!("\n| Setting | Kind | Default | Meaning |\n|---|---|---|---|\n{}", rows.concat())
}

fn row(name: &str, setting: &Json, schema: &Json, required: bool) -> String {
    let about = setting.get("description").and_then(Json::as_str).unwrap_or_default().replace('\n', " ");
    // Where the words tell the default, they tell it better than the schema does.
    let (about, told) = about.split_once("Default: ").unwrap_or((&about, ""));
    let default = match setting.get("default") {
        _ if required => "required".to_owned(),
        _ if !told.is_empty() => told.trim_end_matches('.').to_owned(),
        Some(Json::Null) | None => String::new(),
        Some(Json::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    };
    let cells = [format!("`{name}`"), kind(setting, schema), default, about.trim().to_owned()];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// A setting's type in words; a choice lists what there is to choose from.
fn kind(setting: &Json, schema: &Json) -> String {
    if let Some(path) = setting.get("$ref").and_then(Json::as_str) {
        let target = schema.pointer(path.trim_start_matches('#'));
        return target.map_or_else(|| "value".to_owned(), |target| kind(target, schema));
    }
    let one_of = |name: &str| setting.get(name).and_then(Json::as_array);
    if let Some(choices) = one_of("enum") {
        return choices
            .iter()
            .map(|choice| format!("`{}`", choice.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(value) = setting.get("const").and_then(Json::as_str) {
        return format!("`{value}`");
    }
    if let Some(variants) = one_of("oneOf").or_else(|| one_of("anyOf")) {
        let mut kinds: Vec<String> = variants.iter().map(|variant| kind(variant, schema)).collect();
        kinds.retain(|kind| kind != "null");
        return kinds.join(", ");
    }
    match setting.get("type") {
        Some(Json::String(kind)) => kind.clone(),
        Some(Json::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Json::as_str).filter(|kind| *kind != "null");
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => "value".to_owned(),
    }
}

fn capabilities(all: &[Capability]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut text = "\n| Capability | | Meaning |\n|---|---|---|\n".to_owned();
    for Capability { name, about, value } in all {
        let value = match value {
            Json::Bool(true) => "yes".to_owned(),
            Json::Bool(false) => "no".to_owned(),
            Json::Null => "no bound".to_owned(),
            value => value.to_string(),
        };
        let _ = writeln!(text, "| {} | {value} | {} |", name.replace('_', " "), plain(about));
    }
    text
}

/// A doc comment as a sentence of a page: one line, links as their text.
fn plain(about: &str) -> String {
    let mut out = String::new();
    let mut rest = about;
    while let Some((before, link)) = rest.split_once("](") {
        out += before;
        rest = link.split_once(')').map_or("", |(_, after)| after);
    }
    (out + rest).replace('[', "").replace('\n', " ").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_becomes_one_row() {
        let schema = json!({"$defs": {"Mode": {"oneOf": [{"const": "a"}, {"const": "b"}]}}});
        let check = |setting: Json, required, expected: &str| {
            assert_eq!(row("x", &setting, &schema, required), format!("| `x` | {expected} |\n"));
        };
        check(json!({"type": "string", "description": "A\nb."}), true, "string | required | A b.");
        check(
            json!({"type": ["integer", "null"], "description": "N. Default: 3."}),
            false,
            "integer | 3 | N.",
        );
        check(
            json!({"type": "boolean", "default": false, "description": "B."}),
            false,
            "boolean | `false` | B.",
        );
        check(json!({"$ref": "#/$defs/Mode", "description": "a|b"}), false, "`a`, `b` |  | a\\|b");
    }

    #[test]
    fn links_of_doc_comments_become_their_text() {
        assert_eq!(
            plain("As [`InvalidArgument`](crate::ErrorKind::InvalidArgument)\nsays."),
            "As `InvalidArgument` says."
        );
        assert_eq!(plain("With [`Start::Earliest`] it does."), "With `Start::Earliest` it does.");
    }
}
