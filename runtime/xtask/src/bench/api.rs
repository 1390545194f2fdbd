//! `bench api`: what a State call costs in a store, through a bare tonic handler, and through the sidecar; what an event
//! costs from publisher to subscriber; and what the sidecar costs when nothing happens.

mod client;
mod events;
mod rest;
mod state;

use anyhow::Result;

use super::Options;
use crate::workspace::{Profile, build};

pub(super) fn run(options: &Options) -> Result<String> {
    let client = build("xtask", "bench_api", "bench", Profile::Release)?;
    let mut report = format!(
        "# API\n\nServers on one core, client and Redis on the other; values and events of 128 bytes; median of {} \
         interleaved rounds of {:?}.\n",
        options.rounds(),
        options.round(),
    );
    for section in
        [state::run(options, &client)?, events::run(options, &client)?, rest::run(options, &client)?]
    {
        report += &section;
    }
    Ok(report)
}
