//! The program on etcd: up without it, open about it, and at work soon after it is there.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use outrigger_sdk::{Client, ErrorKind, Options};

use crate::{
    http::get,
    program::{Folder, Program, eventually},
};

/// A running etcd. Dropping it kills it.
struct Etcd(Child);

impl Etcd {
    fn start(folder: &Folder, port: u16) -> Self {
        let peers = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://{peers}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.path("etcd")).args(["--log-level", "error"]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("etcd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self(process)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn reason(program: &Program) -> Option<String> {
    let ready = get(program.admin(), "/actuator/health/readiness");
    let db = &ready.json()["components"]["db"];
    assert_eq!(ready.status == 200, db["status"] == "UP", "{}", ready.body);
    (db["status"] == "DOWN").then(|| db["details"]["reason"].as_str().unwrap().to_owned())
}

#[test]
fn an_outage_is_shown_and_passes() {
    if std::env::var_os("OUTRIGGER_TEST_ETCD_URL").is_none() {
        return eprintln!("skipped: OUTRIGGER_TEST_ETCD_URL is not set");
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = Folder::with(&format!(
        "components: {{ db: {{ type: state.etcd, settings: {{ endpoints: '127.0.0.1:{port}' }} }} }}\n"
    ));
    let program = folder.run();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    let client = runtime.block_on(Client::connect_with(options)).unwrap();
    let store = client.state("db");
    for round in 0..2 {
        assert!(reason(&program).is_some_and(|reason| reason.contains("etcd cannot be reached")));
        let refused = runtime.block_on(store.get("key")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");

        let etcd = Etcd::start(&folder, port);
        let back = std::time::Instant::now();
        eventually("it works again", || runtime.block_on(store.save(("key", "value"))).ok());
        assert!(back.elapsed() < Duration::from_secs(2), "after {:?}", back.elapsed());
        assert_eq!(eventually("it is said", || Some(reason(&program)).filter(Option::is_none)), None);
        let entry = runtime.block_on(store.get("key")).unwrap().unwrap();
        assert_eq!((&entry.value[..], round < 2), (&b"value"[..], true));
        drop(etcd);
    }
}
