//! A cluster behind TLS that wants to see a certificate.

use std::fs;
use std::path::PathBuf;

use outrigger_component_api::{Component as _, ErrorKind};
use outrigger_etcd::{EtcdConfig, EtcdState};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::server::Server;
use crate::verdict::recovers;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed"))
    }

    /// Certificate and key of somebody.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("valid");
        (params.signed_by(&key, &self.0).expect("signed").pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    let Some(server) = Server::new() else { return };
    let folder = server.folder().to_owned();
    let file = |name: &str, content: &str| -> PathBuf {
        fs::write(folder.join(name), content).expect("written");
        folder.join(name)
    };
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = file("ca.pem", &authority.0.pem());
    let other_ca = file("other-ca.pem", &stranger.0.pem());
    let (cert, key) = authority.issue("127.0.0.1");
    let (cert, key) = (file("server.pem", &cert), file("server.key", &key));
    let (ours, our_key) = authority.issue("client");
    let (ours, our_key) = (file("client.pem", &ours), file("client.key", &our_key));
    let text = |path: &PathBuf| path.display().to_string();
    let mut server = server.with(
        "https",
        &[
            "--cert-file",
            &text(&cert),
            "--key-file",
            &text(&key),
            "--client-cert-auth",
            "--trusted-ca-file",
            &text(&ca),
        ],
    );
    server.start();

    let with = |tls_ca: &PathBuf, identity: Option<(&PathBuf, &PathBuf)>| EtcdConfig {
        tls_ca: Some(tls_ca.clone()),
        tls_cert: identity.map(|(cert, _)| cert.clone()),
        tls_cert_key: identity.map(|(_, key)| key.clone()),
        ..server.config()
    };
    let good = EtcdState::new(&with(&ca, Some((&ours, &our_key)))).expect("valid");
    recovers(async || good.ping().await).await.expect("let in");
    for (what, config) in [
        ("a server nobody vouches for", with(&other_ca, Some((&ours, &our_key)))),
        ("no certificate of ours", with(&ca, None)),
        ("a file that is not there", with(&folder.join("missing.pem"), None)),
        ("a file that is no certificate", with(&key, Some((&ours, &our_key)))),
    ] {
        let store = EtcdState::new(&config).expect("valid");
        let error = store.ping().await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
    }
}
