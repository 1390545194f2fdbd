//! Functions of Layotto's: found by their ids, called with whole requests, asking the blocks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderName;
use outrigger_blocks::invoke::{Callers, Directory, Place, Speaks, Target};
use outrigger_blocks::{
    Blocks, Caller, Error, ErrorKind, Member as _, Meter, Policy, Result, StateComponent, Write,
};
use outrigger_cluster::{Clusters, Context};
use outrigger_component_api::{ComponentSpec, async_trait};
use outrigger_http::chain::Module;
use outrigger_http::{Request, Response};
use outrigger_memory::MemoryState;
use outrigger_telemetry::Metrics;
use outrigger_wasm_host::{FunctionChange, LayottoFunctionConfig, LayottoGrants};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::guest::{filter, filter_with};
use crate::rig::{Rig, get, pieces_of, post, read, value, within};

const GET_STATE: &str =
    r#"(import "env" "proxy_get_state" (func $get_state (param i32 i32 i32 i32 i32 i32) (result i32)))"#;
const INVOKE: &str = r#"(import "env" "proxy_invoke_service"
    (func $invoke (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;

/// Writes what is between these to the response.
const SAY: &str = "(func $write (param i32 i32)
      (call $ok (call $set_bytes (i32.const 1) (i32.const 0x7fffffff) (i32.const 0) (local.get 0) (local.get 1))))";

/// A function of this id.
fn function(id: &str, import: &str, code: &str) -> Vec<u8> {
    let code = format!(
        r#"{SAY} (func (export "proxy_get_id")
             (call $ok (call $set_bytes (i32.const 8) (i32.const 0) (i32.const 0) @"{id}")))
           {code}"#
    );
    filter_with(import, &code)
}

/// One that does this with a body, whose place and length are on the stack.
fn on_body(id: &str, import: &str, code: &str) -> Vec<u8> {
    let code = format!(
        r#"(func (export "proxy_on_request_body") (param $id i32) (param $size i32) (param $end i32) (result i32)
             (local $at i32)
             (call $ok (call $bytes (i32.const 0) (i32.const 0) (local.get $size) (i32.const 8) (i32.const 12)))
             (local.set $at (i32.load (i32.const 8)))
             {code}
             (i32.const 0))"#
    );
    function(id, import, &code)
}

/// Says what it was given.
fn echo(id: &str) -> Vec<u8> {
    on_body(id, "", "(call $write (local.get $at) (local.get $size))")
}

/// The functions of Layotto's documentation: the first asks the second for the stock of the book in its query, and the
/// second looks it up.
fn shop() -> Vec<u8> {
    on_body(
        "id_1",
        INVOKE,
        r#"(call $ok (call $invoke @"id_2" @""
             (i32.add (local.get $at) (i32.const 5)) (i32.sub (local.get $size) (i32.const 5)) (i32.const 8) (i32.const 12)))
           (call $write @"There are ")
           (call $write (call $got))
           (call $write @" inventories for ")
           (call $write (i32.add (local.get $at) (i32.const 5)) (i32.sub (local.get $size) (i32.const 5)))
           (call $write @".")"#,
    )
}

fn stock() -> Vec<u8> {
    on_body(
        "id_2",
        GET_STATE,
        r#"(call $ok (call $get_state @"books" (local.get $at) (local.get $size) (i32.const 8) (i32.const 12)))
           (call $write (call $got))"#,
    )
}

impl Rig {
    /// Exactly these functions, each with these settings.
    async fn functions(&mut self, functions: &[(&str, Vec<u8>, Value)]) -> Result<(), Vec<(String, String)>> {
        let mut config = json!({ "layotto": {} });
        for (name, module, settings) in functions {
            let file = self.file(&format!("{name}.wasm"));
            std::fs::write(&file, module).unwrap();
            let mut function = settings.clone();
            function["file"] = json!(file);
            config["layotto"][*name] = function;
        }
        let applied = self.apply(config).await;
        applied.map_err(|found| found.into_iter().map(|problem| (problem.path, problem.message)).collect())
    }

