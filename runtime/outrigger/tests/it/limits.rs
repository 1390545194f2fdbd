//! What callers of the API are held to: how many calls, how long messages, and who may call at all.

use std::time::Duration;

use outrigger_proto::layotto::{
    DeleteStateRequest, GetStateRequest, SaveStateRequest, SayHelloRequest, StateItem,
};
use tonic::{Code, Status};

use crate::{
    http,
    layotto::{Client, refused, run},
    program::{Folder, Program, eventually},
};

const STORE: &str = "app: { id: orders }\ncomponents: { state: { type: state.in-memory } }\n";

fn api(limits: &str) -> Folder {
    let folder = Folder::with("");
    folder.write(
        "outrigger.yaml",
        &format!(
            "api: {{ listeners: {{ main: {{ address: '127.0.0.1:0' }} }}, limits: {{ {limits} }} }}\n\
             admin: {{ address: '127.0.0.1:0' }}\n{STORE}"
        ),
    );
    folder
}

impl Client {
    async fn value(&mut self, key: &str) -> Result<Vec<u8>, Status> {
        let request = GetStateRequest { store_name: "state".into(), key: key.into(), ..Default::default() };
        self.runtime.get_state(request).await.map(|answer| answer.into_inner().data.into())
    }

    async fn set_value(&mut self, key: &str, bytes: usize) -> Result<(), Status> {
        let item = StateItem { key: key.into(), value: vec![0; bytes].into(), ..Default::default() };
        let request = SaveStateRequest { store_name: "state".into(), states: vec![item] };
        self.runtime.save_state(request).await.map(drop)
    }
}

fn limited(program: &Program, limit: &str) -> Option<u32> {
    let metrics = http::get(program.admin(), "/metrics").body;
    let series = format!("outrigger_block_limited_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
}

#[test]
fn a_rate_refuses_what_is_beyond_it_and_says_when_to_come_back() {
    let folder = api("calls: { reads: { app: orders, block: state, operation: get, \
         rate: { capacity: 3, refill_per_second: 0.01 } }, \
         others: { app: billing, rate: { capacity: 1, refill_per_second: 0.01 } } }");
    let program = folder.run();
    run(&program, async |c| {
        for _ in 0..3 {
            c.value("k").await.unwrap();
        }
        let status = c.value("k").await.unwrap_err();
        let pushback: u64 =
            status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
        assert!((50_000..=100_000).contains(&pushback), "{pushback}");
        refused(Err::<(), _>(status), Code::ResourceExhausted, "limit 'reads'");
        for _ in 0..5 {
            c.set_value("k", 1).await.unwrap();
        }
    });
    assert_eq!((limited(&program, "reads"), limited(&program, "others")), (Some(1), Some(0)));
    // The same limit after a reload is the same bucket, and another one begins full.
    let text = std::fs::read_to_string(folder.path("outrigger.yaml")).unwrap();
    folder.write("outrigger.yaml", &format!("{text}log: {{ level: debug }}\n"));
    assert_eq!(http::post(program.admin(), "/reload", "").status, 200);
    run(&program, async |c| refused(c.value("k").await, Code::ResourceExhausted, "limit 'reads'"));
    folder.write("outrigger.yaml", &text.replace("capacity: 3", "capacity: 2"));
    assert_eq!(http::post(program.admin(), "/reload", "").status, 200);
    run(&program, async |c| drop(c.value("k").await.unwrap()));
}

#[test]
fn only_so_many_calls_run_at_the_same_time() {
    let folder = api("calls: { one: { block: state, concurrent: 1 } }");
    let lock = folder.path("data/outrigger");
    folder.write(
        "outrigger.yaml",
        &std::fs::read_to_string(folder.path("outrigger.yaml")).unwrap().replace("in-memory", "sqlite"),
    );
    let program = folder.run();
    run(&program, async |c| c.set_value("k", 1).await.unwrap());
    let file = std::fs::read_dir(&lock).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|e| e == "db")).unwrap();
    // While another process holds the file a write takes its time.
    let held = rusqlite::Connection::open(file).unwrap();
    held.execute_batch("begin immediate").unwrap();
    run(&program, async |c| {
        let (mut first, mut second) = (c.runtime.clone(), c.runtime.clone());
        let delete = |key: &str| DeleteStateRequest {
            store_name: "state".into(),
            key: key.into(),
            ..Default::default()
        };
        let (a, b) = (first.delete_state(delete("a")), second.delete_state(delete("b")));
        let refusal = async {
            let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
            let first = tokio::select! { ended = &mut a => (ended, true), ended = &mut b => (ended, false) };
            held.execute_batch("rollback").unwrap();
            let rest = if first.1 { b.await } else { a.await };
            (first.0, rest)
        };
        let (refusal, rest) = tokio::time::timeout(Duration::from_secs(10), refusal).await.unwrap();
        refused(refusal, Code::ResourceExhausted, "limit 'one': too many calls at the same time");
        rest.unwrap();
        c.set_value("k", 1).await.unwrap();
    });
    assert_eq!(limited(&program, "one"), Some(1));
}

