//! Numbers are unique and grow; those taken in advance are the sequencer's and the key's own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use outrigger_component_api::{
    Component, ComponentSpec, Error, ErrorKind, Sequencer as Backend, SequencerCapabilities, async_trait,
};
use outrigger_memory::MemorySequencer;
use serde_json::{Value, json};

use super::*;
use crate::{Member, Meter, Policy};

fn member(name: &str, settings: Value, backend: Arc<dyn Backend>) -> Arc<SequencerComponent> {
    let mut spec = ComponentSpec { name: name.to_owned(), ..ComponentSpec::default() };
    spec.settings = settings.as_object().cloned().unwrap();
    let meter = Meter::new(&outrigger_telemetry::Metrics::new());
    let policy = Policy { retries: 0, ..Policy::default() };
    let member = SequencerComponent::from_spec(&mut spec, policy, &meter).unwrap();
    assert!(spec.settings.is_empty(), "the backend sees the rest");
    member.slot().ready(backend);
    Arc::new(member)
}

fn sequencer(settings: Value, backend: Arc<dyn Backend>) -> Sequencer {
    let sequencer = Sequencer::default();
    sequencer.stores.replace([member("ids", settings, backend)]);
    sequencer
}

async fn next(sequencer: &Sequencer, store: &str, key: &str, increment: Increment) -> Result<i64> {
    sequencer.next(&Caller::new("orders"), store, key, increment).await
}

/// A sequencer in memory whose calls are counted and can be made to fail.
#[derive(Default)]
struct Counted {
    numbers: MemorySequencer,
    calls: AtomicU32,
    failing: AtomicBool,
    without_segments: bool,
}

impl Counted {
    fn called(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) { Err(Error::unavailable("down")) } else { Ok(()) }
    }
}

#[async_trait]
impl Component for Counted {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Backend for Counted {
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities { segments: !self.without_segments, bigger_than: true, persistent: false }
    }
    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64> {
        self.called()?;
        tokio::task::yield_now().await;
        self.numbers.next(key, options).await
    }
    async fn segment(&self, key: &Key, size: u32, options: NextOptions) -> Result<Segment> {
        self.called()?;
        tokio::task::yield_now().await;
        self.numbers.segment(key, size, options).await
    }
}

#[tokio::test]
async fn the_key_is_the_one_existing_fleets_have() {
    let check = async |settings: Value, expected: &str| {
        let backend = Arc::new(MemorySequencer::default());
        let sequencer = sequencer(settings, Arc::clone(&backend) as _);
        assert_eq!(next(&sequencer, "ids", "k", Increment::Strong).await.unwrap(), 1);
        let key = Key::new(expected.to_owned()).unwrap();
        assert_eq!(Backend::next(&*backend, &key, NextOptions::default()).await.unwrap(), 2, "{expected}");
    };
    check(json!({}), "sequencer|||orders||k").await;
    check(json!({"keyPrefix": "none"}), "sequencer|||k").await;
    check(json!({"keyPrefix": "name"}), "sequencer|||ids||k").await;
}

#[tokio::test]
async fn weak_numbers_are_taken_in_advance_and_refilled_before_they_run_out() {
    let backend = Arc::new(Counted::default());
    let sequencer = sequencer(json!({"segmentSize": 100}), Arc::clone(&backend) as _);
    let calls = || backend.calls.load(Ordering::Relaxed);
    for expected in 1..=89 {
        assert_eq!(next(&sequencer, "ids", "k", Increment::Weak).await.unwrap(), expected);
    }
    assert_eq!(calls(), 1);
    assert_eq!(next(&sequencer, "ids", "k", Increment::Weak).await.unwrap(), 90);
    assert_eq!(calls(), 2, "ten are left: the next hundred was fetched");
    for expected in 91..=189 {
        assert_eq!(next(&sequencer, "ids", "k", Increment::Weak).await.unwrap(), expected);
    }
    assert_eq!(calls(), 2);
    assert_eq!(next(&sequencer, "ids", "k", Increment::Strong).await.unwrap(), 201, "above all taken");
}

#[tokio::test]
async fn ten_thousand_are_taken_unless_told_otherwise() {
    let backend = Arc::new(Counted::default());
    let sequencer = sequencer(json!({}), Arc::clone(&backend) as _);
    for _ in 0..8999 {
        next(&sequencer, "ids", "k", Increment::Weak).await.unwrap();
    }
    assert_eq!(backend.calls.load(Ordering::Relaxed), 1);
    next(&sequencer, "ids", "k", Increment::Weak).await.unwrap();
    assert_eq!(backend.calls.load(Ordering::Relaxed), 2, "a thousand are left");
}

