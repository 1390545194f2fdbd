//! Functions of the running program: brought in by each of the ways there are, switched under load, taken back, kept.

mod arriving;
mod swap;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use outrigger_proto::outrigger::{ListFunctionsRequest, functions_client::FunctionsClient};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::{
    component::answering,
    http::{Answer, get, post, send, try_send},
    program::{Folder, Program, eventually},
    pubsub::runtime,
};

const ROUTE: &str = "
listeners: { web: { address: '127.0.0.1:0' } }
routes: { all: { backends: [{ cluster: own }] } }
clusters: { own: { endpoints: [{ function: hello }] } }
";

/// Functions of the folder: the configuration does not know their names, so a cluster does.
const FOLDER: &str = "
listeners: { web: { address: '127.0.0.1:0' } }
routes: { all: { backends: [{ cluster: own }] } }
clusters: { own: { endpoints: [{ function: hello }] } }
wasm: { functions: { folder: deployed } }
";

/// In one step: nobody reads half a module.
fn put(file: &Path, module: &[u8]) {
    let next = file.with_extension("next");
    fs::write(&next, module).unwrap();
    fs::rename(next, file).unwrap();
}

fn says(program: &Program) -> Option<String> {
    let answer = get(program.web(), "/");
    (answer.status == 200).then_some(answer.body)
}

fn wait_for(program: &Program, text: &str) {
    eventually(text, || (says(program).as_deref() == Some(text)).then_some(()));
}

/// State and weight of each version of `hello`.
fn states(program: &Program) -> Vec<(String, u64)> {
    let function = get(program.admin(), "/functions/hello").json();
    let state = |version: &Value| {
        (version["state"].as_str().unwrap().to_owned(), version["weight"].as_u64().unwrap())
    };
    function["versions"].as_array().unwrap().iter().map(state).collect()
}

/// `outrigger fn`.
fn cli(folder: &Folder, admin: SocketAddr, arguments: &[&str]) -> Output {
    let admin = format!("http://{admin}");
    let mut all = vec!["fn"];
    all.extend(arguments);
    all.extend(["--admin", &admin]);
    folder.command(&all).output().unwrap()
}

fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn failed(output: Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_function_of_the_section_is_switched_when_its_file_changes() {
    let folder = Folder::with(&format!("{ROUTE}functions: {{ hello: {{ file: hello.wasm }} }}\n"));
    let file = folder.path("hello.wasm");
    put(&file, &answering("first"));
    let program = folder.run();
    assert_eq!(says(&program).as_deref(), Some("first"));
    put(&file, &answering("second"));
    wait_for(&program, "second");

    put(&file, b"no component");
    let refused = post(program.admin(), "/reload", "");
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("outrigger.yaml:7:29: functions.hello.file: "), "{}", refused.body);
    assert_eq!(says(&program).as_deref(), Some("second"), "the last good one stays");
    let listed: Vec<_> = states(&program).into_iter().map(|(state, _)| state).collect();
    assert_eq!(listed, ["current", "previous", "refused"]);
    let logs = get(program.admin(), "/functions/hello/logs").json();
    assert!(logs["lines"][0]["text"].as_str().unwrap().starts_with("refused: "), "{logs}");

    assert_eq!(post(program.admin(), "/functions/hello/rollback", "").status, 200);
    assert_eq!(says(&program).as_deref(), Some("first"));
    let removal = send(program.admin(), "DELETE", "/functions/hello", &[], "");
    assert_eq!(removal.status, 409);
    assert!(removal.body.contains("is part of the configuration"), "{}", removal.body);
}

#[test]
fn a_function_that_cannot_be_loaded_refuses_the_start_and_the_check() {
    let folder = Folder::with("functions: { hello: { file: hello.wasm } }\n");
    put(&folder.path("hello.wasm"), b"no component");
    let expected = "outrigger.yaml:3:29: functions.hello.file: ";
    let output = folder.command(&["check", "outrigger.yaml"]).output().unwrap();
    assert!(failed(output).contains(expected));
    let mut program = folder.start(&[]);
    program.wait_for(expected);
    assert_eq!(program.end().code(), Some(2));
}

