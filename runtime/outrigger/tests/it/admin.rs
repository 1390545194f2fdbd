//! The admin listener: shapes, liveness of what is shown, and who may see it.

use serde_json::json;

use crate::{
    http::{get, post, send},
    program::{Folder, eventually},
};

const ONE_STORE: &str = "app: { id: orders }\ncomponents: { cart: { type: state.in-memory } }\n";

#[test]
fn health_has_layottos_shape() {
    let folder = Folder::with(ONE_STORE);
    let program = folder.run();
    let ready = eventually("readiness", || {
        Some(get(program.admin(), "/actuator/health/readiness")).filter(|a| a.status == 200)
    });
    assert_eq!(ready.header("content-type"), Some("application/json"));
    assert_eq!(
        ready.json(),
        json!({"status": "UP", "components": {
            "cart": {"status": "UP"},
            "runtime_startup": {"status": "UP", "details": {"reason": ""}},
        }})
    );
    let live = get(program.admin(), "/actuator/health/liveness");
    assert_eq!(live.status, 200);
    assert_eq!(
        live.json(),
        json!({"status": "UP", "components": {"runtime_startup": {"status": "UP", "details": {"reason": ""}}}})
    );
    let info = get(program.admin(), "/actuator/info").json();
    assert_eq!(info["app"]["name"], "outrigger");
    assert_eq!(info["app"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["app"]["compiled"].as_str().unwrap().ends_with('Z'), "{info}");
    assert_eq!(info["appId"], "orders");
    let missing = get(program.admin(), "/nowhere");
    assert_eq!((missing.status, missing.body.as_str()), (404, ""));
    assert_eq!(post(program.admin(), "/config", "").status, 405);
}

#[test]
fn what_is_down_is_503_and_comes_back() {
    let folder = Folder::with("components: { cart: { type: state.sqlite, settings: { path: gone/db } } }\n");
    // A file where the folder should be: the store cannot open until it is gone.
    folder.write("gone", "in the way");
    let program = folder.run();
    let admin = program.admin();
    let down = eventually("a store that is down", || {
        let answer = get(admin, "/actuator/health/readiness");
        (answer.json()["components"]["cart"]["status"] == "DOWN").then_some(answer)
    });
    assert_eq!(down.status, 503);
    assert_eq!(down.json()["status"], "DOWN");
    assert!(!down.json()["components"]["cart"]["details"]["reason"].as_str().unwrap().is_empty());
    assert_eq!(get(admin, "/actuator/health/liveness").status, 200, "a restart would not help");
    let listed = get(admin, "/actuator/components").json();
    assert_eq!(listed["components"][0]["name"], "cart");
    assert_eq!(listed["components"][0]["status"], "DOWN");
    std::fs::remove_file(folder.path("gone")).unwrap();
    std::fs::create_dir(folder.path("gone")).unwrap();
    eventually("the store comes back", || {
        (get(admin, "/actuator/health/readiness").status == 200).then_some(())
    });
}

#[test]
fn the_app_is_probed_when_its_port_is_known() {
    let app = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = app.local_addr().unwrap().port();
    let folder = Folder::with(&format!("app: {{ port: {port} }}\n"));
    let program = folder.run();
    let ready = get(program.admin(), "/actuator/health/readiness");
    assert_eq!((ready.status, &ready.json()["components"]["app"]["status"]), (200, &json!("UP")));
    drop(app);
    let gone = get(program.admin(), "/actuator/health/readiness");
    assert_eq!(gone.status, 503);
    let reason = gone.json()["components"]["app"]["details"]["reason"].to_string();
    assert!(reason.contains(&format!("nothing answers on port {port}")), "{reason}");
}

#[test]
fn the_app_may_be_elsewhere_or_left_out_of_readiness() {
    let app = std::net::TcpListener::bind("127.0.0.9:0").unwrap();
    let port = app.local_addr().unwrap().port();
    let ready = |config: &str| {
        let folder = Folder::with(&format!("app: {{ port: {port}, {config} }}\n"));
        get(folder.run().admin(), "/actuator/health/readiness")
    };
    assert_eq!(ready("host: 127.0.0.9").json()["components"]["app"]["status"], "UP");
    assert_eq!(ready("host: 127.0.0.8").status, 503);
    let unasked = ready("host: 127.0.0.8, probe: false");
    assert_eq!((unasked.status, &unasked.json()["components"]["app"]), (200, &json!(null)));
}

#[test]
fn names_are_those_of_the_block() {
    let folder = Folder::with(
        "components: { a: { type: state.in-memory, name: shop }, b: { type: secretstores.local.env, name: shop } }\n",
    );
    let program = folder.run();
    let ready = eventually("readiness", || {
        Some(get(program.admin(), "/actuator/health/readiness")).filter(|a| a.status == 200)
    });
    let parts = ready.json()["components"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(parts, ["runtime_startup", "secrets.shop", "state.shop"]);
}

#[test]
fn the_log_level_changes_while_running() {
    let folder = Folder::with(ONE_STORE);
    let mut program = folder.run();
    let admin = program.admin();
    assert_eq!(get(admin, "/actuator/logger").json(), json!({"level": "info"}));
    let changed = post(admin, "/actuator/logger", r#"{"component": "outrigger", "level": "ERROR"}"#);
    assert_eq!((changed.status, changed.body.as_str()), (200, "{}"));
    assert_eq!(get(admin, "/actuator/logger").json(), json!({"level": "info,outrigger=error"}));
    post(admin, "/reload", "");
    for bad in ["", "{}", r#"{"level": 5}"#, r#"{"level": "=,="}"#, r#"{"level": "info", "x": 1}"#] {
        let refused = post(admin, "/actuator/logger", bad);
        assert_eq!(refused.status, 400, "{bad}: {}", refused.body);
        assert!(refused.json()["error"].as_str().is_some_and(|e| !e.is_empty()));
    }
    assert_eq!(post(admin, "/actuator/logger", r#"{"level": "info"}"#).status, 200);
    post(admin, "/reload", "");
    program.wait_for_next("configuration reloaded");
    let told = program.log.iter().filter(|line| line.contains("configuration reloaded")).count();
    assert_eq!(told, 1, "only the reload after the level was back is told:\n{}", program.log.join("\n"));
}

#[test]
fn without_the_token_only_probes_answer() {
    let folder = Folder::with("admin: { token: sesame }\n".trim_start());
    // The ports' lines have an admin section already.
    folder.write(
        "outrigger.yaml",
        "api: { listeners: {} }\nadmin: { address: '127.0.0.1:0', token: sesame }\n",
    );
    let program = folder.run();
    let admin = program.admin();
    let status = |path: &str, headers: &[(&str, &str)]| send(admin, "GET", path, headers, "").status;
    for path in ["/actuator/health", "/actuator/health/liveness", "/actuator/health/readiness"] {
        assert_eq!(status(path, &[]), 200, "{path}");
    }
    for path in [
        "/",
        "/actuator/info",
        "/actuator/logger",
        "/actuator/components",
        "/config",
        "/listeners",
        "/metrics",
        "/reload",
        "/x",
    ] {
        assert_eq!(status(path, &[]), 401, "{path}");
        assert_eq!(status(path, &[("authorization", "Bearer open")]), 401, "{path}");
        let right = status(path, &[("authorization", "Bearer sesame")]);
        assert_eq!(right, if path == "/x" { 404 } else { 200 }, "{path}");
    }
    assert_eq!(send(admin, "POST", "/reload", &[], "").status, 401);
    let config = send(admin, "GET", "/config", &[("authorization", "Bearer sesame")], "");
    assert!(!config.body.contains("sesame"), "{}", config.body);
    assert_eq!(config.json()["admin"]["token"], "***");
}

#[test]
fn pages_and_foreign_names_are_turned_away() {
    let folder = Folder::with(ONE_STORE);
    let program = folder.run();
    let admin = program.admin();
    let status =
        |headers: &[(&str, &str)]| send(admin, "GET", "/actuator/health/liveness", headers, "").status;
    assert_eq!(status(&[]), 200);
    assert_eq!(status(&[("host", "localhost:34999")]), 200);
    assert_eq!(status(&[("host", "attacker.example")]), 403);
    assert_eq!(status(&[("origin", "http://attacker.example")]), 403);
    assert_eq!(status(&[("origin", "null")]), 403);
    assert_eq!(status(&[("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(status(&[("sec-fetch-site", "none")]), 200);
    assert_eq!(send(admin, "POST", "/reload", &[("origin", "http://x")], "").status, 403);
    folder.write(
        "outrigger.yaml",
        "api: { listeners: {} }\nadmin: { address: '127.0.0.1:0', hosts: [pod.local] }\n",
    );
    assert_eq!(post(admin, "/reload", "").status, 200);
    assert_eq!(status(&[("host", "pod.local:34999")]), 200);
}

#[test]
fn the_dump_shows_defaults_and_hides_secrets() {
    let folder = Folder::with(
        "components:\n  env: { type: secretstores.local.env }\n  cart:\n    type: state.sqlite\n    settings:\n      path: { secretRef: { store: env, key: DB_PATH } }\nlog: { level: '${env:LEVEL}' }\n",
    );
    let db = folder.path("secret.db").display().to_string();
    let folder = folder.env("DB_PATH", &db).env("LEVEL", "info");
    let program = folder.run();
    eventually("the store is up", || (get(program.admin(), "/actuator/health").status == 200).then_some(()));
    assert!(folder.path("secret.db").exists(), "the reference was resolved");
    let dump = get(program.admin(), "/config");
    assert!(!dump.body.contains("secret.db"), "{}", dump.body);
    let dump = dump.json();
    assert_eq!(dump["components"]["cart"]["settings"]["path"]["secretRef"]["key"], "DB_PATH");
    assert_eq!(dump["log"]["level"], "${env:LEVEL}");
    assert_eq!(dump["shutdown"]["timeout"], "10s");
}

#[test]
fn metrics_count_what_happened() {
    let folder = Folder::with(ONE_STORE);
    let program = folder.run();
    post(program.admin(), "/reload", "");
    let metrics = get(program.admin(), "/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "outrigger_reloads_total{result=\"applied\"} 1",
        "outrigger_reloads_total{result=\"refused\"} 0",
        "outrigger_config_last_reload_successful 1",
        "outrigger_connections_accepted_total{listener=\"admin\"} 2",
    ] {
        assert!(metrics.body.lines().any(|l| l == line), "{line} is missing from:\n{}", metrics.body);
    }
}
