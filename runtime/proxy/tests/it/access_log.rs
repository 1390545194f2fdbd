//! The access log, from what clients do to the lines in the file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_http::chain::{Module, Modules, Step, Tap, Visit};
use outrigger_http::{FilterState, Response};
use outrigger_net::ConnInfo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::harness::{PATIENCE, Proxy, until};

const FORMAT: &str = "%{path} %{status} %{received} %{reason} %{outcome}";

/// A proxy that logs to this file.
fn start(backend: &Backend, file: &Path) -> Proxy {
    Proxy::start(json!({
        "listeners": { "web": { "address": "127.0.0.1:0", "access_log": { "path": file, "format": FORMAT } } },
        "routes": { "all": { "backends": [{ "cluster": "c" }] } },
        "clusters": { "c": { "endpoints": [backend.address] } },
    }))
}

fn logged(file: &Path, line: &str) {
    let text = || std::fs::read_to_string(file).unwrap_or_default();
    until("a line in the log", || text().contains(line.split(' ').next().unwrap()));
    assert!(text().lines().any(|l| l == line), "{line:?} is missing in\n{}", text());
}

/// Reads requests and never answers. Counts those it has read whole.
fn silent() -> (Backend, Arc<AtomicUsize>) {
    let heard = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&heard);
    let backend = Backend::http(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(PATIENCE);
        Vec::new()
    });
    (backend, heard)
}

#[test]
fn a_client_that_leaves_before_its_answer_has_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let (backend, heard) = silent();
    let proxy = start(&backend, &file);
    let mut client = Client::connect(proxy.web());
    client.write("POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    until("the backend has it all", || heard.load(Ordering::SeqCst) > 0);
    drop(client);
    logged(&file, "/one 499 3 client_closed_request client_gone");
    assert_eq!(proxy.metric(r#"outrigger_http_requests_total{route="all",class="4xx"}"#), 1.0);

    // In the middle of its body it is the body that has failed.
    let mut client = Client::connect(proxy.web());
    client.write("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    until("the backend is asked", || backend.connections() == 2);
    drop(client);
    logged(&file, "/half 400 3 request_body complete");
}

#[test]
fn a_client_that_stays_has_one_line_of_another_kind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let backend = Backend::http(|_, _| ok("done"));
    let proxy = start(&backend, &file);
    let mut client = Client::connect(proxy.web());
    client.write("POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.reply().status, 200);
    drop(client);
    logged(&file, "/one 200 3 - complete");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
}

/// Sets something on the request when it comes, and something when the response does.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<FilterState>);

impl Module for Notes {
    fn visit(&self, _: &Arc<str>) -> Box<dyn Visit> {
        Box::new(Self::default())
    }

    fn tap(&self, _: &Arc<ConnInfo>) -> Option<Box<dyn Tap>> {
        None
    }
}

impl Visit for Notes {
    fn request<'a>(&'a mut self, request: &'a mut outrigger_http::Request) -> Step<'a, Option<Response>> {
        self.0.set(b"asked", request.head.path().as_bytes()).unwrap();
        request.ext.state = Some(Arc::clone(&self.0));
        Step::Done(None)
    }

    fn response<'a>(&'a mut self, response: &'a mut Response) -> Step<'a, ()> {
        self.0.set(b"told", response.head.status.as_str().as_bytes()).unwrap();
        Step::Done(())
    }
}

#[test]
fn what_filters_set_on_either_way_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let format = "%{path} %{filter_state:wasm.asked} %{filter_state:wasm.told} %{filter_state:wasm.none}";
    let config = json!({
        "listeners": { "web": { "address": "127.0.0.1:0", "access_log": { "path": file, "format": format } } },
        "routes": { "all": { "filters": { "wasm": ["notes"] }, "respond": { "status": 202 } } },
    });
    let modules = Modules::from([("notes".into(), Arc::new(Notes::default()) as Arc<dyn Module>)]);
    let proxy = Proxy::start_with(config, modules);
    let mut client = Client::connect(proxy.web());
    client.write("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().status, 202);
    drop(client);
    logged(&file, "/one /one 202 -");
}

#[test]
fn http2_is_logged_alike() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let (backend, _) = silent();
    let answering = Backend::http(|_, _| ok("done"));
    let (proxy, answered) = (start(&backend, &file), start(&answering, &file));
    // The body is two frames; held open, more could follow.
    let ask = async |proxy: &Proxy, path: &str, is_whole: bool, patience: Duration| {
        let io = TokioIo::new(TcpStream::connect(proxy.web()).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let (frames, receiver) = mpsc::channel(2);
        for _ in 0..2 {
            let frame = Frame::data(Bytes::from_static(b"abc"));
            frames.send(Ok::<_, std::convert::Infallible>(frame)).await.unwrap();
        }
        let _held = (!is_whole).then_some(frames);
        let body = StreamBody::new(ReceiverStream::new(receiver));
        let request = Request::post(format!("http://a.example{path}")).body(body).unwrap();
        let answer = tokio::time::timeout(patience, sender.send_request(request)).await;
        let status = match answer {
            Ok(answer) => {
                let answer = answer.unwrap();
                let status = answer.status().as_u16();
                answer.into_body().collect().await.unwrap();
                Some(status)
            }
            Err(_) => None,
        };
        connection.abort();
        status
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let a_while = Duration::from_millis(500);
        assert_eq!(ask(&proxy, "/left", true, a_while).await, None);
        assert_eq!(ask(&proxy, "/half", false, a_while).await, None);
        assert_eq!(ask(&answered, "/stayed", true, PATIENCE).await, Some(200));
    });
    logged(&file, "/left 499 6 client_closed_request client_gone");
    logged(&file, "/half 400 6 request_body client_gone");
    logged(&file, "/stayed 200 6 - complete");
}
