//! Sidecars that find each other in a registry, on a real etcd that comes late and is away for a while.

use std::time::{Duration, Instant};

use outrigger_sdk::{Call, Client, ErrorKind, Options};

use crate::{
    application::Application,
    http::{get, post},
    program::{Folder, Program, eventually},
    servers::Server,
};

/// Why the component `db` is down, if it is.
fn reason(program: &Program) -> Option<String> {
    let ready = get(program.admin(), "/actuator/health/readiness");
    let db = &ready.json()["components"]["db"];
    assert_eq!(ready.status == 200, db["status"] == "UP", "{}", ready.body);
    (db["status"] == "DOWN").then(|| db["details"]["reason"].as_str().unwrap().to_owned())
}

/// The component `db`: a registry in the etcd at this port.
fn registry(port: u16, settings: &str) -> String {
    let settings = format!("{{ endpoints: '127.0.0.1:{port}', {settings} }}");
    format!("components: {{ db: {{ type: registry.etcd, settings: {settings} }} }}")
}

#[test]
fn sidecars_of_other_hosts_are_found_in_a_registry() {
    let Some(mut etcd) = Server::etcd() else { return };
    let (port, app) = (etcd.port(), Application::echo());
    // Each has a table of hosts of its own, as on a host of its own.
    let registry = registry(port, "ttl: 5s, advertise: 127.0.0.1");
    let shop = Folder::with(&format!("app: {{ id: shop }}\n{registry}\n"));
    let orders = Folder::with(&format!("app: {{ id: orders, port: {} }}\n{registry}\n", app.port()));
    let (program, mut beside) = (shop.run(), orders.run());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    let client = runtime.block_on(Client::connect_with(options)).unwrap();
    let ask = |app: &str| runtime.block_on(client.invoke(Call::new(app, "hello")));
    let answer = |app: &str| ask(app).ok().map(|answer| String::from_utf8(answer.data.into()).unwrap());
    let fails = |app: &str, kind| ask(app).err().filter(|error| error.kind() == kind);

    eventually("why it is down", || {
        reason(&program).filter(|reason| reason.contains("etcd cannot be reached"))
    });
    let refused = ask("orders").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("the registry cannot be followed"), "{refused}");

    etcd.start();
    let found = eventually("orders is found", || answer("orders"));
    assert!(found.starts_with("GET /hello\n") && found.contains("dapr-caller-app-id: shop\n"), "{found}");
    eventually("nobody is nobody", || fails("nobody", ErrorKind::NotConfigured));
    assert_eq!(eventually("it is said", || Some(reason(&program)).filter(Option::is_none)), None);

    // While etcd is away, and longer than the lease, what is known serves.
    etcd.kill();
    eventually("the outage is seen", || reason(&program));
    std::thread::sleep(Duration::from_secs(6));
    answer("orders").unwrap();
    eventually("who is not known may have come", || fails("nobody", ErrorKind::Unavailable));
    for _ in 0..30 {
        ask("nobody").unwrap_err();
    }
    answer("orders").expect("nobody's absence is not held against orders");
    etcd.start();
    eventually("nobody is nobody again", || fails("nobody", ErrorKind::NotConfigured));
    answer("orders").unwrap();

    // One that stops is gone at once, one that is killed when its lease is.
    beside.stop();
    eventually("orders is gone", || fails("orders", ErrorKind::NotConfigured));
    let beside = orders.run();
    eventually("orders is back", || answer("orders"));
    drop(beside);
    fails("orders", ErrorKind::Unavailable).expect("it is not known yet that nobody is there");
    let killed = Instant::now();
    eventually("its lease has ended", || fails("orders", ErrorKind::NotConfigured));
    assert!(killed.elapsed() < Duration::from_secs(20), "after {:?}", killed.elapsed());
}

#[test]
fn a_token_is_shown_to_sidecars_of_a_registry_that_is_trusted() {
    let Some(mut etcd) = Server::etcd() else { return };
    etcd.start();
    let (port, app) = (etcd.port(), Application::echo());
    let sidecar = |app: &str, settings: &str| {
        let registry = registry(port, &format!("advertise: 127.0.0.1{settings}"));
        format!("app: {{ {app} }}\n{registry}\n")
    };
    let token = ["--set", "api.tokens.main.value=hunter2"];
    let orders = Folder::with(&sidecar(&format!("id: orders, port: {}", app.port()), "")).arguments(&token);
    let shop = Folder::with(&sidecar("id: shop", "")).arguments(&token);
    let (_beside, mut program) = (orders.run(), shop.run());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = Some("hunter2".to_owned());
    let options = Options { endpoint: format!("http://{}", program.api()), token, ..Options::default() };
    let client = runtime.block_on(Client::connect_with(options)).unwrap();
    let ask = || runtime.block_on(client.invoke(Call::new("orders", "hello")));

    let refused = eventually("orders is found", || {
        ask().err().filter(|error| error.kind() != ErrorKind::NotConfigured)
    });
    assert!(refused.to_string().contains("401"), "{refused}");
    shop.configure(&sidecar("id: shop", ", presentToken: true"));
    program.wait_for("configuration reloaded");
    eventually("orders lets the shop's sidecar in", || ask().ok());
}

#[test]
fn a_sidecar_nobody_else_reaches_is_not_announced() {
    let Some(mut etcd) = Server::etcd() else { return };
    etcd.start();
    let config = |settings: &str| format!("app: {{ id: orders }}\n{}\n", registry(etcd.port(), settings));
    let folder = Folder::with(&config("advertise: '127.0.0.1'"));
    let mut orders = folder.run();
    let announced = || {
        let range = r#"{"key": "L291dHJpZ2dlci9hcHBzLw==", "range_end": "L291dHJpZ2dlci9hcHBzMA=="}"#;
        let found = post(([127, 0, 0, 1], etcd.port()).into(), "/v3/kv/range", range);
        assert_eq!(found.status, 200, "{}", found.body);
        found.json()["count"].as_str().map_or(0, |count| count.parse().unwrap())
    };
    eventually("it is announced", || (announced() == 1).then_some(()));
    folder.configure(&config("ttl: 1m"));
    orders.wait_for("the API listens on this host alone: set advertise");
    eventually("what was said is taken back", || (announced() == 0).then_some(()));
}
