//! The whole program with its state in Redis, which is down at first, refuses, comes, and is killed: the program stays
//! up, says what is wrong, and is of use again within two seconds.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_proto::layotto as proto;
use tonic::{Code, Status};

use crate::http::get;
use crate::layotto::{Client, refused, run};
use crate::program::{Folder, Program, eventually};

/// A call's deadline is 5 s by default; with Redis gone it has no reason to take that long.
const IN_TIME: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(2);

/// A Redis server with a password, killed when dropped.
struct Redis(Child);

impl Redis {
    /// None where Redis is not installed; that fails the test where nothing may be skipped.
    fn start(port: u16, folder: &Folder, password: &str) -> Option<Self> {
        let program =
            std::env::var_os("OUTRIGGER_TEST_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--requirepass", password, "--dir"]).arg(folder.path(""));
        let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn() else {
            let required = std::env::var("OUTRIGGER_TEST_REQUIRE").is_ok_and(|value| value == "all");
            assert!(!required, "redis-server is missing, and OUTRIGGER_TEST_REQUIRE asks for it");
            eprintln!("skipped: redis-server is not installed");
            return None;
        };
        eventually("redis listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self(child))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn save(client: &mut Client) -> Result<(), Status> {
    let item =
        proto::StateItem { key: "key".into(), value: b"value".as_slice().into(), ..Default::default() };
    let request = proto::SaveStateRequest { store_name: "cart".into(), states: vec![item] };
    client.runtime.save_state(request).await.map(drop)
}

/// Why the component is not ready.
fn reason(program: &Program) -> Option<String> {
    let answer = get(program.admin(), "/actuator/health/readiness");
    let component = &answer.json()["components"]["cart"];
    (answer.status == 503 && component["status"] == "DOWN")
        .then(|| component["details"]["reason"].as_str().unwrap_or_default().to_owned())
}

fn fails(program: &Program, code: Code, words: &str, why: &str) {
    let start = Instant::now();
    refused(run(program, async |c| save(c).await), code, words);
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    let reason = eventually("the reason", || reason(program));
    assert!(reason.contains(why), "{reason}");
    assert!(!reason.contains("hunter2"), "{reason}");
    assert_eq!(get(program.admin(), "/actuator/health/liveness").status, 200, "a restart would not help");
}

fn recovers(program: &Program) {
    let back = Instant::now();
    while let Err(status) = run(program, async |c| save(c).await) {
        assert!(back.elapsed() < SOON, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
    eventually("readiness", || {
        (get(program.admin(), "/actuator/health/readiness").status == 200).then_some(())
    });
}

#[test]
fn redis_may_be_down_refuse_come_and_be_killed() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = Folder::with(&format!(
        "components: {{ cart: {{ type: state.redis, settings: {{ redisHost: '127.0.0.1:{port}', redisPassword: hunter2 }} }} }}\n"
    ));
    let program = folder.run();
    fails(&program, Code::Unavailable, "redis cannot be reached", "cannot be reached");
    let Some(refusing) = Redis::start(port, &folder, "hunter3") else { return };
    eventually("the refusal", || reason(&program).filter(|reason| reason.contains("redisPassword")));
    drop(refusing);
    for _ in 0..2 {
        let redis = Redis::start(port, &folder, "hunter2").unwrap();
        recovers(&program);
        drop(redis);
        fails(&program, Code::Unavailable, "redis cannot be reached", "cannot be reached");
    }
}