#[test]
fn the_command_line_deploys_weighs_takes_back_and_removes() {
    let folder = Folder::with(FOLDER);
    fs::create_dir(folder.path("src")).unwrap();
    let source = folder.path("src/hello.wasm");
    let mut program = folder.run();
    let admin = program.admin();
    assert_eq!(get(program.web(), "/").status, 503, "there is none yet");

    put(&source, &answering("first"));
    fs::write(folder.path("src/hello.yaml"), "deadline: 2s\n").unwrap();
    let told = done(cli(&folder, admin, &["deploy", "src"]));
    assert!(told.contains("current") && !told.contains("it lasts"), "{told}");
    assert_eq!(says(&program).as_deref(), Some("first"));

    put(&source, b"no component");
    assert!(!failed(cli(&folder, admin, &["deploy", "src/hello.wasm"])).is_empty());
    assert_eq!(says(&program).as_deref(), Some("first"));
    assert!(done(cli(&folder, admin, &["logs", "hello"])).contains("refused: "));

    put(&source, &answering("second"));
    let told = done(cli(&folder, admin, &["deploy", "src", "--weight", "50"]));
    assert!(told.contains("candidate"), "{told}");
    assert_eq!(states(&program)[..2], [("current".to_owned(), 50), ("candidate".to_owned(), 50)]);
    wait_for(&program, "first");
    wait_for(&program, "second");
    done(cli(&folder, admin, &["promote", "hello"]));
    assert!((0..20).all(|_| says(&program).as_deref() == Some("second")));
    done(cli(&folder, admin, &["rollback", "hello"]));
    assert_eq!(says(&program).as_deref(), Some("first"));
    assert!(done(cli(&folder, admin, &["list"])).lines().any(|line| line.contains("previous")));

    put(&source, &answering("third"));
    done(cli(&folder, admin, &["deploy", "src", "--weight", "20"]));
    assert_eq!(post(admin, "/functions/hello/weight", "{\"weight\": 40}").json()["kept"], true);

    // What was deployed is found again: who answers, who gets a share, and who did before.
    let deployed = states(&program);
    assert_eq!(deployed.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [60, 40, 0]);
    program.stop();
    let program = folder.run();
    assert_eq!(states(&program), deployed);
    wait_for(&program, "first");
    wait_for(&program, "third");
    let admin = program.admin();
    done(cli(&folder, admin, &["rollback", "hello"]));
    assert!((0..20).all(|_| says(&program).as_deref() == Some("first")));
    done(cli(&folder, admin, &["remove", "hello"]));
    assert_eq!(get(program.web(), "/").status, 503);
    assert!(failed(cli(&folder, admin, &["remove", "hello"])).contains("there is no function 'hello'"));
    assert_eq!(fs::read_dir(folder.path("deployed")).unwrap().count(), 0);
}

#[test]
fn a_route_names_a_function_of_the_folder_through_a_cluster() {
    let config = "listeners: { web: { address: '127.0.0.1:0' } }
routes: { all: { backends: [{ cluster: hello }] } }
wasm: { functions: { folder: deployed } }
";
    let folder = Folder::with(config);
    let told = failed(folder.command(&["check", "outrigger.yaml"]).output().unwrap());
    let expected = "outrigger.yaml:4:40: routes.all.backends[0].cluster: there is no cluster `hello`; a function of the \
                    folder needs one: `clusters: { hello: { endpoints: [{ function: hello }] } }`";
    assert!(told.contains(expected), "{told}");
    // As it says.
    folder.configure(&format!("{config}clusters: {{ hello: {{ endpoints: [{{ function: hello }}] }} }}\n"));
    let program = folder.run();
    assert_eq!(get(program.web(), "/").status, 503);
    put(&folder.path("hello.wasm"), &answering("hello"));
    done(cli(&folder, program.admin(), &["deploy", "hello.wasm"]));
    assert_eq!(says(&program).as_deref(), Some("hello"), "at once");
    let refused = send(
        program.admin(),
        "PUT",
        "/functions/other?config=grants:%20%7Bstate:%20%5Bcrat%5D%7D",
        &[("content-type", "application/wasm")],
        "no component",
    );
    assert_eq!(refused.status, 422);
    assert!(
        refused.body.contains("grants.state[0]: state store 'crat' is not configured"),
        "{}",
        refused.body
    );
}

#[test]
fn the_folder_is_followed() {
    let folder = Folder::with(FOLDER);
    let program = folder.run();
    let file = folder.path("deployed/hello.wasm");
    let module = answering("first");
    let (begun, rest) = module.split_at(module.len() / 2);
    fs::write(&file, begun).unwrap();
    eventually("half of it is refused", || {
        let answer = get(program.admin(), "/functions/hello");
        (answer.status == 200).then(|| answer.json()["versions"][0]["reason"].as_str().map(str::to_owned))?
    });
    fs::write(&file, [begun, rest].concat()).unwrap();
    wait_for(&program, "first");
    fs::write(folder.path("deployed/hello.yaml"), "reuse: 0").unwrap();
    eventually("bad settings are refused", || (states(&program).len() == 2).then_some(()));
    assert_eq!(says(&program).as_deref(), Some("first"));
    fs::remove_file(&file).unwrap();
    eventually("it is gone", || (get(program.web(), "/").status == 503).then_some(()));
}

