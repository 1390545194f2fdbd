//! TLS, limits and HTTP settings of the listeners that are ours: the API's and admin's.

use std::{net::SocketAddr, time::Duration};

use http::{HeaderName, Method, StatusCode};
use outrigger_http::{Body, RequestHead, h2::client};
use outrigger_net::{Stream, tls::ClientTls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    authority::{Authority, connect},
    http::{get, post, send, try_send},
    program::{Folder, PATIENCE, Program},
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// An `outrigger.yaml` whose API listener has these settings.
fn file(api: &str) -> String {
    format!(
        "api: {{ listeners: {{ main: {{ address: '127.0.0.1:0', {api} }} }} }}
admin: {{ address: '127.0.0.1:0' }}
components: {{ kept: {{ type: state.in-memory }} }}
"
    )
}

fn run(config: &str) -> (Folder, Program) {
    let folder = Folder::with("").arguments(&["--no-watch"]);
    folder.write("outrigger.yaml", config);
    let program = folder.run();
    (folder, program)
}

fn reload(folder: &Folder, program: &Program, config: &str) {
    folder.write("outrigger.yaml", config);
    let outcome = post(program.admin(), "/reload", "");
    assert_eq!(outcome.status, 200, "{}", outcome.body);
}

/// Asks a gRPC server whether it is healthy, with `more` in the metadata.
async fn check_health(stream: Stream, more: &[(&'static str, &str)]) -> Result<StatusCode, String> {
    const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];
    let config = client::ClientConfig::default();
    let (mut sender, driver) = client::handshake(stream, &config).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(driver);
    let authority = "localhost".parse().unwrap();
    let mut head = RequestHead::new(Method::POST, authority, "/grpc.health.v1.Health/Check");
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(more) {
        head.headers.append(&HeaderName::from_static(name), *value).unwrap();
    }
    let answer = timeout(PATIENCE, sender.send(&head, &mut Body::full(vec![0; 5]))).await;
    let answer = answer.expect("an answer in time").map_err(|error| error.to_string())?;
    if answer.head.status == StatusCode::OK {
        assert_eq!(answer.body.collect(100).await.unwrap(), SERVING[..]);
    }
    driver.abort();
    Ok(answer.head.status)
}

async fn over_tls(address: SocketAddr, tls: &ClientTls) -> Result<StatusCode, String> {
    let stream = connect(address, tls).await.map_err(|error| error.to_string())?;
    check_health(stream, &[]).await
}

async fn in_plain_text(address: SocketAddr, more: &[(&'static str, &str)]) -> Result<StatusCode, String> {
    check_health(Stream::Tcp(TcpStream::connect(address).await.unwrap()), more).await
}

#[test]
fn tls_is_terminated_and_clients_are_told_apart() {
    let (ours, others) = (Authority::new(), Authority::new());
    let required = format!("client_ca: '{}'", ours.ca().display());
    let (_folder, program) = run(&file(&ours.section(&required)));
    let (certificate, key) = ours.issue("client");
    let (wrong_certificate, wrong_key) = others.issue("client");
    let known = ClientTls { certificate: Some(certificate), key: Some(key), ..ours.client("h2") };
    let unknown =
        ClientTls { certificate: Some(wrong_certificate), key: Some(wrong_key), ..ours.client("h2") };
    runtime().block_on(async {
        assert_eq!(over_tls(program.api(), &known).await, Ok(StatusCode::OK));
        over_tls(program.api(), &unknown).await.expect_err("a certificate nobody here knows");
        over_tls(program.api(), &ours.client("h2")).await.expect_err("no certificate");
        let distrustful = ClientTls { ca: others.ca(), ..known.clone() };
        over_tls(program.api(), &distrustful).await.expect_err("a client that does not know us");
        in_plain_text(program.api(), &[]).await.expect_err("plain text");
    });
    let listeners = get(program.admin(), "/listeners").json();
    let listener = |kind: &str| {
        let all = listeners["listeners"].as_array().unwrap();
        all.iter().find(|listener| listener["kind"] == kind).unwrap()["tls"].clone()
    };
    assert_eq!((listener("api"), listener("admin")), (true.into(), false.into()));
}

#[test]
fn tls_follows_a_reload() {
    let (before, after) = (Authority::new(), Authority::new());
    let (folder, program) = run(&file(&before.section("")));
    let address = program.api();
    runtime().block_on(async {
        assert_eq!(over_tls(address, &before.client("h2")).await, Ok(StatusCode::OK));
        reload(&folder, &program, &file(&after.section("")));
        assert_eq!(over_tls(address, &after.client("h2")).await, Ok(StatusCode::OK), "on the same socket");
        over_tls(address, &before.client("h2")).await.expect_err("the certificate is another");
    });
    // An address that is kept, spoken to in another way.
    let taken = |tls: &str| file(tls).replacen("127.0.0.1:0", &address.to_string(), 1);
    reload(&folder, &program, &taken(&after.section("")));
    runtime().block_on(async {
        reload(&folder, &program, &taken(""));
        assert_eq!(in_plain_text(address, &[]).await, Ok(StatusCode::OK));
        reload(&folder, &program, &taken(&after.section("")));
        in_plain_text(address, &[]).await.expect_err("no longer");
        assert_eq!(over_tls(address, &after.client("h2")).await, Ok(StatusCode::OK));
    });
}

#[test]
fn the_app_is_told_to_speak_tls() {
    let authority = Authority::new();
    let folder = Folder::with("");
    folder.write("outrigger.yaml", &file(&authority.section("")));
    let mut program = folder.start(&["sh", "-c", "echo endpoint=$OUTRIGGER_GRPC_ENDPOINT"]);
    program.wait_ready();
    program.wait_for(&format!("endpoint=https://{}", program.api()));
    assert!(program.end().success());
}

#[test]
fn admin_speaks_tls_too() {
    let authority = Authority::new();
    let folder = Folder::with("");
    let tls = authority.section("");
    let admin = format!("admin: {{ address: '127.0.0.1:0', {tls} }}");
    folder.write("outrigger.yaml", &file("").replace("admin: { address: '127.0.0.1:0' }", &admin));
    let program = folder.run();
    runtime().block_on(async {
        let mut stream = connect(program.admin(), &authority.client("http/1.1")).await.unwrap();
        let request =
            "GET /actuator/health/liveness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The end of the answer is what counts, not how the connection ends.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    });
    let plain = try_send(program.admin(), "GET", "/actuator/health/liveness", &[], "");
    assert!(plain.is_err_and(|error| !error.to_string().contains("HTTP/1.1")));
}

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n";

const A_MOMENT: Duration = Duration::from_millis(500);

/// Asks on a connection; whether an answer began within this time.
async fn is_answered(stream: &mut TcpStream, within: Duration) -> bool {
    stream.write_all(REQUEST).await.unwrap();
    timeout(within, stream.read(&mut [0; 1])).await.is_ok_and(|n| n.is_ok_and(|n| n == 1))
}

#[test]
fn connections_are_limited() {
    let (folder, program) = run(&file("limits: { max_connections: 1 }"));
    let address = program.api();
    runtime().block_on(async {
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut first, PATIENCE).await);
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(!is_answered(&mut second, A_MOMENT).await, "there is room for one");
        reload(&folder, &program, &file("limits: { max_connections: 2 }"));
        let answered = timeout(PATIENCE, second.read(&mut [0; 1])).await;
        assert_eq!(answered.expect("in time").unwrap(), 1, "and now for two");

        reload(&folder, &program, &file("limits: { max_connections_per_source: 2 }"));
        let mut third = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut third, PATIENCE).await, "the others came before they were counted");
        let mut fourth = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut fourth, PATIENCE).await);
        let mut fifth = TcpStream::connect(address).await.unwrap();
        let refused = timeout(PATIENCE, fifth.read(&mut [0; 1])).await.expect("at once");
        assert!(refused.is_err() || refused.is_ok_and(|n| n == 0));
    });
}

#[test]
fn http_settings_hold() {
    let (folder, program) = run(&file(""));
    let long = "x".repeat(1000);
    let status = || send(program.api(), "GET", "/", &[("x-long", &long)], "").status;
    assert_ne!(status(), 431);
    let underscore = |expected: Result<StatusCode, ()>| {
        let found = runtime().block_on(in_plain_text(program.api(), &[("x_y", "1")]));
        assert_eq!(found.map_err(drop), expected);
    };
    underscore(Ok(StatusCode::OK));
    reload(
        &folder,
        &program,
        &file("http: { max_header_bytes: 512, max_uri_bytes: 100, underscores: reject }"),
    );
    assert_eq!(status(), 431);
    underscore(Err(()));
}
