//! A host with one worker, and requests that pass its filters as the chain would have them pass.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode};
use http_body::Frame;
use outrigger_blocks::Blocks;
use outrigger_cluster::{Clusters, Context};
use outrigger_http::chain::Visit;
use outrigger_http::{Body, Headers, Problem, Request, RequestExt, RequestHead, Response, ResponseHead};
use outrigger_net::{Address, ConnInfo, Peer};
use outrigger_telemetry::Metrics;
use outrigger_wasm_host::{Host, Plugins, WasmConfig};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// Longer than anything in a test may take: a guest that computes has what nobody else wants of a processor.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Rig {
    pub(crate) host: Host,
    pub(crate) metrics: Metrics,
    pub(crate) plugins: Plugins,
    folder: tempfile::TempDir,
    clusters: Clusters,
}

impl Rig {
    pub(crate) fn empty() -> Self {
        let metrics = Metrics::new();
        let host = Host::new(vec![Handle::current()], &metrics);
        let clusters = Clusters::empty(Context::new(metrics.clone(), Handle::current()));
        Self { host, metrics, plugins: Plugins::default(), folder: tempfile::tempdir().unwrap(), clusters }
    }

    /// One whose functions may ask these blocks.
    pub(crate) fn with_blocks(blocks: Arc<Blocks>) -> Self {
        let mut rig = Self::empty();
        rig.host = Host::new(vec![Handle::current()], &rig.metrics).with_blocks(blocks, Handle::current());
        rig
    }

    /// One plugin `p` of this module, with these settings besides.
    pub(crate) async fn with(module: &[u8], settings: Value) -> Self {
        let mut rig = Self::empty();
        rig.load(module, settings).await.unwrap();
        rig
    }

    /// Calls go to this address, which is the cluster `c`.
    pub(crate) fn calling(mut self, address: SocketAddr, protocol: &str) -> Self {
        let config = json!({ "c": { "endpoints": [address], "protocol": protocol } });
        let config = serde_json::from_value(config).unwrap();
        self.clusters = Clusters::compile(&config, &self.clusters).unwrap();
        self.clusters.activate();
        self.host.follow(&self.plugins, &self.clusters);
        self
    }

    /// The next configuration: `p` is this module with these settings.
    pub(crate) async fn load(&mut self, module: &[u8], settings: Value) -> Result<(), Vec<Problem>> {
        let file = self.file("p.wasm");
        std::fs::write(&file, module).unwrap();
        let mut plugin = json!({ "file": file });
        for (name, value) in settings.as_object().unwrap() {
            plugin[name] = value.clone();
        }
        self.apply(json!({ "plugins": { "p": plugin } })).await
    }

