//! Where a socket listens or connects to, as configuration writes it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `127.0.0.1:80`, `[::1]:80` or `unix:/run/app.sock`. Names are not resolved here: that is discovery's part.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// The TCP port, when there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address is empty")]
    Empty,
    #[error("'{0}' has no path after unix:")]
    NoPath(String),
    #[error("the socket path '{0}' is longer than the 107 bytes the system takes")]
    LongPath(String),
    #[error("'{0}' is only a port; write 127.0.0.1:{0} (or 0.0.0.0:{0} to be reachable from outside)")]
    OnlyPort(u16),
    #[error("'{0}' has no port; write {0}:80")]
    NoPort(IpAddr),
    #[error("'{0}' is not an IP address with port, like 127.0.0.1:80 or [::1]:80, nor unix:/path")]
    NotAnAddress(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix("//").unwrap_or(path) {
                "" => Err(AddressError::NoPath(text.to_owned())),
                path if path.len() > 107 => Err(AddressError::LongPath(path.to_owned())),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
            return Err(AddressError::OnlyPort(port));
        }
        Err(text.parse().map_or_else(|_| AddressError::NotAnAddress(text.to_owned()), AddressError::NoPort))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl schemars::JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An IP address with port (127.0.0.1:80, [::1]:80), or unix:/path",
            "examples": ["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock"],
        })
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Tcp(SocketAddr),
    /// A process of this machine; Unix sockets name no address.
    Unix,
}

impl Peer {
    /// The address, an IPv4 one in its own form even when it came through an IPv6 socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// Whether the other end is on this machine.
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock", "unix:relative.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("unix:///run/a".parse(), Ok(Address::Unix("/run/a".into())));
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |text: &str, expected: &str| {
            assert!(text.parse::<Address>().unwrap_err().to_string().contains(expected), "{text}");
        };
        check("", "empty");
        check("unix:", "no path");
        check(&format!("unix:/{}", "x".repeat(107)), "107 bytes");
        check("8080", "write 127.0.0.1:8080");
        check(":8080", "write 127.0.0.1:8080");
        check("10.0.0.1", "10.0.0.1:80");
        check("localhost:80", "not an IP address");
        check("127.0.0.1:99999", "not an IP address");
    }
}
