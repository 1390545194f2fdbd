//! Where functions come from, over a host that runs nothing: a module is any bytes but `bad`, `slow` takes its time, and
//! for `busy` there is no room before there is time.

mod kept;
mod waiting;

use std::fs;

use bytes::Bytes;
use http::{Request, Response};
use outrigger_api::functions::{Change, Changed, Deployment};
use outrigger_blocks::{
    Answer, Body, Caller, Error, ErrorKind, Event, InputEvent, Result,
    function::{Door, Function, FunctionConfig, FunctionHost, Load, Tick, Triggers, VersionState, sha256},
};
use outrigger_component_api::async_trait;
use outrigger_telemetry::Metrics;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    backends,
    config::{self, Sources},
};

/// Lets slow modules pass.
struct Host(Arc<Semaphore>);

struct Nothing;

#[async_trait]
impl FunctionHost for Host {
    async fn load(&self, load: Load) -> Result<Arc<dyn Function>> {
        match &**load.module.bytes() {
            b"bad" => return Err(Error::invalid("is no component")),
            b"busy" if self.0.try_acquire().is_err() => {
                return Err(Error::unavailable("others are compiled"));
            }
            b"slow" => self.0.acquire().await.unwrap().forget(),
            _ => {}
        }
        Ok(Arc::new(Nothing))
    }
}

#[async_trait]
impl Function for Nothing {
    fn triggers(&self) -> Triggers {
        Triggers { http: true, ..Triggers::default() }
    }

    async fn serve(&self, _: &Caller<'_>, _: Door, _: Request<Body>) -> Result<Response<Body>> {
        Ok(Response::new(Body::empty()))
    }

    async fn event(&self, _: &Caller<'_>, _: &Event, _: u32) -> Result<Answer> {
        Ok(Answer::Drop)
    }

    async fn schedule(&self, _: &Caller<'_>, _: &Tick) -> Result<()> {
        Ok(())
    }

    async fn binding(&self, _: &Caller<'_>, _: &InputEvent) -> Result<()> {
        Ok(())
    }
}

fn managed() -> Arc<Managed> {
    managed_with(&Arc::new(Semaphore::new(0)))
}

fn managed_with(gate: &Arc<Semaphore>) -> Arc<Managed> {
    let metrics = Metrics::new();
    let blocks = Arc::new(Blocks::new("app", &metrics));
    blocks.functions.run_on(Arc::new(Host(Arc::clone(gate))));
    let control = Handle::current();
    Arc::new(Managed::new(blocks, control.clone(), Context::new(metrics, control)))
}

async fn in_folder() -> (TempDir, Arc<Managed>) {
    let (dir, managed) = (tempfile::tempdir().unwrap(), managed());
    managed.follow_folder(Some(dir.path()), PATIENCE).await;
    (dir, managed)
}

/// Waits until what is asked for is there.
async fn eventually<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Whether this module is what answers.
fn runs(managed: &Managed, name: &str, module: &str) -> bool {
    managed.blocks.functions.get(name).is_some_and(|now| now.sha256 == sha256(module.as_bytes()))
}

fn refusal(managed: &Managed, name: &str) -> Option<String> {
    let report = managed.blocks.functions.report(name).ok()?;
    report.versions.into_iter().find_map(|version| match version.state {
        VersionState::Refused { reason } => Some(reason),
        _ => None,
    })
}

async fn deploy(managed: &Managed, module: &str, weight: Option<u8>) -> Result<Changed> {
    let module = Bytes::copy_from_slice(module.as_bytes());
    managed.deploy(Deployment { name: "cart".to_owned(), module, weight, ..Deployment::default() }).await
}

fn file(dir: &TempDir, name: &str) -> Option<String> {
    fs::read_to_string(dir.path().join(name)).ok()
}

