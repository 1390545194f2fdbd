//! What a finished handshake says of the other side.

use rustls::pki_types::CertificateDer;

use crate::Stream;

/// Facts of a TLS connection, taken once after the handshake.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The protocol agreed on.
    pub alpn: Option<Box<[u8]>>,
    /// The host name the client asked for.
    pub sni: Option<Box<str>>,
    /// The client's certificate, verified.
    pub peer: Option<Box<PeerCertificate>>,
}

/// A verified certificate of the other side.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    pub der: CertificateDer<'static>,
    /// URI names, among them a SPIFFE identity.
    pub uri_sans: Vec<Box<str>>,
    pub dns_sans: Vec<Box<str>>,
}

impl TlsInfo {
    /// `None` when we are not the TLS server of this stream.
    pub fn of(stream: &Stream) -> Option<Self> {
        let Stream::Tls(tls) = stream else { return None };
        let session = tls.get_ref().1;
        Some(Self {
            version: stream.tls_version()?,
            alpn: session.alpn_protocol().map(Into::into),
            sni: session.server_name().map(Into::into),
            peer: session.peer_certificates().and_then(|chain| chain.first()).and_then(PeerCertificate::of),
        })
    }

    /// Whether the handshake agreed on HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.alpn.as_deref() == Some(b"h2")
    }
}

impl PeerCertificate {
    /// `None` when it cannot be parsed, which a verified certificate always can.
    fn of(der: &CertificateDer<'static>) -> Option<Box<Self>> {
        let parsed = webpki::EndEntityCert::try_from(der).ok()?;
        Some(Box::new(Self {
            der: der.clone(),
            uri_sans: parsed.valid_uri_names().map(Into::into).collect(),
            dns_sans: parsed.valid_dns_names().map(Into::into).collect(),
        }))
    }

    /// The SPIFFE identity. `None` when there is not exactly one, as the specification asks.
    pub fn spiffe_id(&self) -> Option<&str> {
        match self.uri_sans.as_slice() {
            [only] if only.starts_with("spiffe://") => Some(only),
            _ => None,
        }
    }
}
