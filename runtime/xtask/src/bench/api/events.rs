//! Events: each of so many callers publishes one, and the next when that has been delivered.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::client::Rounds;
use crate::bench::{LOAD_CORE, Options, PROXY_CORE, on_core};
use crate::process::{free_port, scratch};
use crate::sidecar::{Sidecar, release_binary};
use crate::table::Table;

struct Scenario {
    name: &'static str,
    broker: Broker,
    to: To,
    in_flight: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Broker {
    Memory,
    /// A file that two sidecars share: published through one, delivered by the other.
    Shared,
}

/// Whom events are delivered to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Stream,
    App,
}

const MEMORY: Scenario = Scenario {
    name: "events in memory to a stream, 1 in flight",
    broker: Broker::Memory,
    to: To::Stream,
    in_flight: 1,
};

const SCENARIOS: &[Scenario] = &[
    MEMORY,
    Scenario { name: "events in memory to a stream, 64 in flight", in_flight: 64, ..MEMORY },
    Scenario { name: "events in memory to an application, 1 in flight", to: To::App, ..MEMORY },
    Scenario {
        name: "events in memory to an application, 64 in flight",
        to: To::App,
        in_flight: 64,
        ..MEMORY
    },
    Scenario { name: "events in a file between two sidecars, 1 in flight", broker: Broker::Shared, ..MEMORY },
];

pub(super) fn run(options: &Options, client: &Path) -> Result<String> {
    let mut table = Table::new(&[
        "scenario",
        "published p50 µs",
        "delivered p50 µs",
        "delivered p99 µs",
        "CPU µs/event",
        "events/s",
    ]);
    for scenario in SCENARIOS.iter().filter(|scenario| options.wants(scenario.name)) {
        eprintln!("{}", scenario.name);
        let rounds = scenario.measure(options, client).context(scenario.name)?;
        let row = [
            scenario.name.to_owned(),
            format!("{:.1}", rounds.published()),
            format!("{:.1}", rounds.p50()),
            format!("{:.1}", rounds.p99()),
            format!("{:.1}", rounds.cpu()),
            format!("{:.0}", rounds.rate()),
        ];
        eprintln!("  {}", row.join("  "));
        table.row(row);
    }
    Ok(format!(
        "\n## Events\n\nEach caller publishes one and waits until it has been delivered; both times count from the \
         start of the publishing. CPU is that of all sidecars together.\n\n{}",
        table.render()
    ))
}

impl Scenario {
    fn measure(&self, options: &Options, client: &Path) -> Result<Rounds> {
        let (dir, app) = (scratch()?, free_port()?);
        let app_port = (self.to == To::App).then_some(app);
        let broker = match self.broker {
            Broker::Memory => "type: pubsub.in-memory".to_owned(),
            Broker::Shared => {
                let file = dir.path().join("events.db");
                format!("type: pubsub.sqlite, settings: {{ path: \"{}\" }}", file.display())
            }
        };
        let port = app_port.map_or_else(String::new, |port| format!(", port: {port}, protocol: grpc"));
        let config = format!("app: {{ id: shop{port} }}\ncomponents: {{ events: {{ {broker} }} }}\n");
        let publisher = start("bench-events-publisher", &config)?;
        let other =
            (self.broker == Broker::Shared).then(|| start("bench-events-deliverer", &config)).transpose()?;
        let deliverer = other.as_ref().unwrap_or(&publisher);
        let servers: Vec<u32> =
            other.iter().chain([&publisher]).map(|sidecar| sidecar.server.pid()).collect();
        let mut rounds = Rounds::default();
        for _ in 0..options.rounds() {
            let mut command = on_core(LOAD_CORE, client);
            command.args(["events", "--publish", &endpoint(&publisher)]);
            receive(&mut command, app_port, deliverer);
            rounds.round(&mut command, self.in_flight, options, &servers)?;
        }
        Ok(rounds)
    }
}

fn start(name: &str, config: &str) -> Result<Sidecar> {
    Sidecar::start_with(name, &mut on_core(PROXY_CORE, release_binary()?), config, &[])
}

fn receive(command: &mut Command, app: Option<u16>, deliverer: &Sidecar) {
    match app {
        Some(port) => command.args(["--app", &port.to_string()]),
        None => command.args(["--stream", &endpoint(deliverer)]),
    };
}

fn endpoint(sidecar: &Sidecar) -> String {
    format!("127.0.0.1:{}", sidecar.api)
}
