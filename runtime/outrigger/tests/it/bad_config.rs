//! What is wrong with a configuration is told with file, line, column and field; and all of it at once.

use crate::program::{Folder, PORTS, configs};

/// Runs `outrigger check` on a file with this text and returns what it complains of, without the folder's name.
fn complaints(text: &str) -> Vec<String> {
    let folder = Folder::empty();
    folder.write("f.yaml", text);
    let file = folder.path("f.yaml").display().to_string();
    let output = folder.command(&["check", &file]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Vec::new(),
        Some(2) => error.lines().map(|line| line.replace(&file, "f.yaml")).collect(),
        code => panic!("{code:?}: {error}"),
    }
}

#[test]
fn each_bad_value_is_told_at_its_place() {
    let cases = [
        ("admn: 1", "f.yaml:1:1: admn: unknown key `admn` (did you mean `admin`?)"),
        ("app: 5", "f.yaml:1:6: app: expected a map, found integer `5`"),
        ("app: { id: [x] }", "f.yaml:1:8: app.id: expected a string, found a list"),
        (
            "app: { port: 70000 }",
            "f.yaml:1:14: app.port: expected a whole number from 0 to 65535, found integer `70000`",
        ),
        (
            "app: { port: '8080' }",
            "f.yaml:1:14: app.port: expected a whole number from 0 to 65535, found the text \"8080\"",
        ),
        ("app: { protocol: htpp }", "f.yaml:1:18: app.protocol: unknown value `htpp` (did you mean `http`?)"),
        ("app:\n  ids: x", "f.yaml:2:3: app.ids: unknown key `ids` (did you mean `id`?)"),
        ("workers: 0", "f.yaml:1:10: workers: expected a whole number from 1"),
        ("workers: many", "f.yaml:1:10: workers: expected a whole number from 1"),
        (
            "log: { level: info, format: jsn }",
            "f.yaml:1:29: log.format: unknown value `jsn` (did you mean `json`?)",
        ),
        ("log: { levl: info }", "f.yaml:1:8: log.levl: unknown key `levl` (did you mean `level`?)"),
        ("log: { level: 'info,=,' }", "f.yaml:1:15: log.level: log level 'info,=,' is not understood"),
        (
            "api: { listeners: { main: {} } }",
            "f.yaml:1:21: api.listeners.main: the key `address` is required",
        ),
        (
            "api: { listeners: { main: { address: '8080' } } }",
            "f.yaml:1:38: api.listeners.main.address: '8080' is only a port; write 127.0.0.1:8080",
        ),
        (
            "api: { listeners: { main: { address: 'unix:' } } }",
            "f.yaml:1:38: api.listeners.main.address: 'unix:' has no path after unix:",
        ),
        (
            "api: { listeners: { main: { address: '127.0.0.1:1', tls: { certificate: /nowhere, key: /nowhere } } } }",
            "f.yaml:1:53: api.listeners.main.tls: cannot read /nowhere",
        ),
        (
            "api: { listeners: { main: { address: '127.0.0.1:1', http: { max_headers: 0 } } } }",
            "f.yaml:1:74: api.listeners.main.http.max_headers: must be between 1 and 256",
        ),
        (
            "api: { listeners: { main: { address: '127.0.0.1:1', http: { trusted_peers: [unix] } } } }",
            "f.yaml:1:61: api.listeners.main.http.trusted_peers: belongs to a proxy listener",
        ),
        (
            "api: { listeners: { main: { address: '127.0.0.1:1', limits: { max_connections: 0 } } } }",
            "f.yaml:1:80: api.listeners.main.limits.max_connections: must be at least 1",
        ),
        (
            "admin: { tls: { certificate: /nowhere, key: /nowhere } }",
            "f.yaml:1:10: admin.tls: cannot read /nowhere",
        ),
        ("api: { token: [] }", "f.yaml:1:8: api.token: expected a string, found a list"),
        ("api: { hosts: x }", "f.yaml:1:15: api.hosts: expected a list, found the text \"x\""),
        (
            "admin: { address: localhost }",
            "f.yaml:1:19: admin.address: 'localhost' is not an IP address with port",
        ),
        ("admin: { tokn: x }", "f.yaml:1:10: admin.tokn: unknown key `tokn` (did you mean `token`?)"),
        (
            "admin: { address: '127.0.0.1:1' }\napi: { listeners: { a: { address: '127.0.0.1:1' } } }",
            "f.yaml:1:19: admin.address: 127.0.0.1:1 is already the address of api.listeners.a.address",
        ),
        (
            "components: { a: { type: state.in-memory }, b: { type: state.in-memory, name: a } }",
            "f.yaml:1:79: components.b.name: 'a' is already the name of components.a in the block state",
        ),
        ("components: { a: {} }", "f.yaml:1:15: components.a: the key `type` is required"),
        (
            "components: { a: { type: state.in-memry } }",
            "f.yaml:1:26: components.a.type: unknown component type state.in-memry; did you mean state.in-memory?",
        ),
        (
            "components:\n  a:\n    type: state.sqlite\n    settings:\n      pth: x",
            "f.yaml:5:7: components.a.settings.pth: unknown key `pth` (did you mean `path`?)",
        ),
        (
            "components: { a: { type: state.sqlite, settings: { busyTimeout: soon } } }",
            "f.yaml:1:65: components.a.settings.busyTimeout: ",
        ),
        (
            "components: { a: { type: state.in-memory, settings: { keyPrefix: 'a||b' } } }",
            "f.yaml:1:66: components.a.settings.keyPrefix: keyPrefix 'a||b' must not contain '||'",
        ),
        (
            "components: { a: { type: secretstores.local.env, settings: { defaultAccess: perhaps } } }",
            "f.yaml:1:77: components.a.settings.defaultAccess: defaultAccess is one of allow and deny",
        ),
        (
            "components: { a: { type: state.in-memory, scope: [x] } }",
            "f.yaml:1:43: components.a.scope: unknown key `scope` (did you mean `scopes`?)",
        ),
        (
            "components: { a: { type: state.in-memory, policy: { timeout: 5 } } }",
            "f.yaml:1:62: components.a.policy.timeout: expected ",
        ),
        (
            "components: { a: { type: state.in-memory, policy: { timeout: 5 parsecs } } }",
            "f.yaml:1:62: components.a.policy.timeout: ",
        ),
        (
            "components: { a: { type: state.sqlite, settings: { path: { secretRef: { store: vault, key: k } } } } }",
            "f.yaml:1:80: components.a.settings.path.secretRef.store: there is no secret store named 'vault'",
        ),
        (
            "components: { a: { type: state.sqlite, settings: { path: { secretRef: { store: a, key: k } } } } }",
            "f.yaml:1:80: components.a.settings.path.secretRef.store: the component 'a' is not a secret store",
        ),
        (
            "components: { a: { type: state.sqlite, settings: { path: { secretRef: { key: k } } } } }",
            "f.yaml:1:52: components.a.settings.path: the key `store` is required",
        ),
        (
            "api: { tokens: { a: {} } }",
            "f.yaml:1:18: api.tokens.a: give one of value, env, file and secretRef",
        ),
        ("admin: { tokens: { a: s3cret } }", "f.yaml:1:23: admin.tokens.a: expected a map, found a text"),
        (
            "api: { tokens: { a: { secretRef: { store: vault, key: k } } } }",
            "f.yaml:1:43: api.tokens.a.secretRef.store: there is no secret store named 'vault'",
        ),
        (
            "api: { limits: { calls: { a: { block: state } } } }",
            "f.yaml:1:27: api.limits.calls.a: it limits nothing",
        ),
        (
            "api: { limits: { calls: { a: { block: sate, concurrent: 1 } } } }",
            "f.yaml:1:39: api.limits.calls.a.block: there is no block `sate` (did you mean `state`?)",
        ),
        (
            "api: { limits: { calls: { a: { concurrent: 0 } } } }",
            "f.yaml:1:44: api.limits.calls.a.concurrent: must be at least 1",
        ),
        (
            "api: { limits: { calls: { a: { rate: { capacity: 0, refill_per_second: 1 } } } } }",
            "f.yaml:1:32: api.limits.calls.a.rate: capacity must be at least 1",
        ),
        (
            "telemetry: { traces: { otlp: { endpoint: nowhere } } }",
            "f.yaml:1:42: telemetry.traces.otlp.endpoint: 'nowhere' is neither http:// nor https://",
        ),
        (
            "telemetry: { metrics: { otlp: { endpoint: 'https://a:1' } } }",
            "f.yaml:1:43: telemetry.metrics.otlp.endpoint: https needs `ca`",
        ),
        ("telemetry: { traces: { sample: 2 } }", "f.yaml:1:32: telemetry.traces.sample: must be from 0 to 1"),
        ("telemetry: { traces: { queue: 0 } }", "f.yaml:1:31: telemetry.traces.queue: must be at least 1"),
        (
            "telemetry: { metrics: { otlp: { endpoint: 'http://a:1', headers: { 'a b': s3cret } } } }",
            "f.yaml:1:57: telemetry.metrics.otlp.headers: the name of 'a b' cannot be sent",
        ),
        ("shutdown: { timeout: soon }", "f.yaml:1:22: shutdown.timeout: "),
        ("app: { id: a }\napp: { id: b }", "f.yaml:2:1: app: the key `app` was already given at f.yaml:1:1"),
        (
            "app: { id: '${env:OUTRIGGER_NOT_SET}' }",
            "f.yaml:1:12: the environment variable OUTRIGGER_NOT_SET is not set",
        ),
        (
            "listeners: { a: { address: '127.0.0.1:34904' } }",
            "f.yaml:1:28: listeners.a.address: 127.0.0.1:34904 is already the address of api.listeners.main.address",
        ),
        ("listeners: { web: {} }", "f.yaml:1:14: listeners.web: the key `address` is required"),
        (
            "listeners: { web: { address: '127.0.0.1:1', protocol: htp } }",
            "f.yaml:1:55: listeners.web.protocol: unknown value `htp` (did you mean `http`?)",
        ),
        (
            "listeners: { web: { address: '127.0.0.1:1', http: { max_headers: 0 } } }",
            "f.yaml:1:66: listeners.web.http.max_headers: must be between 1 and 256",
        ),
        (
            "listeners: { web: { address: '127.0.0.1:1', limits: { max_conections: 5 } } }",
            "f.yaml:1:55: listeners.web.limits.max_conections: unknown key `max_conections` (did you mean `max_connections`?)",
        ),
        (
            "listeners: { web: { address: '127.0.0.1:1', tls: { certificate: /nowhere, key: /nowhere } } }",
            "f.yaml:1:45: listeners.web.tls: cannot read /nowhere",
        ),
        (
            "listeners: { db: { address: '127.0.0.1:1', protocol: tcp } }",
            "f.yaml:1:14: listeners.db.cluster: a `tcp` listener needs the cluster",
        ),
        (
            "listeners: { db: { address: '127.0.0.1:1', protocol: tcp, cluster: x } }",
            "f.yaml:1:68: listeners.db.cluster: there is no cluster `x`",
        ),
        (
            "routes: { r: { backends: [ { cluster: x } ] } }",
            "f.yaml:1:39: routes.r.backends[0].cluster: there is no cluster `x`",
        ),
        (
            "routes: { r: { match: [ { path: { prefx: /a } } ], respond: { status: 200 } } }",
            "f.yaml:1:27: routes.r.match[0].path: unknown value `prefx` (did you mean `prefix`?)",
        ),
        (
            "routes: { r: { match: [ { path: { regex: '(' } } ], respond: { status: 200 } } }",
            "f.yaml:1:42: routes.r.match[0].path.regex: not a usable regular expression",
        ),
        ("routes: { r: {} }", "f.yaml:1:11: routes.r.backends: the route does nothing"),
        (
            "routes: { r: { listeners: [w], respond: { status: 200 } } }",
            "f.yaml:1:28: routes.r.listeners[0]: there is no listener `w`",
        ),
        (
            "routes: { r: { respond: { status: 99 } } }",
            "f.yaml:1:35: routes.r.respond.status: 99 is not between 200 and 599",
        ),
        (
            "routes: { r: { respond: { status: 200 }, retry: { on: [resett] } } }",
            "f.yaml:1:56: routes.r.retry.on[0]: unknown value `resett` (did you mean `reset`?)",
        ),
        ("clusters: { a: {} }", "f.yaml:1:13: clusters.a.endpoints: a cluster needs endpoints, or dns"),
        (
            "clusters: { a: { endpoints: [ '127.0.0.1:1', nowhere ] } }",
            "f.yaml:1:46: clusters.a.endpoints[1]: 'nowhere' is not an IP address with port",
        ),
        (
            "clusters: { a: { endpoints: [ { address: '127.0.0.1:1', wight: 2 } ] } }",
            "f.yaml:1:57: clusters.a.endpoints[0].wight: unknown key `wight` (did you mean `weight`?)",
        ),
        ("clusters: { a: { balance: fair } }", "f.yaml:1:27: clusters.a.balance: unknown value `fair`"),
        (
            "clusters: { a: { endpoints: ['127.0.0.1:1'], connect_timeout: 5 } }",
            "f.yaml:1:63: clusters.a.connect_timeout: expected a duration, found integer `5`",
        ),
        ("app: [", "f.yaml:2:1: not valid YAML"),
        ("- app", "f.yaml:1:1: expected a map of sections"),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let found = complaints(text);
        if !(found.len() == 1 && found[0].starts_with(expected)) {
            wrong.push(format!("{text}\n  expected {expected}\n  found    {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_problems_are_told_in_the_order_of_the_file() {
    let text = "\
app: { prt: 1 }
components:
  a: { type: nothing }
  b: { type: state.sqlite, settings: { pathh: x, synchronous: maybe } }
  c: { type: state.in-memory, settings: { x: { secretRef: { store: nowhere, key: k } } } }
shutdown: { timeout: x }
";
    let found = complaints(text);
    let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "f.yaml:1:8",
            "f.yaml:3:14",
            "f.yaml:4:40",
            "f.yaml:4:63",
            "f.yaml:5:43",
            "f.yaml:5:68",
            "f.yaml:6:22"
        ],
        "{found:#?}"
    );
}

#[test]
fn variables_and_flags_are_told_by_name() {
    let check = |folder: Folder, arguments: &[&str], expected: &str| {
        let output = folder.command(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.starts_with(expected), "{error}");
    };
    check(
        Folder::empty().env("OUTRIGGER__APP__PORT", "http"),
        &["check"],
        "environment variable OUTRIGGER__APP__PORT: app.port: expected a whole number from 0 to 65535",
    );
    check(
        Folder::empty().env("OUTRIGGER__ADMN__TOKEN", "80"),
        &["check"],
        "environment variable OUTRIGGER__ADMN__TOKEN: admn: unknown key `admn` (did you mean `admin`?)",
    );
    check(
        Folder::empty(),
        &["check", "--set", "app.port=http"],
        "flag --set app.port=http: app.port: expected a whole number from 0 to 65535",
    );
    check(Folder::empty(), &["check", "nowhere.yaml"], "nowhere.yaml:1:1: cannot be read: ");
}

#[test]
fn a_bad_configuration_does_not_start() {
    let folder = Folder::with("components: { a: { type: nothing } }");
    let mut program = folder.start(&[]);
    assert_eq!(program.end().code(), Some(2));
    assert!(program.log.iter().any(|line| line.contains("components.a.type: unknown component type")));
}

#[test]
fn a_taken_port_is_told_at_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::empty();
    folder.write("f.yaml", &format!("admin:\n  address: '{}'\n", taken.local_addr().unwrap()));
    let arguments = ["run", "-c", "f.yaml", "--set", "api.listeners={}"];
    let output = folder.command(&arguments).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.starts_with("f.yaml:2:12: admin.address: cannot listen on 127.0.0.1:"), "{error}");
}

#[test]
fn every_file_that_ships_is_without_problems() {
    let files = configs();
    assert!(files.iter().any(|file| file.ends_with("quickstart.yaml")), "{files:?}");
    for file in files {
        let output = Folder::empty().command(&["check", &file.display().to_string()]).output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_ports_used_by_these_tests_are_fine() {
    assert_eq!(complaints(PORTS), [""; 0]);
}

#[cfg(not(feature = "wasm"))]
#[test]
fn filters_need_a_program_that_has_them() {
    let expected = "f.yaml:1:7: wasm: this program was built without the `wasm` feature";
    assert_eq!(complaints("wasm: { plugins: {} }"), [expected]);
}
