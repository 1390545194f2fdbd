//! The translation of small files, and of those that ship with the program.

#[cfg(feature = "wasm")]
mod functions;

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    backends,
    config::{Loaded, Problems, load, show, span},
};

/// A file around this `grpc_config`, on one line.
fn runtime(grpc_config: &str) -> String {
    format!(
        r#"{{"servers":[{{"listeners":[{{"name":"grpc","address":"127.0.0.1:34904","bind_port":true,"filter_chains":[{{"filters":[{{"type":"grpc","config":{{"server_name":"runtime","grpc_config":
{grpc_config}}}}}]}}]}}]}}]}}"#
    )
}

fn load_text(text: &str) -> Result<Loaded, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    std::fs::write(&file, text).unwrap();
    load(&Sources { files: vec![file], ..Sources::default() }, &backends::registry())
}

fn loaded(text: &str) -> Loaded {
    load_text(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Place and message of each, without the file's name.
fn told(problems: &[Problem]) -> Vec<String> {
    let line = |problem: &Problem| {
        let text = problem.to_string();
        text.split_once("config.json:").map_or(text.clone(), |(_, told)| told.to_owned())
    };
    problems.iter().map(line).collect()
}

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/layotto"));
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| !file.ends_with("secrets.json")).collect();
    files.retain(|file| cfg!(feature = "wasm") || !file.ends_with("functions.json"));
    files.sort();
    files
}

fn shipped_one(name: &str) -> Loaded {
    let file = shipped().into_iter().find(|file| file.ends_with(name)).unwrap();
    load(&Sources { files: vec![file], ..Sources::default() }, &backends::registry())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn shown(loaded: &Loaded) -> Json {
    show::effective(loaded, &backends::registry())
}

#[test]
fn only_a_list_of_servers_makes_it_layottos() {
    let check = |text: &str, expected: bool| {
        let document = span::parse(Path::new("f"), text, &|_| None).unwrap();
        assert_eq!(recognises(&document), expected, "{text}");
    };
    check(r#"{"servers":[]}"#, true);
    check("servers: [{}]", true);
    check("components: {}", false);
    check(r#"{"servers":{}}"#, false);
    check("", false);
}

#[test]
fn every_shipped_file_is_read() {
    let names: Vec<_> =
        shipped().iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let expected = [
        "cron.json",
        "etcd.json",
        "functions.json",
        "proxy.json",
        "redis.json",
        "ref.json",
        "standalone.json",
        "uds.json",
    ];
    assert_eq!(names, expected);
    for name in names {
        let loaded = shipped_one(&name);
        assert_eq!(loaded.config.api.listeners.len(), 1, "{name}");
        // What it says in our words can be written down and is read as the same.
        let text = show::yaml(&shown(&loaded));
        let tree = span::parse(Path::new("f"), &text, &|_| None).unwrap();
        assert_eq!(tree.to_json(), shown(&loaded), "{name}");
    }
}

#[test]
fn the_standalone_file_says_the_same_in_our_words() {
    let loaded = shipped_one("standalone.json");
    let ours = shown(&loaded);
    assert_eq!(ours["api"]["listeners"]["grpc"]["address"], "127.0.0.1:34904");
    assert_eq!(ours["admin"]["address"], "127.0.0.1:34999");
    assert_eq!(ours["log"]["level"], "info,outrigger=debug");
    let app = json!({"id": "app1", "port": 9999, "host": "127.0.0.1", "protocol": "grpc", "probe": false, "announce": true});
    assert_eq!(ours["app"], app);
    let components = &ours["components"];
    assert_eq!(components["state_demo"]["type"], "state.in-memory");
    assert_eq!(components["state_demo"]["settings"], json!({"keyPrefix": "none"}));
    assert_eq!(components["secret_demo"]["type"], "secretstores.local.file");
    assert_eq!(components["secret_demo"]["settings"], json!({"secretsFile": "secrets.json"}));
    assert_eq!(components["bindings_demo"]["type"], "bindings.http");
    assert_eq!(components["pub_subs_demo"]["type"], "pubsub.in-memory");
    assert_eq!(components["file_demo"]["settings"], json!({"rootPath": "."}));
    let notes = told(&loaded.notes).join("\n");
    for word in ["tracing: has no effect", "metrics: has no effect", "custom_component: has no effect"] {
        assert!(notes.contains(word), "{word} is missing from:\n{notes}");
    }
}

#[test]
fn a_socket_and_a_missing_actuator_are_as_written() {
    let loaded = shipped_one("uds.json");
    let listener = &loaded.config.api.listeners["grpc"];
    assert_eq!(listener.address.to_string(), "unix:/tmp/client-proxy.sock");
    assert_eq!(loaded.config.admin.address, None);
}

#[test]
fn bindings_of_both_directions_stand_in_one_section() {
    let text = runtime(
        r#"{"bindings": {"out": {"type": "http", "metadata": {"url": "http://127.0.0.1:1"}},
"tick": {"type": "cron", "metadata": {"schedule": "@every 15m", "direction": "input"}}}}"#,
    );
    let loaded = loaded(&text);
    let types = loaded.config.components.values().map(|component| component.r#type.as_str());
    assert_eq!(types.collect::<Vec<_>>(), ["bindings.http", "bindings.cron"]);
    let settings = json!({"schedule": "@every 15m", "direction": "input"});
    assert_eq!(shown(&loaded)["components"]["tick"]["settings"], settings);
}

#[test]
fn one_name_in_two_blocks_is_two_components() {
    let text = runtime(
        r#"{"state": {"redis": {"type": "in-memory"}, "other": {"type": "in-memory"}},
"secret_store": {"redis": {"type": "local.env"}}}"#,
    );
    let loaded = loaded(&text);
    let names: Vec<_> = loaded
        .config
        .components
        .iter()
        .map(|(key, c)| (key.as_str(), c.name(key), c.r#type.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("other", "other", "state.in-memory"),
            ("secrets.redis", "redis", "secretstores.local.env"),
            ("state.redis", "redis", "state.in-memory"),
        ]
    );
}

#[test]
fn a_secret_reference_becomes_ours() {
    let text = runtime(
        r#"{"secret_store": {"vault": {"type": "local.env"}},
"state": {"db": {"type": "sqlite", "metadata": {"keyprefix": "name"},
"secret_ref": [{"store_name": "vault", "key": "K", "sub_key": "S", "inject_as": "PATH"}, {"name": "vault", "key": "K", "inject_as": "nothing"}]}}}"#,
    );
    let loaded = loaded(&text);
    let db = &loaded.config.components["db"];
    let expected =
        json!({"keyPrefix": "name", "path": {"secretRef": {"store": "vault", "key": "K", "field": "S"}}});
    assert_eq!(Json::Object(db.settings.clone()), expected);
    let notes = told(&loaded.notes);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].ends_with("has no effect: state.sqlite does not know 'nothing'"), "{notes:?}");
}

