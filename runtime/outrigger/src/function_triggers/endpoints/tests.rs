//! Functions behind clusters and ids, over a host whose functions say which door a request came by.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use outrigger_blocks::{
    Answer, Event, InputEvent, Result,
    function::{Door, Function, FunctionConfig, FunctionHost, Load, Origin, Tick, Triggers},
};
use outrigger_cluster::{Clusters, Context, SendOptions};
use outrigger_resilience::Deadline;
use outrigger_telemetry::Metrics;
use tokio::runtime::Handle;

use super::*;
use crate::{apps::Apps, function_triggers::cluster};

/// A module is a text: the name of how it fails, or whatever it answers.
struct Host;

struct Fake(String);

#[async_trait]
impl FunctionHost for Host {
    async fn load(&self, load: Load) -> Result<Arc<dyn Function>> {
        Ok(Arc::new(Fake(String::from_utf8(load.module.bytes().to_vec()).unwrap())))
    }
}

#[async_trait]
impl Function for Fake {
    fn triggers(&self) -> Triggers {
        Triggers { http: self.0 != "silent", event: true, ..Triggers::default() }
    }

    async fn serve(&self, caller: &Caller<'_>, door: Door, request: Request<Body>) -> Result<Response<Body>> {
        let kinds = [
            ErrorKind::Timeout,
            ErrorKind::RateLimited,
            ErrorKind::Unavailable,
            ErrorKind::InvalidArgument,
            ErrorKind::Internal,
        ];
        if let Some(kind) = kinds.into_iter().find(|kind| kind.as_str() == self.0) {
            return Err(Error::new(kind, "as told"));
        }
        let answer = format!("{} {door:?} {} {}", self.0, caller.app_id, request.uri().path());
        Ok(Response::new(Body::full(answer)))
    }

    async fn event(&self, _: &Caller<'_>, _: &Event, _: u32) -> Result<Answer> {
        Ok(Answer::Success)
    }

    async fn schedule(&self, _: &Caller<'_>, _: &Tick) -> Result<()> {
        Ok(())
    }

    async fn binding(&self, _: &Caller<'_>, _: &InputEvent) -> Result<()> {
        Ok(())
    }
}

/// Blocks whose functions can be called by routes and by name.
fn blocks() -> (Arc<Blocks>, Context) {
    let metrics = Metrics::new();
    let blocks = Arc::new(Blocks::new("shop", &metrics));
    blocks.functions.run_on(Arc::new(Host));
    let services = Arc::new(Endpoints::new(&blocks, Door::Route));
    let context = Context { services, ..Context::new(metrics, Handle::current()) };
    blocks.invoke.ask(Arc::new(Apps::new(context.clone(), &blocks)));
    (blocks, context)
}

async fn deploy(blocks: &Blocks, name: &str, module: &'static str) {
    let module = Bytes::from_static(module.as_bytes());
    blocks.functions.deploy(name, module, FunctionConfig::default(), Origin::Operator).await.unwrap();
}

fn get(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

async fn invoked(blocks: &Blocks, id: &str) -> Result<Bytes> {
    let caller = Caller { deadline: soon(), ..Caller::new("shop") };
    let response = blocks.invoke.call(&caller, id, get("/cart")).await?;
    assert_eq!(response.status(), StatusCode::OK);
    Ok(response.into_body().collect(1000).await.unwrap())
}

fn soon() -> Deadline {
    Deadline::after(std::time::Instant::now(), Duration::from_secs(5))
}

#[tokio::test]
async fn a_route_and_a_name_lead_to_the_same_function_by_doors_of_their_own() {
    let (blocks, context) = blocks();
    let wanted = BTreeMap::from([("hello".to_owned(), cluster("hello"))]);
    let clusters = Clusters::compile(&wanted, &Clusters::empty(context)).unwrap();
    let cluster = clusters.get("hello").unwrap();
    let how = SendOptions { deadline: soon(), retry: None };
    let error = cluster.call(get("/cart"), None, &how).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::ConnectFailed);
    assert_eq!(invoked(&blocks, "hello").await.unwrap_err().kind(), ErrorKind::NotConfigured);
    deploy(&blocks, "hello", "one").await;
    let response = cluster.call(get("/cart"), None, &how).await.unwrap();
    assert_eq!(response.into_body().collect(1000).await.unwrap(), "one Route shop /cart", "found at once");
    assert_eq!(invoked(&blocks, "hello").await.unwrap(), "one Invoke shop /cart");
    deploy(&blocks, "hello", "two").await;
    assert_eq!(invoked(&blocks, "hello").await.unwrap(), "two Invoke shop /cart");
    deploy(&blocks, "deaf", "silent").await;
    assert_eq!(
        invoked(&blocks, "deaf").await.unwrap_err().kind(),
        ErrorKind::NotConfigured,
        "it takes no requests"
    );
    blocks.functions.remove("hello").unwrap();
    assert_eq!(invoked(&blocks, "hello").await.unwrap_err().kind(), ErrorKind::NotConfigured);
}

#[tokio::test]
async fn failures_become_what_a_proxy_says() {
    let (blocks, context) = blocks();
    let check = async |module: &'static str, kind: SendErrorKind, status: u16| {
        deploy(&blocks, "hello", module).await;
        let wanted = BTreeMap::from([("hello".to_owned(), cluster("hello"))]);
        let clusters = Clusters::compile(&wanted, &Clusters::empty(context.clone())).unwrap();
        let sent = clusters.get("hello").unwrap().call(get("/"), None, &SendOptions::default()).await;
        let error = sent.unwrap_err();
        assert_eq!((error.kind, error.kind.status().as_u16()), (kind, status), "{module}");
    };
    check(ErrorKind::Timeout.as_str(), SendErrorKind::TryTimeout, 504).await;
    check(ErrorKind::RateLimited.as_str(), SendErrorKind::Refused, 503).await;
    check(ErrorKind::Unavailable.as_str(), SendErrorKind::ConnectFailed, 503).await;
    check(ErrorKind::InvalidArgument.as_str(), SendErrorKind::RequestBody, 400).await;
    check(ErrorKind::Internal.as_str(), SendErrorKind::FunctionFailed, 500).await;
}
