//! Stream filters of type `Layotto`, and where they are managed.

use super::*;

/// A listener `name` of this address with these stream filters, whose routes answer 200.
fn listening(name: &str, address: &str, streams: &str) -> String {
    format!(
        r#"{{"name":"{name}","address":"{address}","bind_port":true,"stream_filters":[{streams}],
"filter_chains":[{{"filters":[{{"type":"proxy","config":{{"router_config_name":"r"}}}}]}}]}}"#
    )
}

fn with_listeners(listeners: &[String]) -> String {
    format!(
        r#"{{"servers":[{{"routers":[{{"router_config_name":"r","virtual_hosts":[{{"name":"v","domains":["*"],
"routers":[{{"direct_response":{{"status":200}}}}]}}]}}],"listeners":[{}]}}]}}"#,
        listeners.join(",")
    )
}

#[test]
fn functions_of_listeners() {
    let functions = |config: &str| format!(r#"{{"type":"Layotto","config":{config}}}"#);
    let one = functions(
        r#"{"f":{"name":"f","note":"x","more":7,"instance_num":2,"vm_config":{"engine":"wasmer","path":"f.wasm","cpu":1}},
"g":{"instance_num":0,"vm_config":{"path":"g.wasm"}}}"#,
    );
    let two = functions(r#"{"f":{"vm_config":{"path":"h.wasm"}}}"#);
    let loaded = loaded(&with_listeners(&[
        listening("one", "127.0.0.1:1", &one),
        listening("two", "127.0.0.1:2", &two),
        listening("plain", "127.0.0.1:3", ""),
    ]));
    let notes = told(&loaded.notes);
    let is_noted = |expected: &str| notes.iter().any(|note| note.contains(expected));
    assert!(is_noted("f.more: has no effect") && is_noted("f.vm_config.cpu: has no effect"), "{notes:#?}");
    assert_eq!(notes.len(), 2, "{notes:#?}");
    let shown = shown(&loaded);
    let layotto = &shown["wasm"]["layotto"];
    let files: Vec<_> =
        layotto.as_object().unwrap().iter().map(|(name, f)| (name.as_str(), &f["file"])).collect();
    assert_eq!(files, [("f", &json!("f.wasm")), ("g", &json!("g.wasm")), ("two.f", &json!("h.wasm"))]);
    assert_eq!(
        (&layotto["f"]["instances"], &layotto["f"]["settings"]),
        (&json!(2), &json!({"name": "f", "note": "x"}))
    );
    assert_eq!(layotto["g"]["grants"], json!({"state": ["*"], "invoke": ["*"]}));
    assert_ne!(layotto["g"]["instances"], json!(0));
    let filters = |route: &str| shown["routes"][route]["filters"]["wasm"].clone();
    assert_eq!((filters("one.v.000"), filters("two.v.000")), (json!(["layotto"]), json!(["layotto"])));
    assert_eq!(filters("plain.v.000"), Json::Null);

    let check = |config: &str, expected: &str| {
        let problems = load_text(&with_listeners(&[listening("one", "127.0.0.1:1", &functions(config))]));
        let told = told(&problems.unwrap_err().0);
        assert!(told.iter().any(|line| line.contains(expected)), "{expected} is missing from {told:#?}");
    };
    check(r#"{"f":{"name":"f"}}"#, "a function needs a `vm_config` with a `path`");
    check(r#"{"f":{"from_wasm_plugin":"p"}}"#, "there are no other plugins to take it from");
    check("[]", "expected a map, found a list");
}

#[test]
fn the_management_of_functions_is_on_the_admin_listener() {
    let kind = |kind: &str| format!(r#"{{"type":"{kind}"}}"#);
    let functions = || listening("functions", "127.0.0.1:34998", &kind("wasm_filter"));
    let actuator = || listening("actuator", "127.0.0.1:34999", &kind("actuator_filter"));
    let check = |listeners: &[String], address: &str, noted: &[&str]| {
        let loaded = loaded(&with_listeners(listeners));
        assert_eq!(shown(&loaded)["admin"]["address"], json!(address));
        let notes = told(&loaded.notes);
        assert_eq!(notes.len(), noted.len(), "{notes:#?}");
        assert!(noted.iter().zip(&notes).all(|(expected, note)| note.contains(expected)), "{notes:#?}");
    };
    check(&[functions()], "127.0.0.1:34998", &[]);
    check(
        &[actuator(), functions()],
        "127.0.0.1:34999",
        &["/wasm is served on the admin listener, 127.0.0.1:34999"],
    );
    check(
        &[functions(), actuator()],
        "127.0.0.1:34999",
        &["serves /wasm too; 127.0.0.1:34998 is not opened"],
    );
}
