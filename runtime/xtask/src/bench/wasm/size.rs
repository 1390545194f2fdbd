//! What the engine costs those who do not use it: the smallest build of the program, with and without it, on disk and in
//! memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::{Options, median};
use super::{Goal, Limit};
use crate::process::scratch;
use crate::sidecar::Sidecar;
use crate::table::Table;
use crate::usage;
use crate::workspace::{Profile, build};

/// Of the feature `full` all but `wasm`.
const WITHOUT: &str = "redis,etcd";
const AT_MOST_ON_DISK: f64 = 16.0;
const AT_MOST_IN_MEMORY: f64 = 3.0;
const STARTS: usize = 3;
const MB: f64 = 1e6;

pub(super) fn run(_: &Options, goals: &mut Vec<Goal>) -> Result<String> {
    let dir = scratch()?;
    let lean = dir.path().join("outrigger");
    // Both builds have the same name; the full one is linked last, and stays.
    let built = build("outrigger", "outrigger", WITHOUT, Profile::Dist)?;
    std::fs::copy(&built, &lean).with_context(|| format!("copying {}", built.display()))?;
    let full = build("outrigger", "outrigger", "full", Profile::Dist)?;
    let mut table = Table::new(&["program", "size MB", "RSS at rest MB", "of it data MB"]);
    let mut found = Vec::new();
    for (name, binary) in [("without `wasm`", lean.as_path()), ("with it, no module", full.as_path())] {
        let size = std::fs::metadata(binary)?.len() as f64 / MB;
        let (resident, data) = at_rest(binary)?;
        table.row([name.to_owned(), format!("{size:.1}"), format!("{resident:.1}"), format!("{data:.1}")]);
        found.push((size, resident));
    }
    if let [(size, resident), (full_size, full_resident)] = found[..] {
        let goal = |what: &str, found, at_most| Goal {
            what: what.to_owned(),
            found,
            limit: Limit::AtMost(at_most),
            unit: "MB",
        };
        goals.push(goal("growth of the program", full_size - size, AT_MOST_ON_DISK));
        goals.push(goal(
            "growth of its memory without a module",
            full_resident - resident,
            AT_MOST_IN_MEMORY,
        ));
    }
    Ok(format!("\n## Size\n\n{}", table.render()))
}

/// Resident memory, and what of it holds data, a while after the start.
fn at_rest(binary: &Path) -> Result<(f64, f64)> {
    let (mut resident, mut data) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let sidecar = Sidecar::start_with("bench-size", &mut Command::new(binary), "", &[])?;
        // The program is let go when it has rested for half a second.
        std::thread::sleep(Duration::from_secs(2));
        resident.push(usage::resident_kib(sidecar.server.pid())? as f64 * 1024.0 / MB);
        data.push(usage::anonymous_kib(sidecar.server.pid())? as f64 * 1024.0 / MB);
    }
    Ok((median(&resident), median(&data)))
}