#[test]
fn types_are_found_by_their_bare_names_and_keys_in_any_case() {
    let text = runtime(
        r#"{"State": {"in-memory": {}, "b": {"Type": "sqlite", "Metadata": {"Path": "x.db", "poolSize": "3"}}, "c": {"type": "cassandra"}}}"#,
    );
    let loaded = loaded(&text);
    let types: Vec<_> = loaded.config.components.values().map(|c| c.r#type.as_str()).collect();
    assert_eq!(types, ["state.sqlite", "state.cassandra", "state.in-memory"]);
    assert_eq!(loaded.config.components["b"].settings["path"], "x.db");
    assert_eq!(loaded.config.components["c"].block, Some(BlockKind::State));
    let notes = told(&loaded.notes);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("poolSize: has no effect: state.sqlite does not know it"), "{notes:?}");
    assert!(notes[1].contains("c: is never ready: there is no component type state.cassandra"), "{notes:?}");
}

#[test]
fn what_cannot_be_understood_is_told_at_its_place() {
    let check = |grpc_config: &str, expected: &str| {
        let problems = load_text(&runtime(grpc_config)).expect_err("refused").0;
        let told = told(&problems);
        assert!(told.iter().any(|line| line.starts_with(expected)), "{expected} is missing from {told:#?}");
    };
    check(
        r#"{"state": []}"#,
        "2:2: servers[0].listeners[0].filter_chains[0].filters[0].config.grpc_config.state: expected a map, found a list",
    );
    check(r#"{"state": {"a": "in-memory"}}"#, "2:17: servers[0]");
    check(
        r#"{"state": {"a": {"type": "sqlite", "metadata": {"path": []}}}}"#,
        "2:49: components.a.settings.path: expected path string, found a list",
    );
    check(
        r#"{"app": {"grpc_callback_port": 70000}}"#,
        "2:32: app.port: expected a whole number from 0 to 65535",
    );
    check(
        r#"{"state": {"a": {"type": "sqlite", "secret_ref": [{"store_name": "valt", "key": "k", "inject_as": "path"}]}},
"secret_store": {"vault": {"type": "local.env"}}}"#,
        "2:51: components.a.settings.path.secretRef.store: there is no secret store named 'valt' (did you mean `vault`?)",
    );
    check(r#"{"state": {"sqlite": {"secret_ref": [{"key": "k"}]}}}"#, "2:38: ");
}

#[test]
fn listeners_say_what_they_need() {
    let check = |listener: &str, expected: &str| {
        let text = format!("{{\"servers\":[{{\"listeners\":[\n{listener}\n]}}]}}");
        let problems = match load_text(&text) {
            Ok(loaded) => loaded.notes,
            Err(problems) => problems.0,
        };
        let told = told(&problems);
        assert!(told.iter().any(|line| line.contains(expected)), "{expected} is missing from {told:#?}");
    };
    check(r#"{"address":"127.0.0.1:1"}"#, "2:1: servers[0].listeners[0]: a listener needs a `name`");
    let filter = |kind: &str, config: &str| {
        format!(r#""filter_chains":[{{"filters":[{{"type":"{kind}","config":{config}}}]}}]"#)
    };
    let listener = |rest: &str| format!(r#"{{"name":"a","address":"127.0.0.1:1",{rest}}}"#);
    check(&listener(&filter("grpc", r#"{"server_name":"other"}"#)), "expected `runtime`");
    check(&listener(&filter("tcpcopy", "{}")), "is not opened: nothing here serves its filters (tcpcopy)");
    check(
        &listener(&filter("proxy", r#"{"upstream_protocol":"X"}"#)),
        "the proxy speaks HTTP/1 and HTTP/2, not X",
    );
    check(&listener(&filter("proxy", r#"{"router_config_name":"none"}"#)), "its router has no virtual_hosts");
    check(
        &listener(r#""filter_chains":[{"tls_context":{"status":true},"filters":[]}]"#),
        "TLS of listeners is not read",
    );
    check(
        r#"{"name":"a","address":"/s","network":"udp","filter_chains":[{"filters":[{"type":"grpc","config":{}}]}]}"#,
        "the network 'udp' is neither tcp nor unix",
    );
    check(r#"{"name":"a","stream_filters":[{"type":"actuator_filter"}]}"#, "a listener needs an `address`");
    check(
        r#"{"name":"a","adress":"x","bind_port":false}"#,
        "2:13: servers[0].listeners[0].adress: has no effect (did you mean `address`?)",
    );
    check(r#"{"name":"a","bind_port":false}"#, "is not opened: its bind_port is not true");
}

#[test]
fn routes_and_clusters_of_the_proxy() {
    let text = r#"{"servers":[{"default_log_level":"WARN","routers":[{"router_config_name":"r","virtual_hosts":[
{"name":"v","domains":["shop.example:80","*.shop.example"],"routers":[
 {"match":{"path":"/a","headers":[{"name":"x-env","value":"canary"},{"name":"id","value":"a.*","regex":true}]},"route":{"cluster_name":"one","timeout":"3s","retry_policy":{"retry_on":true,"num_retries":2}}},
 {"match":{"regex":"/b/[0-9]+"},"direct_response":{"status":404,"body":"no"}},
 {"match":{"prefix":"/c/"},"route":{"weighted_clusters":[{"cluster":{"name":"one","weight":90}},{"cluster":{"name":"two","weight":10}}],"prefix_rewrite":"/"}},
 {"match":{"prefix":"/"},"redirect":{"response_code":301,"host_redirect":"other.example"}},
 {"match":{"path":"/late"},"route":{"cluster_name":"two"}}]}]}],
"listeners":[{"name":"web","address":"localhost:8080","bind_port":true,"filter_chains":[{"filters":[{"type":"proxy","config":{"downstream_protocol":"Auto","upstream_protocol":"Http2","router_config_name":"r"}}]}]}]}],
"cluster_manager":{"clusters":[
{"name":"one","type":"SIMPLE","lb_type":"LB_ROUNDROBIN","hosts":[{"address":"127.0.0.1:1","weight":1},{"address":"localhost:2","weight":2}]},
{"name":"two","lb_type":"LB_MAGLEV","connect_timeout":"2s","hosts":[{"address":"backend.example:80"}]}]}}"#;
    let loaded = loaded(text);
    let ours = shown(&loaded);
    assert_eq!(ours["listeners"]["web"]["address"], "127.0.0.1:8080");
    let routes = &ours["routes"];
    let first = &routes["web.v.000"];
    assert_eq!(first["listeners"], json!(["web"]));
    assert_eq!(first["hosts"], json!(["shop.example", "*.shop.example"]));
    assert_eq!(first["match"][0]["path"], json!({"exact": "/a"}));
    assert_eq!(first["match"][0]["headers"], json!({"x-env": {"exact": "canary"}, "id": {"regex": "a.*"}}));
    assert_eq!(first["backends"], json!([{"cluster": "one", "weight": 1}]));
    assert_eq!((&first["timeout"], &first["retry"]["attempts"]), (&json!("3s"), &json!(2)));
    assert_eq!(routes["web.v.001"]["respond"]["status"], 404);
    assert_eq!(routes["web.v.002"]["backends"][1], json!({"cluster": "two", "weight": 10}));
    assert_eq!(routes["web.v.002"]["rewrite"]["prefix"], "/");
    assert_eq!(routes["web.v.003"]["redirect"]["status"], 301);
    let (one, two) = (&ours["clusters"]["one"], &ours["clusters"]["two"]);
    assert_eq!((&one["balance"], &one["protocol"]), (&json!("weighted"), &json!("http2")));
    assert_eq!(one["endpoints"][1], json!({"address": "127.0.0.1:2", "weight": 2}));
    assert_eq!(two["dns"], json!({"name": "backend.example", "port": 80}));
    assert_eq!((&two["balance"], &two["connect_timeout"]), (&json!("least_request"), &json!("2s")));
    let notes = told(&loaded.notes).join("\n");
    assert!(notes.contains("MOSN never reaches it"), "{notes}");
    assert!(notes.contains("LB_MAGLEV is not known here"), "{notes}");
}

#[test]
fn a_channel_leads_to_every_other_application() {
    let loaded = shipped_one("proxy.json");
    assert_eq!(shown(&loaded)["apps"]["*"]["addresses"], json!(["127.0.0.1:12221"]));
    let channel = |channel: &str| {
        runtime(&format!(r#"{{"rpcs": {{"mosn": {{"config": {{"channel": [{channel}]}}}}}}}}"#))
    };
    let direct = load_text(&channel(r#"{"protocol": "http", "listener": "127.0.0.1:80"}"#)).unwrap();
    assert_eq!(shown(&direct)["apps"]["*"]["addresses"], json!(["127.0.0.1:80"]));
    let bolt = load_text(&channel(r#"{"protocol": "bolt", "listener": "x"}"#)).unwrap();
    assert_eq!(bolt.config.apps.len(), 0);
    assert!(told(&bolt.notes)[0].contains("calls go over http, not 'bolt'"), "{:?}", bolt.notes);
    let nowhere = load_text(&channel(r#"{"protocol": "http", "listener": "x"}"#)).unwrap_err();
    assert!(nowhere.to_string().contains("there is no proxy listener 'x'"), "{nowhere}");
}

#[test]
fn nothing_is_laid_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("a.yaml"), dir.path().join("config.json"));
    std::fs::write(&ours, "{}").unwrap();
    std::fs::write(&theirs, r#"{"servers":[]}"#).unwrap();
    let sources = Sources { files: vec![ours, theirs], sets: vec!["a=1".to_owned()], env: Vec::new() };
    let problems = load(&sources, &backends::registry()).expect_err("refused");
    let text = problems.to_string();
    assert!(text.contains("config.json:1:1: a Layotto configuration stands alone"), "{text}");
    assert!(text.contains("flag --set a=1: nothing can be laid over"), "{text}");
}

/// The way to every value of a document.
fn pointers(json: &Json, here: &str, out: &mut Vec<String>) {
    out.push(here.to_owned());
    match json {
        Json::Object(map) => {
            map.iter().for_each(|(key, value)| pointers(value, &format!("{here}/{key}"), out))
        }
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| pointers(item, &format!("{here}/{i}"), out));
        }
        _ => {}
    }
}

#[test]
fn no_file_makes_it_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    let read = |file: &PathBuf| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let seeds: Vec<Json> = shipped().iter().map(read).collect();
    let strangers =
        [json!({}), json!([]), json!(null), json!(5), json!("x"), json!(true), json!([{"type": "grpc"}])];
    let registry = backends::registry();
    let mut refused = 0;
    for round in 0..2000 {
        let mut document = seeds[round % seeds.len()].clone();
        for _ in 0..random.usize(1..4) {
            let mut all = Vec::new();
            pointers(&document, "", &mut all);
            let place = document.pointer_mut(&all[random.usize(0..all.len())]).unwrap();
            *place = strangers[random.usize(0..strangers.len())].clone();
        }
        let document = span::parse(Path::new("f"), &document.to_string(), &|_| None).unwrap();
        match translate(&document, &registry) {
            Ok(translation) => drop(crate::config::read::read::<Config>(&translation.tree, &[])),
            Err(problems) => {
                assert!(!problems.is_empty(), "{document:?}");
                refused += 1;
            }
        }
    }
    assert!((200..1800).contains(&refused), "{refused} of 2000 were refused");
}