    async fn one(module: Vec<u8>, settings: Value) -> Self {
        let mut rig = Self::empty();
        rig.functions(&[("f", module, settings)]).await.unwrap();
        rig
    }

    fn module(&self) -> Arc<dyn Module> {
        Arc::clone(&self.plugins.modules()["layotto"])
    }

    async fn ask(&self, id: &str, request: Request) -> (u16, String) {
        ask(&*self.module(), id, request).await
    }
}

/// On a route that answers 200 with nothing.
async fn ask(module: &dyn Module, id: &str, mut request: Request) -> (u16, String) {
    if !id.is_empty() {
        request.head.headers.append(&HeaderName::from_static("id"), id).unwrap();
    }
    let mut visit = module.visit(&"route".into());
    let answer = within(visit.request(&mut request).taken()).await;
    let mut response = answer.unwrap_or_else(|| Response::status(http::StatusCode::OK));
    within(visit.response(&mut response).taken()).await;
    let text = read(std::mem::take(&mut response.body)).await.unwrap().text();
    if response.head.status == 200 {
        assert_eq!(
            value(&response.head.headers, "content-type").as_deref(),
            Some("text/plain; charset=utf-8")
        );
    }
    (response.head.status.as_u16(), text)
}

/// Blocks with the store `books` and the application `id_2`, which is at this address.
async fn blocks(address: std::net::SocketAddr) -> Arc<Blocks> {
    let metrics = Metrics::new();
    let blocks = Blocks::new("shop", &metrics);
    let mut spec =
        ComponentSpec { r#type: "state.in-memory".into(), name: "books".into(), ..ComponentSpec::default() };
    let component = StateComponent::from_spec(&mut spec, Policy::default(), blocks.meter()).unwrap();
    component.slot().ready(Arc::new(MemoryState::new()));
    blocks.state.stores.replace([Arc::new(component)]);
    let write = Write { key: "book1".into(), value: "100".into(), ..Write::default() };
    blocks.state.set(&Caller::new("shop"), "books", write).await.unwrap();
    let config = serde_json::from_value(json!({ "next": { "endpoints": [address] } })).unwrap();
    let context = Context::new(metrics.clone(), Handle::current());
    let clusters = Clusters::compile(&config, &Clusters::empty(context)).unwrap();
    clusters.activate();
    let place = Place::App { speaks: Speaks::Http, callers: Callers::default() };
    let target = Target::new("id_2", Arc::clone(clusters.get("next").unwrap()), place, &Meter::new(&metrics));
    blocks.invoke.ask(Arc::new(Next(Arc::new(target), clusters)));
    Arc::new(blocks)
}

struct Next(Arc<Target>, #[expect(dead_code, reason = "the cluster lives with them")] Clusters);

#[async_trait]
impl Directory for Next {
    async fn find(&self, caller: &Caller<'_>, app: &str) -> Result<Arc<Target>> {
        assert_eq!(caller.app_id, "shop");
        let nobody = || Error::new(ErrorKind::NotConfigured, "nobody");
        if app == "id_2" { Ok(Arc::clone(&self.0)) } else { Err(nobody()) }
    }
}

/// The next request of a listener: its id, its body, and where its answer goes.
async fn next(listener: &TcpListener) -> (String, String, TcpStream) {
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let mut text = vec![0; 4096];
    let size = within(stream.read(&mut text)).await.unwrap();
    let text = String::from_utf8(text[..size].to_vec()).unwrap();
    assert!(text.starts_with("GET / HTTP/1.1\r\n"), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let id = head.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    (id.to_owned(), body.to_owned(), stream)
}

async fn tell(stream: &mut TcpStream, body: &str) {
    let answer =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn two_functions_and_a_store_tell_the_stock_of_a_book() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rig = Rig::with_blocks(blocks(listener.local_addr().unwrap()).await);
    let grants = json!({ "instances": 1, "grants": { "state": ["books"], "invoke": ["id_2"] } });
    rig.functions(&[("function1", shop(), grants.clone()), ("function2", stock(), grants)]).await.unwrap();
    let module = rig.module();
    tokio::spawn(async move {
        loop {
            let (id, body, mut stream) = next(&listener).await;
            let (status, text) = ask(&*module, &id, post(&[&body])).await;
            assert_eq!(status, 200);
            tell(&mut stream, &text).await;
        }
    });
    for _ in 0..3 {
        let told = rig.ask("id_1", get("/?name=book1")).await;
        assert_eq!(told, (200, "There are 100 inventories for book1.".to_owned()));
    }
    // A key that is not there is empty.
    assert_eq!(rig.ask("id_1", get("/?name=other")).await.1, "There are  inventories for other.");
}

#[tokio::test]
async fn requests_find_functions_by_their_ids() {
    let mut rig = Rig::empty();
    let says = |id: &str, text: &str| on_body(id, "", &format!("(call $write @\"{text}\")"));
    rig.functions(&[
        ("a", says("one", "a"), json!({})),
        ("b", says("one", "b"), json!({})),
        ("c", echo("two"), json!({})),
    ])
    .await
    .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.insert(rig.ask("one", get("/?x")).await.1);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "b"], "chance decides");
    assert_eq!(rig.ask("two", get("/?x=1&y=2")).await, (200, "x=1&y=2".into()), "a query stands for a body");
    assert_eq!(rig.ask("two", get("/")).await, (200, String::new()));
    let mut whole = post(&["in ", "two pieces"]);
    whole.head.set_path_and_query("/?query").unwrap();
    assert_eq!(rig.ask("two", whole).await, (200, "in two pieces".into()));
    assert_eq!(rig.ask("three", get("/?x")).await.0, 404);
    let (status, text) = rig.ask("", get("/?x")).await;
    assert_eq!((status, text.contains("`id`")), (404, true), "{text}");
}

#[tokio::test]
async fn trailers_come_last() {
    let module = function(
        "id",
        "",
        r#"(func (export "proxy_on_request_headers") (param $id i32) (param $n i32) (param $end i32) (result i32)
             (if (local.get $end) (then (call $write @"end,"))) (i32.const 0))
           (func (export "proxy_on_request_body") (param $id i32) (param $n i32) (param $end i32) (result i32)
             (call $write @"body") (if (local.get $end) (then (call $write @" end"))) (i32.const 0))
           (func (export "proxy_on_request_trailers") (param $id i32) (param $n i32) (result i32)
             (call $ok (call $get (i32.const 1) @"x-sum" (i32.const 8) (i32.const 12)))
             (call $write @",") (call $write (call $got)) (i32.const 0))"#,
    );
    let rig = Rig::one(module, json!({})).await;
    let mut request = post(&[]);
    let trailers = http::HeaderMap::from_iter([("x-sum".parse().unwrap(), "9".parse().unwrap())]);
    request.body = pieces_of(&["x"], Some(trailers));
    assert_eq!(rig.ask("id", request).await.1, "body,9");
    assert_eq!(rig.ask("id", get("/?q")).await.1, "end,body end");
}

