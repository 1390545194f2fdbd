//! The backend behind every contestant: nginx answering 128 bytes, over HTTP/1.1 and over h2c.

use anyhow::{Context, Result};

use super::{LOAD_CORE, on_core};
use crate::process::{Server, accepts, free_port, scratch};
use crate::tools::program;

pub(super) struct Backend {
    pub(super) http1: u16,
    pub(super) http2: u16,
    _server: Server,
}

impl Backend {
    /// Listens on all of loopback's addresses, so that one process can stand for a thousand endpoints.
    pub(super) fn start() -> Result<Self> {
        let dir = scratch()?;
        let (http1, http2) = (free_port()?, free_port()?);
        let body = "x".repeat(128);
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid pid; error_log error.log;\n\
             events {{ worker_connections 20000; }}\n\
             http {{\n\
               {temp}\n\
               access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
               http2_max_requests 1000000000;\n\
               server {{ listen {http1} reuseport backlog=4096; location / {{ return 200 {body}; }} }}\n\
               server {{ listen {http2} http2; location / {{ return 200 {body}; }} }}\n\
             }}\n",
            temp = nginx_temp_paths(),
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).context("writing the backend's config")?;
        let mut command = on_core(LOAD_CORE, &program("nginx")?);
        command.arg("-p").arg(dir.path()).arg("-c").arg(&file);
        let mut server = Server::start("bench-backend", &mut command, Some(dir))?;
        server.wait_ready(|| accepts(http1) && accepts(http2))?;
        Ok(Self { http1, http2, _server: server })
    }
}

/// Directives that keep nginx inside its own directory.
pub(super) fn nginx_temp_paths() -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path tmp_{name};"))
        .join(" ")
}
