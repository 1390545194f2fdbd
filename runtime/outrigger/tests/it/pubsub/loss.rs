//! Every publish that was acknowledged is delivered at least once, whoever is killed meanwhile: the application, its
//! sidecar, or one of two sidecars that share a file.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use outrigger_sdk::Client;

use super::{app::AppProcess, client, ledger::Ledger, runtime, shared::broker, with_app, without_app};
use crate::program::{Folder, PATIENCE, Program};

const ROUNDS: usize = 20;
const PUBLISHERS: usize = 4;

/// How much has to happen in a round before somebody is killed: never in the same place.
const fn enough(round: usize) -> usize {
    10 + round * 37 % 120
}

/// Publishes numbers, several at a time, until it does not work any more. What was acknowledged goes into the ledger.
async fn keep_publishing(client: &Client, numbers: &AtomicUsize, ledger: &Ledger) {
    let events = client.pubsub("events");
    let publisher = async || {
        loop {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            if events.publish("orders", number.to_string(), "text/plain").await.is_err() {
                return;
            }
            ledger.published(number);
            // The application is to keep up.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    join_all((0..PUBLISHERS).map(|_| publisher())).await;
}

/// Puts a sidecar under load until so much has happened, and then kills somebody in the middle of it.
fn under_load(
    program: &Program,
    numbers: &AtomicUsize,
    ledger: &Ledger,
    happened: impl Fn() -> bool,
    kill: impl FnOnce(),
) {
    runtime().block_on(async {
        let client = client(program).await;
        let load = async {
            keep_publishing(&client, numbers, ledger).await;
            std::future::pending::<()>().await;
        };
        let killing = async {
            while !happened() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            kill();
        };
        tokio::select! {
            () = load => {}
            killed = tokio::time::timeout(3 * PATIENCE, killing) => killed.expect("a round in time"),
        }
    });
}

fn kill(program: &Program) {
    program.signal(rustix::process::Signal::KILL);
}

#[test]
fn twenty_kills_of_the_application_lose_no_acknowledged_event() {
    let (app, shared) = (AppProcess::new(), Folder::bare());
    let folder = Folder::with(&with_app(app.port(), &broker(&shared)));
    let program = folder.run();
    let (ledger, numbers) = (Ledger::default(), AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let (mut running, before) = (app.start(), app.noted().len());
        let happened = || app.noted().len() >= before + enough(round);
        under_load(&program, &numbers, &ledger, happened, || running.kill());
    }
    let _running = app.start();
    ledger.wait_until_complete(&app);
    println!("{} acknowledged events over {ROUNDS} kills of the application, none lost", ledger.count());
}

/// The planted violation: an application that answers before it has noted the event, and is killed in between.
#[test]
fn an_application_that_answers_too_early_is_found_out() {
    let app = AppProcess::hasty();
    let folder = Folder::with(&with_app(app.port(), super::MEMORY));
    let program = folder.run();
    let (ledger, numbers) = (Ledger::default(), AtomicUsize::new(0));
    let mut running = app.start();
    under_load(&program, &numbers, &ledger, || !app.noted().is_empty(), || running.kill());
    let _running = app.start();
    let last = numbers.load(Ordering::Relaxed) + 1;
    runtime().block_on(async { super::publish(&client(&program).await, last..last + 1, &ledger).await });
    app.wait_for_text(&format!(" {last}"));
    assert!(!ledger.missing(&app).is_empty(), "events were acknowledged unhandled");
}

#[test]
fn twenty_kills_of_the_sidecar_lose_no_acknowledged_event() {
    let (app, shared) = (AppProcess::new(), Folder::bare());
    let folder = Folder::with(&with_app(app.port(), &broker(&shared)));
    let _running = app.start();
    let (ledger, numbers) = (Ledger::default(), AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let (program, before) = (folder.run(), ledger.count());
        under_load(
            &program,
            &numbers,
            &ledger,
            || ledger.count() >= before + enough(round),
            || kill(&program),
        );
    }
    let _program = folder.run();
    ledger.wait_until_complete(&app);
    println!("{} acknowledged events over {ROUNDS} kills of the sidecar, none lost", ledger.count());
}

/// The planted violation: a broker that forgets with its process.
#[test]
fn a_broker_that_forgets_is_found_out() {
    let app = AppProcess::new();
    let folder = Folder::with(&with_app(app.port(), super::MEMORY));
    let (ledger, numbers) = (Ledger::default(), AtomicUsize::new(0));
    let program = folder.run();
    under_load(&program, &numbers, &ledger, || ledger.count() >= enough(0), || kill(&program));
    let program = folder.run();
    let _running = app.start();
    let last = numbers.load(Ordering::Relaxed) + 1;
    runtime().block_on(async { super::publish(&client(&program).await, last..last + 1, &ledger).await });
    app.wait_for_text(&format!(" {last}"));
    assert!(!ledger.missing(&app).is_empty());
}

/// One sidecar publishes into its file, the other brings what is in its own to the application; one or both of them
/// are killed in each round.
fn kill_either(files: [&Folder; 2], app: &AppProcess, rounds: usize) -> (Ledger, [(Folder, Program); 2]) {
    let publishing = Folder::with(&without_app(&broker(files[0])));
    let delivering = Folder::with(&with_app(app.port(), &broker(files[1])));
    let (ledger, numbers) = (Ledger::default(), AtomicUsize::new(0));
    let (mut one, mut two) = (publishing.run(), delivering.run());
    for round in 0..rounds {
        let before = ledger.count();
        let (kill_one, kill_two) = (round % 3 != 1, round % 3 != 0);
        let strike = || {
            for (program, _) in [(&one, kill_one), (&two, kill_two)].iter().filter(|(_, meant)| *meant) {
                kill(program);
            }
        };
        under_load(&one, &numbers, &ledger, || ledger.count() >= before + enough(round), strike);
        if kill_one {
            one = publishing.run();
        }
        if kill_two {
            two = delivering.run();
        }
    }
    (ledger, [(publishing, one), (delivering, two)])
}

#[test]
fn twenty_kills_among_two_sidecars_lose_no_acknowledged_event() {
    let (app, shared) = (AppProcess::new(), Folder::bare());
    let _running = app.start();
    let (ledger, _programs) = kill_either([&shared, &shared], &app, ROUNDS);
    ledger.wait_until_complete(&app);
    println!("{} acknowledged events over {ROUNDS} kills among two sidecars, none lost", ledger.count());
}

/// The planted violation: they do not share a file.
#[test]
fn two_sidecars_that_share_nothing_are_found_out() {
    let (app, files) = (AppProcess::new(), [(); 2].map(|()| Folder::bare()));
    let _running = app.start();
    let (ledger, _programs) = kill_either([&files[0], &files[1]], &app, 1);
    assert_eq!(ledger.missing(&app).len(), ledger.count());
}
