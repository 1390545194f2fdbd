//! TLS towards endpoints: names checked, identities kept apart.

use std::path::Path;
use std::sync::Arc;

use outrigger_net::tls::install_provider;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::world::{compile, recompile, status, the};

/// A server with a certificate for `name` from a fresh authority, whose certificate is written to `ca`.
async fn server(ca: &Path, name: &str) -> String {
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
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                let mut buffer = [0; 4096];
                while tls.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if tls.write_all(answer).await.is_err() || tls.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address.to_string()
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
