//! TLS towards endpoints: names checked, identities kept apart.

use std::path::Path;
use std::sync::Arc;

use http::Method;
use outrigger_cluster::{Body, SendOptions};
use outrigger_net::tls::install_provider;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::backend::Backend;
use crate::world::{compile, recompile, request, status, the};

/// A server with a certificate for `name` from a fresh authority, whose certificate is written to `ca`.
async fn server(ca: &Path, name: &str) -> String {
    server_offering(ca, name, &[]).await
}

/// The same, with these protocols to choose from. It speaks HTTP/2 when that was chosen.
async fn server_offering(ca: &Path, name: &str, alpn: &[&str]) -> String {
    install_provider();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    std::fs::write(ca, authority.pem()).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
    let mut config = config.unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(stream).await else { return };
                match tls.get_ref().1.alpn_protocol() {
                    Some(b"h2") => answer_http2(tls).await,
                    _ => answer_http1(tls).await,
                }
            });
        }
    });
    address.to_string()
}

/// Answers 200 to everything, whatever carries it.
pub(crate) async fn answer_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// The same over HTTP/2.
pub(crate) async fn answer_http2(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        // The client may have gone.
        let _ = respond.send_response(http::Response::new(()), true);
    }
}

fn settings(address: &str, ca: &Path, name: &str) -> Value {
    json!({ "endpoints": [address], "tls": { "ca": ca, "server_name": name } })
}

#[tokio::test]
async fn the_name_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let address = server(&ca, "good.test").await;
    let good = compile(settings(&address, &ca, "good.test"));
    for _ in 0..3 {
        assert_eq!(status(&the(&good), None).await, Ok(200));
    }
    assert_eq!(the(&good).snapshot().connections, 1, "TLS connections are reused");
    let wrong = compile(settings(&address, &ca, "other.test"));
    assert_eq!(status(&the(&wrong), None).await, Err("upstream_tls"));
}

#[tokio::test]
async fn http2_needs_the_endpoints_consent() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let mut outcomes = Vec::new();
    for offered in [&["h2"][..], &["http/1.1", "h2"], &["http/1.1"], &[]] {
        let address = server_offering(&ca, "good.test", offered).await;
        let mut json = settings(&address, &ca, "good.test");
        json["protocol"] = json!("http2");
        // The second request comes while the endpoint is out, however late.
        json["health"] = json!({ "passive": { "connect_backoff": "60s", "connect_backoff_max": "60s" } });
        let clusters = compile(json);
        let cluster = the(&clusters);
        let all = [status(&cluster, None).await, status(&cluster, None).await];
        outcomes.push((all, cluster.snapshot().connections));
    }
    // A handshake that fails counts against the endpoint, the only one there is.
    let refused = ([Err("upstream_tls"), Err("no_healthy_endpoint")], 0);
    assert_eq!(outcomes[..2], [([Ok(200); 2], 1), ([Ok(200); 2], 1)], "two requests, one connection");
    assert_eq!(outcomes[2], refused, "a server that has other protocols only");
    assert_eq!(outcomes[3], refused, "a server that leaves it open");
}

#[tokio::test]
async fn whoever_watches_is_told_of_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let address = server_offering(&ca, "good.test", &["h2", "http/1.1"]).await;
    let mut over_h2 = settings(&address, &ca, "good.test");
    over_h2["protocol"] = json!("http2");
    let backend = Backend::answering(200).await;
    let plain = backend.address.to_string();
    for (config, endpoint, version) in [
        (settings(&address, &ca, "good.test"), &address, Some("TLSv1.3")),
        (over_h2, &address, Some("TLSv1.3")),
        (json!({ "endpoints": [&plain] }), &plain, None),
    ] {
        let cluster = the(&compile(config));
        let upstream = async |is_watched| {
            let mut request = request(Method::GET, Body::empty());
            request.ext.is_watched = is_watched;
            let response = cluster.send(request, &SendOptions::default()).await.unwrap();
            let upstream = response.upstream.clone();
            response.body.collect(100).await.unwrap();
            upstream
        };
        let first = upstream(true).await.unwrap();
        assert_eq!((&*first.cluster, &*first.endpoint), ("backend", &**endpoint));
        assert_eq!(first.tls_version, version);
        assert!(first.local.is_some_and(|local| local.ip().is_loopback() && local.port() > 0), "{first:?}");
        assert_eq!(upstream(true).await.unwrap(), first, "the same connection");
        assert_eq!(upstream(false).await, None);
    }
}

#[tokio::test]
async fn a_new_identity_shares_no_connection_with_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let address = server(&ca, "good.test").await;
    let json = settings(&address, &ca, "good.test");
    let before = compile(json.clone());
    assert_eq!(status(&the(&before), None).await, Ok(200));
    let same = recompile(json.clone(), &before);
    assert!(Arc::ptr_eq(&the(&before), &the(&same)));
    // The same settings, but the file they name now holds another authority: nobody we know.
    server(&ca, "good.test").await;
    let renewed = recompile(json, &before);
    assert_eq!(status(&the(&renewed), None).await, Err("upstream_tls"));
}

#[tokio::test]
async fn unusable_files_are_problems() {
    let json = settings("127.0.0.1:1", Path::new("/nowhere/ca.pem"), "a.test");
    let empty = outrigger_cluster::Clusters::empty(crate::world::context());
    let problems = outrigger_cluster::Clusters::compile(&crate::world::config(&json), &empty).err().unwrap();
    assert_eq!(problems[0].path, "backend.tls");
    assert!(problems[0].message.contains("/nowhere/ca.pem"), "{}", problems[0].message);
}
