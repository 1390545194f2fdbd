//! Lines of the log.

use super::bindings::log::{Host, Level};
use crate::function::journal::Kind;
use crate::function::state::Guest;

impl Host for Guest {
    async fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let kind = match level {
            Level::Trace => Kind::Trace,
            Level::Debug => Kind::Debug,
            Level::Info => Kind::Info,
            Level::Warn => Kind::Warn,
            Level::Error => Kind::Error,
        };
        // Each line bears the function's name: nothing it writes looks like a line of ours.
        for line in message.lines() {
            self.program.journal.write(kind, line);
        }
        Ok(())
    }
}
