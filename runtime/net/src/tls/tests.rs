//! Handshakes against certificates made on the spot.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{Address, ConnectOptions, Stream};

/// An authority and the folder its files are in.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `name.pem` and `name.key`.
    fn issue(&self, name: &str, uri: Option<&str>) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    fn server(&self, name: &str) -> ServerTls {
        let (certificate, key) = self.issue(name, None);
        ServerTls::new(certificate, key)
    }

    fn client(&self, alpn: &str) -> ClientTls {
        ClientTls { alpn: vec![alpn.to_owned()], ..ClientTls::new(self.file("ca.pem")) }
    }
}

/// A handshake over TCP; the server then says "hello", which the client reads: with TLS 1.3 that is how it learns that
/// its certificate was refused.
async fn shake(acceptor: &TlsAcceptor, client: &ClientTls, name: &str) -> std::io::Result<(TlsInfo, Stream)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = Address::Tcp(listener.local_addr()?);
    let options = ConnectOptions {
        tls: Some((client.build().unwrap(), ServerName::try_from(name.to_owned()).unwrap())),
        ..ConnectOptions::default()
    };
    let serving = async {
        let mut stream = acceptor.accept(listener.accept().await?.0.into()).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(stream)
    };
    let connecting = async {
        let mut stream = Stream::connect(&address, &options).await?;
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await?;
        assert_eq!(&hello, b"hello");
        Ok::<_, std::io::Error>(stream)
    };
    let (server, client) = tokio::join!(serving, connecting);
    Ok((TlsInfo::of(&server?).unwrap(), client?))
}

#[tokio::test]
async fn a_handshake_tells_protocol_name_and_version() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::new(authority.server("a.example").build().unwrap());
    let (info, client) = shake(&acceptor, &authority.client("h2"), "a.example").await.unwrap();
    assert!(info.is_http2() && client.alpn() == Some(b"h2"));
    assert_eq!((info.version, info.sni.as_deref()), ("TLSv1.3", Some("a.example")));
    assert!(info.peer.is_none());
    assert!(shake(&acceptor, &authority.client("h2"), "b.example").await.is_err(), "another name");
    assert!(shake(&acceptor, &authority.client("spdy"), "a.example").await.is_err(), "no common protocol");
    let stranger = Authority::new();
    assert!(shake(&acceptor, &stranger.client("h2"), "a.example").await.is_err(), "another authority");
}

#[tokio::test]
async fn a_client_shows_who_it_is() {
    let authority = Authority::new();
    let server = ServerTls { client_ca: Some(authority.file("ca.pem")), ..authority.server("a.example") };
    let config = server.build().unwrap();
    assert_eq!(config.send_tls13_tickets, 0);
    assert!(!config.ticketer.enabled() && !config.session_storage.can_cache());
    let acceptor = TlsAcceptor::new(config);

    let id = "spiffe://example/ns/shop/sa/cart";
    let (certificate, key) = authority.issue("client", Some(id));
    let known = ClientTls { certificate: Some(certificate), key: Some(key), ..authority.client("h2") };
    let (info, _) = shake(&acceptor, &known, "a.example").await.unwrap();
    let peer = info.peer.unwrap();
    assert_eq!(peer.spiffe_id(), Some(id));
    assert_eq!(peer.dns_sans, ["client".into()]);

    assert!(shake(&acceptor, &authority.client("h2"), "a.example").await.is_err(), "no certificate");
    let stranger = Authority::new();
    let (certificate, key) = stranger.issue("client", Some(id));
    let forged = ClientTls { certificate: Some(certificate), key: Some(key), ..authority.client("h2") };
    assert!(shake(&acceptor, &forged, "a.example").await.is_err(), "another authority's certificate");

    let optional = ServerTls { client_auth: ClientAuth::Optional, ..server };
    let acceptor = TlsAcceptor::new(optional.build().unwrap());
    assert!(shake(&acceptor, &authority.client("h2"), "a.example").await.unwrap().0.peer.is_none());
    assert!(shake(&acceptor, &forged, "a.example").await.is_err(), "one that is shown must be good");
}

#[tokio::test]
async fn a_new_certificate_is_swapped_in() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::new(authority.server("old.example").build().unwrap());
    let client = authority.client("h2");
    let (_, mut living) = shake(&acceptor, &client, "old.example").await.unwrap();
    acceptor.replace(authority.server("new.example").build().unwrap());
    shake(&acceptor, &client, "new.example").await.unwrap();
    assert!(shake(&acceptor, &client, "old.example").await.is_err());
    living.write_all(b"still here").await.unwrap();
}

#[tokio::test]
async fn the_oldest_version_is_kept_to() {
    let authority = Authority::new();
    let server = ServerTls { min_version: MinVersion::Tls13, ..authority.server("a.example") };
    let acceptor = TlsAcceptor::new(server.build().unwrap());
    let old = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(files::roots(&authority.file("ca.pem")).unwrap())
        .with_no_client_auth();
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let name = ServerName::try_from("a.example").unwrap();
    let (server, client) = tokio::join!(acceptor.accept(near.into()), connect(far.into(), old.into(), name));
    assert!(server.is_err() && client.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_a_deadline() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::new(authority.server("a.example").build().unwrap());
    let (near, _silent) = tokio::net::UnixStream::pair().unwrap();
    let started = tokio::time::Instant::now();
    let error = acceptor.accept(near.into()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), HANDSHAKE_TIMEOUT.as_secs());
}

#[test]
fn errors_name_the_file() {
    let authority = Authority::new();
    let good = authority.server("a.example");
    let check = |tls: ServerTls, expected: &str| {
        let error = tls.build().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let empty = authority.file("empty.pem");
    std::fs::write(&empty, "").unwrap();
    check(ServerTls { certificate: authority.file("none.pem"), ..good.clone() }, "cannot read");
    check(ServerTls { certificate: empty.clone(), ..good.clone() }, "empty.pem holds no certificate");
    check(ServerTls { key: empty.clone(), ..good.clone() }, "empty.pem holds no private key");
    check(ServerTls { client_ca: Some(empty), ..good.clone() }, "empty.pem holds no certificate");
    check(ServerTls { key: authority.issue("b", None).1, ..good.clone() }, "a.example.pem cannot be used");
    check(ServerTls { client_auth: ClientAuth::Optional, ..good }, "needs `client_ca`");
    let half = ClientTls { key: Some(Path::new("k").into()), ..authority.client("h2") };
    assert!(matches!(half.build(), Err(TlsError::HalfIdentity)));
}
