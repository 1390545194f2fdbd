//! Reading the configuration again: what is not touched stays, what is bad changes nothing.

use std::time::{Duration, Instant};

use outrigger_sdk::configuration::Item;
use outrigger_sdk::{Client, ErrorKind, Options};
use rustix::process::Signal;

use crate::{
    http::{get, post},
    program::{Folder, Program},
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn client(program: &Program) -> Client {
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    Client::connect_with(options).await.unwrap()
}

const STORES: &str = "components:
  kept: { type: state.in-memory }
  other: { type: state.in-memory }
";

/// Saves a value, does `change`, and tells whether the value is still there.
fn survives(before: &str, after: &str) -> bool {
    let folder = Folder::with(before);
    let program = folder.run();
    runtime().block_on(async {
        let client = client(&program).await;
        client.state("kept").save(("key", "value")).await.unwrap();
        folder.configure(after);
        let outcome = post(program.admin(), "/reload", "");
        assert_eq!(outcome.status, 200, "{}", outcome.body);
        client.state("kept").get("key").await.unwrap().is_some()
    })
}

#[test]
fn a_memory_store_survives_what_does_not_touch_it() {
    for after in [
        STORES,
        "components:\n  kept: { type: state.in-memory }\n",
        "components:\n  kept: { type: state.in-memory }\n  third: { type: state.in-memory }\n",
        "app: { port: 1 }\ncomponents:\n  kept: { type: state.in-memory }\n",
        "components:\n  kept: { type: state.in-memory, scopes: ['', x] }\n",
        "components:\n  kept: { type: state.in-memory, policy: { timeout: 1s } }\n",
    ] {
        assert!(survives(STORES, after), "lost by:\n{after}");
    }
}

/// The same question, where the answer is no: otherwise the test above would not notice a store built anew.
#[test]
fn a_memory_store_that_is_changed_begins_empty() {
    let named = "components:\n  kept: { type: state.in-memory, settings: { maxBytes: 1000000 } }\n";
    let known = Folder::with(named).command(&["check", "outrigger.yaml"]).output().unwrap();
    let after = if known.status.success() { named } else { "components:\n  kept: { type: state.sqlite }\n" };
    assert!(!survives(STORES, after));
}

#[test]
fn a_bad_file_is_refused_whole() {
    let folder = Folder::with(STORES);
    let mut program = folder.run();
    let admin = program.admin();
    let before = get(admin, "/config").json();
    folder.configure("components:\n  new: { type: state.in-memory }\n  kept: { type: stat.in-memory }\n");
    let refused = post(admin, "/reload", "");
    assert_eq!(refused.status, 422);
    let problem = refused.json()["problems"][0].as_str().unwrap().to_owned();
    assert!(
        problem.contains("outrigger.yaml:5:17: components.kept.type: unknown component type"),
        "{problem}"
    );
    assert_eq!(get(admin, "/config").json(), before);
    assert_eq!(get(admin, "/reload").json()["applied"], false);
    assert!(get(admin, "/metrics").body.contains("outrigger_config_last_reload_successful 0\n"));
    program.wait_for("configuration refused");

    folder.configure("components:\n  new: { type: state.in-memory }\n");
    assert_eq!(post(admin, "/reload", "").status, 200);
    assert!(get(admin, "/metrics").body.contains("outrigger_config_last_reload_successful 1\n"));
    assert_eq!(get(admin, "/actuator/components").json()["components"][0]["name"], "new");
}

#[test]
fn files_and_signals_ask_for_it_too() {
    let folder = Folder::with(STORES);
    let mut program = folder.run();
    folder.configure("components: { a: { type: state.in-memory } }\n");
    let line = program.wait_for_next("configuration reloaded");
    assert!(line.contains("because=\"files\"") && line.contains("added=[\"a\"]"), "{line}");
    assert!(line.contains("removed=[\"kept\", \"other\"]"), "{line}");
    program.signal(Signal::HUP);
    let line = program.wait_for_next("configuration reloaded");
    assert!(line.contains("because=\"signal\"") && line.contains("kept=1"), "{line}");
}

#[test]
fn without_watching_files_only_asking_helps() {
    let folder = Folder::with(STORES).arguments(&["--no-watch"]);
    let mut program = folder.run();
    folder.configure("components: { a: { type: state.in-memory } }\n");
    std::thread::sleep(std::time::Duration::from_millis(500));
    program.signal(Signal::HUP);
    assert!(program.wait_for_next("configuration reloaded").contains("because=\"signal\""));
}

#[test]
fn listeners_open_move_and_close() {
    let folder = Folder::with(STORES);
    let program = folder.run();
    let admin = program.admin();
    let kept = program.api();
    let both = "api: { listeners: { main: { address: '127.0.0.1:0' }, second: { address: 'unix:second.sock' } } }\n\
                admin: { address: '127.0.0.1:0' }\n";
    folder.write("outrigger.yaml", both);
    assert_eq!(post(admin, "/reload", "").status, 200);
    assert!(folder.path("second.sock").exists());
    assert!(std::net::TcpStream::connect(kept).is_ok(), "the first stays open");
    folder.configure("");
    assert_eq!(post(admin, "/reload", "").status, 200);
    crate::program::eventually("the second is closed", || {
        (!folder.path("second.sock").exists()).then_some(())
    });

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let clash = format!(
        "api: {{ listeners: {{ main: {{ address: '{address}' }} }} }}\nadmin: {{ address: '127.0.0.1:0' }}\n"
    );
    folder.write("outrigger.yaml", &clash);
    let refused = post(admin, "/reload", "");
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(
        refused.body.contains("outrigger.yaml:1:38: api.listeners.main.address: cannot listen on"),
        "{}",
        refused.body
    );
    assert!(std::net::TcpStream::connect(kept).is_ok(), "nothing has changed");
}

#[test]
fn a_new_token_holds_for_open_connections() {
    let folder = Folder::with(STORES);
    let program = folder.run();
    runtime().block_on(async {
        let client = client(&program).await;
        client.state("kept").save(("key", "value")).await.unwrap();
        let ports = "api: { token: sesame, listeners: { main: { address: '127.0.0.1:0' } } }\nadmin: { address: '127.0.0.1:0' }\n";
        folder.write("outrigger.yaml", &format!("{ports}{STORES}"));
        assert_eq!(post(program.admin(), "/reload", "").status, 200);
        let refused = client.state("kept").get("key").await.unwrap_err();
        assert_eq!(refused.kind(), outrigger_sdk::ErrorKind::Unauthenticated);
    });
}

#[test]
fn what_needs_a_restart_is_said() {
    let folder = Folder::with("workers: 1\napp: { id: a }\n");
    let program = folder.run();
    folder.configure("workers: 2\napp: { id: b }\nlog: { format: json, level: debug }\n");
    let outcome = post(program.admin(), "/reload", "").json();
    assert_eq!(outcome["needs_restart"], serde_json::json!(["app.id", "log.format", "workers"]));
    assert_eq!(get(program.admin(), "/actuator/logger").json()["level"], "debug");
}

/// A store whose file's path is a secret; where the path points after a rotation, values are looked for.
fn rotating(store: &str) -> String {
    format!(
        "components:
  vault: {{ type: secretstores.local.file, settings: {{ secretsFile: secrets.json }} }}
  kept: {{ type: state.sqlite, settings: {{ path: {{ secretRef: {{ store: {store}, key: db }} }} }} }}
  other: {{ type: state.in-memory }}
"
    )
}

fn secrets(folder: &Folder, db: &str, unused: u32) {
    let file = folder.path(db);
    folder.write("secrets.json", &serde_json::json!({ "db": file, "unused": unused }).to_string());
}

#[test]
fn a_secret_that_is_rotated_reaches_the_components_that_use_it() {
    let folder = Folder::with(&rotating("vault"));
    secrets(&folder, "one.db", 1);
    let mut program = folder.run();
    let value = async |program: &Program, store: &str| {
        client(program).await.state(store).get("key").await.unwrap().map(|entry| entry.value)
    };
    runtime().block_on(async {
        for store in ["kept", "other"] {
            client(&program).await.state(store).save(("key", "first")).await.unwrap();
        }
        secrets(&folder, "two.db", 1);
        let line = program.wait_for_next("configuration reloaded");
        assert!(line.contains("because=\"files\"") && line.contains("changed=[\"kept\"]"), "{line}");
        assert_eq!(value(&program, "kept").await, None, "another database");
        assert_eq!(value(&program, "other").await.as_deref(), Some(&b"first"[..]), "not touched");
        client(&program).await.state("kept").save(("key", "second")).await.unwrap();

        // Another secret of the same store: nobody has to be built anew.
        secrets(&folder, "two.db", 2);
        let line = program.wait_for_next("configuration reloaded");
        assert!(line.contains("changed=[]") && line.contains("kept=3"), "{line}");

        // Back again.
        secrets(&folder, "one.db", 2);
        program.wait_for_next("configuration reloaded");
        assert_eq!(value(&program, "kept").await.as_deref(), Some(&b"first"[..]));
    });
}

#[test]
fn a_secret_that_was_missing_is_found_when_it_comes() {
    let folder = Folder::with(&rotating("vault"));
    folder.write("secrets.json", "{}");
    let mut program = folder.start(&[]);
    program.wait_for("component not ready");
    secrets(&folder, "one.db", 1);
    program.wait_for_next("component ready component=kept");
}

#[test]
fn without_watching_a_rotated_secret_waits_for_a_reload() {
    let folder = Folder::with(&rotating("vault")).arguments(&["--no-watch"]);
    secrets(&folder, "one.db", 1);
    let program = folder.run();
    runtime().block_on(async { client(&program).await.state("kept").save(("key", "first")).await.unwrap() });
    secrets(&folder, "two.db", 1);
    let outcome = post(program.admin(), "/reload", "").json();
    assert_eq!(outcome["components"]["changed"], serde_json::json!(["kept"]));
}

#[test]
fn a_watch_of_configuration_ends_with_its_store_and_with_the_program() {
    let stores = |hidden: &str| {
        format!(
            "shutdown: {{ timeout: 60s }}\ncomponents:\n  kept: {{ type: configuration.in-memory }}\n  \
             moved: {{ type: configuration.in-memory{hidden} }}\n"
        )
    };
    let folder = Folder::with(&stores(""));
    let mut program = folder.run();
    runtime().block_on(async {
        let client = client(&program).await;
        let (kept, moved) = (client.configuration("kept", "app"), client.configuration("moved", "app"));
        let mut stays = kept.watch(["a"]).await.unwrap();
        let mut ends = moved.watch(["a"]).await.unwrap();
        folder.configure(&stores(", scopes: [somebody-else]"));
        let outcome = post(program.admin(), "/reload", "");
        assert_eq!(outcome.status, 200, "{}", outcome.body);
        let ended = ends.next().await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::PermissionDenied, "{ended}");
        kept.save([Item::new("a", "1")]).await.unwrap();
        assert_eq!(stays.next().await.unwrap().unwrap()[0].content, "1");

        program.signal(Signal::TERM);
        let asked = Instant::now();
        let ended = stays.next().await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Unavailable, "{ended}");
        assert!(program.end().success());
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "a watch held up the end for {:?}",
            asked.elapsed()
        );
    });
}
