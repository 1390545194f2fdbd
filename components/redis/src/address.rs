//! From settings to what the driver connects to: addresses, who we are, whom to trust.

use std::path::Path;
use std::time::Duration;

use outrigger_component_api::{Error, Result};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{ClientTlsConfig, ConnectionAddr, ProtocolVersion, RedisConnectionInfo, TlsCertificates};

use crate::config::{RedisType, Server, Tls};

/// A peer that vanished without a word is noticed after about half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_PROBES: u32 = 3;

/// Settings that make no sense together.
pub(crate) fn check(server: &Server<'_>) -> Result<()> {
    let wrong = match server {
        Server { r#type: RedisType::Cluster, failover: true, .. } => {
            "failover is for sentinels; a cluster fails over by itself: set redisType or failover, not both"
        }
        Server { r#type: RedisType::Cluster, db: 1.., .. } => {
            "a cluster has only the database 0: remove redisDB"
        }
        Server { failover: true, master: None | Some(""), .. } => {
            "failover needs sentinelMasterName: the name the sentinels know the master by"
        }
        Server { failover: false, master: Some(_), .. } => {
            "sentinelMasterName does nothing without failover: set failover to true or remove it"
        }
        Server { tls: None, has_certificates: true, .. } => {
            "caCert, clientCert and clientKey do nothing without enableTLS: set it to true or remove them"
        }
        Server { username: Some(_), password: None, .. } => "redisUsername needs redisPassword",
        _ => return Ok(()),
    };
    Err(Error::invalid(wrong))
}

pub(crate) fn addresses(server: &Server<'_>) -> Result<Vec<ConnectionAddr>> {
    let default_port = server.port.unwrap_or(if server.failover { 26379 } else { 6379 });
    let hosts = server.hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
    let addresses: Vec<_> =
        hosts.map(|host| address(host, default_port, server.tls.is_some())).collect::<Result<_>>()?;
    match addresses.len() {
        0 => Err(Error::invalid("redisHost is empty")),
        2.. if server.r#type == RedisType::Node && !server.failover => Err(Error::invalid(
            "redisHost names several servers: set redisType to cluster, or failover to true for sentinels",
        )),
        _ => Ok(addresses),
    }
}

fn address(host: &str, default_port: u16, tls: bool) -> Result<ConnectionAddr> {
    let malformed = || Error::invalid("redisHost is malformed: expected host:port").with("host", host);
    let (name, port) = match host.rsplit_once(':') {
        // The last colon of a bare IPv6 address is not a port's.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().map_err(|_| malformed())?)
        }
        _ => (host, default_port),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    if name.is_empty() || name.contains('/') {
        return Err(malformed());
    }
    Ok(if tls {
        ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(name, port)
    })
}

pub(crate) fn login(server: &Server<'_>) -> RedisConnectionInfo {
    // RESP3 because only there the driver says that a connection was lost before somebody uses it.
    let mut login =
        RedisConnectionInfo::default().set_db(server.db.into()).set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = server.username {
        login = login.set_username(username);
    }
    if let Some(password) = server.password {
        login = login.set_password(password.expose());
    }
    login
}

pub(crate) fn tcp() -> TcpSettings {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE)
        .with_retries(KEEP_ALIVE_PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keep_alive)
}

pub(crate) fn certificates(tls: &Tls<'_>) -> Result<TlsCertificates> {
    let root_cert = tls.ca.map(|ca| pem("caCert", ca)).transpose()?;
    let client_tls = match (tls.certificate, tls.key) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: pem("clientCert", certificate)?,
            client_key: pem("clientKey", key.expose())?,
        }),
        (None, None) => None,
        _ => return Err(Error::invalid("clientCert and clientKey go together: set both or none")),
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// PEM as given, or read from the file it names.
fn pem(setting: &'static str, given: &str) -> Result<Vec<u8>> {
    if given.contains("-----BEGIN ") {
        return Ok(given.as_bytes().to_vec());
    }
    std::fs::read(Path::new(given)).map_err(|error| {
        Error::invalid(format!("{setting} is neither PEM nor the path of a file that can be read"))
            .with_source(error)
    })
}
