//! What a function writes: to its log, and to ours.

use std::sync::Arc;
use std::time::Instant;

use outrigger_blocks::function::FunctionLog;
use outrigger_telemetry::logs::one_line;
use parking_lot::Mutex;
use tracing::{debug, error, info, trace, warn};

use crate::filter::state::Lines;
use crate::limits::LOG_LINE;

/// Where the lines of one version of a function go.
#[derive(Debug)]
pub(crate) struct Journal {
    name: Arc<str>,
    version: Arc<str>,
    log: Arc<FunctionLog>,
    lines: Mutex<Lines>,
    /// Of lines about it: nothing it writes keeps us from saying that it failed.
    reports: Mutex<Lines>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Stdout,
    Stderr,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Journal {
    pub(crate) fn new(name: Arc<str>, version: Arc<str>, log: Arc<FunctionLog>) -> Self {
        Self { name, version, log, lines: Mutex::default(), reports: Mutex::default() }
    }

    /// Writes a line, unless there were too many within the second. One that is too long is cut.
    pub(crate) fn write(&self, kind: Kind, text: &str) {
        self.write_within(&self.lines, kind, text);
    }

    /// Writes a line about it, bounded in the same way.
    pub(crate) fn report(&self, text: &str) {
        self.write_within(&self.reports, Kind::Error, text);
    }

    fn write_within(&self, lines: &Mutex<Lines>, kind: Kind, text: &str) {
        let (fits, dropped) = {
            let mut lines = lines.lock();
            let fits = lines.take(Instant::now());
            (fits, if fits { lines.dropped() } else { 0 })
        };
        if dropped > 0 {
            let text = format!("{dropped} lines left out: more than a function may write in a second");
            self.keep(Kind::Warn, &text);
        }
        if fits {
            self.keep(kind, text.get(..text.floor_char_boundary(LOG_LINE)).unwrap_or(text));
        }
    }

    fn keep(&self, kind: Kind, text: &str) {
        let text = &*one_line(text);
        self.log.write(&self.version, kind.name(), text);
        let (function, version) = (&*self.name, &*self.version);
        match kind {
            Kind::Trace => trace!(target: "function", function, version, "{text}"),
            Kind::Debug => debug!(target: "function", function, version, "{text}"),
            Kind::Info | Kind::Stdout => info!(target: "function", function, version, "{text}"),
            Kind::Warn | Kind::Stderr => warn!(target: "function", function, version, "{text}"),
            Kind::Error => error!(target: "function", function, version, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let log = Arc::new(FunctionLog::default());
        let journal = Journal::new("f".into(), "v".into(), Arc::clone(&log));
        journal.write(Kind::Stderr, &"é".repeat(LOG_LINE));
        for _ in 0..500 {
            journal.write(Kind::Info, "x");
        }
        let lines = log.after(0);
        assert_eq!((lines[0].level, lines[0].text.len(), lines[1].level), ("stderr", LOG_LINE, "info"));
        assert!((100..500).contains(&lines.len()), "{}", lines.len());
        journal.report("a call\r\nfailed");
        assert_eq!(log.after(0).last().map(|line| line.text.as_str()), Some("a call  failed"));
    }
}
