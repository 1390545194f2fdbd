//! The layers, the verbs that explain them, and the default set.

use outrigger_sdk::{Client, Options};

use crate::program::Folder;

fn output(folder: &Folder, arguments: &[&str]) -> String {
    let output = folder.command(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_value_knows_its_origin() {
    let folder = Folder::empty().env("OUTRIGGER__APP__PORT", "3").env("OUTRIGGER__API__TOKEN", "12345");
    folder.write("a.yaml", "app: { id: one, port: 1 }\nworkers: 1\n");
    folder.write("b.yaml", "app: { port: 2 }\nworkers: 2\n");
    let shown = output(
        &folder,
        &["config", "show", "--origin", "-c", "a.yaml", "-c", "b.yaml", "--set", "log.level=warn"],
    );
    for line in [
        "app.id: \"one\"  # a.yaml:1:12",
        "app.port: 3  # environment variable OUTRIGGER__APP__PORT",
        "workers: 2  # b.yaml:2:10",
        "log.level: \"warn\"  # flag --set log.level=warn",
        "admin.address: \"127.0.0.1:34999\"  # default",
        "api.token: \"***\"  # environment variable OUTRIGGER__API__TOKEN",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line} is missing from:\n{shown}");
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let folder = Folder::empty();
    let shown = output(&folder, &["config", "show"]);
    folder.write("shown.yaml", &shown);
    assert_eq!(output(&folder, &["config", "show", "-c", "shown.yaml"]), shown);
}

#[test]
fn a_first_file_is_written_once_and_fits() {
    let folder = Folder::empty();
    output(&folder, &["config", "init"]);
    assert_eq!(output(&folder, &["check", "outrigger.yaml"]), "ok: 1 component, 1 API listener\n");
    let again = folder.command(&["config", "init"]).output().unwrap();
    assert!(!again.status.success(), "an existing file is left alone");
}

#[test]
fn a_named_thing_can_be_taken_away() {
    let folder = Folder::empty();
    folder.write("a.yaml", "components: { a: { type: state.in-memory }, b: { type: state.in-memory } }\n");
    folder.write("b.yaml", "components: { a: null }\nadmin: { address: null }\napi: { listeners: {} }\n");
    let shown = output(&folder, &["config", "show", "-c", "a.yaml", "-c", "b.yaml"]);
    assert!(!shown.contains("  a:") && shown.contains("  b:"), "{shown}");
    assert!(shown.contains("address: null") && shown.contains("listeners: {}"), "{shown}");
}

#[test]
fn types_and_their_settings_are_listed() {
    let folder = Folder::empty();
    let list = output(&folder, &["components"]);
    for name in ["state.in-memory", "state.sqlite", "secretstores.local.env", "secretstores.local.file"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    let page = output(&folder, &["components", "state.sqlite"]);
    assert!(page.contains("| `path` | string |") && page.contains("| fencing | yes |"), "{page}");
    let unknown = folder.command(&["components", "state.sqlit"]).output().unwrap();
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(error.contains("did you mean state.sqlite?"), "{error}");
}

#[test]
fn without_a_configuration_the_first_call_succeeds() {
    let folder = Folder::empty();
    let program = folder.run();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
        let client = Client::connect_with(options).await.unwrap();
        client.state("state").save(("key", "value")).await.unwrap();
        assert_eq!(&client.state("state").get("key").await.unwrap().unwrap().value[..], b"value");
    });
    drop(program);
    assert!(folder.path("data/outrigger/outrigger.db").exists());
}
