//! TLS towards upstreams.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MinVersion, TlsError, files, protocols, provider};
use crate::{Address, Stream};

/// The `tls` section of a cluster. There is no way to leave the check of the certificate out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// PEM file with the authorities we trust. The system's are used only where this names their file, often
    /// `/etc/ssl/certs/ca-certificates.crt`.
    pub ca: PathBuf,
    /// PEM file with our certificate, when the upstream asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file with that certificate's private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// What the upstream's certificate must be for, also sent as SNI. Default: the endpoint's IP address, which
    /// certificates seldom name.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Protocols offered, the preferred first. Default: what the cluster's protocol calls for.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// The oldest version spoken. Default `1.2`.
    #[serde(default)]
    pub min_version: MinVersion,
}

impl ClientTls {
    /// Trusts the authorities in `ca`.
    pub fn new(ca: impl Into<PathBuf>) -> Self {
        Self {
            ca: ca.into(),
            certificate: None,
            key: None,
            server_name: None,
            alpn: Vec::new(),
            min_version: MinVersion::default(),
        }
    }

    /// Reads the files. Sessions are resumed only within the configuration that made them.
    pub fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(self.min_version.versions())?
            .with_root_certificates(files::roots(&self.ca)?);
        let mut config = match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                builder.with_client_auth_cert(files::certificates(certificate)?, files::key(key)?).map_err(
                    |error| TlsError::Unusable { path: certificate.clone(), reason: error.to_string() },
                )?
            }
            _ => return Err(TlsError::HalfIdentity),
        };
        config.alpn_protocols = protocols(&self.alpn);
        Ok(Arc::new(config))
    }

    /// The name to check for an endpoint: the configured one, or the endpoint's address.
    pub fn name_for(&self, endpoint: &Address) -> Result<ServerName<'static>, TlsError> {
        match (&self.server_name, endpoint) {
            (Some(name), _) => {
                ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name.clone()))
            }
            (None, Address::Tcp(address)) => Ok(ServerName::IpAddress(address.ip().into())),
            (None, Address::Unix(path)) => Err(TlsError::ServerName(path.display().to_string())),
        }
    }
}

/// The client's side of the handshake. The caller sets the deadline.
pub async fn connect(
    stream: Stream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<Stream> {
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
    Ok(Stream::TlsClient(Box::new(tls)))
}
