//! Secrets stay inside: planted wherever a configuration can hold one, then looked for in everything that comes out.

use outrigger_proto::layotto::{GetStateRequest, runtime_client::RuntimeClient};
use serde_json::Value;

use crate::{
    backend::Backend,
    collector::Collector,
    http,
    program::{Folder, Program, eventually},
};

/// Every planted secret has this in it.
const MARK: &str = "hunter";

/// The settings outside components that the schema calls secret, as they are planted below.
const PLANTED: &[&str] = &[
    "admin.token",
    "admin.tokens.*.value",
    "api.token",
    "api.tokens.*.value",
    "telemetry.metrics.otlp.headers.*",
    "telemetry.traces.otlp.headers.*",
];

fn config(collector: &Collector, backend: &Backend) -> String {
    let otlp = format!(
        "otlp: {{ endpoint: 'http://{}', headers: {{ authorization: 'Bearer hunter1', x-key: hunter2 }} }}",
        collector.address
    );
    format!(
        "api:
  listeners: {{ main: {{ address: '127.0.0.1:0' }} }}
  token: hunter3
  tokens:
    old: {{ value: hunter4 }}
    file: {{ file: token.txt }}
    env: {{ env: PLANTED_TOKEN }}
    store: {{ secretRef: {{ store: vault, key: token }} }}
admin: {{ address: '127.0.0.1:0', token: '${{env:PLANTED_ADMIN}}', tokens: {{ next: {{ value: hunter5 }} }} }}
log: {{ level: trace }}
components:
  state: {{ type: state.in-memory }}
  vault: {{ type: secretstores.local.file, settings: {{ secretsFile: secrets.json }} }}
telemetry:
  traces: {{ {otlp} }}
  metrics: {{ interval: 50ms, {otlp} }}
listeners: {{ web: {{ address: '127.0.0.1:0' }} }}
clusters: {{ up: {{ endpoints: ['{}'] }} }}
routes:
  all:
    backends: [ {{ cluster: up }} ]
    filters:
      headers: {{ request: {{ set: {{ authorization: 'Basic hunter6', x-api-key: hunter7, cookie: hunter8 }} }} }}
",
        backend.address
    )
}

fn folder(collector: &Collector, backend: &Backend) -> Folder {
    let folder = Folder::with("").env("PLANTED_TOKEN", "hunter-env").env("PLANTED_ADMIN", "hunter-admin");
    folder.write("token.txt", "hunter-file\n");
    folder.write("secrets.json", r#"{"token": "hunter-store"}"#);
    folder.write("outrigger.yaml", &config(collector, backend));
    folder
}

/// What is shown, and where.
type Shown = Vec<(String, String)>;

fn leaks(shown: &Shown) -> Vec<&str> {
    shown.iter().filter(|(_, text)| text.contains(MARK)).map(|(place, _)| place.as_str()).collect()
}

async fn get_state(program: &Program, token: Option<&str>) -> Result<(), tonic::Status> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", program.api())).unwrap();
    let mut client = RuntimeClient::new(endpoint.connect().await.unwrap());
    let message =
        GetStateRequest { store_name: "state".to_owned(), key: "k".to_owned(), ..Default::default() };
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("dapr-api-token", token.parse().unwrap());
    }
    client.get_state(request).await.map(drop)
}

fn admin(program: &Program, path: &str, token: &str) -> http::Answer {
    http::send(program.admin(), "GET", path, &[("authorization", &format!("Bearer {token}"))], "")
}

