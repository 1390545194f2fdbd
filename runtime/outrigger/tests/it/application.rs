//! An application in this process: a router on a free port.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
    routing::any,
};
use futures_util::{StreamExt, stream};
use outrigger_http::{ServerConfig, tower::Adapter};
use outrigger_net::{
    Accepted, Acceptor, AcceptorHandle, Address, Drain, Listener, ListenerLimits, SocketOptions, Workers,
};
use outrigger_telemetry::Metrics;
use tokio::{runtime::Runtime, sync::mpsc};

/// Stops with its owner.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    _handle: AcceptorHandle,
    _runtime: Runtime,
}

impl Application {
    pub(crate) fn serve(router: Router) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let handler = Arc::new(Adapter::new(router));
        let config = Arc::new(ServerConfig::default());
        let serve =
            move |conn: Accepted| outrigger_http::serve(conn, Arc::clone(&handler), Arc::clone(&config));
        let acceptor = Acceptor {
            name: "application".into(),
            listener: Listener::bind(&"127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap(),
            workers: Arc::new(Workers::start(1).unwrap()),
            service: Arc::new(serve),
            limits: ListenerLimits::default(),
            tls: None,
            drain: Drain::new(),
        };
        let handle = acceptor.spawn(&Metrics::new()).unwrap();
        let Address::Tcp(address) = handle.address().clone() else { panic!("not TCP") };
        drop(_inside);
        Self { address, _handle: handle, _runtime: runtime }
    }

    /// Tells back what it was asked; some paths do something of their own.
    pub(crate) fn echo() -> Self {
        let router = Router::new()
            .route("/status/{code}", any(status))
            .route("/slow", any(slow))
            .route("/large", any(large))
            .route("/parts", any(parts))
            .fallback(echo);
        Self::serve(router)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    let text = format!("{method} {uri}\n{}\n\n{}", lines.join("\n"), String::from_utf8_lossy(&body));
    Response::builder()
        .header("content-type", "text/plain")
        .header("x-app", "first")
        .header("x-app", "second")
        .body(text.into())
        .unwrap()
}

async fn status(uri: Uri) -> Response {
    let code: u16 = uri.path().rsplit('/').next().unwrap().parse().unwrap();
    let code = StatusCode::from_u16(code).unwrap();
    let body = if code == StatusCode::NO_CONTENT { Body::empty() } else { "the app's reason".into() };
    Response::builder().status(code).header("x-app", "why").body(body).unwrap()
}

async fn slow() {
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
}

async fn large() -> Vec<u8> {
    vec![b'x'; 5 << 20]
}

/// Each part of the answer follows a part of the question.
async fn parts(request: Request) -> Body {
    let mut asked = request.into_body().into_data_stream();
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(Ok(part)) = asked.next().await {
            if tell.send(part).await.is_err() {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(told, |mut told| async {
        Some((Ok::<_, std::convert::Infallible>(told.recv().await?), told))
    }))
}