#[tokio::test]
async fn what_comes_changes_and_goes_in_the_folder_is_followed() {
    let (dir, managed) = in_folder().await;
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put("cart.wasm", "one");
    eventually("it comes", || runs(&managed, "cart", "one").then_some(())).await;

    // Not in one step, as a copy is made.
    put("cart.wasm", "bad");
    let reason = eventually("it is refused", || refusal(&managed, "cart")).await;
    assert_eq!(reason, "is no component");
    assert!(runs(&managed, "cart", "one"), "the old one stays");
    put("cart.wasm", "badly begun, well done");
    eventually("the rest arrives", || runs(&managed, "cart", "badly begun, well done").then_some(())).await;
    assert_eq!(refusal(&managed, "cart"), None);

    put("cart.yaml", "reuse: 0");
    let reason = eventually("settings are read", || refusal(&managed, "cart")).await;
    assert!(reason.ends_with("cart.yaml:1:8: reuse: must be at least 1"), "{reason}");
    put("cart.yaml", "reuse: 7");
    let reuse = || managed.blocks.functions.get("cart").unwrap().config.reuse;
    eventually("settings are put right", || (reuse() == 7).then_some(())).await;

    put("cart.wasm", "bad");
    eventually("it is refused", || refusal(&managed, "cart")).await;
    put("cart.wasm", "badly begun, well done");
    eventually("what was refused is gone", || refusal(&managed, "cart").is_none().then_some(())).await;

    put("never.wasm", "bad");
    eventually("one that never ran is listed", || refusal(&managed, "never")).await;
    fs::remove_file(dir.path().join("cart.wasm")).unwrap();
    fs::remove_file(dir.path().join("never.wasm")).unwrap();
    eventually("they go", || managed.blocks.functions.list().is_empty().then_some(())).await;
}

