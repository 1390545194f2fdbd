//! Clusters made from the text an operator would write, and requests to send to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use outrigger_cluster::{Cluster, ClusterConfig, Clusters, Context, SendError, SendOptions};
use outrigger_http::Body;
use outrigger_http::RequestHead;
use outrigger_http::{Request, RequestExt, Response};
use outrigger_net::{ConnInfo, Peer};
use outrigger_resilience::{Deadline, RetryPolicy};
use outrigger_telemetry::Metrics;
use tokio::runtime::Handle;

pub(crate) fn context() -> Context {
    Context::new(Metrics::new(), Handle::current())
}

pub(crate) fn config(json: &serde_json::Value) -> BTreeMap<String, ClusterConfig> {
    BTreeMap::from([("backend".to_owned(), serde_json::from_value(json.clone()).unwrap())])
}

pub(crate) fn compile(json: serde_json::Value) -> Clusters {
    recompile(json, &Clusters::empty(context()))
}

pub(crate) fn recompile(json: serde_json::Value, previous: &Clusters) -> Clusters {
    let clusters = Clusters::compile(&config(&json), previous).unwrap();
    clusters.activate();
    clusters
}

pub(crate) fn the(clusters: &Clusters) -> Arc<Cluster> {
    Arc::clone(clusters.get("backend").unwrap())
}

pub(crate) fn request(method: Method, body: Body) -> Request {
    let head = RequestHead::new(method, "backend.test".parse().unwrap(), "/");
    Request { head, body, conn: conn(), ext: RequestExt::default() }
}

fn conn() -> Arc<ConnInfo> {
    Arc::new(ConnInfo {
        id: 1,
        local: "127.0.0.1:1".parse().unwrap(),
        peer: Peer::Unix,
        tls: None,
        listener: "test".into(),
    })
}

pub(crate) fn within(duration: Duration) -> Deadline {
    Deadline::after(Instant::now(), duration)
}

pub(crate) async fn get(cluster: &Cluster, retry: Option<&RetryPolicy>) -> Result<Response, SendError> {
    let how = SendOptions { deadline: within(Duration::from_secs(5)), retry };
    cluster.send(request(Method::GET, Body::empty()), &how).await
}

/// The status of a whole exchange, body read, or the reason it failed.
pub(crate) async fn status(cluster: &Cluster, retry: Option<&RetryPolicy>) -> Result<u16, &'static str> {
    let response = get(cluster, retry).await.map_err(|error| error.kind.reason())?;
    let status = response.head.status.as_u16();
    response.body.collect(1 << 20).await.map_err(|_| "body")?;
    Ok(status)
}

pub(crate) fn retry(json: serde_json::Value) -> RetryPolicy {
    serde_json::from_value(json).unwrap()
}

/// Waits for a condition, at most twenty seconds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value of a metric, 0 when it is not there.
pub(crate) fn metric(context: &Context, name: &str) -> f64 {
    let text = context.metrics.render();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
}
