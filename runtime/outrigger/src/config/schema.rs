//! The JSON schema of `outrigger.yaml`, for editors: our structs, and for each component type its settings.

use outrigger_blocks::block_settings;
use outrigger_component_api::{Registry, TypeInfo};
use serde_json::{Value as Json, json};

use super::Config;
use crate::secrets::{self, SecretRef};

/// The schema of the whole file.
pub fn schema(registry: &Registry) -> Json {
    let mut root = schemars::schema_for!(Config).to_value();
    let types: Vec<Json> = registry.types().map(|info| info.name.into()).collect();
    if let Some(component) = root.pointer_mut("/$defs/ComponentConfig") {
        put(component, "allOf", registry.types().map(by_type).collect());
        if let Some(r#type) = component.pointer_mut("/properties/type") {
            put(r#type, "examples", types.into());
        }
    }
    root
}

fn put(map: &mut Json, key: &str, value: Json) {
    if let Json::Object(map) = map {
        map.insert(key.to_owned(), value);
    }
}

/// "If the type is this, the settings look like that."
fn by_type(info: &TypeInfo) -> Json {
    let names: Vec<&str> = std::iter::once(info.name).chain(info.aliases.iter().copied()).collect();
    json!({
        "if": {"properties": {"type": {"enum": names}}, "required": ["type"]},
        "then": {"properties": {"settings": settings(info)}},
    })
}

/// A type's settings: its own, those of its block, and a reference instead of any value.
fn settings(info: &TypeInfo) -> Json {
    let mut schema = (info.schema)().to_value();
    put(&mut schema, "$id", format!("urn:outrigger:component:{}", info.name).into());
    if schema.get("properties").is_none() {
        put(&mut schema, "properties", json!({}));
    }
    if let Some(Json::Object(properties)) = schema.get_mut("properties") {
        properties.extend(block_settings(info.kind).into_iter().map(|(name, it)| (name.to_owned(), it)));
        for property in properties.values_mut() {
            *property = json!({"anyOf": [property.take(), reference()]});
        }
    }
    schema
}

fn reference() -> Json {
    let mut reference = schemars::schema_for!(SecretRef).to_value();
    if let Some(map) = reference.as_object_mut() {
        map.remove("$schema");
    }
    json!({
        "type": "object",
        "properties": {secrets::KEY: reference},
        "required": [secrets::KEY],
        "additionalProperties": false,
    })
}
