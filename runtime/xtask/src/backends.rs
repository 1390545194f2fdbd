//! Redis and etcd, each in a directory of its own.

use std::process::Command;

use anyhow::Result;

use crate::process::{Server, free_port, scratch};
use crate::tools::program;

/// Redis without persistence; an empty password is none.
pub(crate) fn redis(port: u16, password: &str) -> Result<Server> {
    redis_with(Command::new(program("redis-server")?), port, password)
}

/// The same with a command that ends in the program, such as `taskset -c 1 redis-server`.
pub(crate) fn redis_with(mut command: Command, port: u16, password: &str) -> Result<Server> {
    let dir = scratch()?;
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    if !password.is_empty() {
        command.args(["--requirepass", password]);
    }
    command.arg("--dir").arg(dir.path());
    Server::start("redis", &mut command, Some(dir))?.wait_port(port)
}

/// An etcd of one member. Its request limit is above the 1.5 MiB it has by default, as suites write larger values.
pub(crate) fn etcd(port: u16) -> Result<Server> {
    let (peers, dir) = (free_port()?, scratch()?);
    let mut command = Command::new(program("etcd")?);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    command.args(["--listen-client-urls", &url(port), "--advertise-client-urls", &url(port)]);
    command.args(["--listen-peer-urls", &url(peers), "--initial-advertise-peer-urls", &url(peers)]);
    command.args(["--initial-cluster", &format!("default={}", url(peers))]);
    command.args(["--max-request-bytes", "8388608", "--log-level", "warn"]).arg("--data-dir").arg(dir.path());
    Server::start("etcd", &mut command, Some(dir))?.wait_port(port)
}
