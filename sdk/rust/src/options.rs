//! Where the sidecar is and how to talk to it.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// Layotto's port, which is ours too.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:34904";

/// How to reach the sidecar. The default is what a sidecar started without configuration offers.
#[derive(Clone)]
pub struct Options {
    /// `host:port`, `http://host:port` or `unix:/path`. Default `127.0.0.1:34904`.
    pub endpoint: String,
    /// Sent with every call, for a sidecar that asks for a token. Default none.
    pub token: Option<String>,
    /// How long one call may take. The sidecar is told, and gives up at the same time. Default 10 s.
    pub timeout: Duration,
    /// How long connecting may take. Default 3 s.
    pub connect_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
        }
    }
}

/// The token is shown as `***`.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

impl Options {
    /// What the environment says, as `outrigger run -- APP` sets it: `OUTRIGGER_GRPC_ENDPOINT`, else
    /// `runtime_GRPC_PORT` on this machine, else the default; `OUTRIGGER_API_TOKEN`, else `DAPR_API_TOKEN`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let by_port = || variable("runtime_GRPC_PORT").map(|port| format!("127.0.0.1:{port}"));
        let endpoint = variable("OUTRIGGER_GRPC_ENDPOINT").or_else(by_port);
        let token = variable("OUTRIGGER_API_TOKEN").or_else(|| variable("DAPR_API_TOKEN"));
        let default = Self::default();
        Self { endpoint: endpoint.unwrap_or(default.endpoint), token, ..default }
    }

    /// The endpoint as a URI.
    pub(crate) fn uri(&self) -> Result<String> {
        let endpoint = self.endpoint.as_str();
        match endpoint.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(endpoint.to_owned()),
            Some(("http", _)) => Ok(endpoint.to_owned()),
            Some(("https" | "unix", _)) | None => {
                let message =
                    format!("endpoint '{endpoint}' is not host:port, http://host:port or unix:/path");
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
            Some(_) => Ok(format!("http://{endpoint}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variable_wins() {
        let check = |variables: &[(&str, &str)], endpoint: &str, token: Option<&str>| {
            let find = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            let options = Options::from_variables(find);
            assert_eq!(
                (options.endpoint.as_str(), options.token.as_deref()),
                (endpoint, token),
                "{variables:?}"
            );
        };
        let (endpoint, port) =
            (("OUTRIGGER_GRPC_ENDPOINT", "unix:/tmp/o.sock"), ("runtime_GRPC_PORT", "50001"));
        check(&[], "127.0.0.1:34904", None);
        check(&[port], "127.0.0.1:50001", None);
        check(&[port, endpoint], "unix:/tmp/o.sock", None);
        check(&[("OUTRIGGER_GRPC_ENDPOINT", ""), port], "127.0.0.1:50001", None);
        check(&[("DAPR_API_TOKEN", "d")], "127.0.0.1:34904", Some("d"));
        check(&[("DAPR_API_TOKEN", "d"), ("OUTRIGGER_API_TOKEN", "o")], "127.0.0.1:34904", Some("o"));
    }

    #[test]
    fn endpoints_are_written_in_three_ways() {
        let uri = |endpoint: &str| Options { endpoint: endpoint.to_owned(), ..Options::default() }.uri();
        let check = |endpoint, expected| assert_eq!(uri(endpoint).unwrap(), expected);
        check("127.0.0.1:1", "http://127.0.0.1:1");
        check("[::1]:1", "http://[::1]:1");
        check("localhost:1", "http://localhost:1");
        check("http://localhost:1", "http://localhost:1");
        check("unix:/tmp/o.sock", "unix:/tmp/o.sock");
        for wrong in ["", "localhost", "unix:", "https://localhost:1"] {
            assert_eq!(uri(wrong).unwrap_err().kind(), ErrorKind::InvalidArgument, "{wrong}");
        }
    }

    #[test]
    fn debug_does_not_show_the_token() {
        let options = Options { token: Some("s3cret".to_owned()), ..Options::default() };
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}
