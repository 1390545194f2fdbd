//! On a clock that stands still unless it is told to go.

use outrigger_component_api::parse_settings;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::clock::tests::Paused;

struct Shared(Arc<Paused>);

impl Clock for Shared {
    fn now(&self) -> jiff::Timestamp {
        self.0.now()
    }
}

fn config(schedule: &str) -> CronConfig {
    let settings = json!({"schedule": schedule});
    parse_settings(settings.as_object().expect("an object").clone()).expect("reads")
}

/// A binding at ten o'clock, and the clock it goes by.
fn binding(schedule: &str) -> (CronBinding, Arc<Paused>) {
    let clock = Arc::new(Paused::at("2026-11-21T10:00:00Z"));
    (CronBinding::with(config(schedule), Shared(Arc::clone(&clock))), clock)
}

async fn next(events: &mut Box<dyn BindingEvents>) -> Delivery {
    timeout(Duration::from_secs(3600), events.next()).await.expect("within the hour").expect("an event")
}

/// How long the next event takes to come; it is settled at once.
async fn seconds(events: &mut Box<dyn BindingEvents>) -> f64 {
    let begun = Instant::now();
    next(events).await.ack().await.expect("settled");
    begun.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn every_event_comes_when_it_is_due() {
    for (schedule, expected) in [("@every 10s", 10.0), ("*/10 * * * * *", 10.0), ("*/5 * * * *", 300.0)] {
        let (binding, _clock) = binding(schedule);
        let mut events = binding.open().await.expect("opened");
        for _ in 0..5 {
            let took = seconds(&mut events).await;
            assert!((took - expected).abs() < 0.01, "{schedule}: {took}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_says_when_it_was() {
    let (binding, _clock) = binding("CRON_TZ=Europe/Paris 30 11 * * *");
    let event = next(&mut binding.open().await.expect("opened")).await;
    assert_eq!(event.attempt, 1);
    assert!(event.message.data.is_empty());
    let metadata: Vec<_> =
        event.message.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(metadata[1], ("timeZone", "Europe/Paris"));
    assert!(
        metadata[0].0 == "readTimeUTC" && metadata[0].1.starts_with("2026-11-21T10:30:00"),
        "{metadata:?}"
    );
    event.ack().await.expect("settled");
}

#[tokio::test(start_paused = true)]
async fn what_comes_due_during_an_event_is_not_queued_up() {
    let (binding, _clock) = binding("@every 10s");
    let mut events = binding.open().await.expect("opened");
    let slow = next(&mut events).await;
    tokio::time::sleep(Duration::from_secs(35)).await;
    slow.ack().await.expect("settled");
    // 45 s have passed: those of 20, 30 and 40 are gone.
    assert!((seconds(&mut events).await - 5.0).abs() < 0.01);
    assert!((seconds(&mut events).await - 10.0).abs() < 0.01);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_misses_nothing() {
    let (binding, _clock) = binding("*/10 * * * * *");
    let mut events = binding.open().await.expect("opened");
    timeout(Duration::from_millis(9_900), events.next()).await.expect_err("not yet");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let late = seconds(&mut events).await;
    assert!(late < 0.01, "it came due in between: {late}");
    assert!((seconds(&mut events).await - 9.9).abs() < 0.01);
}

#[tokio::test(start_paused = true)]
async fn another_listener_goes_on_where_the_last_one_stood() {
    for schedule in ["@every 10s", "*/10 * * * * *"] {
        let (binding, _clock) = binding(schedule);
        let mut first = binding.open().await.expect("opened");
        seconds(&mut first).await;
        timeout(Duration::from_secs(7), first.next()).await.expect_err("not yet");
        drop(first);
        let mut second = binding.open().await.expect("opened");
        let took = seconds(&mut second).await;
        assert!((took - 3.0).abs() < 0.01, "{schedule}: {took}");
        // One that takes over just after it came due still has it; one that comes much later does not.
        timeout(Duration::from_secs(9), second.next()).await.expect_err("not yet");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut third = binding.open().await.expect("opened");
        assert!(seconds(&mut third).await < 0.01, "{schedule}");
        timeout(Duration::from_secs(1), third.next()).await.expect_err("not yet");
        tokio::time::sleep(Duration::from_secs(16)).await;
        let mut fourth = binding.open().await.expect("opened");
        let took = seconds(&mut fourth).await;
        assert!((took - 2.0).abs() < 0.01, "{schedule}: {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_comes_again_until_the_next_one_takes_its_place() {
    let (binding, _clock) = binding("@every 10s");
    let mut events = binding.open().await.expect("opened");
    let first = next(&mut events).await;
    let id = first.id.clone();
    first.retry(Duration::from_secs(4)).await.expect("settled");
    let begun = Instant::now();
    let again = next(&mut events).await;
    assert_eq!((again.id.as_str(), again.attempt, begun.elapsed().as_secs()), (id.as_str(), 2, 4));
    drop(again);
    let abandoned = next(&mut events).await;
    assert_eq!((abandoned.attempt, begun.elapsed().as_secs()), (3, 4), "given back without a pause");
    abandoned.retry(Duration::from_secs(8)).await.expect("settled");
    let other = next(&mut events).await;
    assert_eq!((other.attempt, begun.elapsed().as_secs()), (1, 10));
    assert_ne!(other.id, id);
    other.settle(Outcome::Drop).await.expect("settled");
    assert!((seconds(&mut events).await - 10.0).abs() < 0.01, "the one before is forgotten");
}

#[tokio::test(start_paused = true)]
async fn clocks_may_be_set() {
    let (binding, clock) = binding("@hourly");
    let mut events = binding.open().await.expect("opened");
    timeout(Duration::from_secs(60), events.next()).await.expect_err("not yet");
    clock.turn(SignedDuration::from_mins(57));
    let took = seconds(&mut events).await;
    assert!((119.0..181.0).contains(&took), "seen within a minute: {took}");
    // Set back, the same hour is not rung twice before its time.
    clock.turn(SignedDuration::from_mins(-30));
    let begun = Instant::now();
    seconds(&mut events).await;
    assert!(begun.elapsed() > Duration::from_secs(25 * 60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_and_is_set_back_while_waiting_is_followed() {
    let (binding, clock) = binding("@hourly");
    clock.turn(SignedDuration::from_hours(40 * 24));
    let mut events = binding.open().await.expect("opened");
    timeout(Duration::from_secs(90), events.next()).await.expect_err("not yet");
    clock.turn(SignedDuration::from_hours(-40 * 24));
    let took = seconds(&mut events).await;
    assert!((3509.0..3511.0).contains(&took), "at eleven o'clock: {took}");
    assert!((seconds(&mut events).await - 3600.0).abs() < 0.01, "once");
}

#[test]
fn wrong_settings_are_named() {
    let refused = |settings: serde_json::Value| {
        let settings = settings.as_object().expect("an object").clone();
        parse_settings::<CronConfig>(settings).expect_err("refused").to_string()
    };
    assert!(refused(json!({})).contains("missing field `schedule`"));
    assert!(refused(json!({"schedule": "soon"})).contains("setting=schedule"));
    assert!(refused(json!({"schedule": "@daily", "timezone": "UTC"})).contains("unknown field"));
}
