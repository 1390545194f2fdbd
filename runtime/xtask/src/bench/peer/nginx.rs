//! nginx's config for a job.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Job, Wire};
use crate::bench::backend::nginx_temp_paths;
use crate::bench::{PROXY_CORE, on_core};
use crate::tools::program;

pub(super) fn config(job: &Job<'_>, port: u16) -> String {
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
         http {{ {temp} access_log {log}; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
         upstream backend {{ {servers} keepalive 256; keepalive_requests 1000000000; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         server {{ listen 127.0.0.1:{port} {listen};\n{locations} }} }}\n",
        temp = nginx_temp_paths(),
        log = if job.access_log { "access.log" } else { "off" },
    )
}

pub(super) fn command(dir: &Path, file: &Path) -> Result<Command> {
    let mut command = on_core(PROXY_CORE, &program("nginx")?);
    command.arg("-p").arg(dir).arg("-c").arg(file);
    Ok(command)
}
