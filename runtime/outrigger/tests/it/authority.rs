//! Certificates made on the spot.

use std::path::PathBuf;

use outrigger_net::{
    Address, ConnectOptions, Stream,
    tls::{ClientTls, ServerName},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// An authority, with its certificate in `ca.pem` of its own folder.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        outrigger_net::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a certificate and its key; the same name again replaces both.
    pub(crate) fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        std::fs::write(file("pem"), leaf.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("pem"), file("key"))
    }

    /// The `tls` section of a listener called `localhost`; `more` stands beside certificate and key.
    pub(crate) fn section(&self, more: &str) -> String {
        let (certificate, key) = self.issue("localhost");
        format!("tls: {{ certificate: '{}', key: '{}', {more} }}", certificate.display(), key.display())
    }

    /// Trusts this authority, and offers a protocol.
    pub(crate) fn client(&self, alpn: &str) -> ClientTls {
        ClientTls { alpn: vec![alpn.to_owned()], ..ClientTls::new(self.ca()) }
    }
}

/// Connects to `localhost`.
pub(crate) async fn connect(address: std::net::SocketAddr, tls: &ClientTls) -> std::io::Result<Stream> {
    let name = ServerName::try_from("localhost").unwrap();
    let options = ConnectOptions { tls: Some((tls.build().unwrap(), name)), ..ConnectOptions::default() };
    Stream::connect(&Address::Tcp(address), &options).await
}
