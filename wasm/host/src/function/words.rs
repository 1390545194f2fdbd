//! What a guest said last, which may tell why it failed: `unreachable` does not.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::LOG_LINE;

/// What it wrote last during one call, where it tells of failures. Runtimes add words of their own to a guest's, so both
/// places count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Arc<Mutex<Last>>);

#[derive(Debug, Default)]
struct Last {
    error: String,
    stderr: String,
    /// A traceback has begun on its standard error, and the exception comes after it.
    is_traceback: bool,
}

/// What a panic in Rust says after what happened.
const ADVICE: &str = "note: ";

/// How Python begins to tell of an exception: indented lines follow, then the exception itself. The panic its runtime ends
/// with comes later and says nothing of it.
const TRACEBACK: &str = "Traceback (most recent call last):";

impl Words {
    /// As an error to its log.
    pub(crate) fn error(&self, line: &str) {
        replace(&mut self.0.lock().error, line);
    }

    /// To its standard error.
    pub(crate) fn stderr(&self, line: &str) {
        let mut last = self.0.lock();
        if line == TRACEBACK {
            last.is_traceback = true;
        } else if last.is_traceback && !line.starts_with(' ') {
            last.is_traceback = false;
            replace(&mut last.error, line);
        } else if !line.starts_with(ADVICE) {
            replace(&mut last.stderr, line);
        }
    }

    /// They are told once.
    pub(crate) fn take(&self) -> Option<String> {
        let Last { error, stderr, .. } = std::mem::take(&mut *self.0.lock());
        match (error.is_empty(), stderr.is_empty()) {
            (true, true) => None,
            (true, false) => Some(stderr),
            (false, true) => Some(error),
            (false, false) => Some(format!("{error}; {stderr}")),
        }
    }
}

fn replace(last: &mut String, line: &str) {
    last.clear();
    last.push_str(line.get(..line.floor_char_boundary(LOG_LINE)).unwrap_or(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_either_place_is_told_once() {
        let words = Words::default();
        assert_eq!(words.take(), None);
        ["panicked at", "boom", "note: look there"].iter().for_each(|line| words.stderr(line));
        assert_eq!((words.take().as_deref(), words.take()), (Some("boom"), None));
        words.error("it threw");
        words.stderr("boom");
        words.error("it threw again");
        assert_eq!(words.take().as_deref(), Some("it threw again; boom"));
        words.error(&"x".repeat(LOG_LINE + 1));
        assert_eq!(words.take().map(|last| last.len()), Some(LOG_LINE));
    }

    #[test]
    fn an_exception_is_told_with_the_panic_after_it() {
        let words = Words::default();
        let lines = [
            "Traceback (most recent call last):",
            "  File \"a.py\", line 1",
            "ValueError: why",
            "panicked at",
            "boom",
        ];
        lines.iter().for_each(|line| words.stderr(line));
        assert_eq!(words.take().as_deref(), Some("ValueError: why; boom"));
        words.stderr("boom");
        assert_eq!(words.take().as_deref(), Some("boom"));
    }
}
