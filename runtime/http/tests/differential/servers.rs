//! Starts the other servers on free ports, and ends them with the test.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../../../net/tests/support/ports.rs"]
mod ports;

const RECORDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/recorder.py");

pub(crate) struct Servers {
    running: Vec<(&'static str, SocketAddr, Child)>,
    // Removed after the servers have ended.
    _dir: tempfile::TempDir,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut servers = Self { running: Vec::new(), _dir: dir };
        if let Some(python) = find("OUTRIGGER_TEST_PYTHON", "python3") {
            // The last two are parsers of uvicorn's; httptools is the one of Node.
            for (name, modules) in [
                ("gunicorn", "gunicorn"),
                ("waitress", "waitress"),
                ("aiohttp", "aiohttp"),
                ("h11", "uvicorn, h11"),
                ("httptools", "uvicorn, httptools"),
            ] {
                let present = Command::new(&python)
                    .args(["-c", &format!("import {modules}")])
                    .stderr(Stdio::null())
                    .status();
                if !present.is_ok_and(|status| status.success()) {
                    skip(&format!("not all of {modules} is installed in {}", python.display()));
                    continue;
                }
                let port = ports::reserved().port();
                servers.run(name, port, Command::new(&python).args([RECORDER, name, &port.to_string()]));
            }
        } else {
            skip("no python3; set OUTRIGGER_TEST_PYTHON");
        }
        let Some(backend) = servers.all().find(|(name, _)| *name == "aiohttp").map(|(_, address)| address)
        else {
            skip("nginx and HAProxy need the aiohttp recorder behind them");
            return servers;
        };
        servers.start_nginx(backend);
        servers.start_haproxy(backend);
        servers
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.running.iter().map(|(name, address, _)| (*name, *address))
    }

    fn start_nginx(&mut self, backend: SocketAddr) {
        let Some(nginx) = find("OUTRIGGER_TEST_NGINX", "nginx") else {
            return skip("no nginx; set OUTRIGGER_TEST_NGINX");
        };
        let (port, dir) = (ports::reserved().port(), self._dir.path().display().to_string());
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err;\nevents {{}}\nhttp {{ access_log off; {temp}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_http_version 1.1; proxy_pass http://{backend}; }} }} }}\n"
        );
        let file = self.write("nginx.conf", &config);
        self.run(
            "nginx",
            port,
            Command::new(nginx).args(["-p", &dir, "-e", &format!("{dir}/nginx.err"), "-c"]).arg(file),
        );
    }

    fn start_haproxy(&mut self, backend: SocketAddr) {
        let Some(haproxy) = find("OUTRIGGER_TEST_HAPROXY", "haproxy") else {
            return skip("no haproxy; set OUTRIGGER_TEST_HAPROXY");
        };
        let port = ports::reserved().port();
        let config = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s {backend}\n"
        );
        let file = self.write("haproxy.cfg", &config);
        self.run("haproxy", port, Command::new(haproxy).args(["-db", "-q", "-f"]).arg(file));
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self._dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&mut self, name: &'static str, port: u16, command: &mut Command) {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        self.running.push((name, address, child));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "{name} did not start on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for (_, _, child) in &mut self.running {
            // Asked politely, so that masters take their workers along.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn skip(why: &str) {
    assert!(std::env::var("OUTRIGGER_TEST_REQUIRE").as_deref() != Ok("all"), "required, but {why}");
    println!("skipped: {why}");
}

fn find(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Some(named.into());
    }
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(OsString::from(":/usr/sbin:/usr/local/sbin"));
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| Path::is_file(file))
}
