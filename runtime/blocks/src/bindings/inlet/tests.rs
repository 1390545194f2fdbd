//! What becomes of a schedule's events, on a clock that stands still unless it is told to go.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use outrigger_component_api::{ComponentSpec, Error, parse_settings};
use outrigger_cron::{CronBinding, CronConfig};
use outrigger_telemetry::Metrics;
use outrigger_telemetry::span::Recording;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant as Moment;

use super::*;
use crate::guard::{Meter, Policy};

/// An application that notes what it gets, and answers as it is told.
struct App {
    origin: Moment,
    wants: AtomicBool,
    /// The name of a binding whose question fails.
    mute: Mutex<&'static str>,
    asked: AtomicU32,
    /// How it answers, first to last; then it takes everything.
    answers: Mutex<VecDeque<Answer>>,
    got: Mutex<Vec<Got>>,
    under_way: AtomicU32,
    most: AtomicU32,
    gone: Notify,
}

#[derive(Clone, Copy)]
enum Answer {
    Slow(u64),
    Refuse,
    Absent,
}

/// When it got what.
#[derive(Clone)]
struct Got {
    second: u64,
    event: InputEvent,
}

impl App {
    fn new(answers: &[Answer]) -> Arc<Self> {
        Arc::new(Self {
            origin: Moment::now(),
            wants: AtomicBool::new(true),
            mute: Mutex::default(),
            asked: AtomicU32::new(0),
            answers: Mutex::new(answers.iter().copied().collect()),
            got: Mutex::default(),
            under_way: AtomicU32::new(0),
            most: AtomicU32::new(0),
            gone: Notify::new(),
        })
    }

    /// The seconds at which it was called.
    fn seconds(&self) -> Vec<u64> {
        self.got.lock().iter().map(|got| got.second).collect()
    }

    fn as_app(self: &Arc<Self>) -> Option<Arc<dyn AppInputs>> {
        Some(Arc::clone(self) as _)
    }
}

#[async_trait]
impl AppInputs for App {
    async fn wants(&self, binding: &InputComponent, _: Deadline) -> Result<bool> {
        if binding.name() == *self.mute.lock() {
            return Err(Error::internal("it answered 500"));
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.wants.load(Ordering::Relaxed))
    }

    async fn deliver(&self, event: &InputEvent, deadline: Deadline) -> Result<()> {
        let answer = self.answers.lock().pop_front();
        if let Some(Answer::Absent) = answer {
            return Err(Error::unavailable("nobody is there"));
        }
        let second = self.origin.elapsed().as_secs();
        self.got.lock().push(Got { second, event: event.clone() });
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let time = deadline.remaining(super::now()).expect("it has a deadline");
        let result = match answer {
            Some(Answer::Slow(seconds)) => {
                let slow = sleep(Duration::from_secs(seconds));
                timeout(time, slow).await.map_err(|_| Error::new(ErrorKind::Timeout, "too slow"))
            }
            Some(Answer::Refuse) => Err(Error::internal("it answered 500")),
            Some(Answer::Absent) | None => Ok(()),
        };
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        result
    }

    async fn gone(&self) {
        self.gone.notified().await;
    }
}

/// A component on a schedule of ten seconds, and what counts its events.
struct Fixture {
    backend: Arc<dyn InputBinding>,
    metrics: Metrics,
    meter: Meter,
}

impl Fixture {
    fn new() -> Self {
        let settings = json!({"schedule": "@every 10s"}).as_object().expect("an object").clone();
        let config: CronConfig = parse_settings(settings).expect("reads");
        let metrics = Metrics::new();
        let meter = Meter::new(&metrics);
        Self { backend: Arc::new(CronBinding::new(config)), metrics, meter }
    }

    /// The component as configured once more: another member over the same backend.
    fn component(&self, settings: serde_json::Value) -> Arc<InputComponent> {
        self.named("tick", settings)
    }

