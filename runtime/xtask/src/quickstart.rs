//! `cargo xtask quickstart`: builds the sidecar and the application of `demo/quickstart`, lets the sidecar start it
//! on free ports, and makes sure that nothing is left behind.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cases::seconds;
use crate::process::{Server, accepts, free_port, scratch};
use crate::workspace::{Profile, build_all, root};

/// The ports of `outrigger.yaml`, and the variable that tells the application about each.
const PORTS: [(&str, &str); 6] = [
    ("34904", "API_PORT"),
    ("34999", "ADMIN_PORT"),
    ("8080", "WEB_PORT"),
    ("9001", "V1_PORT"),
    ("9002", "V2_PORT"),
    ("9003", "PAYMENT_PORT"),
];

pub(crate) fn run() -> Result<()> {
    println!("building the sidecar and the demo (the first time takes some minutes)");
    let start = Instant::now();
    let binaries = [("outrigger", "outrigger"), ("outrigger-quickstart", "quickstart")];
    let built = build_all(&binaries, "", Profile::Dev)?;
    let [outrigger, app] = built.as_slice() else { anyhow::bail!("cargo built something else") };
    println!("built in {}", seconds(start.elapsed()));

    let dir = scratch()?;
    let mut config = std::fs::read_to_string(root().join("demo/quickstart/outrigger.yaml"))?;
    let mut command = Command::new(outrigger);
    let mut ports = Vec::new();
    for (port, variable) in PORTS {
        let free = free_port()?;
        config = config.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{free}"));
        command.env(variable, free.to_string());
        ports.push(free);
    }
    let file = dir.path().join("outrigger.yaml");
    std::fs::write(&file, config)?;
    command.current_dir(dir.path()).env(MARK, std::process::id().to_string());
    command.arg("run").arg("-c").arg(&file).arg("--").arg(app);
    println!("outrigger run -c demo/quickstart/outrigger.yaml -- quickstart");
    let status = Server::start_visible("outrigger", &mut command)?.wait_end(Duration::from_secs(120))?;

    let left = left_behind().context("looking for what was left behind")?;
    ensure!(status.success(), "the quickstart failed: {status}");
    ensure!(left.is_empty(), "still running: {}", left.join(", "));
    ensure!(!ports.iter().any(|port| accepts(*port)), "a port is still open");
    println!("the application ended with {status}, the sidecar with it, and nothing is left running");
    Ok(())
}

/// Every process that descends from ours carries this variable.
const MARK: &str = "OUTRIGGER_QUICKSTART";

fn left_behind() -> Result<Vec<String>> {
    let mark = format!("{MARK}={}", std::process::id());
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // Processes end while we look, and those of other users are not ours to read.
        let Ok(environment) = std::fs::read(path.join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            left.push(format!("{} ({})", name.trim(), path.display()));
        }
    }
    Ok(left)
}
