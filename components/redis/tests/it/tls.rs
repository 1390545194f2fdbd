//! Redis over TLS, with an authority of our own, an ACL user and a certificate for the client.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_component_api::{ErrorKind, Key, Result, SetOptions, StateStore};
use outrigger_redis::{RedisState, RedisStateConfig};
use outrigger_testkit::Subject;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::server::{BUSY, Server};

/// An authority, and what it has signed: PEM.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a name and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        // Its own, or OpenSSL takes it for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }
}

/// A server with a certificate for `name`; `clients` says whether it wants one from clients too.
fn start(authority: &Authority, name: &str, clients: &str) -> Option<Server> {
    Server::start_with(None, |port, folder| {
        let (certificate, key) = authority.sign(name);
        let write = |file: &str, text: &str| {
            std::fs::write(folder.join(file), text).expect("written");
        };
        write("ca.pem", &authority.certificate);
        write("cert.pem", &certificate);
        write("key.pem", &key);
        let users = "user default off\nuser app on >secret ~* &* +@all\n";
        write("users.acl", users);
        arguments(port, folder, clients)
    })
}

fn arguments(port: u16, folder: &Path, clients: &str) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let port = port.to_string();
    let (ca, cert, key, users) = (file("ca.pem"), file("cert.pem"), file("key.pem"), file("users.acl"));
    let pairs = [
        ("--port", "0"),
        ("--tls-port", &port),
        ("--tls-ca-cert-file", &ca),
        ("--tls-cert-file", &cert),
        ("--tls-key-file", &key),
        ("--tls-auth-clients", clients),
        ("--aclfile", &users),
    ];
    pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
}

fn trusting(authority: &Authority, server: &Server) -> RedisStateConfig {
    RedisStateConfig {
        redis_host: server.host(),
        redis_username: Some("app".to_owned()),
        redis_password: Some("secret".to_owned().into()),
        enable_tls: true,
        ca_cert: Some(authority.certificate.clone()),
        dial_timeout: BUSY,
        read_timeout: BUSY,
        ..RedisStateConfig::default()
    }
}

async fn write(config: &RedisStateConfig) -> Result<()> {
    let store = RedisState::new(config)?;
    let key = Key::new("key").expect("not empty");
    store.set(&key, Bytes::from_static(b"value"), SetOptions::default()).await.map(drop)
}

fn over_tls() -> Option<Subject<dyn StateStore>> {
    let authority = Authority::new();
    let server = start(&authority, "127.0.0.1", "no")?;
    let store = Arc::new(RedisState::new(&trusting(&authority, &server)).expect("valid"));
    Some(Subject::new(store as Arc<dyn StateStore>).keeping(server))
}

outrigger_testkit::state_suite!(over_tls());

#[tokio::test]
async fn the_server_is_verified() {
    let authority = Authority::new();
    let Some(server) = start(&authority, "127.0.0.1", "no") else { return };
    let good = trusting(&authority, &server);
    write(&good).await.expect("trusted");
    let from_file = server.folder().join("ca.pem").display().to_string();
    write(&RedisStateConfig { ca_cert: Some(from_file), ..good.clone() }).await.expect("trusted");

    let refused = async |config: RedisStateConfig| {
        let error = write(&config).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.message().contains("check caCert"), "{error:?}");
        assert!(!error.is_retryable(), "{error:?}");
    };
    refused(RedisStateConfig { ca_cert: Some(Authority::new().certificate), ..good.clone() }).await;
    // The system's roots do not know our authority.
    refused(RedisStateConfig { ca_cert: None, ..good.clone() }).await;
    let Some(elsewhere) = start(&authority, "db.example", "no") else { return };
    refused(RedisStateConfig { redis_host: elsewhere.host(), ..good.clone() }).await;

    let without = RedisStateConfig { enable_tls: false, ca_cert: None, ..good };
    let error = write(&without).await.expect_err("the server speaks TLS only");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn the_client_shows_its_certificate() {
    let authority = Authority::new();
    let Some(server) = start(&authority, "127.0.0.1", "yes") else { return };
    let without = trusting(&authority, &server);
    let error = write(&without).await.expect_err("the server wants a certificate");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let (certificate, key) = authority.sign("client");
    let with = RedisStateConfig { client_cert: Some(certificate), client_key: Some(key.into()), ..without };
    write(&with).await.expect("accepted");
}
