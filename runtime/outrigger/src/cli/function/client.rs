//! The sidecar that is managed, by its admin listener.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http::Uri;
use outrigger_cluster::Context;
use outrigger_component_api::{HttpClient, HttpRequest, HttpServer};
use outrigger_telemetry::Metrics;
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::{functions, outbound::Outbound};

/// The largest answer.
const LIMIT: usize = 32 << 20;

/// Which sidecar, and how to come in.
#[derive(Args)]
pub(super) struct SidecarArgs {
    /// The sidecar's admin listener.
    #[arg(long, value_name = "URL", env = "OUTRIGGER_ADMIN", default_value = "http://127.0.0.1:34999")]
    admin: String,
    /// Its token, where it asks for one.
    #[arg(long, env = "OUTRIGGER_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The authority that vouches for it, a PEM file. Default: the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A sidecar that can be asked.
pub(super) struct Sidecar {
    runtime: Runtime,
    client: Arc<dyn HttpClient>,
    args: SidecarArgs,
}

/// A request.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: String,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: Bytes,
    pub(super) patience: Duration,
}

/// What refusals hold.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Sidecar {
    pub(super) fn new(args: SidecarArgs) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let with_scheme =
            if args.admin.contains("://") { args.admin.clone() } else { format!("http://{}", args.admin) };
        let uri: Uri = with_scheme.parse().with_context(|| format!("--admin {}", args.admin))?;
        let Some(server) = functions::server(&uri) else {
            bail!("--admin {}: should be like http://127.0.0.1:34999", args.admin);
        };
        let server = HttpServer { ca: args.ca.clone(), ..server };
        let outbound = Outbound::new(Context::new(Metrics::new(), runtime.handle().clone()));
        let client = {
            let _within = runtime.enter();
            outbound.open("admin", &server).map_err(|error| anyhow::anyhow!("{}", error.message()))?
        };
        Ok(Self { runtime, client, args })
    }

    /// Asks, and returns what is answered with success.
    pub(super) fn ask(&self, asked: Asked<'_>) -> anyhow::Result<Bytes> {
        let mut headers = BTreeMap::new();
        if let Some(token) = &self.args.token {
            headers.insert("authorization".to_owned(), format!("Bearer {token}"));
        }
        if let Some(content_type) = asked.content_type {
            headers.insert("content-type".to_owned(), content_type.to_owned());
        }
        let Asked { method, target, body, patience, .. } = asked;
        let request = HttpRequest { method: method.to_owned(), target, headers, body };
        let answer = self.runtime.block_on(self.client.send(request, patience, LIMIT));
        let answer = answer.map_err(|error| anyhow::anyhow!("{}: {}", self.args.admin, error.message()))?;
        match answer.status {
            200..=299 => Ok(answer.body),
            status => match serde_json::from_slice::<Refusal>(&answer.body) {
                Ok(Refusal { error }) => bail!("{error}"),
                Err(_) => bail!("{} answered with {status} {}", self.args.admin, answer.reason),
            },
        }
    }

    /// Asks with nothing but a path.
    pub(super) fn simply(&self, method: &str, target: String) -> anyhow::Result<Bytes> {
        const PATIENCE: Duration = Duration::from_secs(30);
        self.ask(Asked { method, target, content_type: None, body: Bytes::new(), patience: PATIENCE })
    }
}

/// A value as part of a path or a query.
pub(super) fn escaped(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_break_out_of_their_place() {
        assert_eq!(escaped("a-b.c_d~9"), "a-b.c_d~9");
        assert_eq!(escaped("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
