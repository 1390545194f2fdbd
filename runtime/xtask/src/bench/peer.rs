//! The contestants, each configured for the same job with one worker: nginx, HAProxy, Envoy and Outrigger.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::backend::nginx_temp_paths;
use super::{PROXY_CORE, on_core};
use crate::process::{Scratch, Server, accepts, free_port, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::tools::{program, python};
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
}

impl Job<'_> {
    /// The prefixes the routes match.
    fn prefixes(&self) -> Vec<String> {
        if self.routes == 1 {
            vec!["/".into()]
        } else {
            (0..self.routes).map(|i| format!("/r{i}/")).collect()
        }
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
            return Ok(
                Sidecar::start_with("bench-outrigger", &mut command, &outrigger(job, port), &[port])?.server
            );
        }
        let dir = scratch()?;
        let file = dir.path().join(format!("{self}.yaml"));
        let (config, mut command) = match self {
            Self::Nginx => (nginx(job, port), nginx_command(dir.path(), &file)?),
            Self::Haproxy => {
                let map = dir.path().join("routes.map");
                std::fs::write(
                    &map,
                    job.prefixes().iter().map(|prefix| format!("{prefix} b\n")).collect::<String>(),
                )?;
                (haproxy(job, port, &map), haproxy_command(&file)?)
            }
            Self::Envoy | Self::Outrigger => (envoy(job, port), envoy_command(&file, port)),
        };
        std::fs::write(&file, config)?;
        let mut server = Server::start(&format!("bench-{self}"), &mut command, Some(dir))?;
        server.wait_ready(|| accepts(port))?;
        Ok(server)
    }
}

fn outrigger(job: &Job<'_>, port: u16) -> String {
    let endpoints =
        job.endpoints.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    let upstream = if job.wire == Wire::Http2 { "protocol: http2, " } else { "" };
    let cluster = format!("clusters: {{ backend: {{ {upstream}endpoints: [{endpoints}] }} }}\n");
    if job.wire == Wire::Tcp {
        let listener = format!("address: \"127.0.0.1:{port}\", protocol: tcp, cluster: backend");
        return format!("listeners: {{ db: {{ {listener} }} }}\n{cluster}");
    }
    let tls = if job.wire == Wire::Tls {
        let (chain, key) = (job.certificate.chain(), job.certificate.key());
        format!(", tls: {{ certificate: \"{}\", key: \"{}\" }}", chain.display(), key.display())
    } else {
        String::new()
    };
    let mut config = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:{port}\", protocol: http{tls} }} }}\n{cluster}routes:\n"
    );
    for (index, prefix) in job.prefixes().iter().enumerate() {
        config += &format!(
            "  route{index}: {{ match: [ {{ path: {{ prefix: {prefix} }} }} ], backends: [ {{ cluster: backend }} ] }}\n"
        );
    }
    config
}

fn nginx(job: &Job<'_>, port: u16) -> String {
    let servers: String = job.endpoints.iter().map(|address| format!("server {address}; ")).collect();
    let listen = match job.wire {
        Wire::Tls => {
            let (chain, key) = (job.certificate.chain(), job.certificate.key());
            format!(
                "ssl; ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {}",
                chain.display(),
                key.display()
            )
        }
        _ => String::new(),
    };
    let locations: String = job
        .prefixes()
        .iter()
        .map(|prefix| format!("location {prefix} {{ proxy_pass http://backend; }}\n"))
        .collect();
    format!(
        "daemon off; master_process off; worker_processes 1; pid pid; error_log error.log;\n\
         events {{ worker_connections 20000; }}\n\
         http {{ {temp} access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
         upstream backend {{ {servers} keepalive 256; keepalive_requests 1000000000; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         server {{ listen 127.0.0.1:{port} {listen};\n{locations} }} }}\n",
        temp = nginx_temp_paths(),
    )
}

fn nginx_command(dir: &Path, file: &Path) -> Result<Command> {
    let mut command = on_core(PROXY_CORE, &program("nginx")?);
    command.arg("-p").arg(dir).arg("-c").arg(file);
    Ok(command)
}