async fn output(folder: &Folder, arguments: &[&str]) -> (String, String) {
    let output = folder.command(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (format!("{:?}", arguments.first()), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_planted_secret_comes_out_anywhere() {
    let (collector, backend) = (Collector::start().await, Backend::start(200).await);
    let folder = folder(&collector, &backend);
    let mut program = folder.run();
    for token in ["hunter3", "hunter4", "hunter-file", "hunter-env"] {
        get_state(&program, Some(token)).await.unwrap_or_else(|status| panic!("{token}: {status}"));
    }
    // The one in the store is known a moment later.
    let mut tries = 0;
    while let Err(status) = get_state(&program, Some("hunter-store")).await {
        tries += 1;
        assert!(tries < 1000, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut shown = Shown::new();
    for token in [None, Some("hunter-wrong"), Some("hunter5")] {
        let refused = get_state(&program, token).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        shown.push(("refusal".to_owned(), format!("{refused:?}")));
    }
    let answer = http::get(program.web(), "/?token=hunter-query");
    assert_eq!(answer.status, 200);
    shown.push(("answer".to_owned(), answer.head + &answer.body));
    let paths = ["/config", "/metrics", "/listeners", "/clusters", "/routes", "/reload", "/actuator/info"];
    for path in paths.into_iter().chain(["/actuator/components", "/actuator/health", "/actuator/logger", "/"])
    {
        // Probes cannot send one.
        let open = path == "/actuator/health";
        assert_eq!(admin(&program, path, "hunter-wrong").status == 200, open, "{path}");
        let answer = admin(&program, path, "hunter-admin");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(admin(&program, path, "hunter5").status, 200, "either token will do");
        shown.push((path.to_owned(), answer.head + &answer.body));
    }
    eventually("spans are exported", || (collector.spans().len() > 4).then_some(()));
    assert!(collector.keys().iter().all(|key| key == "hunter2") && collector.metrics() > 0);
    shown.push(("spans".to_owned(), format!("{:?}", collector.spans())));
    let file = ["-c", "outrigger.yaml"];
    let bad = ["check", "outrigger.yaml", "--set", "api.tokens.x=hunter9", "--set", "admin.token=[hunter9]"];
    for arguments in [
        [&["config", "show", "--origin"][..], &file, &["--set", "api.token=hunter9"]].concat(),
        [&["config", "show", "--origin"][..], &file, &["--set", "api.tokens.x.value=hunter9"]].concat(),
        [&["config", "show"][..], &file].concat(),
        bad.to_vec(),
    ] {
        shown.push(output(&folder, &arguments).await);
    }
    folder.write(
        "wrong.yaml",
        "api: { token: { a: hunter }, tokens: { a: hunter, b: { value: [hunter] }, c: { file: hunter, env: x } } }\n\
         admin: { tokens: { a: { valeu: hunter } } }\n\
         telemetry: { traces: { otlp: { endpoint: 'http://a:1', headers: { x: [hunter], y: \"hunter\\n\" } } } }\n",
    );
    let (_, text) = output(&folder, &["check", "wrong.yaml"]).await;
    assert_eq!(text.lines().count(), 9, "{text}");
    shown.push(("check wrong.yaml".to_owned(), text));
    assert!(program.stop().0.success());
    program.end();
    let log = program.log.join("\n");
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log holds everything there is");
    shown.push(("log".to_owned(), log));
    assert_eq!(leaks(&shown), [""; 0], "{shown:#?}");
    // What is no secret is shown, so the search does find what is there.
    let plain = output(&folder, &["config", "show", "-c", "outrigger.yaml", "--set", "app.id=hunter0"]).await;
    assert_eq!(leaks(&vec![plain]).len(), 1);
}

/// Every place the schema calls secret, outside of components.
fn secrets(root: &Value, node: &Value, path: String, out: &mut Vec<String>) {
    if let Some(referred) =
        node.get("$ref").and_then(Value::as_str).and_then(|r| root.pointer(r.strip_prefix('#')?))
    {
        return secrets(root, referred, path, out);
    }
    if node.get("writeOnly").is_some() {
        return out.push(path);
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, property) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        secrets(root, property, below(name), out);
    }
    if let Some(named @ Value::Object(_)) = node.get("additionalProperties") {
        secrets(root, named, below("*"), out);
    }
    for choice in ["anyOf", "oneOf"].iter().filter_map(|key| node.get(*key)?.as_array()).flatten() {
        secrets(root, choice, path.clone(), out);
    }
}

#[test]
fn every_place_for_a_secret_is_planted() {
    let output = Folder::empty().command(&["config", "schema"]).output().unwrap();
    let mut schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let places = |schema: &Value| {
        let mut places = Vec::new();
        secrets(schema, schema, String::new(), &mut places);
        places.sort();
        places.dedup();
        places
    };
    assert_eq!(places(&schema), PLANTED, "plant a secret in the new one, too");
    schema["$defs"]["AppConfig"]["properties"]["pin"] = serde_json::json!({"writeOnly": true});
    assert!(places(&schema).contains(&"app.pin".to_owned()), "a new place is noticed");
}
