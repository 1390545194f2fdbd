//! Redis and etcd that are not there yet, die, stand still, crawl or refuse us, seen through the whole program: it stays
//! up, says which component is not ready and why, ends calls in time with the right code, and every block is of use
//! again within two seconds of the backend's return.

mod backend;
mod stage;

use std::time::{Duration, Instant};

use tonic::Code;

use backend::{Backend, PASSWORD};
use stage::{SLACK, SOON, Stage};

/// Every outage lasts this long, with calls all the while: what goes wrong because of many failures shows.
const OUTAGE: Duration = Duration::from_secs(4);
/// An answer that is late by so little is still in time.
const LATE: Duration = Duration::from_millis(150);
/// An answer that is late by so much is too late for the component, and in time for a caller who waits longer.
const CRAWL: Duration = Duration::from_secs(600);

/// One way in which a backend is of no use.
struct Outage {
    name: &'static str,
    /// Whether the backend was there when the sidecar started.
    comes_later: bool,
    /// Whether the sidecar reaches it through the relay.
    relayed: bool,
    begin: fn(&mut Stage),
    end: fn(&mut Stage),
    /// How calls may end meanwhile.
    codes: &'static [Code],
    /// What readiness may say about it.
    reasons: &'static [&'static str],
}

const OUTAGES: [Outage; 5] = [
    Outage {
        name: "down at the start",
        comes_later: true,
        relayed: false,
        begin: |_| {},
        end: |stage| stage.server.start(),
        codes: &[Code::Unavailable],
        reasons: &["cannot be reached"],
    },
    Outage {
        name: "killed",
        comes_later: false,
        relayed: false,
        begin: |stage| stage.server.kill(),
        end: |stage| stage.server.start(),
        codes: &[Code::Unavailable],
        reasons: &["cannot be reached"],
    },
    Outage {
        name: "paused",
        comes_later: false,
        relayed: false,
        begin: |stage| stage.server.pause(),
        end: |stage| stage.server.resume(),
        codes: &[Code::DeadlineExceeded, Code::Unavailable],
        reasons: &["no answer to a ping", "did not answer"],
    },
    Outage {
        name: "refusing the password",
        comes_later: false,
        relayed: false,
        begin: |stage| stage.backend.change_password(&stage.server, PASSWORD, "changed"),
        end: |stage| stage.backend.change_password(&stage.server, "changed", PASSWORD),
        codes: &[Code::Unauthenticated],
        reasons: &["check redisUsername and redisPassword", "check username and password"],
    },
    Outage {
        name: "slow",
        comes_later: false,
        relayed: true,
        begin: |stage| stage.relay.delay(CRAWL),
        end: |stage| stage.relay.delay(Duration::ZERO),
        codes: &[Code::DeadlineExceeded, Code::Unavailable],
        reasons: &["no answer to a ping", "did not answer"],
    },
];

/// One outage of one backend, from before it to after it. Each verdict is also asked when it must say no.
fn passes_over(backend: Backend, outage: &Outage) {
    let Some(mut stage) = Stage::set(backend, outage, "") else { return };
    if !outage.comes_later {
        stage.is_up_soon().expect("nothing has happened yet");
        stage.calls_fail(outage.codes).expect_err("nothing has happened yet");
        stage.looks_down(outage.reasons).expect_err("nothing has happened yet");
    }
    if outage.relayed {
        stage.relay.delay(LATE);
        stage.is_up_soon().expect("late answers are answers");
    }
    (outage.begin)(&mut stage);
    let began = Instant::now();
    stage.says_why(outage.reasons).unwrap_or_else(|wrong| panic!("{backend:?} {}: {wrong}", outage.name));
    let mut late = Vec::new();
    while began.elapsed() < OUTAGE {
        let failed = stage.calls_fail(outage.codes);
        late.push(failed.unwrap_or_else(|wrong| panic!("{backend:?} {}: {wrong}", outage.name)));
    }
    late.sort_unstable();
    // The machine may make some of them late, but not most.
    assert!(late[(late.len() - 1) / 2] <= SLACK, "{backend:?} {}: calls end late, by {late:?}", outage.name);
    stage.says_why(outage.reasons).unwrap_or_else(|wrong| panic!("{backend:?} {}: {wrong}", outage.name));
    stage.looks_down(&["planted"]).expect_err("that is not why");
    stage.is_up_within(SOON).expect_err("the backend is not back yet");
    (outage.end)(&mut stage);
    let back = stage.is_up_soon().unwrap_or_else(|wrong| panic!("{backend:?} {}: {wrong}", outage.name));
    println!("{backend:?} {}: all of use again {back:?} after its return", outage.name);
}

#[cfg(feature = "redis")]
#[test]
fn redis_may_come_late_die_stand_still_refuse_and_crawl() {
    OUTAGES.iter().for_each(|outage| passes_over(Backend::Redis, outage));
}

#[cfg(feature = "etcd")]
#[test]
fn etcd_may_come_late_die_stand_still_refuse_and_crawl() {
    OUTAGES.iter().for_each(|outage| passes_over(Backend::Etcd, outage));
}

/// The planted violation: a breaker that rests for longer than the recovery may take.
#[cfg(feature = "redis")]
#[test]
fn a_late_recovery_is_found() {
    let [_, killed, ..] = &OUTAGES;
    let Some(mut stage) = Stage::set(Backend::Redis, killed, ", breaker: { min_open: 20s }") else { return };
    stage.is_up_soon().expect("nothing has happened yet");
    (killed.begin)(&mut stage);
    for _ in 0..20 {
        stage.calls_fail(killed.codes).expect("it is killed");
    }
    (killed.end)(&mut stage);
    let late = stage.is_up_soon().expect_err("it is given a rest");
    assert!(late.contains("still fails"), "{late}");
}
