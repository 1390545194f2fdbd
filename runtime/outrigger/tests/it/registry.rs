//! Sidecars that find each other in a registry, on a real etcd that comes late and is away for a while.

use std::time::{Duration, Instant};

use outrigger_sdk::{Call, Client, ErrorKind, Options};

use crate::{
    application::Application,
    http::get,
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

#[test]
fn sidecars_of_other_hosts_are_found_in_a_registry() {
    let Some(mut etcd) = Server::etcd() else { return };
    let (port, app) = (etcd.port(), Application::echo());
    // Each has a table of hosts of its own, as on a host of its own.
    let registry = format!("{{ endpoints: '127.0.0.1:{port}', ttl: 2s }}");
    let registry = format!("components: {{ db: {{ type: registry.etcd, settings: {registry} }} }}");
    let shop = Folder::with(&format!("app: {{ id: shop }}\n{registry}\n"));
    let orders = Folder::with(&format!("app: {{ id: orders, port: {} }}\n{registry}\n", app.port()));
    let (program, mut beside) = (shop.run(), orders.run());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    let client = runtime.block_on(Client::connect_with(options)).unwrap();
    let ask = |app: &str| runtime.block_on(client.invoke(Call::new(app, "hello")));
    let answer = |app: &str| ask(app).ok().map(|answer| String::from_utf8(answer.data.into()).unwrap());
    let fails = |app: &str, kind| ask(app).err().filter(|error| error.kind() == kind);

    assert!(reason(&program).is_some_and(|reason| reason.contains("etcd cannot be reached")));
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
    std::thread::sleep(Duration::from_secs(3));
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
    assert!(killed.elapsed() < Duration::from_secs(8), "after {:?}", killed.elapsed());
}
