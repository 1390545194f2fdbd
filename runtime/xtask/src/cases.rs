//! What a suite found out: named cases that passed, failed or could not run.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The cases of one suite, in the order they ran.
#[derive(Default)]
pub(crate) struct Cases {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<(String, String)>,
    pub(crate) skipped: Vec<(String, String)>,
    /// What a reader of the table should know even when all went well.
    pub(crate) notes: Vec<String>,
}

impl Cases {
    /// Runs one case and keeps its verdict.
    pub(crate) fn case(&mut self, name: &str, body: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        match body() {
            Ok(()) => {
                self.passed += 1;
                println!("  ok      {name} ({})", seconds(start.elapsed()));
            }
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    pub(crate) fn fail(&mut self, name: &str, why: &str) {
        println!("  FAILED  {name}: {why}");
        self.failed.push((name.to_owned(), why.to_owned()));
    }

    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("  skipped {name}: {why}");
        self.skipped.push((name.to_owned(), why.to_owned()));
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// A duration as people read it in a table.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
