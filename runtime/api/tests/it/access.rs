//! Who is let in, as clients see it.

use outrigger_api::access::{Access, Token};
use outrigger_proto::layotto::GetStateRequest;
use outrigger_sdk::{Client, ErrorKind, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request, Status};

use crate::harness::{Served, Sidecar};

fn locked() -> Sidecar {
    Sidecar::with(Access { tokens: Token::new("s3cret").map(|token| vec![token]), hosts: Vec::new() })
}

async fn get(served: &Served, headers: &[(&'static str, &'static str)]) -> Result<(), Status> {
    let mut request =
        Request::new(GetStateRequest { store_name: "state".into(), key: "k".into(), ..Default::default() });
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    served.runtime().await.get_state(request).await.map(drop)
}

#[tokio::test]
async fn a_token_is_asked_for_when_there_is_one() {
    let sidecar = locked();
    let served = sidecar.serve().await;
    let refused = get(&served, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("outrigger-api-token"), "{refused}");
    assert_eq!(get(&served, &[("dapr-api-token", "wrong")]).await.unwrap_err().code(), Code::Unauthenticated);
    get(&served, &[("dapr-api-token", "s3cret")]).await.unwrap();
    get(&served, &[("authorization", "Bearer s3cret")]).await.unwrap();
    assert!(sidecar.metrics.render().contains(r#"outrigger_api_refused_total{reason="token"} 2"#));

    let options = |token: Option<&str>| Options {
        endpoint: served.endpoint.clone(),
        token: token.map(str::to_owned),
        ..Options::default()
    };
    let client = Client::connect_with(options(Some("s3cret"))).await.unwrap();
    client.state("state").save(("k", "v")).await.unwrap();
    let client = Client::connect_with(options(None)).await.unwrap();
    assert_eq!(client.state("state").get("k").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(client.actuator().info().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn web_pages_are_refused_even_without_a_token() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    for page in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(get(&served, &[page]).await.unwrap_err().code(), Code::PermissionDenied, "{page:?}");
    }
    get(&served, &[]).await.unwrap();
}

/// The status line of an HTTP/1.1 request.
async fn http1(served: &Served, head: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(&served.endpoint).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn http1_requests_are_told_what_this_port_is() {
    let sidecar = Sidecar::new();
    let served = sidecar.serve().await;
    let check = async |head: &str, status: &str, text: &str| {
        let answer = http1(&served, &format!("{head}connection: close\r\n\r\n")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text),
            "{head}\n{answer}"
        );
    };
    check("GET / HTTP/1.1\r\nhost: localhost\r\n", "404", "speaks gRPC").await;
    check("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n", "415", "application/grpc").await;
    check("GET / HTTP/1.1\r\nhost: evil.example\r\n", "403", "names a host").await;
    check("GET / HTTP/1.1\r\nhost: localhost\r\norigin: null\r\n", "403", "web pages").await;
}

#[tokio::test]
async fn a_socket_takes_any_authority() {
    let sidecar = Sidecar::new();
    let folder = tempfile::tempdir().unwrap();
    let served = sidecar.serve_socket(&folder.path().join("outrigger.sock"));
    let client = Client::connect_with(Options { endpoint: served.endpoint.clone(), ..Options::default() })
        .await
        .unwrap();
    client.state("state").save(("k", "v")).await.unwrap();
    assert_eq!(client.state("state").get("k").await.unwrap().unwrap().value, "v");
}