#[test]
fn what_brings_events_has_to_be_there() {
    let folder = Folder::with(
        "components: { bus: { type: pubsub.in-memory } }\nwasm: { functions: { folder: deployed } }\n",
    );
    let program = folder.run();
    fs::write(folder.path("hello.wasm"), answering("hello")).unwrap();
    fs::write(folder.path("hello.yaml"), "events: { sold: { pubsub: bsu, topic: sold } }").unwrap();
    let expected = "events.sold.pubsub: pub/sub component 'bsu' is not configured; there are: bus";
    let deploy = ["deploy", "hello.wasm"];
    let told = failed(cli(&folder, program.admin(), &deploy));
    assert!(told.contains(expected), "{told}");
    for file in ["hello.yaml", "hello.wasm"] {
        fs::copy(folder.path(file), folder.path("deployed").join(file)).unwrap();
    }
    let reason = eventually("it is refused", || {
        let function = get(program.admin(), "/functions/hello").json();
        function["versions"][0]["reason"].as_str().map(str::to_owned)
    });
    assert!(reason.ends_with(expected), "{reason}");
    fs::remove_file(folder.path("deployed/hello.wasm")).unwrap();
    eventually("it is gone", || (get(program.admin(), "/functions/hello").status == 404).then_some(()));
    fs::write(folder.path("hello.yaml"), "events: { sold: { pubsub: bus, topic: sold } }").unwrap();
    done(cli(&folder, program.admin(), &deploy));
}

#[test]
fn a_function_has_no_connections() {
    let folder = Folder::with(&FOLDER.replace(
        "{ address: '127.0.0.1:0' }",
        "{ address: '127.0.0.1:0', access_log: { path: access.log, format: '%{status} %{reason}' } }",
    ));
    let program = folder.run();
    fs::write(folder.path("hello.wasm"), answering("hello")).unwrap();
    done(cli(&folder, program.admin(), &["deploy", "hello.wasm"]));
    let websocket = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];
    let refused = send(program.web(), "GET", "/", &websocket, "");
    assert_eq!(refused.status, 501, "{}", refused.body);
    eventually("the log says why", || {
        let log = fs::read_to_string(folder.path("access.log")).ok()?;
        log.contains("501 no_connection").then_some(())
    });
    assert_eq!(says(&program).as_deref(), Some("hello"));
}

#[test]
fn managing_wants_the_token_and_the_right_form() {
    let folder = Folder::empty().env("OUTRIGGER__ADMIN__TOKEN", "s3cret");
    let program = folder.run();
    let admin = program.admin();
    let token = ("authorization", "Bearer s3cret");
    let put = |headers: &[(&str, &str)], path: &str| -> Answer {
        send(admin, "PUT", path, headers, "no component")
    };
    let wasm = ("content-type", "application/wasm");
    assert_eq!(put(&[wasm], "/functions/hello").status, 401);
    assert_eq!(put(&[token], "/functions/hello").status, 415);
    assert_eq!(put(&[token, wasm], "/functions/Hello").status, 422);
    assert_eq!(put(&[token, wasm], "/functions/hello?wieght=1").status, 400);
    let refused = put(&[token, wasm], "/functions/hello?config=reuse:%200");
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("config:1:8: reuse: must be at least 1"), "{}", refused.body);
    assert_eq!(send(admin, "GET", "/functions", &[token], "").json()["functions"], serde_json::json!([]));
    assert_eq!(send(admin, "POST", "/functions/hello/promote", &[token], "").status, 404);
    assert!(failed(cli(&folder, admin, &["list"])).contains("the admin token is required"));
    fs::write(folder.path("hello.wasm"), answering("hello")).unwrap();
    let told = done(cli(&folder, admin, &["deploy", "hello.wasm", "--token", "s3cret"]));
    assert!(told.contains("it lasts until the process ends"), "{told}");
}

fn client(address: SocketAddr) -> FunctionsClient<Channel> {
    FunctionsClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
}

#[test]
fn the_same_is_served_as_grpc_beside_it() {
    let folder = Folder::with("functions: { hello: { file: hello.wasm } }\n");
    put(&folder.path("hello.wasm"), &answering("hello"));
    let program = folder.run();
    runtime().block_on(async {
        let mut admin = client(program.admin());
        let listed = admin.list_functions(ListFunctionsRequest {}).await.unwrap().into_inner().functions;
        assert_eq!(
            (listed[0].name.as_str(), listed[0].triggers.as_slice()),
            ("hello", &["http".to_owned()][..])
        );
        let mut api = client(program.api());
        let refused = api.list_functions(ListFunctionsRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    });
}

#[test]
fn no_request_is_lost_while_versions_are_switched() {
    let folder = Folder::with(FOLDER);
    fs::create_dir(folder.path("deployed")).unwrap();
    let file = folder.path("deployed/hello.wasm");
    put(&file, &answering("0"));
    let program = folder.run();
    let (web, stop) = (program.web(), Arc::new(AtomicBool::new(false)));
    let answered = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let answer = try_send(web, "GET", "/", &[], "").unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for version in 1..=10 {
        put(&file, &answering(&version.to_string()));
        wait_for(&program, &version.to_string());
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.join().unwrap();
    }
    assert!(answered.load(Ordering::SeqCst) >= 100, "{answered:?}");
    let versions = states(&program).into_iter().map(|(state, _)| state);
    assert!(versions.filter(|state| state == "draining").count() <= 4);
}
