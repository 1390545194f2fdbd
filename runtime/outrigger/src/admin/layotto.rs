//! Layotto's management of functions: its paths, bodies and answers.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Map, Value};

use super::{Admin, Ending, problem};
use crate::wasm::{self, FunctionChange, LayottoFunctionConfig, LayottoGrants};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/wasm/install", post(install))
        .route("/wasm/uninstall", post(uninstall))
        .route("/wasm/update", post(update))
}

async fn install(State(admin): State<Admin>, body: Bytes) -> Result<Response, Ending> {
    change(&admin, installed(&body)).await
}

async fn uninstall(State(admin): State<Admin>, body: Bytes) -> Result<Response, Ending> {
    change(&admin, uninstalled(&body)).await
}

async fn update(State(admin): State<Admin>, body: Bytes) -> Result<Response, Ending> {
    change(&admin, updated(&body)).await
}

/// Nothing but 200 for what is done, and 500 with the reason for what is not.
async fn change(admin: &Admin, wanted: Result<FunctionChange, String>) -> Result<Response, Ending> {
    let app = admin.app()?;
    let changed = match wanted {
        Ok(change) => {
            // On the control runtime, as every reload.
            let control = app.control.clone();
            let changing = control.spawn(async move { wasm::change(&app, change).await });
            changing.await.unwrap_or_else(|error| Err(format!("the change failed: {error}")))
        }
        Err(message) => Err(message),
    };
    Ok(match changed {
        Ok(()) => [(header::CONTENT_TYPE, "application/json")].into_response(),
        Err(message) => problem(StatusCode::INTERNAL_SERVER_ERROR, message),
    })
}

fn installed(body: &[u8]) -> Result<FunctionChange, String> {
    let body = parsed(body)?;
    let id = name(&body)?;
    let path = body.get("vm_config").and_then(|vm| vm.get("path")).and_then(Value::as_str);
    let mut config = LayottoFunctionConfig::new(path.ok_or("can't get vm_config.path property")?.into());
    if let Some(instances) = body.get("instance_num") {
        config.instances = number(instances)?.unwrap_or(config.instances);
    }
    // As Layotto has it: everything, and what is a text is for the function to read.
    config.grants = LayottoGrants::all();
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    config.settings = body.iter().filter_map(text).collect::<BTreeMap<_, _>>();
    Ok(FunctionChange::Install { id, config })
}

fn uninstalled(body: &[u8]) -> Result<FunctionChange, String> {
    Ok(FunctionChange::Uninstall { id: name(&parsed(body)?)? })
}

fn updated(body: &[u8]) -> Result<FunctionChange, String> {
    let body = parsed(body)?;
    let id = name(&body)?;
    let instances = number(body.get("instance_num").ok_or("can't get instance_num property")?)?;
    let instances = instances.ok_or("instance_num should be greater than 0")?;
    Ok(FunctionChange::Update { id, instances })
}

fn parsed(body: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(body).map_err(|error| format!("invalid request body: {error}"))
}

fn name(body: &Map<String, Value>) -> Result<String, String> {
    let name = body.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| "can't get name property".to_owned())
}

/// `None` for one that is not above zero.
fn number(value: &Value) -> Result<Option<usize>, String> {
    let number = value.as_i64().ok_or("instance_num is not a whole number")?;
    Ok(usize::try_from(number).ok().filter(|number| *number > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_layotto_reads_them() {
        let body = br#"{"name":"id_1","instance_num":2,"note":"x","vm_config":{"engine":"wasmtime","path":"f.wasm"}}"#;
        let FunctionChange::Install { id, config } = installed(body).unwrap() else { panic!() };
        assert_eq!((id.as_str(), config.instances, config.grants), ("id_1", 2, LayottoGrants::all()));
        let settings =
            [("name", "id_1"), ("note", "x")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!((config.file.to_str(), config.settings), (Some("f.wasm"), settings.into()));
        assert_eq!(uninstalled(br#"{"name":"id_1"}"#), Ok(FunctionChange::Uninstall { id: "id_1".into() }));
        let update = FunctionChange::Update { id: "id_1".into(), instances: 3 };
        assert_eq!(updated(br#"{"name":"id_1","instance_num":3}"#), Ok(update));

        let check = |result: Result<FunctionChange, String>, expected: &str| {
            assert_eq!(result.unwrap_err(), expected);
        };
        check(installed(b"{}"), "can't get name property");
        check(installed(br#"{"name":"a"}"#), "can't get vm_config.path property");
        check(uninstalled(br#"{"name":7}"#), "can't get name property");
        check(updated(br#"{"name":"a"}"#), "can't get instance_num property");
        check(updated(br#"{"name":"a","instance_num":0}"#), "instance_num should be greater than 0");
        check(updated(br#"{"name":"a","instance_num":1.5}"#), "instance_num is not a whole number");
        assert!(uninstalled(b"").unwrap_err().starts_with("invalid request body"));
    }
}