#[tokio::test]
async fn a_function_answers_itself_or_not_at_all() {
    let answers = on_body("id", "", r#"(call $respond (i32.const 418) @"tea") (call $write @"not this")"#);
    let rig = Rig::one(answers, json!({})).await;
    assert_eq!(rig.ask("id", get("/?x")).await, (418, "tea".into()));

    // Nobody would bring the answer to a call of its own.
    let calls = on_body(
        "id",
        "",
        r#"(call $is (i32.const 10) (call $http_call @"c"
             @"\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00"
             @"" @"" (i32.const 1000) (i32.const 16)))"#,
    );
    let rig = Rig::one(calls, json!({})).await;
    assert_eq!((rig.ask("id", get("/?x")).await.0, rig.crashes_of("f")), (200, 0));

    let pauses = on_body("id", "", "(return (i32.const 1))");
    let rig = Rig::one(pauses, json!({})).await;
    assert_eq!((rig.ask("id", get("/?x")).await.0, rig.crashes_of("f")), (500, 0));
}

#[tokio::test]
async fn one_that_traps_or_spins_costs_its_own_request() {
    // Counts its requests, and does what it is told.
    let module = on_body(
        "id",
        "",
        r#"(i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))
           (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x74)) (then unreachable))
           (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x73)) (then (loop $on (br $on))))
           (i32.store8 (i32.const 20) (i32.add (i32.load (i32.const 16)) (i32.const 0x30)))
           (call $write (i32.const 20) (i32.const 1))"#,
    );
    let rig = Rig::one(module, json!({ "instances": 1, "deadline": "2s" })).await;
    assert_eq!(rig.ask("id", get("/?a")).await, (200, "1".into()));
    assert_eq!(rig.ask("id", get("/?a")).await, (200, "2".into()), "an instance lives on");
    assert_eq!((rig.ask("id", get("/?trap")).await.0, rig.crashes_of("f")), (500, 1));
    assert_eq!(rig.ask("id", get("/?a")).await, (200, "1".into()), "a fresh one");
    let since = Instant::now();
    assert_eq!(rig.ask("id", get("/?spin")).await.0, 504);
    assert!(since.elapsed() >= Duration::from_secs(2));
    assert_eq!(rig.ask("id", get("/?a")).await, (200, "1".into()));
    // One that goes on failing is left alone for a while.
    for _ in 0..6 {
        rig.ask("id", get("/?trap")).await;
    }
    let (status, text) = rig.ask("id", get("/?a")).await;
    assert_eq!((status, text.contains("is out")), (503, true), "{text}");
}