    pub(crate) async fn apply(&mut self, mut config: Value) -> Result<(), Vec<Problem>> {
        if config.get("cache").is_none() {
            config["cache"] = json!(self.file("cache"));
        }
        let config: WasmConfig = serde_json::from_value(config).unwrap();
        self.plugins = self.host.compile(&config, &self.plugins).await?;
        self.host.follow(&self.plugins, &self.clusters);
        Ok(())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A request begins its way through the plugin `p`.
    pub(crate) fn visit(&self) -> Box<dyn Visit> {
        self.visit_of("p")
    }

    pub(crate) fn visit_of(&self, plugin: &str) -> Box<dyn Visit> {
        self.plugins.modules()[plugin].visit(&"route".into())
    }

    /// A request without a body, answered by a backend with 200.
    pub(crate) async fn get(&self, path: &str) -> Passed {
        self.pass(get(path), ok("hello")).await
    }

    /// A request comes through, and unless the filter answers it, this response comes back.
    pub(crate) async fn pass(&self, request: Request, response: Response) -> Passed {
        self.pass_by("p", request, response).await
    }

    pub(crate) async fn pass_by(&self, plugin: &str, mut request: Request, response: Response) -> Passed {
        let mut visit = self.visit_of(plugin);
        let answer = within(visit.request(&mut request).taken()).await;
        let forwarded = answer.is_none();
        let mut sent = None;
        if forwarded {
            let body = std::mem::take(&mut request.body);
            sent = Some(within(read(body)).await);
        }
        let failed = matches!(sent, Some(Err(_)));
        let mut response = match answer {
            Some(answer) => answer,
            // What the proxy makes of a request whose body broke off.
            None if failed => Response::status(StatusCode::BAD_REQUEST),
            None => response,
        };
        within(visit.response(&mut response).taken()).await;
        drop(visit);
        let body = within(read(std::mem::take(&mut response.body))).await;
        let sent = sent.and_then(Result::ok);
        Passed { forwarded, request: request.head, sent, response: response.head, body: body.ok() }
    }

    /// Waits until the metrics say this.
    pub(crate) async fn until(&self, line: &str) {
        self.until_any(line, |shown| shown == line).await;
    }

    /// Waits until a series is more than nothing.
    pub(crate) async fn until_some(&self, series: &str) {
        let is_some = |shown: &str| {
            shown.strip_prefix(series).is_some_and(|value| value.trim().parse::<f64>().unwrap() > 0.0)
        };
        self.until_any(series, is_some).await;
    }

    async fn until_any(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let since = Instant::now();
        while !self.metrics.render().lines().any(&holds) {
            assert!(since.elapsed() < PATIENCE, "{what} never came:\n{}", self.metrics.render());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What the metrics say of this series.
    pub(crate) fn value(&self, series: &str) -> String {
        let shown = self.metrics.render();
        let value = shown.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} is not in\n{shown}")).to_owned()
    }

    /// Waits until there is an instance again.
    pub(crate) async fn back(&self) {
        self.until("outrigger_wasm_instances{plugin=\"p\"} 1").await;
    }

    pub(crate) fn is_there(&self) -> bool {
        self.metrics.render().contains("outrigger_wasm_instances{plugin=\"p\"} 1\n")
    }

    /// Instances that are no more because they failed.
    pub(crate) fn crashes(&self) -> u64 {
        self.crashes_of("p")
    }

    /// Those of the plugin, or function, of this name.
    pub(crate) fn crashes_of(&self, name: &str) -> u64 {
        let series = format!("outrigger_wasm_crashes_total{{plugin=\"{name}\",");
        let text = self.metrics.render();
        let counts = text.lines().filter(|line| line.starts_with(&series));
        counts.map(|line| line.split_once("} ").unwrap().1.parse::<u64>().unwrap()).sum()
    }
}

pub(crate) struct Passed {
    /// Whether the filter let it through.
    pub(crate) forwarded: bool,
    pub(crate) request: RequestHead,
    /// What a backend would have read of the request's body, unless that broke off.
    pub(crate) sent: Option<Read>,
    pub(crate) response: ResponseHead,
    /// `None` when it broke off.
    pub(crate) body: Option<Read>,
}

impl Passed {
    pub(crate) fn status(&self) -> u16 {
        self.response.status.as_u16()
    }

    pub(crate) fn text(&self) -> String {
        self.body.as_ref().map(Read::text).unwrap_or_default()
    }

    /// A field of the request as it was forwarded.
    pub(crate) fn asked(&self, name: &'static str) -> Option<String> {
        value(&self.request.headers, name)
    }

    /// A field of the response.
    pub(crate) fn told(&self, name: &'static str) -> Option<String> {
        value(&self.response.headers, name)
    }
}

pub(crate) fn value(headers: &Headers, name: &'static str) -> Option<String> {
    let name = HeaderName::from_static(name);
    Some(String::from_utf8(headers.joined(&name)?.into_owned()).unwrap())
}

#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) frames: Vec<Bytes>,
    pub(crate) trailers: Option<http::HeaderMap>,
}

impl Read {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.frames.concat()).unwrap()
    }
}

pub(crate) async fn read(mut body: Body) -> Result<Read, outrigger_http::BodyError> {
    let mut read = Read::default();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => read.frames.push(data),
            Err(frame) => read.trailers = frame.into_trailers().ok(),
        }
    }
    Ok(read)
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Runs this test in a process of its own: others have threads of the same names, and memory.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os("OUTRIGGER_TEST_ALONE").is_some() {
        return true;
    }
    let mut itself = Command::new(std::env::current_exe().unwrap());
    let output = itself.args(["--exact", test]).env("OUTRIGGER_TEST_ALONE", "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    false
}

pub(crate) fn get(path: &str) -> Request {
    let socket: SocketAddr = "127.0.0.1:1234".parse().unwrap();
    let conn = ConnInfo {
        id: 7,
        local: Address::Tcp("127.0.0.1:80".parse().unwrap()),
        peer: Peer::Tcp(socket),
        tls: None,
        listener: "web".into(),
    };
    let mut head =
        RequestHead::new(Method::GET, "a.example".parse().unwrap(), Bytes::copy_from_slice(path.as_bytes()));
    head.headers.append(&HeaderName::from_static("x-first"), "1").unwrap();
    Request { head, body: Body::empty(), conn: Arc::new(conn), ext: RequestExt::default() }
}

/// A request with a body that comes in these pieces.
pub(crate) fn post(pieces: &[&str]) -> Request {
    let mut request = get("/");
    request.head.method = Method::POST;
    request.body = pieces_of(pieces, None);
    request
}

pub(crate) fn pieces_of(pieces: &[&str], trailers: Option<http::HeaderMap>) -> Body {
    let (sender, body) = Body::channel(pieces.len() + 1);
    for piece in pieces {
        sender.try_send(Ok(Frame::data(Bytes::copy_from_slice(piece.as_bytes())))).unwrap();
    }
    if let Some(trailers) = trailers {
        sender.try_send(Ok(Frame::trailers(trailers))).unwrap();
    }
    body
}

pub(crate) fn ok(body: &str) -> Response {
    Response::new(ResponseHead::new(StatusCode::OK), pieces_of(&[body], None))
}
