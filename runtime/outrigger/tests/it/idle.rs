//! A sidecar nobody talks to sleeps: no thread of it is ever scheduled, and it keeps little of its program in memory.

use std::{
    fs,
    time::{Duration, Instant},
};

use outrigger_sdk::{Client, Options};

use crate::{
    http,
    program::{Folder, Program, eventually},
};

/// How often its threads have gone to sleep so far: each time something had woken them.
fn naps(program: &Program) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.id())).unwrap();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap();
    let count = |status: String| {
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?.to_owned();
        line.rsplit('\t').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| count(status(task.unwrap()))).sum()
}

/// Wake-ups in two quiet seconds, after it has settled.
fn wakeups(program: &Program) -> u64 {
    std::thread::sleep(Duration::from_secs(2));
    let before = naps(program);
    std::thread::sleep(Duration::from_secs(2));
    naps(program) - before
}

/// What settles late may wake it once more; nothing wakes it again and again.
pub(crate) fn sleeps(program: &Program) -> Result<(), Vec<u64>> {
    let mut counts = Vec::new();
    for _ in 0..4 {
        match wakeups(program) {
            0 => return Ok(()),
            count => counts.push(count),
        }
    }
    Err(counts)
}

#[test]
fn it_sleeps_when_nobody_calls() {
    let folder = Folder::empty();
    let program = folder.run();
    let runtime = crate::pubsub::runtime();
    runtime.block_on(async {
        let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
        let client = Client::connect_with(options).await.unwrap();
        client.state("state").save(("key", "value")).await.unwrap();
        let mut subscription = client.pubsub("pubsub").subscribe("orders").await.unwrap();
        client.pubsub("pubsub").publish("orders", "data", "text/plain").await.unwrap();
        let event = subscription.next().await.unwrap().unwrap();
        subscription.settle(&event, outrigger_sdk::Outcome::Done).await.unwrap();
        // Settled is what is not delivered again; then the subscriber waits, and nothing wakes for it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(tokio::task::block_in_place(|| sleeps(&program)), Ok(()), "with a subscriber");
    });
    assert_eq!(sleeps(&program), Ok(()));
}

/// The program itself is most of what is resident. Each visit maps what it uses again, which shows that the next rest
/// gives something back.
#[test]
fn what_a_visit_used_is_given_back() {
    let folder = Folder::empty();
    let program = folder.run();
    let mut rested = 0;
    for visit in ["start", "first visit", "second visit"] {
        let used = eventually(visit, || {
            assert_eq!(http::get(program.admin(), "/metrics").status, 200);
            Some(program.mapped()).filter(|used| *used > rested)
        });
        // It gives back in steps, and visits use less than the start: only the last step is to be compared with.
        rested = eventually("rest", || {
            let rested = program.mapped();
            std::thread::sleep(Duration::from_secs(1));
            (rested < used && rested <= program.mapped()).then_some(rested)
        });
    }
}

/// Saves for so long over a connection that stays open; tells the longest pause between two answers.
async fn work(options: Options, how_long: Duration) -> Duration {
    let client = Client::connect_with(options).await.unwrap();
    let (until, mut last, mut pause) = (Instant::now() + how_long, Instant::now(), Duration::ZERO);
    while last < until {
        client.state("state").save(("key", "value")).await.unwrap();
        let before = std::mem::replace(&mut last, Instant::now());
        pause = pause.max(last - before);
    }
    pause
}

/// New connections do not matter as long as one that stays open is at work: nothing is taken from under it.
#[test]
fn a_program_at_work_is_not_given_back() {
    /// Longer than it rests before it gives back.
    const BETWEEN_VISITS: Duration = Duration::from_millis(800);

    let folder = Folder::empty();
    let program = folder.run();
    let runtime = crate::pubsub::runtime();
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    let work = runtime.spawn(work(options, 4 * BETWEEN_VISITS));
    let mut seen = Vec::new();
    while !work.is_finished() {
        assert_eq!(http::get(program.admin(), "/metrics").status, 200);
        let next = Instant::now() + BETWEEN_VISITS;
        while Instant::now() < next && !work.is_finished() {
            seen.push(program.mapped());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let most = seen.iter().copied().max().unwrap();
    let pause = runtime.block_on(work).unwrap();
    // Some kernels count in batches; and where the machine gave us no time to ask, it had a rest.
    let stays = seen.windows(2).all(|two| two[1] + (1 << 20) > two[0]);
    assert!(stays || pause > BETWEEN_VISITS / 4, "after pauses of at most {pause:?}: {seen:?}");
    eventually("rest", || (program.mapped() < most / 2).then_some(()));
}

/// Health checks wake it, and the count shows that.
#[test]
fn a_check_every_moment_is_counted() {
    let folder = Folder::with(
        "clusters: { a: { endpoints: ['127.0.0.1:9'], health: { active: { type: tcp, interval: 100ms } } } }\n",
    );
    let program = folder.run();
    eventually("checks run", || (wakeups(&program) > 10).then_some(()));
}
