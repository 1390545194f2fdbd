//! A sidecar with what spins, and those who ask for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::super::backend::Backend;
use super::super::super::load::Load;
use super::super::super::{PROXY_CORE, on_core};
use super::Spinner;
use crate::process::{free_port, loopback};
use crate::sidecar::{Sidecar, release_binary};

const CONNECTIONS: usize = 16;

pub(super) struct Scene {
    web: u16,
    _sidecar: Sidecar,
}

impl Scene {
    pub(super) fn set(backend: &Backend, filter: &Path, function: &Path) -> Result<Self> {
        let web = free_port()?;
        let config = format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:{web}\", protocol: http }} }}\n\
             clusters:\n  \
             backend: {{ endpoints: [\"127.0.0.1:{backend}\"] }}\n  \
             busy: {{ endpoints: [ {{ function: busy }} ] }}\n\
             routes:\n  \
             filter: {{ match: [ {{ path: {{ prefix: /filter }} }} ], filters: {{ wasm: [spinner] }}, \
             backends: [ {{ cluster: backend }} ] }}\n  \
             function: {{ match: [ {{ path: {{ prefix: /function }} }} ], rewrite: {{ path: /forever }}, \
             backends: [ {{ cluster: busy }} ] }}\n  \
             others: {{ backends: [ {{ cluster: backend }} ] }}\n\
             wasm: {{ plugins: {{ spinner: {{ file: \"{filter}\" }} }} }}\n\
             functions: {{ busy: {{ file: \"{function}\", deadline: {deadline:?} }} }}\n",
            backend = backend.http1,
            filter = filter.display(),
            function = function.display(),
            deadline = Spinner::Function.deadline(),
        );
        let mut command = on_core(PROXY_CORE, release_binary()?);
        let sidecar = Sidecar::start_with("bench-isolation", &mut command, &config, &[web])?;
        Ok(Self { web, _sidecar: sidecar })
    }

    pub(super) fn load(&self, rate: Option<u32>) -> Load {
        let url = format!("http://127.0.0.1:{}/", self.web);
        Load { url, http2: false, connections: CONNECTIONS, streams: 1, fields: 0, rate }
    }

    /// Runs the load while somebody else asks for what spins. Says how long over its deadline it went on, each time.
    pub(super) fn beside<T>(
        &self,
        spinner: Spinner,
        run: impl FnOnce(&Load) -> Result<T>,
        rate: u32,
    ) -> Result<(T, Vec<Duration>)> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let spins = scope.spawn(|| self.spin(spinner, &over));
            let result = run(&self.load(Some(rate)));
            over.store(true, Ordering::Relaxed);
            let spins = spins.join().ok().context("the spinner's client panicked")??;
            Ok((result?, spins))
        })
    }

    fn spin(&self, spinner: Spinner, over: &AtomicBool) -> Result<Vec<Duration>> {
        let mut late = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let answer = ask(self.web, spinner.name())?;
            ensure!(answer.starts_with(spinner.status()), "nothing spun: {answer}");
            // Before it, the answer is that of one that was given up.
            late.extend(asked.elapsed().checked_sub(spinner.deadline()));
            std::thread::sleep(spinner.pause());
        }
        Ok(late)
    }
}

/// One request, and its answer.
fn ask(web: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(loopback(web))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