/// Numbers there are go on being given out while the backend is down, and it is not asked for each of them.
#[tokio::test]
async fn a_backend_that_is_down_is_missed_only_when_numbers_run_out() {
    let backend = Arc::new(Counted::default());
    let sequencer = sequencer(json!({"segmentSize": 100}), Arc::clone(&backend) as _);
    next(&sequencer, "ids", "k", Increment::Weak).await.unwrap();
    backend.failing.store(true, Ordering::Relaxed);
    for expected in 2..=100 {
        assert_eq!(next(&sequencer, "ids", "k", Increment::Weak).await.unwrap(), expected);
    }
    assert_eq!(backend.calls.load(Ordering::Relaxed), 2, "one try to refill, then a pause");
    assert_eq!(
        next(&sequencer, "ids", "k", Increment::Weak).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    backend.failing.store(false, Ordering::Relaxed);
    assert_eq!(next(&sequencer, "ids", "k", Increment::Weak).await.unwrap(), 101);
}

/// Layotto keeps one buffer for a key, whichever store it is of.
#[tokio::test]
async fn two_stores_with_one_key_share_nothing() {
    let sequencer = Sequencer::default();
    let settings = || json!({"keyPrefix": "none"});
    sequencer.stores.replace([
        member("one", settings(), Arc::new(MemorySequencer::default())),
        member("two", settings(), Arc::new(MemorySequencer::default())),
    ]);
    for expected in 1..=3 {
        for store in ["one", "two"] {
            assert_eq!(next(&sequencer, store, "k", Increment::Weak).await.unwrap(), expected, "{store}");
        }
    }
}

#[tokio::test]
async fn nobody_gets_a_number_twice() {
    for (increment, without_segments) in
        [(Increment::Weak, false), (Increment::Strong, false), (Increment::Weak, true)]
    {
        let backend = Arc::new(Counted { without_segments, ..Counted::default() });
        let sequencer = sequencer(json!({"segmentSize": 7}), backend);
        let callers = (0..20).map(async |_| {
            let mut numbers = Vec::new();
            for _ in 0..20 {
                numbers.push(next(&sequencer, "ids", "k", increment).await.unwrap());
            }
            assert!(numbers.is_sorted(), "{numbers:?}");
            numbers
        });
        let numbers = futures_util::future::join_all(callers).await.concat();
        let unique: BTreeSet<_> = numbers.iter().collect();
        assert_eq!(unique.len(), 400, "{increment:?}");
    }
}

#[tokio::test]
async fn the_number_of_cached_sequences_is_bounded() {
    let store = member("ids", json!({"segmentSize": 10}), Arc::new(MemorySequencer::default()));
    let sequencer = Sequencer::default();
    sequencer.stores.replace([Arc::clone(&store)]);
    for i in 0..cache::SEQUENCES + 10 {
        next(&sequencer, "ids", &format!("k{i}"), Increment::Weak).await.unwrap();
        assert!(next(&sequencer, "ids", "often", Increment::Weak).await.unwrap() > i64::try_from(i).unwrap());
    }
    assert_eq!(store.cache.len(), cache::SEQUENCES);
    assert_eq!(
        next(&sequencer, "ids", "k0", Increment::Weak).await.unwrap(),
        11,
        "pushed out: the rest is lost"
    );
    let often = next(&sequencer, "ids", "often", Increment::Weak).await.unwrap();
    assert_eq!(often, i64::try_from(cache::SEQUENCES).unwrap() + 11, "what is used stays");
}

#[tokio::test]
async fn sequences_go_on_above_what_the_configuration_says() {
    let floors = json!({"biggerThan": {"plain": 100, "sequencer|||orders||stored": "200"}});
    let sequencer = sequencer(floors, Arc::new(MemorySequencer::default()));
    assert_eq!(next(&sequencer, "ids", "plain", Increment::Strong).await.unwrap(), 101);
    assert_eq!(next(&sequencer, "ids", "stored", Increment::Weak).await.unwrap(), 201);
    assert_eq!(next(&sequencer, "ids", "other", Increment::Strong).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let sequencer = sequencer(json!({}), Arc::new(MemorySequencer::default()));
    let check = async |store: &str, key: &str, kind, names: &str| {
        for increment in [Increment::Weak, Increment::Strong] {
            let error = next(&sequencer, store, key, increment).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(names), "{error}");
        }
    };
    check("id", "k", ErrorKind::NotConfigured, "did you mean 'ids'?").await;
    check("ids", "", ErrorKind::InvalidArgument, "key is empty").await;
    check("ids", "a||b", ErrorKind::InvalidArgument, "key 'a||b'").await;
    let none = next(&Sequencer::default(), "ids", "k", Increment::Weak).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |settings: Value, names: &str| {
        let settings = settings.as_object().cloned().unwrap();
        let error = Rules::take(&mut ComponentSpec { settings, ..ComponentSpec::default() }).unwrap_err();
        assert!(error.to_string().contains(names), "{error}");
    };
    check(json!({"segmentSize": 0}), "setting=segmentSize");
    check(json!({"segmentSize": 1_000_001}), "from 1 to 1000000");
    check(json!({"segmentSize": "many"}), "segmentSize");
    check(json!({"biggerThan": 7}), "setting=biggerThan");
    check(json!({"biggerThan": {"k": 1.5}}), "biggerThan");
    check(json!({"keyPrefix": "a||b"}), "setting=keyPrefix");
}
