//! Databases through L4 forwarding: Redis, where the client speaks first, and MariaDB, where the server does.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::peer;
use crate::backends::redis;
use crate::cases::Cases;
use crate::process::{Server, free_port, scratch};
use crate::sidecar::Sidecar;
use crate::tools::program;
use crate::workspace::output;

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    through(cases, |port| redis(port, ""), "redis_client.py")?;
    through(cases, mariadb, "mariadb_client.py")
}

fn through(cases: &mut Cases, start: fn(u16) -> Result<Server>, script: &str) -> Result<()> {
    let (listen, port) = (free_port()?, free_port()?);
    let _server = start(port)?;
    let _proxy = Sidecar::start("database-outrigger", &peer::forward(listen, port), &[listen])?;
    peer::client(cases, &mut peer::python(script, &[&listen.to_string()]))
}

fn mariadb(port: u16) -> Result<Server> {
    let dir = scratch()?;
    let user = if rustix::process::geteuid().is_root() { "mysql" } else { "" };
    if !user.is_empty() {
        give(dir.path(), user)?;
    }
    let data = format!("--datadir={}", dir.path().display());
    let mut install = Command::new(program("mariadb-install-db")?);
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data]);
    let mut server = Command::new(program("mariadbd")?);
    server.args(["--no-defaults", "--bind-address=127.0.0.1", "--max-allowed-packet=64M", &data]);
    server.arg(format!("--port={port}")).arg(format!("--socket={}", dir.path().join("s.sock").display()));
    server.arg(format!("--pid-file={}", dir.path().join("p.pid").display()));
    if !user.is_empty() {
        install.arg(format!("--user={user}"));
        server.arg(format!("--user={user}"));
    }
    output(&mut install)?;
    Server::start("mariadb", &mut server, Some(dir))?.wait_port(port)
}

/// Makes a system user the owner of a directory.
fn give(dir: &Path, user: &str) -> Result<()> {
    let id = |flag| -> Result<u32> {
        output(Command::new("id").args([flag, user]))?.trim().parse().context("reading id")
    };
    chown(dir, Some(id("-u")?), Some(id("-g")?))
        .with_context(|| format!("giving {} to {user}", dir.display()))
}