/// Waits for an answer and says how many requests its instance has had.
fn waits() -> Vec<u8> {
    on_body(
        "id",
        INVOKE,
        r#"(i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))
           (i32.store8 (i32.const 20) (i32.add (i32.const 0x30)
             (call $invoke @"id_2" @"" @"" (i32.const 8) (i32.const 12))))
           (i32.store8 (i32.const 21) (i32.add (i32.load (i32.const 16)) (i32.const 0x30)))
           (call $write (i32.const 20) (i32.const 2))"#,
    )
}

#[tokio::test]
async fn as_many_requests_at_once_as_instances() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let blocks = blocks(listener.local_addr().unwrap()).await;
    let turns = Arc::new(Semaphore::new(0));
    let release = Arc::clone(&turns);
    tokio::spawn(async move {
        loop {
            let (_, _, mut stream) = next(&listener).await;
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                turns.acquire().await.unwrap().forget();
                tell(&mut stream, "").await;
            });
        }
    });
    let told = async |instances: usize| {
        let mut rig = Rig::with_blocks(Arc::clone(&blocks));
        let settings = json!({ "instances": instances, "grants": { "invoke": ["*"] } });
        rig.functions(&[("f", waits(), settings)]).await.unwrap();
        release.add_permits(2);
        let (a, b) = tokio::join!(rig.ask("id", get("/?x")), rig.ask("id", get("/?x")));
        let mut told = [a.1, b.1];
        told.sort();
        told
    };
    assert_eq!(told(1).await, ["01", "02"], "one after the other, in one instance");
    assert_eq!(told(2).await, ["01", "01"]);
}

#[tokio::test]
async fn the_deadline_holds_for_what_a_function_asks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rig = Rig::with_blocks(blocks(listener.local_addr().unwrap()).await);
    let settings = json!({ "deadline": "3s", "grants": { "invoke": ["*"] } });
    rig.functions(&[("f", waits(), settings)]).await.unwrap();
    let asked = rig.ask("id", get("/?x"));
    let (asked, held) = tokio::join!(asked, next(&listener));
    // It is told in time to say so: 10 is an internal failure.
    assert!(asked == (200, ":1".into()) || asked.0 == 504, "{asked:?}");
    drop(held);
}

