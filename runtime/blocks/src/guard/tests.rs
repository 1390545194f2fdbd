//! The guard and the slot around it, with time paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outrigger_component_api::{Component, Error, ErrorKind, Result, async_trait};
use outrigger_resilience::{BreakerConfig, Deadline};
use outrigger_telemetry::Metrics;
use tokio::time::Instant;

use super::{Call, Class, Complaints, Guard, Meter, Op, Policy};
use crate::caller::Caller;
use crate::slot::{Slot, SlotConfig};

/// Fails as often as it is told to, then succeeds.
#[derive(Default)]
struct Flaky {
    failures: AtomicU32,
    kind: Option<ErrorKind>,
    permanent: bool,
    called: AtomicU32,
}

#[async_trait]
impl Component for Flaky {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

impl Flaky {
    fn failing(kind: ErrorKind, times: u32) -> Self {
        Self { failures: times.into(), kind: Some(kind), ..Self::default() }
    }

    async fn work(&self) -> Result<&'static str> {
        self.called.fetch_add(1, Ordering::Relaxed);
        let fails =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match (fails, self.kind) {
            (Ok(_), Some(kind)) if self.permanent => Err(Error::new(kind, "as told").permanent()),
            (Ok(_), Some(kind)) => Err(Error::new(kind, "as told")),
            _ => Ok("done"),
        }
    }
}

struct Bench {
    slot: Slot<Flaky>,
    backend: Arc<Flaky>,
    metrics: Metrics,
    op: Op,
}

impl Bench {
    fn new(backend: Flaky) -> Self {
        let metrics = Metrics::new();
        let op = Meter::new(&metrics).op("state", "cart", "get");
        let slot = Slot::new(SlotConfig { name: "cart".to_owned(), ..SlotConfig::default() });
        let backend = Arc::new(backend);
        slot.ready(Arc::clone(&backend));
        Self { slot, backend, metrics, op }
    }

