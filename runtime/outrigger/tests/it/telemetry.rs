//! Traces and metrics as a collector gets them.

use std::{net::SocketAddr, time::Duration};

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use outrigger_proto::layotto::{GetStateRequest, runtime_client::RuntimeClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use crate::{
    collector::{Collector, text},
    http,
    ports::reserved,
    program::{Folder, PATIENCE, Program},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const UNSAMPLED: &str = "11111111111111111111111111111111";
const CALLER: &str = "b7ad6b7169203331";
const STORE: &str = "components: { state: { type: state.in-memory } }\n";

fn parent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{CALLER}-{flags}")
}

fn telemetry(collector: &Collector, more: &str) -> String {
    let address = collector.address;
    format!("telemetry: {{ traces: {{ otlp: {{ endpoint: 'http://{address}' }} }}, {more} }}\n")
}

/// Asks the store for a key that is not there.
async fn get_state(api: SocketAddr, traceparent: Option<&str>) {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{api}")).unwrap();
    let mut client = RuntimeClient::new(endpoint.connect().await.unwrap());
    let message =
        GetStateRequest { store_name: "state".to_owned(), key: "k".to_owned(), ..Default::default() };
    let mut request = tonic::Request::new(message);
    if let Some(traceparent) = traceparent {
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    client.get_state(request).await.unwrap();
}

/// An upstream that tells the head of each request it gets.
async fn upstream() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                    while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                        let head: Vec<u8> = buffer.drain(..end + 4).collect();
                        tell.send(String::from_utf8(head).unwrap().to_ascii_lowercase()).unwrap();
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            });
        }
    });
    (address, heads)
}