#[tokio::test]
async fn what_is_not_granted_is_refused() {
    let mut rig = Rig::with_blocks(blocks("127.0.0.1:1".parse().unwrap()).await);
    let refused =
        rig.functions(&[("f", stock(), json!({ "grants": { "invoke": ["*"] } }))]).await.unwrap_err();
    let message = "it imports `proxy_get_state` and is not granted any: see `grants.state`";
    assert_eq!(refused, [("layotto.f.file".to_owned(), message.to_owned())]);
    let refused = rig.functions(&[("f", shop(), json!({ "grants": { "state": ["*"] } }))]).await.unwrap_err();
    assert!(refused[0].1.contains("`grants.invoke`"), "{refused:?}");

    // What it is told: not granted is an internal failure, and what is not there not found.
    let asks = |store: &str| {
        on_body(
            "id",
            GET_STATE,
            &format!(
                r#"(i32.store8 (i32.const 20) (i32.add (i32.const 0x30)
                     (call $get_state @"{store}" @"book1" (i32.const 8) (i32.const 12))))
                   (call $write (i32.const 20) (i32.const 1))"#
            ),
        )
    };
    for (store, granted, told) in [("books", "books", "0"), ("books", "other", ":"), ("nobody", "*", "1")] {
        let grants = json!({ "grants": { "state": [granted] } });
        rig.functions(&[("f", asks(store), grants)]).await.unwrap();
        assert_eq!(rig.ask("id", get("/?x")).await.1, told, "{store} of {granted}");
    }
}

#[tokio::test]
async fn what_is_no_function_is_refused_and_so_is_a_function_as_a_filter() {
    let mut rig = Rig::empty();
    let refused = rig.functions(&[("f", filter(""), json!({}))]).await.unwrap_err();
    assert_eq!(refused[0].1, "it is no function of Layotto's: it has no export `proxy_get_id`");
    let nameless = filter("(func (export \"proxy_get_id\"))");
    let refused = rig.functions(&[("f", nameless, json!({}))]).await.unwrap_err();
    assert!(refused[0].1.contains("`proxy_get_id` names no id"), "{refused:?}");
    let [problem] = rig.load(&stock(), json!({})).await.unwrap_err().try_into().unwrap();
    assert!(problem.message.contains("it belongs under `wasm.layotto`"), "{problem:?}");
    // A filter has no such buffer.
    let writes = filter(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $is (call $set_bytes (i32.const 8) (i32.const 0) (i32.const 0) @"x") (i32.const 1)) (i32.const 0))"#,
    );
    rig.load(&writes, json!({})).await.unwrap();
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));

    std::fs::write(rig.file("f.wasm"), echo("id")).unwrap();
    let function = json!({ "file": rig.file("f.wasm") });
    let plugin = json!({ "file": rig.file("p.wasm") });
    let both = json!({ "layotto": { "f": function }, "plugins": { "layotto": plugin } });
    let [problem] = rig.apply(both).await.unwrap_err().try_into().unwrap();
    assert_eq!(problem.path, "plugins.layotto");
}