#[tokio::test]
async fn what_an_operator_deploys_is_kept_in_the_folder() {
    let (dir, managed) = in_folder().await;
    assert!(deploy(&managed, "one", None).await.unwrap().kept);
    assert_eq!(file(&dir, "cart.wasm").as_deref(), Some("one"));
    assert!(file(&dir, "cart.yaml").unwrap().contains("reuse: 1\n"));
    assert_eq!(deploy(&managed, "bad", None).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(file(&dir, "cart.wasm").as_deref(), Some("one"), "what is refused is not kept");

    assert!(deploy(&managed, "two", Some(10)).await.unwrap().kept);
    assert_eq!(file(&dir, "cart.wasm").as_deref(), Some("one"));
    assert!(managed.change("cart", Change::Promote).await.unwrap().kept);
    assert!(runs(&managed, "cart", "two"));
    assert_eq!(file(&dir, "cart.wasm").as_deref(), Some("two"));
    assert!(managed.change("cart", Change::Rollback).await.unwrap().kept);
    assert!(runs(&managed, "cart", "one"));
    assert_eq!(file(&dir, "cart.wasm").as_deref(), Some("one"));

    deploy(&managed, "three", Some(10)).await.unwrap();
    assert!(managed.change("cart", Change::Rollback).await.unwrap().kept, "the candidate is taken back");
    assert_eq!(
        managed.change("cart", Change::Promote).await.unwrap_err().kind(),
        ErrorKind::FailedPrecondition
    );

    // A process that starts finds what was kept.
    let next = self::managed();
    next.follow_folder(Some(dir.path()), PATIENCE).await;
    assert!(runs(&next, "cart", "one"));
    next.follow_folder(None, PATIENCE).await;
    assert!(next.blocks.functions.list().is_empty(), "without a folder there are none of it");

    managed.remove("cart").await.unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left over");
    assert_eq!(managed.remove("cart").await.unwrap_err().kind(), ErrorKind::NotConfigured);
}

#[tokio::test]
async fn a_rollback_past_the_folder_is_not_kept() {
    let (dir, managed) = in_folder().await;
    let put = |text: &str| fs::write(dir.path().join("cart.wasm"), text).unwrap();
    put("one");
    eventually("it comes", || runs(&managed, "cart", "one").then_some(())).await;
    put("two");
    eventually("it changes", || runs(&managed, "cart", "two").then_some(())).await;
    assert!(!managed.change("cart", Change::Rollback).await.unwrap().kept, "its file is not here any more");
    assert!(runs(&managed, "cart", "one"));
}

#[tokio::test]
async fn without_a_folder_it_lasts_until_the_end() {
    let managed = managed();
    assert!(!deploy(&managed, "one", None).await.unwrap().kept);
    let config = Some("{\"grants\": {\"state\": [\"cart\"]}, \"config\": {\"a\": \"b\"}}".to_owned());
    let module = Bytes::from_static(b"two");
    let deployment = Deployment { name: "cart".to_owned(), module, config, ..Deployment::default() };
    managed.deploy(deployment).await.unwrap();
    deploy(&managed, "three", None).await.unwrap();
    let config = FunctionConfig::clone(&managed.blocks.functions.get("cart").unwrap().config);
    assert_eq!(config.grants.state, ["cart"], "a new version may what the one before may");
    let config = Some("config: { home: '${env:HOME}' }".to_owned());
    let deployment = Deployment { name: "spy".to_owned(), config, ..Deployment::default() };
    assert_eq!(managed.deploy(deployment).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// A configuration with this line, compiled.
async fn configure(
    managed: &Managed,
    previous: &Configured,
    dir: &TempDir,
    line: &str,
) -> Result<Configured, String> {
    let file = dir.path().join("outrigger.yaml");
    fs::write(&file, line).unwrap();
    let sources = Sources { files: vec![file], ..Sources::default() };
    let loaded = config::load(&sources, &backends::registry()).map_err(|problems| problems.to_string())?;
    managed.compile(&loaded, previous).await.map_err(|problems| problems.to_string())
}

#[cfg(feature = "wasm")]
#[tokio::test]
async fn the_section_is_compiled_before_anything_changes() {
    let (dir, managed) = (tempfile::tempdir().unwrap(), managed());
    let module = dir.path().join("cart.wasm");
    let line = format!("functions: {{ cart: {{ file: {} }} }}", module.display());
    fs::write(&module, "one").unwrap();
    let first = configure(&managed, &Configured::default(), &dir, &line).await.unwrap();
    assert!(!managed.blocks.functions.has("cart"));
    first.install(&managed.blocks.functions, &Configured::default());
    assert!(runs(&managed, "cart", "one"));

    fs::write(&module, "bad").unwrap();
    let refused = configure(&managed, &first, &dir, &line).await.err().unwrap();
    assert!(refused.ends_with("outrigger.yaml:1:28: functions.cart.file: is no component"), "{refused}");
    assert_eq!(refusal(&managed, "cart").as_deref(), Some("is no component"));
    let error = deploy(&managed, "two", None).await.unwrap_err();
    assert_eq!(error.message(), "'cart' is part of the configuration: change functions.cart there");

    // What is taken back stays so until the file says something new.
    fs::write(&module, "two").unwrap();
    let second = configure(&managed, &first, &dir, &line).await.unwrap();
    second.install(&managed.blocks.functions, &first);
    assert!(runs(&managed, "cart", "two"));
    managed.change("cart", Change::Rollback).await.unwrap();
    let third = configure(&managed, &second, &dir, &line).await.unwrap();
    third.install(&managed.blocks.functions, &second);
    assert!(runs(&managed, "cart", "one"));
    let none = configure(&managed, &third, &dir, "{}").await.unwrap();
    none.install(&managed.blocks.functions, &third);
    assert!(managed.blocks.functions.list().is_empty());
}

#[cfg(feature = "wasm")]
#[tokio::test]
async fn mistakes_in_the_section_are_told_at_their_place() {
    let (dir, managed) = (tempfile::tempdir().unwrap(), managed());
    let check = async |line: &str, expected: &str| {
        let told = configure(&managed, &Configured::default(), &dir, line).await.err().unwrap();
        assert!(told.contains(expected), "{told}");
    };
    check("functions: { Cart: { file: x } }", ":1:14: functions.Cart: 'Cart' is no name for a function")
        .await;
    check("functions: { cart: {} }", ": functions.cart: give one of file and url").await;
    check("functions: { cart: { file: x, weight: 0 } }", ":1:39: functions.cart.weight: must be between")
        .await;
    check(
        "functions: { cart: { url: 'http://h/x' } }",
        ":1:27: functions.cart.url: what is fetched is pinned",
    )
    .await;
    check("functions: { cart: { file: nowhere.wasm } }", "functions.cart.file: cannot read nowhere.wasm")
        .await;
    check("functions: { cart: { fiel: x } }", "unknown key `fiel` (did you mean `file`?)").await;
}

#[cfg(not(feature = "wasm"))]
#[tokio::test]
async fn a_program_without_functions_refuses_the_section() {
    let (dir, managed) = (tempfile::tempdir().unwrap(), managed());
    let line = "functions: { cart: { file: cart.wasm } }";
    let told = configure(&managed, &Configured::default(), &dir, line).await.err().unwrap();
    assert!(told.contains("functions: this program was built without the `wasm` feature"), "{told}");
}

/// Answers each request with the next of these, whole.
async fn serve(answers: Vec<Vec<u8>>) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn modules_are_fetched() {
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\none".to_vec();
    let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
    let large = b"HTTP/1.1 200 OK\r\ncontent-length: 33554433\r\nconnection: close\r\n\r\n".to_vec();
    let large = [large, vec![0; (32 << 20) + 1]].concat();
    let url = format!("http://{}/cart.wasm", serve(vec![ok, missing, large]).await);
    let managed = managed();
    let fetch = async || fetch::fetch(&managed.outbound, "cart", &url).await;
    assert_eq!(fetch().await.unwrap().bytes(), "one");
    let error = fetch().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unavailable, &*format!("{url} was answered with 404 Not Found"))
    );
    let error = fetch().await.unwrap_err();
    assert_eq!(error.message(), format!("{url} is larger than 32 MiB"));
}