async fn ask(address: SocketAddr, path: &'static str, headers: &[(&'static str, String)]) -> u16 {
    let headers = headers.to_vec();
    let ask = move || {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        http::send(address, "GET", path, &headers, "").status
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match condition() {
            Some(value) => return value,
            None if tokio::time::Instant::now() > deadline => panic!("did not happen: {what}"),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one span of a trace that stands below `parent`, or what there is instead.
fn below(spans: &[Span], trace: &str, parent: &str) -> Result<Span, String> {
    let mine = |span: &&Span| hex(&span.trace_id) == trace && hex(&span.parent_span_id) == parent;
    let found: Vec<&Span> = spans.iter().filter(mine).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        others => {
            Err(format!("{} spans of trace {trace} below {parent} among {}", others.len(), spans.len()))
        }
    }
}

fn sample(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

async fn scrape(program: &Program) -> String {
    let admin = program.admin();
    tokio::task::spawn_blocking(move || http::get(admin, "/metrics").body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_caller_to_the_component_and_to_the_upstream() {
    let collector = Collector::start().await;
    let (upstream, mut heads) = upstream().await;
    let folder = Folder::with(&format!(
        "{STORE}{}listeners: {{ web: {{ address: '127.0.0.1:0' }} }}
routes: {{ all: {{ backends: [ {{ cluster: up }} ] }} }}
clusters: {{ up: {{ endpoints: ['{upstream}'] }} }}
",
        telemetry(&collector, "service_name: shop"),
    ));
    let program = folder.run();
    // First those that are not sampled: whatever were sent of them would be here before the rest.
    get_state(program.api(), Some(&parent(UNSAMPLED, "00"))).await;
    let unsampled = [("traceparent", parent(UNSAMPLED, "00")), ("baggage", "k=v".to_owned())];
    assert_eq!(ask(program.web(), "/a?secret=1", &unsampled).await, 200);
    let head = heads.recv().await.unwrap();
    assert!(head.contains(&format!("traceparent: {}\r\n", parent(UNSAMPLED, "00"))), "{head}");
    assert!(head.contains("baggage: k=v\r\n"), "{head}");
    get_state(program.api(), Some(&parent(TRACE, "01"))).await;
    let sampled = [("traceparent", parent(TRACE, "01")), ("tracestate", "vendor=x".to_owned())];
    assert_eq!(ask(program.web(), "/a?secret=1", &sampled).await, 200);
    let head = heads.recv().await.unwrap();

    let spans = eventually("four spans", || Some(collector.spans()).filter(|spans| spans.len() >= 4)).await;
    assert_eq!(collector.service().as_deref(), Some("shop"));
    let (rpc, web): (Vec<Span>, Vec<Span>) =
        spans.iter().cloned().partition(|span| span.name.contains("Runtime") || span.name.contains("state."));
    let api = below(&rpc, TRACE, CALLER).unwrap();
    assert_eq!((api.name.as_str(), api.kind()), ("spec.proto.runtime.v1.Runtime/GetState", SpanKind::Server));
    let component = below(&rpc, TRACE, &hex(&api.span_id)).unwrap();
    assert_eq!((component.name.as_str(), component.kind()), ("state.get state", SpanKind::Client));
    assert_eq!(text(&component.attributes, "outrigger.component").as_deref(), Some("state"));
    let proxied = below(&web, TRACE, CALLER).unwrap();
    assert_eq!((proxied.name.as_str(), proxied.kind()), ("GET all", SpanKind::Server));
    assert_eq!(text(&proxied.attributes, "url.path").as_deref(), Some("/a"), "a query may hold secrets");
    let attempt = below(&web, TRACE, &hex(&proxied.span_id)).unwrap();
    assert_eq!(text(&attempt.attributes, "server.address"), Some(upstream.to_string()));
    let told = format!("traceparent: 00-{TRACE}-{}-01\r\n", hex(&attempt.span_id));
    assert!(head.contains(&told) && head.contains("tracestate: vendor=x\r\n"), "{head}");
    assert!(spans.iter().all(|span| span.end_time_unix_nano >= span.start_time_unix_nano));

    // What the search for a trace finds is there, and what it does not find is an error of its.
    assert!(below(&rpc, UNSAMPLED, CALLER).unwrap_err().starts_with("0 spans"));
    assert!(below(&web, UNSAMPLED, CALLER).unwrap_err().starts_with("0 spans"));
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_sent_at_an_interval_and_say_what_the_page_says() {
    let collector = Collector::start().await;
    let folder = Folder::with(&format!(
        "{STORE}telemetry: {{ metrics: {{ interval: 50ms, otlp: {{ endpoint: 'http://{}', \
         headers: {{ x-key: s3cret }} }} }} }}\n",
        collector.address
    ));
    let program = folder.run();
    for _ in 0..3 {
        get_state(program.api(), Some(&parent(TRACE, "01"))).await;
    }
    let labels = [("block", "state"), ("component", "state"), ("op", "get"), ("outcome", "ok")];
    eventually("three calls counted", || {
        (collector.count("outrigger_block_calls_total", &labels) == Some(3)).then_some(())
    })
    .await;
    let page = scrape(&program).await;
    let series = r#"outrigger_block_calls_total{block="state",component="state",op="get",outcome="ok"}"#;
    assert_eq!(sample(&page, series), Some(3.0), "{page}");
    let so_far = collector.metrics();
    eventually("more exports", || (collector.metrics() > so_far + 2).then_some(())).await;
    assert!(collector.keys().iter().all(|key| key == "s3cret") && !collector.keys().is_empty());
    assert_eq!(collector.spans().len(), 0, "nobody asked for traces");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_of_traces_begun_here_can_change_while_running() {
    let collector = Collector::start().await;
    let with = |sample: &str| {
        let to = format!("otlp: {{ endpoint: 'http://{}' }}", collector.address);
        format!("{STORE}telemetry: {{ traces: {{ sample: {sample}, {to} }} }}\n")
    };
    let folder = Folder::with(&with("0"));
    let mut program = folder.run();
    get_state(program.api(), None).await;
    folder.configure(&with("1"));
    program.signal(rustix::process::Signal::HUP);
    program.wait_for("configuration reloaded");
    get_state(program.api(), None).await;
    // The last ones are sent at the end, without waiting for others to come.
    let (status, _) = program.stop();
    assert!(status.success());
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:?}");
    let first = below(&spans, &hex(&spans[0].trace_id), "").unwrap();
    below(&spans, &hex(&first.trace_id), &hex(&first.span_id)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_section_the_standard_variables_count() {
    let collector = Collector::start().await;
    let folder = Folder::with(STORE)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", collector.address))
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
        .env("OTEL_SERVICE_NAME", "named")
        .env("OTEL_TRACES_SAMPLER", "always_off");
    let mut program = folder.run();
    get_state(program.api(), None).await;
    get_state(program.api(), Some(&parent(TRACE, "01"))).await;
    assert!(program.stop().0.success());
    assert_eq!(collector.spans().len(), 2, "the caller decided for one, and for none of its own");
    assert_eq!(collector.service().as_deref(), Some("named"));
    assert!(collector.metrics() > 0 && collector.keys().iter().all(|key| key == "abc"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_gone_costs_spans_and_nothing_else() {
    let gone = reserved();
    let folder = Folder::with(&format!(
        "{STORE}telemetry: {{ traces: {{ queue: 4, otlp: {{ endpoint: 'http://{gone}', timeout: 200ms }} }} }}\n"
    ));
    let mut program = folder.run();
    const DROPPED: &str = "outrigger_telemetry_spans_dropped_total";
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        for _ in 0..50 {
            get_state(program.api(), None).await;
        }
        let page = scrape(&program).await;
        let dropped =
            |reason: &str| sample(&page, &format!("{DROPPED}{{reason=\"{reason}\"}}")).unwrap_or(0.0);
        let (full, failed) = (dropped("queue_full"), dropped("export_failed"));
        if full + failed > 90.0 && full > 0.0 && failed > 0.0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{full} {failed}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, took) = program.stop();
    assert!(status.success() && took < Duration::from_secs(15), "{status} {took:?}");
    program.end();
    let told = program.log.iter().filter(|line| line.contains("telemetry cannot be exported"));
    assert_eq!(told.count(), 1, "{:#?}", program.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_is_given_its_timeout() {
    let collector = Collector::start().await;
    collector.hang();
    let folder = Folder::with(&format!(
        "{STORE}telemetry: {{ metrics: {{ interval: 50ms, otlp: {{ endpoint: 'http://{}', timeout: 100ms }} }} }}\n",
        collector.address
    ));
    let mut program = folder.run();
    eventually("a second try", || (collector.metrics() > 1).then_some(())).await;
    get_state(program.api(), None).await;
    program.wait_for("telemetry cannot be exported");
    let page = scrape(&program).await;
    assert!(
        sample(&page, "outrigger_telemetry_export_failures_total{signal=\"metrics\"}") > Some(0.0),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_is_known_by_its_authority() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let collector = Collector::start_tls(&own.cert.pem(), &own.signing_key.serialize_pem()).await;
    let folder = Folder::with("");
    folder.write("own.pem", &own.cert.pem());
    folder.write("other.pem", &other.cert.pem());
    let with = |ca: &str, timeout: &str| {
        let (endpoint, ca) = (format!("https://localhost:{}", collector.address.port()), folder.path(ca));
        let otlp = format!("{{ endpoint: '{endpoint}', ca: '{}', timeout: {timeout} }}", ca.display());
        folder.configure(&format!("{STORE}telemetry: {{ traces: {{ otlp: {otlp} }} }}\n"));
    };
    with("own.pem", "10s");
    let mut program = folder.run();
    get_state(program.api(), None).await;
    eventually("two spans", || (collector.spans().len() == 2).then_some(())).await;
    with("other.pem", "1s");
    program.signal(rustix::process::Signal::HUP);
    program.wait_for("configuration reloaded");
    get_state(program.api(), None).await;
    program.wait_for("telemetry cannot be exported");
    assert_eq!(collector.spans().len(), 2, "nothing is sent to whom we do not trust");
}
