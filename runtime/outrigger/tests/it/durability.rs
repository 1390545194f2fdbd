//! Nothing acknowledged is lost when the whole program is killed under load.
//!
//! What a power cut takes is asked of the store itself, in its crate, as only syncs decide that.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use outrigger_sdk::{Client, Options};
use tokio::task::JoinSet;

use crate::program::{Folder, PATIENCE, Program};

const ROUNDS: u32 = 20;
const CALLERS: u32 = 16;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn client(program: &Program) -> Client {
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    Client::connect_with(options).await.unwrap()
}

fn key(number: u32) -> String {
    format!("key-{number:08}")
}

fn value(number: u32) -> String {
    format!("value-{number:08}-{}", "x".repeat(number as usize % 200))
}

/// Saves numbers from `first` on until the program is gone. Callers say a number once its save is acknowledged, and
/// the program is killed when `enough` have been.
async fn killed_under_load(program: Program, first: u32, enough: u32) -> Vec<u32> {
    let (next, acknowledged) = (Arc::new(AtomicU32::new(first)), Arc::new(AtomicU32::new(0)));
    let client = client(&program).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, next, acknowledged) = (client.clone(), Arc::clone(&next), Arc::clone(&acknowledged));
        callers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if client.state("kept").save((key(number), value(number))).await.is_err() {
                    return mine;
                }
                mine.push(number);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let killed = async {
        while acknowledged.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        program.signal(rustix::process::Signal::KILL);
    };
    tokio::time::timeout(3 * PATIENCE, killed).await.expect("enough writes in time");
    tokio::time::timeout(PATIENCE, callers.join_all()).await.expect("callers notice").concat()
}

/// Which of these the store does not hold as they were saved.
async fn missing(program: &Program, numbers: &[u32]) -> Vec<u32> {
    let state = client(program).await.state("kept");
    let mut missing = Vec::new();
    for numbers in numbers.chunks(1000) {
        let found = state.get_bulk(numbers.iter().copied().map(key), 4).await.unwrap();
        for (number, found) in numbers.iter().zip(found) {
            assert_eq!(found.key, key(*number));
            let held = found.entry.unwrap().is_some_and(|entry| entry.value == value(*number));
            missing.extend((!held).then_some(*number));
        }
    }
    missing
}

/// Kills the program under load in rounds; what was acknowledged, and which of that is gone at the end of a round.
async fn rounds(folder: &Folder, rounds: Range<u32>) -> (Vec<u32>, Vec<u32>) {
    let (mut acknowledged, mut gone) = (Vec::new(), Vec::new());
    for round in rounds {
        let enough = 20 + (round * 61) % 500;
        let written = killed_under_load(folder.run(), round * 1_000_000, enough).await;
        assert!(written.len() >= enough as usize, "round {round} wrote too little to mean anything");
        acknowledged.extend(written);
        gone = missing(&folder.run(), &acknowledged).await;
        if !gone.is_empty() {
            break;
        }
    }
    (acknowledged, gone)
}

#[test]
fn twenty_kills_of_the_program_lose_no_acknowledged_write() {
    runtime().block_on(async {
        let folder = Folder::with("components: { kept: { type: state.sqlite } }\n");
        let (acknowledged, gone) = rounds(&folder, 0..ROUNDS).await;
        assert_eq!(gone, [0; 0], "acknowledged, but gone");
        println!("{} acknowledged writes over {ROUNDS} kills, none lost", acknowledged.len());
        // One of them taken away behind the checker's back is missed.
        let program = folder.run();
        let taken = acknowledged[acknowledged.len() / 2];
        client(&program).await.state("kept").delete(key(taken)).await.unwrap();
        assert_eq!(missing(&program, &acknowledged).await, [taken]);
    });
}

/// The planted violation: a store that does not outlive its process loses all of it, and the check says so.
#[test]
fn a_store_that_forgets_is_found_out() {
    runtime().block_on(async {
        let folder = Folder::with("components: { kept: { type: state.in-memory } }\n");
        let (acknowledged, gone) = rounds(&folder, 0..1).await;
        assert_eq!(gone, acknowledged);
    });
}
