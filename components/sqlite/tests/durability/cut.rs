//! Power cuts, replayed from a trace: each file keeps what was last synced and nothing else.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::missing;
use crate::trace::{Call, Trace, What};

/// The files as the process sees them, and as they are on the disk at the least.
#[derive(Default)]
struct Disk {
    seen: HashMap<PathBuf, Vec<u8>>,
    kept: HashMap<PathBuf, Vec<u8>>,
}

impl Disk {
    fn apply(&mut self, what: &What) {
        match what {
            What::Write { file, offset, bytes } => {
                let content = self.seen.entry(file.clone()).or_default();
                let start = usize::try_from(*offset).expect("fits");
                let end = start + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(bytes);
            }
            What::Truncate { file, length } => {
                let length = usize::try_from(*length).expect("fits");
                self.seen.entry(file.clone()).or_default().resize(length, 0);
            }
            What::Sync { file } => {
                let content = self.seen.get(file).cloned().unwrap_or_default();
                self.kept.insert(file.clone(), content);
            }
            What::Remove { file } => {
                self.seen.remove(file);
                self.kept.remove(file);
            }
            What::Reply { .. } => {}
        }
    }

    /// Writes what is kept into a directory and returns the store's file there.
    fn after_the_cut(&self, directory: &Path) -> PathBuf {
        for (file, content) in &self.kept {
            fs::write(directory.join(file.file_name().expect("a name")), content).expect("written");
        }
        directory.join("state.db")
    }
}

/// Cuts the power right after every n-th reply, and after the last; returns how many cuts that were.
///
/// A sync that had begun but not ended by then counts for nothing. Only one thread touches the files, so the order in
/// which its calls began is the order in which they took effect.
pub(crate) fn every_cut_keeps_what_was_acknowledged(trace: &Trace, every: usize) -> Result<usize, String> {
    let replies = trace.replies();
    let numbers: Vec<u32> = replies.iter().map(|(_, number)| *number).collect();
    let mut disk = Disk::default();
    let on_files = |call: &&Call| !matches!(call.what, What::Reply { .. });
    let mut calls = trace.calls.iter().filter(on_files).peekable();
    let mut cuts = 0;
    let counts = (1..=replies.len()).filter(|count| count % every == 0 || *count == replies.len());
    for count in counts {
        let (moment, _) = replies[count - 1];
        while let Some(call) = calls.next_if(|call| call.end < moment) {
            disk.apply(&call.what);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let gone = missing(&disk.after_the_cut(directory.path()), &numbers[..count]);
        if !gone.is_empty() {
            return Err(format!("a cut after {count} replies loses {} of them", gone.len()));
        }
        cuts += 1;
    }
    Ok(cuts)
}
