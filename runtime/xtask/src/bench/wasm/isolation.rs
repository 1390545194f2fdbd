//! A filter that spins, on a route of its own, beside requests at half of what the proxy can do.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::backend::Backend;
use super::super::load::Load;
use super::super::{Options, PROXY_CORE, median, on_core};
use super::Goal;
use crate::process::{free_port, loopback, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::table::Table;

/// Requests a second to the filter that spins.
const SPINS: u32 = 10;
const CONNECTIONS: usize = 16;
const AT_MOST: f64 = 2.0;

/// Never comes back from a request.
const SPINNER: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0)))"#;

pub(super) fn run(options: &Options, goals: &mut Vec<Goal>) -> Result<String> {
    let backend = Backend::start()?;
    let dir = scratch()?;
    let module = dir.path().join("spinner.wasm");
    std::fs::write(&module, wat::parse_str(SPINNER)?)?;
    let rate = half(&backend, &module)?;
    let (mut quiet, mut spinning) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        // A fresh one each time: a filter that goes on failing is not called any more.
        let sidecar = Scene::set(&backend, &module)?;
        quiet.push(sidecar.load(Some(rate)).run(options.round())?);
        spinning.push(sidecar.while_spinning(|load| load.run(options.round()), rate)?);
    }
    let of = |measured: &[super::super::load::Measured]| {
        (
            median(&measured.iter().map(|one| one.p50).collect::<Vec<_>>()),
            median(&measured.iter().map(|one| one.p99).collect::<Vec<_>>()),
        )
    };
    let mut table = Table::new(&["requests of others", "p50 ms", "p99 ms"]);
    let (before, during) = (of(&quiet), of(&spinning));
    for (name, (p50, p99)) in [("alone", before), ("beside a filter that spins", during)] {
        table.row([name.to_owned(), format!("{p50:.3}"), format!("{p99:.3}")]);
    }
    let what = "p99 beside a filter that spins".to_owned();
    goals.push(Goal { what, found: during.1 / before.1, at_most: AT_MOST, unit: "times" });
    Ok(format!(
        "\n## Isolation\n\nProxy on one core, load and backend on the other; {rate} requests a second, half of what was \
         possible, and {SPINS} a second to the filter that spins, which is cut off after 5 ms each time and given up \
         after some.\n\n{}",
        table.render()
    ))
}

struct Scene {
    web: u16,
    _sidecar: Sidecar,
}

impl Scene {
    fn set(backend: &Backend, module: &Path) -> Result<Self> {
        let web = free_port()?;
        let config = format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:{web}\", protocol: http }} }}\n\
             clusters: {{ backend: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n\
             routes:\n  spin: {{ match: [ {{ path: {{ prefix: /spin }} }} ], filters: {{ wasm: [spinner] }}, \
             backends: [ {{ cluster: backend }} ] }}\n  others: {{ backends: [ {{ cluster: backend }} ] }}\n\
             wasm: {{ plugins: {{ spinner: {{ file: \"{}\" }} }} }}\n",
            backend.http1,
            module.display()
        );
        let mut command = on_core(PROXY_CORE, release_binary()?);
        let sidecar = Sidecar::start_with("bench-isolation", &mut command, &config, &[web])?;
        Ok(Self { web, _sidecar: sidecar })
    }

    fn load(&self, rate: Option<u32>) -> Load {
        let url = format!("http://127.0.0.1:{}/", self.web);
        Load { url, http2: false, connections: CONNECTIONS, streams: 1, fields: 0, rate }
    }

    /// Runs the load while somebody else asks for what spins; the first answer has to say that it was cut off.
    fn while_spinning<T>(&self, run: impl FnOnce(&Load) -> Result<T>, rate: u32) -> Result<T> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let spins = scope.spawn(|| -> Result<()> {
                while !over.load(Ordering::Relaxed) {
                    ensure!(spin(self.web)?.starts_with("HTTP/1.1 503"), "nothing spun");
                    std::thread::sleep(Duration::from_secs(1) / SPINS);
                }
                Ok(())
            });
            let result = run(&self.load(Some(rate)));
            over.store(true, Ordering::Relaxed);
            spins.join().ok().context("the spinner's client panicked")??;
            result
        })
    }
}

/// One request that spins, and its answer.
fn spin(web: u16) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(loopback(web))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /spin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Half of the requests a second that the proxy can do.
fn half(backend: &Backend, module: &Path) -> Result<u32> {
    let scene = Scene::set(backend, module)?;
    let most = scene.load(None).run(Duration::from_secs(2))?.per_second;
    Ok((most / 2.0) as u32)
}