    async fn call(&self, class: Class) -> Result<&'static str> {
        self.call_as(&Caller::new("orders"), class).await
    }

    async fn call_as(&self, caller: &Caller<'_>, class: Class) -> Result<&'static str> {
        let call = Call { op: &self.op, class, caller };
        self.slot.run(call, |backend| async move { backend.work().await }).await
    }

    /// Never answers.
    async fn hang(&self, caller: &Caller<'_>) -> Result<()> {
        let call = Call { op: &self.op, class: Class::Idempotent, caller };
        self.slot.run(call, |_| std::future::pending()).await
    }

    fn called(&self) -> u32 {
        self.backend.called.load(Ordering::Relaxed)
    }

    fn counted(&self, outcome: &str) -> bool {
        let line = format!(
            r#"outrigger_block_calls_total{{block="state",component="cart",op="get",outcome="{outcome}"}}"#
        );
        self.metrics.render().lines().any(|rendered| rendered.starts_with(&line) && !rendered.ends_with(" 0"))
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_repeated_is_repeated() {
    let check = async |kind, failures, class, expected: Result<&str, ErrorKind>, calls| {
        let bench = Bench::new(Flaky::failing(kind, failures));
        assert_eq!(bench.call(class).await.map_err(|error| error.kind()), expected, "{kind} {class:?}");
        assert_eq!(bench.called(), calls, "{kind} {class:?}");
    };
    use ErrorKind::{Conflict, RateLimited, Timeout, Unavailable};
    check(Unavailable, 2, Class::Idempotent, Ok("done"), 3).await;
    check(Timeout, 1, Class::Idempotent, Ok("done"), 2).await;
    check(RateLimited, 1, Class::Idempotent, Ok("done"), 2).await;
    check(Unavailable, 3, Class::Idempotent, Err(Unavailable), 3).await;
    check(Unavailable, 1, Class::Conditional, Err(Unavailable), 1).await;
    check(Unavailable, 1, Class::Once, Err(Unavailable), 1).await;
    check(Conflict, 1, Class::Idempotent, Err(Conflict), 1).await;

    let stubborn = Bench::new(Flaky { permanent: true, ..Flaky::failing(Unavailable, 1) });
    stubborn.call(Class::Idempotent).await.unwrap_err();
    assert_eq!(stubborn.called(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_holds() {
    let bench = Bench::new(Flaky::default());
    let check = async |caller: Caller<'_>, millis, whose: &str| {
        let started = Instant::now();
        let error = bench.hang(&caller).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains(whose), "{error}");
        assert_eq!(started.elapsed().as_millis(), millis);
    };
    let in_millis = |millis| Deadline::after(Instant::now().into_std(), Duration::from_millis(millis));
    check(Caller::new("orders"), 5_000, "the component's timeout").await;
    check(Caller { deadline: in_millis(100), ..Caller::new("orders") }, 100, "the caller's deadline").await;
    check(Caller { deadline: in_millis(60_000), ..Caller::new("orders") }, 5_000, "the component's timeout")
        .await;
    check(Caller { deadline: in_millis(0), ..Caller::new("orders") }, 0, "the caller's deadline").await;
    assert!(bench.counted("timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_component_that_keeps_failing_is_given_a_rest() {
    let failures = Policy::default().breaker.consecutive_failures;
    let bench = Bench::new(Flaky::failing(ErrorKind::Unavailable, failures));
    for _ in 0..failures {
        bench.call(Class::Once).await.unwrap_err();
    }
    let refused = bench.call(Class::Once).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains("given a rest"), "{refused}");
    assert_eq!(bench.called(), failures, "nobody asked it");
    tokio::time::sleep(Policy::default().breaker.min_open).await;
    assert_eq!(bench.call(Class::Once).await.unwrap(), "done");
    assert_eq!(bench.call(Class::Once).await.unwrap(), "done");
}

/// The rests do not grow with the length of an outage, unless somebody wants that.
#[tokio::test(start_paused = true)]
async fn a_component_that_was_gone_for_long_is_of_use_soon() {
    let back_after = async |longest: Option<Duration>| {
        let breaker = BreakerConfig { max_open: longest, ..BreakerConfig::default() };
        let guard = Guard::new(Policy { breaker, ..Policy::default() });
        let op = Meter::new(&Metrics::new()).op("state", "cart", "get");
        let call = Call { op: &op, class: Class::Once, caller: &Caller::new("orders") };
        let back = Instant::now() + Duration::from_secs(60);
        let attempt =
            |()| async { if Instant::now() < back { Err(Error::unavailable("away")) } else { Ok(()) } };
        while guard.run(call, async |_| Ok(()), attempt).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        back.elapsed()
    };
    let usual = back_after(None).await;
    assert!(usual < Duration::from_millis(1100), "{usual:?}");
    let patient = back_after(Some(Duration::from_secs(60))).await;
    assert!(patient > Duration::from_secs(1), "{patient:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_opens_the_breaker_and_impatient_callers_do_not() {
    let failures = Policy::default().breaker.consecutive_failures;
    let bench = Bench::new(Flaky::default());
    for _ in 0..2 * failures {
        let deadline = Deadline::after(Instant::now().into_std(), Duration::from_millis(1));
        bench.hang(&Caller { deadline, ..Caller::new("orders") }).await.unwrap_err();
    }
    assert_eq!(bench.call(Class::Once).await.unwrap(), "done");
    for _ in 0..failures {
        bench.hang(&Caller::new("orders")).await.unwrap_err();
    }
    assert!(bench.call(Class::Once).await.unwrap_err().to_string().contains("given a rest"));
}

#[tokio::test(start_paused = true)]
async fn callers_mistakes_do_not_open_the_breaker() {
    let bench = Bench::new(Flaky::failing(ErrorKind::Conflict, 100));
    for _ in 0..100 {
        bench.call(Class::Once).await.unwrap_err();
    }
    assert_eq!(bench.called(), 100);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_a_component_that_is_starting() {
    let slot = Arc::new(Slot::<Flaky>::new(SlotConfig { name: "cart".to_owned(), ..SlotConfig::default() }));
    let op = Meter::new(&Metrics::new()).op("state", "cart", "get");
    let call = async || {
        let caller = Caller::new("orders");
        let call = Call { op: &op, class: Class::Once, caller: &caller };
        slot.run(call, |backend| async move { backend.work().await }).await
    };
    let started = Instant::now();
    let error = call().await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Unavailable, 5));
    assert!(error.message().contains("still starting"), "{error}");

    let later = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        slot.ready(Arc::default());
    };
    let (answer, ()) = tokio::join!(call(), later);
    assert_eq!(answer.unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_not_ready_says_why_at_once_and_recovers_at_once() {
    let bench = Bench::new(Flaky::default());
    bench.slot.not_ready("connection refused");
    let started = Instant::now();
    for _ in 0..100 {
        let error = bench.call(Class::Idempotent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), "component 'cart' is not ready: connection refused");
    }
    assert_eq!((started.elapsed(), bench.called()), (Duration::ZERO, 0));
    bench.slot.ready(Arc::clone(&bench.backend));
    assert_eq!(bench.call(Class::Once).await.unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn every_end_is_counted() {
    let bench = Bench::new(Flaky::failing(ErrorKind::Conflict, 1));
    assert!(!bench.counted("conflict") && !bench.counted("ok"));
    bench.call(Class::Once).await.unwrap_err();
    bench.call(Class::Once).await.unwrap();
    assert!(bench.counted("conflict") && bench.counted("ok") && !bench.counted("cancelled"));
    let caller = Caller::new("orders");
    tokio::time::timeout(Duration::from_millis(1), bench.hang(&caller)).await.unwrap_err();
    assert!(bench.counted("cancelled"));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_line_a_second() {
    let complaints = Complaints::new();
    let second = Duration::from_secs(1);
    let now = Instant::now();
    assert_eq!(complaints.may_speak(now), Some(0));
    for _ in 0..500 {
        assert_eq!(complaints.may_speak(now + second / 2), None);
    }
    assert_eq!(complaints.may_speak(now + second), Some(500));
    assert_eq!(complaints.may_speak(now + second), None);
    assert_eq!(complaints.may_speak(now + 3 * second), Some(1));
}
