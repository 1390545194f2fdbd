//! HAProxy's config for a job.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Job, Wire};
use crate::bench::{PROXY_CORE, on_core};
use crate::tools::program;

pub(super) fn config(job: &Job<'_>, port: u16, map: &Path) -> String {
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
    let (target, log) = match (job.access_log, mode) {
        (false, _) => ("", ""),
        (true, "http") => ("  log stdout format raw local0\n", "  log global\n  option httplog\n"),
        (true, _) => ("  log stdout format raw local0\n", "  log global\n  option tcplog\n"),
    };
    let mut config = format!(
        "global\n{target}  nbthread 1\n  no strict-limits\n  maxconn 20000\n\
         defaults\n  mode {mode}\n{log}  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n\
         frontend f\n  bind 127.0.0.1:{port} {bind}\n{rules}  default_backend b\nbackend b\n"
    );
    for (index, address) in job.endpoints.iter().enumerate() {
        config += &format!("  server s{index} {address} {upstream}\n");
    }
    config
}

pub(super) fn command(file: &Path) -> Result<Command> {
    let mut command = on_core(PROXY_CORE, &program("haproxy")?);
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}
