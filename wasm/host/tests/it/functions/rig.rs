//! An engine with blocks that hold nothing, and functions loaded into it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use outrigger_blocks::function::{Door, Function, FunctionHost as _, FunctionLog, Load};
use outrigger_blocks::{Blocks, Body, Caller, Error, Result};
use outrigger_telemetry::Metrics;
use outrigger_wasm_host::{FunctionEngine, Host, WasmConfig};
use serde_json::{Value, json};

use crate::rig::{PATIENCE, within};

pub(crate) struct Rig {
    pub(crate) engine: FunctionEngine,
    pub(crate) metrics: Metrics,
    pub(crate) log: Arc<FunctionLog>,
    /// The engine does not hold them.
    _blocks: Arc<Blocks>,
    folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(json!({ "functions": { "threads": 2 } }))
    }

    /// With this section `wasm`.
    pub(crate) fn with(mut config: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        config["cache"] = json!(folder.path().join("cache"));
        let config: WasmConfig = serde_json::from_value(config).unwrap();
        let metrics = Metrics::new();
        let host = Host::new(Vec::new(), &metrics);
        let blocks = Arc::new(Blocks::new("shop", &metrics));
        let engine = FunctionEngine::new(&host, &config, &blocks);
        Self { engine, metrics, log: Arc::default(), _blocks: blocks, folder }
    }

    /// The function `f` of this component, with these settings.
    pub(crate) async fn load(&self, module: &[u8], settings: Value) -> Result<Arc<dyn Function>> {
        let load = Load {
            name: "f".into(),
            version: "v1".into(),
            module: module.to_vec().into(),
            config: serde_json::from_value(settings).unwrap(),
            log: Arc::clone(&self.log),
        };
        within(self.engine.load(load)).await
    }

    /// Where compiled components are kept.
    pub(crate) fn cache(&self) -> std::path::PathBuf {
        self.folder.path().join("cache")
    }

    /// Why it is not loaded.
    pub(crate) async fn refused(&self, module: &[u8], settings: Value) -> Error {
        match self.load(module, settings).await {
            Ok(_) => panic!("it was loaded"),
            Err(error) => error,
        }
    }

    /// The lines it has written: level and text.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        self.log.after(0).into_iter().map(|line| (line.level, line.text)).collect()
    }

    /// Waits until the metrics say this.
    pub(crate) async fn until(&self, line: &str) {
        let since = Instant::now();
        while !self.metrics.render().lines().any(|shown| shown == line) {
            assert!(since.elapsed() < PATIENCE, "{line} never came:\n{}", self.metrics.render());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A request by a route.
pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("host", "shop.example").header("x-first", "1");
    request.body(body.into()).unwrap()
}

pub(crate) async fn ask(function: &Arc<dyn Function>, request: Request<Body>) -> Result<Reply> {
    ask_by(function, Door::Route, request).await
}

pub(crate) async fn ask_by(
    function: &Arc<dyn Function>,
    door: Door,
    request: Request<Body>,
) -> Result<Reply> {
    let answer = within(function.serve(&Caller::new("shop"), door, request)).await?;
    let (head, body) = answer.into_parts();
    let body = within(body.collect(usize::MAX)).await.unwrap();
    let text = String::from_utf8(body.into()).unwrap();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, text })
}

/// The text of the answer to a body.
pub(crate) async fn told(function: &Arc<dyn Function>, body: &'static str) -> Result<String> {
    ask(function, post("/", body)).await.map(|reply| reply.text)
}
