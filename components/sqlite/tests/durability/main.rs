//! Nothing acknowledged is lost: not when the process is killed, and not when the power goes.
//!
//! Three kinds of evidence. Twenty kills under load. A system-call trace in which every reply comes after the sync
//! that covers its write. And power cuts, replayed from that trace: the files as they would be if everything not
//! synced had vanished are opened, and every write acknowledged by then must be there. The traced checks are run once
//! more with `synchronous: off`, where they must find the loss.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests: a panic is a verdict")]

mod cut;
mod trace;
mod writer;

use std::path::Path;
use std::process::Command;

use outrigger_component_api::{BulkOptions, StateStore};
use outrigger_sqlite::Synchronous;

use crate::trace::Trace;
use crate::writer::{Load, key, open, value};

/// Enough for the log to be merged on the way, however many share a commit: that is due at a thousand pages.
const WRITES: u32 = 1500;

/// The process the other tests start; does nothing when run as a test.
#[test]
fn writing_process() {
    if let Some(load) = Load::from_environment() {
        load.run();
    }
}

#[test]
fn twenty_kills_lose_no_acknowledged_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("state.db");
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let load = Load {
            file: file.clone(),
            synchronous: Synchronous::Full,
            first: round * 1_000_000,
            count: 1_000_000,
            callers: 16,
        };
        let before = acknowledged.len();
        let enough = 20 + (round as usize * 61) % 500;
        acknowledged.extend(writer::killed_after(&load, enough));
        assert!(acknowledged.len() >= before + enough, "round {round} wrote too little to mean anything");
        assert_eq!(missing(&file, &acknowledged), Vec::<u32>::new(), "round {round}: acknowledged, but gone");
    }
    assert_eq!(missing(&file, &[u32::MAX]), [u32::MAX], "the check can see that something is not there");
    println!("{} acknowledged writes over 20 kills, none lost", acknowledged.len());
}

#[test]
fn replies_follow_the_sync_and_survive_a_power_cut() {
    let Some(trace) = traced(Synchronous::Full) else { return };
    let replies = trace.replies().len();
    assert_eq!(replies, WRITES as usize);
    assert!(trace.checkpoints() > 0, "the log was never merged, so the trace does not cover that");
    trace.every_reply_follows_its_sync().expect("synced before the reply");
    let cuts = cut::every_cut_keeps_what_was_acknowledged(&trace, 40).expect("nothing is lost");
    println!(
        "{replies} replies, {} syncs of the log, {} merges, {cuts} power cuts",
        trace.log_syncs(),
        trace.checkpoints()
    );
}

/// The planted violation: without syncs, the same two checks must both find the loss.
#[test]
fn without_syncs_both_checks_fail() {
    let Some(trace) = traced(Synchronous::Off) else { return };
    assert_eq!(trace.replies().len(), WRITES as usize);
    let order = trace.every_reply_follows_its_sync().expect_err("a reply without a sync must be noticed");
    let cut =
        cut::every_cut_keeps_what_was_acknowledged(&trace, 200).expect_err("a lost write must be noticed");
    println!("found as planted: {order}; {cut}");
}

/// Runs the load under strace; `None` where that is impossible and not required.
fn traced(synchronous: Synchronous) -> Option<Trace> {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        let required = std::env::var("OUTRIGGER_TEST_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|what| matches!(what.trim(), "all" | "strace"));
        assert!(!required, "strace is missing or may not trace, and OUTRIGGER_TEST_REQUIRE asks for it");
        eprintln!("skipped: strace is missing or may not trace");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let load =
        Load { file: directory.path().join("state.db"), synchronous, first: 0, count: WRITES, callers: 3 };
    Some(Trace::of(&load, &directory.path().join("trace")))
}

/// Which of these writes are not in the file, or not as written.
fn missing(file: &Path, acknowledged: &[u32]) -> Vec<u32> {
    outrigger_testkit::run(async {
        let store = open(file, Synchronous::Full);
        let keys: Vec<_> = acknowledged.iter().copied().map(key).collect();
        let found = store.get_bulk(&keys, BulkOptions::default()).await.expect("read");
        let found = found.into_iter().map(|entry| entry.expect("read").map(|entry| entry.value));
        let gone = acknowledged.iter().zip(found).filter(|(number, found)| *found != Some(value(**number)));
        gone.map(|(number, _)| *number).collect()
    })
}