#[tokio::test]
async fn settings_and_limits_reach_the_function() {
    let module = function(
        "id",
        "",
        r#"(func (export "proxy_on_configure") (param $id i32) (param $size i32) (result i32)
             (call $ok (call $bytes (i32.const 7) (i32.const 0) (local.get $size) (i32.const 8) (i32.const 12)))
             (i32.store (i32.const 24) (i32.load (i32.const 8))) (i32.store (i32.const 28) (local.get $size)) (i32.const 1))
           (func (export "proxy_on_request_body") (param $id i32) (param $n i32) (param $end i32) (result i32)
             (call $write (i32.load (i32.const 24)) (i32.load (i32.const 28)))
             (if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then (call $write @" no room")))
             (i32.const 0))"#,
    );
    let settings = json!({ "settings": { "name": "f1" }, "memory": 8 << 20, "max_body": 64, "instances": 1 });
    let rig = Rig::one(module.clone(), settings).await;
    let told = "\u{1}\0\0\0\u{4}\0\0\0\u{2}\0\0\0name\0f1\0";
    assert_eq!(rig.ask("id", get("/?x")).await, (200, told.to_owned()));
    assert_eq!(rig.ask("id", get("/?x")).await, (200, format!("{told} no room")), "8 MiB are used up");
    assert_eq!(rig.ask("id", post(&[&"x".repeat(65)])).await.0, 413);
    assert_eq!(rig.ask("id", post(&[&"x".repeat(64)])).await.0, 200);

    // What it writes has the same bound.
    let endless = on_body("id", "", "(loop $on (call $write (local.get $at) (local.get $size)) (br $on))");
    let rig = Rig::one(endless, json!({ "max_body": 1000 })).await;
    assert_eq!((rig.ask("id", get("/?x")).await.0, rig.crashes_of("f")), (500, 1));
}

#[tokio::test]
async fn functions_are_changed_while_requests_come() {
    let mut rig = Rig::empty();
    rig.functions(&[("function1", echo("id_1"), json!({ "instances": 1 }))]).await.unwrap();
    let module = rig.module();
    let module: &dyn Module = &*module;
    std::fs::write(rig.file("two.wasm"), echo("id_2")).unwrap();
    let config = LayottoFunctionConfig {
        grants: LayottoGrants::all(),
        ..LayottoFunctionConfig::new(rig.file("two.wasm"))
    };
    let install = |id: &str| FunctionChange::Install { id: id.into(), config: config.clone() };
    let Rig { host, plugins, .. } = &rig;
    let wasm = json!({ "cache": rig.file("cache"), "layotto": { "function1": { "file": rig.file("function1.wasm") } } });
    let wasm = serde_json::from_value(wasm).unwrap();
    let clusters = Clusters::empty(Context::new(Metrics::new(), Handle::current()));
    let reload = async || match host.compile(&wasm, plugins).await {
        Ok(plugins) => {
            host.follow(&plugins, &clusters);
            Ok(())
        }
        Err(problems) => Err(problems[0].message.clone()),
    };
    let change = async |change: FunctionChange| host.change(change, reload).await;
    let answers = async |id: &str| ask(module, id, get("/?x")).await.0;

    assert_eq!(change(install("id_1")).await, Err("id_1 is already registered".into()));
    assert_eq!(change(install("function1")).await, Err("function1 is already registered".into()));
    change(install("id_2")).await.unwrap();
    assert_eq!(host.files(&wasm), [rig.file("function1.wasm"), rig.file("two.wasm")]);
    assert_eq!(answers("id_2").await, 200);
    change(FunctionChange::Update { id: "id_2".into(), instances: 3 }).await.unwrap();
    let refused = change(FunctionChange::Update { id: "id_2".into(), instances: 1000 }).await.unwrap_err();
    assert_eq!(refused, "must be between 1 and 64");
    reload().await.unwrap();
    change(FunctionChange::Uninstall { id: "id_2".into() }).await.unwrap();
    let gone = FunctionChange::Uninstall { id: "id_2".into() };
    assert_eq!(change(gone).await, Err("id_2 is not registered".into()));
    change(FunctionChange::Uninstall { id: "id_1".into() }).await.unwrap();
    assert_eq!((answers("id_1").await, answers("id_2").await), (404, 404));
    // One that is refused leaves nothing behind.
    let missing = LayottoFunctionConfig::new(rig.file("nowhere.wasm"));
    change(FunctionChange::Install { id: "x".into(), config: missing }).await.unwrap_err();
    reload().await.unwrap();
    change(install("id_1")).await.unwrap();
    assert_eq!(answers("id_2").await, 200, "its id is what the module says");
}
