//! Redis and etcd, each in a directory of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{Server, free_port, loopback, scratch};
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
    let mut server = Server::start("etcd", &mut command, Some(dir))?;
    server.wait_ready(|| health(port).is_ok_and(|answer| answer.contains("\"true\"")))?;
    Ok(server)
}

/// What an etcd says of itself: it listens before it has made its files and elected itself, and serves only then.
fn health(port: u16) -> std::io::Result<String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&loopback(port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /health HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
