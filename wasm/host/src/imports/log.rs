//! Lines of the log.

use super::bindings::log::{Host, Level};
use crate::function::journal::Kind;
use crate::function::state::Guest;

/// Of one message.
const LINES: usize = 100;

impl Host for Guest {
    async fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let kind = match level {
            Level::Trace => Kind::Trace,
            Level::Debug => Kind::Debug,
            Level::Info => Kind::Info,
            Level::Warn => Kind::Warn,
            Level::Error => Kind::Error,
        };
        if let (Kind::Error, Some(what)) = (kind, message.lines().next()) {
            self.words.error(what);
        }
        // Each line bears the function's name: nothing it writes looks like a line of ours.
        let mut lines = message.lines();
        lines.by_ref().take(LINES).for_each(|line| self.program.journal.write(kind, line));
        if lines.next().is_some() {
            self.program.journal.write(kind, "(the rest of the message is left out)");
        }
        Ok(())
    }
}
