//! The access log, from a served request to the line in the file.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_http::access_log::{AccessLog, AccessLogConfig};
use outrigger_http::{Body, FilterState, Handler, Record, Request, Response, ServerConfig};
use tokio::io::AsyncReadExt;

struct Logged(Arc<AccessLog>);

impl Handler for Logged {
    async fn handle(&self, request: Request) -> Response {
        let mut response = Response::status(http::StatusCode::OK);
        response.body = Body::full("hello");
        let mut record = Record::new(request.conn, request.head, Instant::now());
        record.route = Some("shop".into());
        let state = FilterState::default();
        state.set(b"user", b"ann").unwrap();
        state.set(b"user\0plan", b"a\nb").unwrap();
        record.state = Some(Arc::new(state));
        record.log = Some(Arc::clone(&self.0));
        response.record = Some(Box::new(record));
        response
    }
}

async fn lines(config: &AccessLogConfig) -> String {
    let (mut read, write) = tokio::io::duplex(1 << 16);
    let (log, writer) = AccessLog::start(config, write).unwrap();
    let server = support::start(Logged(Arc::clone(&log)), ServerConfig::default()).await;
    server.exchange("GET /a?b HTTP/1.1\r\nHost: h\r\nUser-Agent: a \"b\"\r\nConnection: close\r\n\r\n").await;
    let mut line = vec![0; 4096];
    let count = tokio::time::timeout(Duration::from_secs(5), read.read(&mut line)).await.unwrap().unwrap();
    assert_eq!(log.dropped(), 0);
    assert!(!writer.is_finished());
    String::from_utf8(line[..count].to_vec()).unwrap()
}

#[tokio::test]
async fn text_lines_follow_the_format() {
    let format = "%{method} %{path} %{protocol} %{host} %{status} %{bytes} %{route} %{cluster} %{outcome} %{header:user-agent}!";
    let line = lines(&AccessLogConfig { format: format.into(), ..AccessLogConfig::default() }).await;
    assert_eq!(line, "GET /a?b HTTP/1.1 h 200 5 shop - complete a \\u0022b\\u0022!\n");
}

#[tokio::test]
async fn what_filters_have_set_is_told() {
    let format = "%{filter_state:wasm.user} %{filter_state:wasm.user.plan} %{filter_state:wasm.other}";
    let line = lines(&AccessLogConfig { format: format.into(), ..AccessLogConfig::default() }).await;
    assert_eq!(line, "ann a\\u000ab -\n");
}

#[tokio::test]
async fn json_lines_are_json() {
    let line = lines(&AccessLogConfig { json: true, ..AccessLogConfig::default() }).await;
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (value["path"].as_str(), value["status"].as_u64(), value["cluster"].is_null()),
        (Some("/a?b"), Some(200), true)
    );
    assert_eq!((value["peer"].as_str(), value["outcome"].as_str()), (Some("127.0.0.1"), Some("complete")));
}

#[tokio::test]
async fn a_bad_format_names_what_is_wrong() {
    for (format, wrong) in [
        ("%{nope}", "unknown placeholder %{nope}"),
        ("%{status", "not closed"),
        ("%{header:a b}", "not a header name"),
        ("%{filter_state:user}", "what a filter sets as `x` is `wasm.x`"),
        ("%{filter_state:wasm.}", "names nothing"),
    ] {
        let config = AccessLogConfig { format: format.into(), ..AccessLogConfig::default() };
        assert!(AccessLog::check(&config).unwrap_err().message.contains(wrong), "{format}");
    }
}

/// A writer that never gets anything done.
#[tokio::test]
async fn a_stuck_writer_costs_lines_and_not_requests() {
    let (_read, write) = tokio::io::duplex(1);
    let config = AccessLogConfig { format: "x".repeat(20_000), ..AccessLogConfig::default() };
    let (log, _writer) = AccessLog::start(&config, write).unwrap();
    let server = support::start(Logged(Arc::clone(&log)), ServerConfig::default()).await;
    for _ in 0..300 {
        server.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    }
    assert!(log.dropped() > 0);
}
