//! A Layotto file and Layotto's command line on the real program.

use std::path::Path;

use outrigger_sdk::{Client, Options};

use crate::{
    http::get,
    ports::reserved,
    program::{Folder, Program, eventually},
};

/// A folder with a file that ships with the program, on ports the system picks.
fn folder(name: &str) -> Folder {
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/layotto")).join(name);
    let text = std::fs::read_to_string(shipped).unwrap();
    let text = text.replace(":34904", ":0").replace(":34999", ":0").replace(":12221", ":0");
    let folder = Folder::bare();
    folder.write("config.json", &text);
    folder.write("secrets.json", r#"{"db-user-pass": {"password": "redis123"}}"#);
    folder
}

fn keep_and_find(program: &Program) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
        let client = Client::connect_with(options).await.unwrap();
        client.state("state_demo").save(("key", "value")).await.unwrap();
        assert_eq!(&client.state("state_demo").get("key").await.unwrap().unwrap().value[..], b"value");
    });
}

#[test]
fn a_layotto_file_runs_the_sidecar() {
    let folder = folder("standalone.json").arguments(&["-c", "config.json"]);
    let mut program = folder.run();
    keep_and_find(&program);
    // The callback port of the file has nobody behind it, which is no reason not to be ready.
    let parts = eventually("the state store is up", || {
        let parts = get(program.admin(), "/actuator/health/readiness").json()["components"].clone();
        (parts["state_demo"]["status"] == "UP").then_some(parts)
    });
    assert_eq!(parts["app"], serde_json::Value::Null);
    let note = program.wait_for("has no effect: metrics are served at /metrics of the admin listener");
    assert!(note.contains("config.json:") && note.contains("setting=\"metrics\""), "{note}");
}

#[test]
fn its_own_command_line_does_too() {
    let by_variable = folder("standalone.json").env("RUNTIME_CONFIG", "config.json");
    let mut program = by_variable.spawn("start", &[]);
    program.wait_ready();
    keep_and_find(&program);
    let folder = folder("standalone.json").arguments(&["--service-node", "x", "--config", "config.json"]);
    let mut program = folder.spawn("start", &[]);
    program.wait_for("without effect: --service-node");
    program.wait_ready();
    keep_and_find(&program);
    for (verb, instead) in [("stop", "SIGTERM"), ("reload", "SIGHUP")] {
        let output = folder.command(&[verb]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(instead), "{error}");
    }
}

#[test]
fn a_type_that_does_not_exist_is_not_ready_and_says_why() {
    let text = r#"{"servers":[{"listeners":[
        {"name":"grpc","address":"127.0.0.1:0","bind_port":true,"filter_chains":[{"filters":[{"type":"grpc","config":
            {"server_name":"runtime","grpc_config":{"state":{"state_demo":{"type":"in-memory"},"old":{"type":"cassandra"}}}}}]}]},
        {"name":"actuator","address":"127.0.0.1:0","bind_port":true,"stream_filters":[{"type":"actuator_filter"}]}]}]}"#;
    let folder = Folder::bare().arguments(&["-c", "config.json"]);
    folder.write("config.json", text);
    let program = folder.run();
    keep_and_find(&program);
    let old = eventually("the reason is known", || {
        let old = get(program.admin(), "/actuator/health/readiness").json()["components"]["old"].clone();
        (old["status"] == "DOWN").then_some(old)
    });
    let reason = old["details"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("unknown component type state.cassandra"), "{reason}");
    // It is the reason of the attempt that stays, not that there will be no further one.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let later = get(program.admin(), "/actuator/health/readiness").json()["components"]["old"].clone();
    assert_eq!(later, old);
}

#[test]
fn a_change_of_the_file_is_applied() {
    let folder = folder("standalone.json").arguments(&["-c", "config.json"]);
    let mut program = folder.run();
    let text = std::fs::read_to_string(folder.path("config.json")).unwrap();
    folder.write("config.json", &text.replace("state_demo", "another_demo"));
    program.wait_for("configuration reloaded");
    let listed = get(program.admin(), "/actuator/components").body;
    assert!(listed.contains("another_demo") && !listed.contains("state_demo"), "{listed}");
}

/// Layotto's HTTP demo: a call by an id goes through the route table of the channel's listener.
#[test]
fn an_application_is_called_through_the_channel() {
    let (backend, egress) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), reserved());
    let address = backend.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{BufRead as _, Write as _};
        let (mut stream, _) = backend.accept().unwrap();
        let head = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
        let first = head.map(Result::unwrap).take_while(|line| !line.is_empty()).next().unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{first}", first.len()).unwrap();
    });
    let shipped = std::fs::read_to_string(folder("proxy.json").path("config.json")).unwrap();
    let text = shipped.replace("127.0.0.1:8889", &address.to_string());
    let folder = Folder::bare().arguments(&["-c", "config.json"]);
    folder.write(
        "config.json",
        &text.replacen(
            "\"127.0.0.1:0\",\n          \"bind_port\": true,\n          \"network\"",
            &format!("\"{egress}\",\n          \"bind_port\": true,\n          \"network\""),
            1,
        ),
    );
    let program = folder.run();
    let answer = crate::layotto::run(&program, async |client| {
        let message =
            outrigger_proto::layotto::CommonInvokeRequest { method: "/hello".into(), ..Default::default() };
        let request = outrigger_proto::layotto::InvokeServiceRequest {
            id: "HelloService:1.0".into(),
            message: Some(message),
        };
        client.runtime.invoke_service(request).await.unwrap().into_inner()
    });
    assert_eq!(answer.data.unwrap().value, b"GET /hello HTTP/1.1");
    let direct = get(egress, "/health");
    assert_eq!((direct.status, direct.body.as_str()), (200, "alive"));
}
