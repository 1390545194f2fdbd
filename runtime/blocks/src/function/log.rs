//! What a function has written lately.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Lines kept of one function, over all its versions.
const LINES: usize = 1000;

/// The last 1,000 lines of a function.
#[derive(Debug, Default)]
pub struct FunctionLog {
    kept: Mutex<Kept>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    written: u64,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counted from 1, without gaps.
    pub number: u64,
    pub at: SystemTime,
    /// The version that wrote it.
    pub version: std::sync::Arc<str>,
    /// `trace` to `error`, or `stdout`, `stderr`.
    pub level: &'static str,
    pub text: String,
}

impl FunctionLog {
    /// Adds a line; the oldest makes room for it.
    pub fn write(&self, version: &std::sync::Arc<str>, level: &'static str, text: impl Into<String>) {
        let mut kept = self.kept.lock();
        kept.written += 1;
        if kept.lines.len() == LINES {
            kept.lines.pop_front();
        }
        let line = LogLine {
            number: kept.written,
            at: SystemTime::now(),
            version: version.clone(),
            level,
            text: text.into(),
        };
        kept.lines.push_back(line);
        drop(kept);
        self.more.notify_waiters();
    }

    /// Waits until there is a line after that number, and returns those there are.
    pub async fn next(&self, number: u64) -> Vec<LogLine> {
        loop {
            // Registered before looking, so that a line in between is not missed.
            let more = self.more.notified();
            let lines = self.after(number);
            if !lines.is_empty() {
                return lines;
            }
            more.await;
        }
    }

    /// The lines after that number, oldest first; 0 is all there are.
    pub fn after(&self, number: u64) -> Vec<LogLine> {
        self.kept.lock().lines.iter().filter(|line| line.number > number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_make_room_and_numbers_go_on() {
        let log = FunctionLog::default();
        for n in 1..=1_500 {
            log.write(&"v1".into(), "info", n.to_string());
        }
        let lines = log.after(0);
        assert_eq!((lines.len(), lines[0].number, lines[0].text.as_str()), (1_000, 501, "501"));
        assert_eq!(log.after(1_499).iter().map(|line| line.number).collect::<Vec<_>>(), [1_500]);
        assert!(log.after(1_500).is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_the_next_line() {
        let log = std::sync::Arc::new(FunctionLog::default());
        log.write(&"v1".into(), "info", "first");
        assert_eq!(log.next(0).await.len(), 1);
        let writer = std::sync::Arc::clone(&log);
        let waiting = tokio::spawn(async move { log.next(1).await });
        tokio::task::yield_now().await;
        writer.write(&"v1".into(), "info", "second");
        assert_eq!(waiting.await.unwrap()[0].text, "second");
    }
}