    fn named(&self, name: &str, settings: serde_json::Value) -> Arc<InputComponent> {
        let settings = settings.as_object().expect("an object").clone();
        let mut spec = ComponentSpec { name: name.to_owned(), settings, ..ComponentSpec::default() };
        let component = InputComponent::from_spec(&mut spec, Policy::default(), &self.meter).expect("valid");
        component.slot().ready(Arc::clone(&self.backend));
        Arc::new(component)
    }

    fn count(&self, outcome: &str) -> u64 {
        let series = format!("outrigger_input_events_total{{component=\"tick\",outcome=\"{outcome}\"}} ");
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0, |count| count.parse().expect("a number"))
    }
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_app_gets_what_it_wants_and_is_asked_again_when_it_goes() {
    let (fixture, app, inlet) = (Fixture::new(), App::new(&[]), Inlet::start());
    app.wants.store(false, Ordering::Relaxed);
    inlet.follow(app.as_app(), vec![fixture.component(json!({}))]);
    pass(35).await;
    assert_eq!((app.seconds().len(), app.asked.load(Ordering::Relaxed)), (0, 1));
    app.wants.store(true, Ordering::Relaxed);
    app.gone.notify_one();
    pass(30).await;
    assert_eq!((app.seconds(), app.asked.load(Ordering::Relaxed)), (vec![40, 50, 60], 2));
    app.wants.store(false, Ordering::Relaxed);
    app.gone.notify_one();
    pass(30).await;
    assert_eq!(app.seconds().len(), 3, "it changed its mind");

    let declared = App::new(&[]);
    declared.wants.store(false, Ordering::Relaxed);
    inlet.follow(declared.as_app(), vec![fixture.component(json!({"direction": "input", "route": "/jobs"}))]);
    pass(20).await;
    assert_eq!((declared.seconds().len(), declared.asked.load(Ordering::Relaxed)), (2, 0));
    let event = declared.got.lock()[0].event.clone();
    assert_eq!((event.binding.as_str(), event.route.as_str()), ("tick", "/jobs"));
    assert!(event.metadata.contains_key("readTimeUTC"));
    assert!(event.trace.is_some_and(|trace| !trace.is_sampled()), "in a trace nobody records");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_fails_keeps_no_other_binding_waiting() {
    let (fixture, other, app, inlet) = (Fixture::new(), Fixture::new(), App::new(&[]), Inlet::start());
    *app.mute.lock() = "mute";
    inlet.follow(app.as_app(), vec![fixture.named("mute", json!({})), other.component(json!({}))]);
    pass(25).await;
    assert_eq!((app.seconds(), app.asked.load(Ordering::Relaxed)), (vec![10, 20], 1));
    // The application goes and comes back with another mind about the one, and still none about the other.
    app.wants.store(false, Ordering::Relaxed);
    app.gone.notify_one();
    pass(30).await;
    assert_eq!((app.seconds().len(), app.asked.load(Ordering::Relaxed)), (2, 2));
    app.wants.store(true, Ordering::Relaxed);
    *app.mute.lock() = "nobody";
    pass(100).await;
    let heard: Vec<_> = app.got.lock().iter().skip(2).map(|got| got.event.binding.clone()).collect();
    assert!(heard.len() >= 3 && heard.iter().all(|binding| binding == "mute"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_is_put_back_waits_for_its_last_event() {
    for settings in [json!({}), json!({"direction": "input"})] {
        let (fixture, app, inlet) = (Fixture::new(), App::new(&[Answer::Slow(25)]), Inlet::start());
        inlet.follow(app.as_app(), vec![fixture.component(settings.clone())]);
        pass(12).await;
        for _ in 0..2 {
            inlet.follow(app.as_app(), vec![]);
            pass(2).await;
            inlet.follow(app.as_app(), vec![fixture.component(settings.clone())]);
            pass(2).await;
        }
        pass(35).await;
        assert_eq!((app.seconds(), app.most.load(Ordering::Relaxed)), (vec![10, 40, 50], 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_not_up_gets_the_event_when_it_is() {
    let absent: Vec<_> = std::iter::repeat_n(Answer::Absent, 6).collect();
    let (fixture, app, inlet) = (Fixture::new(), App::new(&absent), Inlet::start());
    inlet.follow(app.as_app(), vec![fixture.component(json!({"direction": "input"}))]);
    pass(15).await;
    let seconds = app.seconds();
    assert!(seconds.len() == 1 && (10..15).contains(&seconds[0]), "{seconds:?}");
    assert_eq!((fixture.count("delivered"), fixture.count("dropped")), (1, 0));

    // One that stays away loses the events of its absence, one by one as their time is over.
    app.answers.lock().extend(std::iter::repeat_n(Answer::Absent, 100_000));
    pass(200).await;
    assert_eq!(app.seconds().len(), 1);
    let dropped = fixture.count("dropped");
    assert!((2..=4).contains(&dropped), "each has a minute: {dropped}");
    app.answers.lock().clear();
    pass(20).await;
    assert!(app.seconds().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_final_unless_retries_are_asked_for() {
    let (fixture, app, inlet) = (Fixture::new(), App::new(&[Answer::Refuse]), Inlet::start());
    inlet.follow(app.as_app(), vec![fixture.component(json!({}))]);
    pass(25).await;
    assert_eq!(app.seconds(), [10, 20]);
    assert_eq!((fixture.count("dropped"), fixture.count("delivered"), fixture.count("retried")), (1, 1, 0));

    let (fixture, app, inlet) = (Fixture::new(), App::new(&[Answer::Refuse; 4]), Inlet::start());
    let settings = json!({"maxRetries": 2, "redeliverInterval": "2s"});
    inlet.follow(app.as_app(), vec![fixture.component(settings)]);
    pass(25).await;
    // Twice again with growing pauses, then given up on; the fourth refusal is of the next event.
    assert_eq!(app.seconds(), [10, 12, 16, 20, 22]);
    assert_eq!((fixture.count("retried"), fixture.count("dropped"), fixture.count("delivered")), (3, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn events_come_one_at_a_time_and_within_their_time() {
    let (fixture, app, inlet) =
        (Fixture::new(), App::new(&[Answer::Slow(25), Answer::Slow(500)]), Inlet::start());
    inlet.follow(app.as_app(), vec![fixture.component(json!({"processingTimeout": "30s"}))]);
    pass(95).await;
    // Those of 20 and 30 came due during the first, those of 50 to 70 during the second, which was cut off.
    assert_eq!(app.seconds(), [10, 40, 80, 90]);
    assert_eq!(app.most.load(Ordering::Relaxed), 1);
    assert_eq!((fixture.count("delivered"), fixture.count("dropped")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn what_stays_the_same_goes_on_and_what_changes_brings_nothing_twice() {
    let (fixture, app, inlet) = (Fixture::new(), App::new(&[]), Inlet::start());
    let component = fixture.component(json!({}));
    for _ in 0..6 {
        // Nothing changed: not even a question.
        inlet.follow(app.as_app(), vec![Arc::clone(&component)]);
        pass(4).await;
    }
    assert_eq!((app.seconds(), app.asked.load(Ordering::Relaxed)), (vec![10, 20], 1));
    for _ in 0..6 {
        // Another member over the same backend, as when only its rules change.
        inlet.follow(app.as_app(), vec![fixture.component(json!({}))]);
        pass(4).await;
    }
    assert_eq!(app.seconds(), [10, 20, 30, 40]);

    // It changes while an event is under way: that one ends first.
    app.answers.lock().push_back(Answer::Slow(5));
    pass(4).await;
    assert_eq!(app.under_way.load(Ordering::Relaxed), 1);
    let other = App::new(&[]);
    inlet.follow(other.as_app(), vec![fixture.component(json!({}))]);
    pass(20).await;
    assert_eq!((app.seconds().last(), other.seconds().len()), (Some(&50), 2));
    assert_eq!((fixture.count("delivered"), fixture.count("retried")), (7, 0));
    inlet.follow(None, vec![component]);
    pass(60).await;
    assert_eq!(other.seconds().len(), 2, "nobody is there to get any");
}

#[tokio::test(start_paused = true)]
async fn a_function_takes_a_binding_in_place_of_the_application() {
    for settings in [json!({}), json!({"direction": "input"})] {
        let (fixture, app, function, inlet) = (Fixture::new(), App::new(&[]), App::new(&[]), Inlet::start());
        let component = fixture.component(settings.clone());
        let instead = BTreeMap::from([("tick".to_owned(), Arc::clone(&function) as Arc<dyn AppInputs>)]);
        let follow = |instead| inlet.follow_with(app.as_app(), vec![Arc::clone(&component)], instead);
        follow(instead.clone());
        pass(25).await;
        assert_eq!((function.seconds(), app.seconds()), (vec![10, 20], vec![]));
        assert_eq!((function.asked.load(Ordering::Relaxed), app.asked.load(Ordering::Relaxed)), (0, 0));
        follow(BTreeMap::new());
        pass(10).await;
        assert_eq!((function.seconds().len(), app.seconds()), (2, vec![30]));
        // What the one has under way ends before the other begins.
        app.answers.lock().push_back(Answer::Slow(15));
        pass(6).await;
        follow(instead);
        pass(25).await;
        assert_eq!((function.seconds(), app.seconds()), (vec![10, 20, 60], vec![30, 40]), "{settings}");
        app.wants.store(false, Ordering::Relaxed);
        follow(BTreeMap::new());
        pass(20).await;
        let to_app = if settings == json!({}) { 2 } else { 4 };
        assert_eq!((function.seconds().len(), app.seconds().len()), (3, to_app), "not before it wants it");
    }
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_what_is_under_way_and_no_longer_than_told() {
    for (slow, patience, expected) in [(8, 30, 8), (50, 20, 20), (0, 20, 0)] {
        let (fixture, app, inlet) = (Fixture::new(), App::new(&[Answer::Slow(slow)]), Inlet::start());
        inlet.follow(app.as_app(), vec![fixture.component(json!({}))]);
        pass(10).await;
        sleep(Duration::from_millis(10)).await;
        let begun = Moment::now();
        inlet.drain(Duration::from_secs(patience)).await;
        let took = begun.elapsed().as_secs_f64();
        assert!((took - f64::from(expected)).abs() < 0.1, "{slow} {patience}: {took}");
        pass(30).await;
        assert_eq!(app.seconds(), [10]);
    }
    // An application that is not there is not waited for.
    let (fixture, app, inlet) = (Fixture::new(), App::new(&[Answer::Absent; 100]), Inlet::start());
    inlet.follow(app.as_app(), vec![fixture.component(json!({}))]);
    pass(12).await;
    let begun = Moment::now();
    inlet.drain(Duration::from_secs(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_event_begins_a_trace() {
    let (fixture, app, inlet) = (Fixture::new(), App::new(&[Answer::Refuse]), Inlet::start());
    let dropped = fixture.metrics.counter("outrigger_test_spans_dropped_total", "Lost spans", &[]).with(&[]);
    let mut spans = fixture.metrics.tracer().record(Recording { sample: 1.0, queue: 8, dropped });
    inlet.follow(app.as_app(), vec![fixture.component(json!({"direction": "input"}))]);
    pass(25).await;
    let events: Vec<_> = app.got.lock().iter().filter_map(|got| got.event.trace.clone()).collect();
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].trace_id, events[1].trace_id);
    let recorded = spans.batch(8, std::future::ready(())).await;
    let names: Vec<_> = recorded.iter().map(|span| (span.name.as_ref(), span.error.is_some())).collect();
    assert_eq!(names, [("deliver tick", true), ("deliver tick", false)]);
    assert_eq!(recorded[0].context.trace_id, events[0].trace_id);
}
