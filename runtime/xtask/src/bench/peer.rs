//! The contestants, each configured for the same job with one worker: nginx, HAProxy, Envoy and Outrigger.

mod envoy;
mod haproxy;
mod nginx;
mod outrigger;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{PROXY_CORE, on_core};
use crate::process::{Scratch, Server, accepts, free_port, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::tools::program;
use crate::workspace::output;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Nginx,
    Haproxy,
    Envoy,
    Outrigger,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Outrigger => "Outrigger",
        })
    }
}

/// What a listener speaks; its backend speaks the same, except that TLS ends at the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    Http2,
    Tcp,
    Tls,
}

/// The job: one listener, `routes` routes that all lead to one cluster of `endpoints`.
pub(super) struct Job<'a> {
    pub(super) wire: Wire,
    pub(super) endpoints: Vec<String>,
    /// One route is `/`; more are `/r0/`, `/r1/` and so on.
    pub(super) routes: usize,
    pub(super) certificate: &'a Certificate,
    /// A line per request, in the contestant's usual format, to a file or to standard output.
    pub(super) access_log: bool,
    /// A proxy-wasm module that every request passes, named like its root id; for Envoy and Outrigger.
    pub(super) filter: Option<&'a Path>,
}

/// What a job's filter is configured with.
const FILTER_CONFIG: &str = "hello";

impl Job<'_> {
    /// The prefixes the routes match.
    fn prefixes(&self) -> Vec<String> {
        if self.routes == 1 {
            vec!["/".into()]
        } else {
            (0..self.routes).map(|i| format!("/r{i}/")).collect()
        }
    }

    /// The filter's root id and its file.
    fn module(&self) -> Option<(&str, std::path::Display<'_>)> {
        let file = self.filter?;
        Some((file.file_stem()?.to_str()?, file.display()))
    }

    /// A path that the last route matches.
    pub(super) fn path(&self) -> String {
        format!("{}x", self.prefixes().pop().unwrap_or_default())
    }
}

/// A self-signed ECDSA certificate in files.
pub(super) struct Certificate {
    dir: Scratch,
}

impl Certificate {
    pub(super) fn create() -> Result<Self> {
        let certificate = Self { dir: scratch()? };
        let mut openssl = Command::new(program("openssl")?);
        openssl.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
        openssl.arg("-keyout").arg(certificate.key()).arg("-out").arg(certificate.chain());
        output(&mut openssl)?;
        // HAProxy wants both in one file.
        let both =
            std::fs::read_to_string(certificate.chain())? + &std::fs::read_to_string(certificate.key())?;
        std::fs::write(certificate.both(), both)?;
        Ok(certificate)
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    fn chain(&self) -> PathBuf {
        self.dir.path().join("chain.pem")
    }

    fn both(&self) -> PathBuf {
        self.dir.path().join("both.pem")
    }
}

/// A contestant at work.
pub(super) struct Running {
    pub(super) peer: Peer,
    pub(super) port: u16,
    server: Server,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }
}

impl Peer {
    pub(super) fn start(self, job: &Job<'_>) -> Result<Running> {
        let port = free_port()?;
        let server = self.spawn(job, port).with_context(|| format!("starting {self}"))?;
        Ok(Running { peer: self, port, server })
    }

    fn spawn(self, job: &Job<'_>, port: u16) -> Result<Server> {
        if self == Self::Outrigger {
            let mut command = on_core(PROXY_CORE, release_binary()?);
            return Ok(Sidecar::start_with(
                "bench-outrigger",
                &mut command,
                &outrigger::config(job, port),
                &[port],
            )?
            .server);
        }
        let dir = scratch()?;
        let file = dir.path().join(format!("{self}.yaml"));
        let (config, mut command) = match self {
            Self::Nginx => (nginx::config(job, port), nginx::command(dir.path(), &file)?),
            Self::Haproxy => {
                let map = dir.path().join("routes.map");
                std::fs::write(
                    &map,
                    job.prefixes().iter().map(|prefix| format!("{prefix} b\n")).collect::<String>(),
                )?;
                (haproxy::config(job, port, &map), haproxy::command(&file)?)
            }
            Self::Envoy | Self::Outrigger => (envoy::config(job, port), envoy::command(&file, port)),
        };
        std::fs::write(&file, config)?;
        let mut server = Server::start(&format!("bench-{self}"), &mut command, Some(dir))?;
        server.wait_ready(|| accepts(port))?;
        Ok(server)
    }
}