#[test]
fn messages_have_a_longest_either_way() {
    let folder = api("max_message_bytes: 10000");
    let program = folder.run();
    run(&program, async |c| {
        c.set_value("small", 9000).await.unwrap();
        assert_eq!(c.value("small").await.unwrap().len(), 9000);
        assert_eq!(c.set_value("large", 11_000).await.unwrap_err().code(), Code::OutOfRange);
        // Two that may be saved need not fit into one answer.
        c.set_value("other", 9000).await.unwrap();
        let request = outrigger_proto::layotto::GetBulkStateRequest {
            store_name: "state".into(),
            keys: vec!["small".into(), "other".into()],
            ..Default::default()
        };
        assert_eq!(c.runtime.get_bulk_state(request).await.unwrap_err().code(), Code::OutOfRange);
    });
    let folder = Folder::with(STORE);
    let program = folder.run();
    run(&program, async |c| {
        c.set_value("most", 4 * 1024 * 1024 - 100).await.unwrap();
        assert_eq!(c.set_value("more", 4 * 1024 * 1024 + 1).await.unwrap_err().code(), Code::OutOfRange);
    });
}

#[test]
fn tokens_change_without_a_moment_in_which_nobody_is_let_in() {
    let folder = Folder::with("").env("NEW_TOKEN", "new");
    let with = |tokens: &str| {
        let text = format!(
            "api: {{ listeners: {{ main: {{ address: '127.0.0.1:0' }} }}, tokens: {{ {tokens} }} }}\n\
             admin: {{ address: '127.0.0.1:0' }}\n{STORE}"
        );
        folder.write("outrigger.yaml", &text);
    };
    folder.write("old.txt", "old\n");
    with("a: { file: old.txt }");
    let program = folder.run();
    let lets_in = |token: &str| {
        run(&program, async |c| {
            let mut request = tonic::Request::new(SayHelloRequest::default());
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            c.runtime.say_hello(request).await.map_or_else(|s| s.code() != Code::Unauthenticated, |_| true)
        })
    };
    let reload = || http::post(program.admin(), "/reload", "").status;
    assert_eq!((lets_in("old"), lets_in("new")), (true, false));
    with("a: { file: old.txt }, b: { env: NEW_TOKEN }");
    assert_eq!(reload(), 200);
    assert_eq!((lets_in("old"), lets_in("new")), (true, true));
    with("b: { env: NEW_TOKEN }");
    assert_eq!(reload(), 200);
    assert_eq!((lets_in("old"), lets_in("new")), (false, true));
    // A file is read again even when the configuration is the same.
    with("a: { file: old.txt }");
    assert_eq!(reload(), 200);
    folder.write("old.txt", "newest");
    assert_eq!(reload(), 200);
    assert_eq!((lets_in("old"), lets_in("newest")), (false, true));
    // One that cannot be read is refused whole: what held still holds.
    with("a: { file: gone.txt }");
    assert_ne!(reload(), 200);
    assert!(lets_in("newest"));
}

#[test]
fn a_token_in_a_store_that_does_not_tell_lets_nobody_in() {
    let folder = Folder::with("");
    folder.write(
        "outrigger.yaml",
        "api: { listeners: { main: { address: '127.0.0.1:0' } }, \
         tokens: { a: { secretRef: { store: vault, key: token } } } }
admin: { address: '127.0.0.1:0' }
components: { vault: { type: secretstores.local.file, settings: { secretsFile: later.json } } }
",
    );
    folder.write("later.json", "{}");
    let program = folder.run();
    let hello = |token: &'static str| {
        run(&program, async |c| {
            let mut request = tonic::Request::new(SayHelloRequest::default());
            request.metadata_mut().insert("dapr-api-token", token.parse().unwrap());
            c.runtime.say_hello(request).await.unwrap_err().code()
        })
    };
    assert_eq!(hello("s3cret"), Code::Unauthenticated);
    folder.write("later.json", r#"{"token": "s3cret"}"#);
    eventually("the store tells", || (hello("s3cret") != Code::Unauthenticated).then_some(()));
    assert_eq!(hello("other"), Code::Unauthenticated);
}

#[test]
fn pages_do_not_get_in_as_grpc_web_either() {
    let folder = Folder::with(STORE);
    let program = folder.run();
    let ask = |content_type: &str, more: &[(&str, &str)]| {
        let headers = [&[("content-type", content_type), ("x-grpc-web", "1")], more].concat();
        let path = "/spec.proto.runtime.v1.Runtime/GetState";
        http::send(program.api(), "POST", path, &headers, "\0\0\0\0\0")
    };
    for web in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"] {
        assert_eq!(ask(web, &[("origin", "https://evil.example")]).status, 403, "{web}");
        assert_eq!(ask(web, &[("sec-fetch-site", "cross-site")]).status, 403, "{web}");
        assert_eq!(ask(web, &[("host", "evil.example")]).status, 403, "{web}");
        assert_eq!(ask(web, &[]).status, 415, "{web}");
    }
}