fn haproxy(job: &Job<'_>, port: u16, map: &Path) -> String {
    let (mode, bind, upstream) = match job.wire {
        Wire::Http1 => ("http", String::new(), ""),
        Wire::Http2 => ("http", "proto h2".to_owned(), "proto h2"),
        Wire::Tcp => ("tcp", String::new(), ""),
        Wire::Tls => {
            ("http", format!("ssl crt {} ssl-min-ver TLSv1.3", job.certificate.both().display()), "")
        }
    };
    // Many prefixes belong into a map, which HAProxy searches as a tree.
    let rules = match job.routes {
        1 => String::new(),
        _ => format!("  use_backend %[path,map_beg({})]\n", map.display()),
    };
    let mut config = format!(
        "global\n  nbthread 1\n  no strict-limits\n  maxconn 20000\n\
         defaults\n  mode {mode}\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n\
         frontend f\n  bind 127.0.0.1:{port} {bind}\n{rules}  default_backend b\nbackend b\n"
    );
    for (index, address) in job.endpoints.iter().enumerate() {
        config += &format!("  server s{index} {address} {upstream}\n");
    }
    config
}

fn haproxy_command(file: &Path) -> Result<Command> {
    let mut command = on_core(PROXY_CORE, &program("haproxy")?);
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn envoy_command(file: &Path, port: u16) -> Command {
    let mut command = on_core(PROXY_CORE, &python("envoy"));
    // The base id names shared memory; the port is as unique as we need.
    command.args(["--concurrency", "1", "--base-id", &port.to_string(), "-l", "error", "-c"]).arg(file);
    command
}

fn envoy(job: &Job<'_>, port: u16) -> String {
    const TYPE: &str = "type.googleapis.com/envoy.extensions";
    let filter = if job.wire == Wire::Tcp {
        format!(
            "{{ name: tcp, typed_config: {{ \"@type\": {TYPE}.filters.network.tcp_proxy.v3.TcpProxy, \
             stat_prefix: l4, cluster: backend }} }}"
        )
    } else {
        let routes: Vec<String> = job
            .prefixes()
            .iter()
            .map(|prefix| format!("{{ match: {{ prefix: \"{prefix}\" }}, route: {{ cluster: backend }} }}"))
            .collect();
        format!(
            "{{ name: http, typed_config: {{ \"@type\": {TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager, \
             stat_prefix: l7, http_filters: [ {{ name: router, typed_config: {{ \"@type\": {TYPE}.filters.http.router.v3.Router }} }} ], \
             route_config: {{ virtual_hosts: [ {{ name: all, domains: [\"*\"], routes: [ {} ] }} ] }} }} }}",
            routes.join(",\n")
        )
    };
    let tls = if job.wire == Wire::Tls {
        format!(
            ", transport_socket: {{ name: tls, typed_config: {{ \"@type\": {TYPE}.transport_sockets.tls.v3.DownstreamTlsContext, \
             common_tls_context: {{ tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}, \
             tls_certificates: [ {{ certificate_chain: {{ filename: \"{}\" }}, private_key: {{ filename: \"{}\" }} }} ] }} }} }}",
            job.certificate.chain().display(),
            job.certificate.key().display()
        )
    } else {
        String::new()
    };
    let upstream = if job.wire == Wire::Http2 {
        format!(
            ", typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
             {{ \"@type\": {TYPE}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {{ http2_protocol_options: {{}} }} }} }}"
        )
    } else {
        String::new()
    };
    let endpoints: Vec<String> = job.endpoints.iter().filter_map(|address| envoy_endpoint(address)).collect();
    format!(
        "static_resources:\n  listeners: [ {{ name: l, address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}, \
         filter_chains: [ {{ filters: [ {filter} ]{tls} }} ] }} ]\n  \
         clusters: [ {{ name: backend, type: STATIC, connect_timeout: 1s{upstream}, \
         load_assignment: {{ cluster_name: backend, endpoints: [ {{ lb_endpoints: [ {} ] }} ] }} }} ]\n",
        endpoints.join(",\n")
    )
}

fn envoy_endpoint(address: &str) -> Option<String> {
    let (host, port) = address.split_once(':')?;
    Some(format!(
        "{{ endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }} }}"
    ))
}
