//! State on each store: direct, through a bare tonic handler, through the sidecar; over TCP and over Unix sockets.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::client::Rounds;
use crate::backends;
use crate::bench::{LOAD_CORE, Options, PROXY_CORE, on_core};
use crate::process::{Scratch, Server, free_port, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::table::Table;
use crate::tools::program;

/// Operations, and how many of them are in flight.
const SCENARIOS: &[(&str, usize)] = &[("get", 1), ("get", 64), ("set", 1), ("set", 64)];

/// The control sends Redis the same commands for a get. A set is a script of ours, which nobody else would write.
fn is_measured(store: &str, operation: &str) -> bool {
    store != "redis" || operation == "get"
}

pub(super) fn run(options: &Options, client: &Path) -> Result<String> {
    let mut table = Table::new(&[
        "store",
        "operation",
        "in flight",
        "path",
        "p50 µs",
        "p99 µs",
        "CPU µs/operation",
        "operations/s",
        "p50 : bare",
        "CPU : bare",
    ]);
    for store in ["memory", "sqlite", "redis"] {
        let wanted: Vec<_> = SCENARIOS
            .iter()
            .filter(|(operation, _)| is_measured(store, operation))
            .map(|(operation, in_flight)| {
                (format!("{store} {operation}, {in_flight} in flight"), *operation, *in_flight)
            })
            .filter(|(name, ..)| options.wants(name))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let contest = Contest::start(client, store)?;
        for (name, operation, in_flight) in wanted {
            eprintln!("{name}");
            let measured = contest.measure(options, operation, in_flight)?;
            for (path, rounds) in &measured {
                let mut row = vec![store.to_owned(), operation.to_owned(), in_flight.to_string()];
                row.extend(cells(path, rounds, &measured));
                // Shown as it comes: a long run that breaks off has told something.
                eprintln!("  {}", row.join("  "));
                table.row(row);
            }
        }
    }
    Ok(format!(
        "\n## State\n\n1,000 keys. CPU is the server's; for the direct path it is the whole process's. The bare tonic \
         handler calls the same store from one thread; for Redis it sends the same commands on one connection of the \
         same driver to the same server.\n\n{}",
        table.render(),
    ))
}

/// What a path was measured to take, and the sidecar's in terms of the control's on the same wire.
fn cells(path: &str, rounds: &Rounds, measured: &[(&'static str, Rounds)]) -> Vec<String> {
    let mut cells = vec![
        path.to_owned(),
        format!("{:.1}", rounds.p50()),
        format!("{:.1}", rounds.p99()),
        format!("{:.1}", rounds.cpu()),
        format!("{:.0}", rounds.rate()),
    ];
    let control = path.strip_prefix(SIDECAR).map(|wire| format!("{CONTROL}{wire}"));
    let control = control.and_then(|control| measured.iter().find(|(name, _)| *name == control));
    cells.extend(control.map_or_else(Default::default, |(_, control)| {
        [rounds.p50() / control.p50(), rounds.cpu() / control.cpu()].map(|ratio| format!("{ratio:.2}"))
    }));
    cells
}

const CONTROL: &str = "bare tonic";
const SIDECAR: &str = "sidecar";

/// Both servers over a store of the same kind, ready to be measured in turn.
struct Contest {
    client: PathBuf,
    store: &'static str,
    dir: Scratch,
    redis: Option<(Server, u16)>,
    control: Server,
    control_port: u16,
    sidecar: Sidecar,
}

impl Contest {
    fn start(client: &Path, store: &'static str) -> Result<Self> {
        let (dir, control_port) = (scratch()?, free_port()?);
        let redis = (store == "redis").then(redis).transpose()?;
        let port = redis.as_ref().map(|(_, port)| *port);
        let mut command = on_core(PROXY_CORE, client);
        command.args(["control", "--store", store, "--tcp", &format!("127.0.0.1:{control_port}"), "--unix"]);
        command.arg(dir.path().join("control.sock")).args(["--at", &place(&dir, port, "control")]);
        let control = Server::start("bench-control", &mut command, None)?.wait_port(control_port)?;
        let at = place(&dir, port, "sidecar");
        let component = match store {
            "memory" => "type: state.in-memory".to_owned(),
            "sqlite" => format!("type: state.sqlite, settings: {{ path: \"{at}\" }}"),
            _ => format!("type: state.redis, settings: {{ redisHost: \"{at}\" }}"),
        };
        let config = format!("components: {{ state: {{ {component} }} }}\n");
        let mut command = on_core(PROXY_CORE, release_binary()?);
        let sidecar = Sidecar::start_with("bench-api-outrigger", &mut command, &config, &[])?;
        Ok(Self { client: client.to_owned(), store, dir, redis, control, control_port, sidecar })
    }

    fn measure(
        &self,
        options: &Options,
        operation: &str,
        in_flight: usize,
    ) -> Result<Vec<(&'static str, Rounds)>> {
        let tcp = |port: u16| Some(format!("http://127.0.0.1:{port}"));
        let unix = |path: &Path| Some(format!("unix:{}", path.display()));
        let (control, sidecar) = ([self.control.pid()], [self.sidecar.server.pid()]);
        let paths: [(_, _, &[u32]); 5] = [
            ("direct", None, &[]),
            ("bare tonic, TCP", tcp(self.control_port), &control),
            ("sidecar, TCP", tcp(self.sidecar.api), &sidecar),
            ("bare tonic, UDS", unix(&self.dir.path().join("control.sock")), &control),
            ("sidecar, UDS", unix(&self.sidecar.api_socket), &sidecar),
        ];
        let mut measured: Vec<_> = paths.iter().map(|(name, ..)| (*name, Rounds::default())).collect();
        for _ in 0..options.rounds() {
            for ((name, endpoint, servers), (_, rounds)) in paths.iter().zip(&mut measured) {
                let mut command = on_core(LOAD_CORE, &self.client);
                match endpoint {
                    Some(endpoint) => command.args(["load", "--endpoint", endpoint]),
                    None => {
                        let port = self.redis.as_ref().map(|(_, port)| *port);
                        let at = place(&self.dir, port, "direct");
                        command.args(["direct", "--store", self.store, "--at", &at])
                    }
                };
                command.args(["--operation", operation]);
                rounds
                    .round(&mut command, in_flight, options, servers)
                    .with_context(|| format!("{name}, {operation}"))?;
            }
        }
        Ok(measured)
    }
}

/// Where one of those measured keeps its data: in Redis all in the same, else in a file of its own.
fn place(dir: &Scratch, redis: Option<u16>, whose: &str) -> String {
    match redis {
        Some(port) => format!("127.0.0.1:{port}"),
        None => dir.path().join(format!("{whose}.db")).display().to_string(),
    }
}

/// Redis on the client's core.
fn redis() -> Result<(Server, u16)> {
    let port = free_port()?;
    Ok((backends::redis_with(on_core(LOAD_CORE, &program("redis-server")?), port, "")?, port))
}
