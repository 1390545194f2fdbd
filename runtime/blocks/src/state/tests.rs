//! The state block over the memory backend, and over one that fails.

use std::sync::atomic::{AtomicU32, Ordering};

use outrigger_component_api::{
    Component, ComponentSpec, Concurrency, Error, ErrorKind, StateCapabilities, async_trait,
};
use outrigger_memory::MemoryState;
use outrigger_telemetry::Metrics;

use super::*;
use crate::Health;
use crate::guard::{Meter, Policy};
use crate::stores::Member as _;

fn component(spec: &[(&str, &str)], scopes: &[&str], backend: Arc<dyn StateStore>) -> Arc<StateComponent> {
    let mut component = ComponentSpec { r#type: "state.in-memory".to_owned(), ..ComponentSpec::default() };
    component.scopes = scopes.iter().map(|app| (*app).to_owned()).collect();
    for (name, value) in spec {
        match *name {
            "name" => component.name = (*value).to_owned(),
            setting => drop(component.settings.insert(setting.to_owned(), (*value).into())),
        }
    }
    let meter = Meter::new(&Metrics::new());
    let component = StateComponent::from_spec(&mut component, Policy::default(), &meter).unwrap();
    component.slot().ready(backend);
    Arc::new(component)
}

/// `plain`, `prefixed` and `private` over one backend.
fn state(backend: &Arc<dyn StateStore>) -> State {
    let state = State::default();
    state.stores.replace([
        component(&[("name", "plain")], &[], Arc::clone(backend)),
        component(&[("name", "prefixed"), ("keyPrefix", "appid")], &[], Arc::clone(backend)),
        component(&[("name", "private")], &["billing"], Arc::clone(backend)),
    ]);
    state
}

fn memory() -> Arc<dyn StateStore> {
    Arc::new(MemoryState::new())
}

fn write(key: &str, value: &'static str) -> Write {
    Write { key: key.to_owned(), value: value.into(), options: SetOptions::default() }
}

fn first_write(key: &str) -> Write {
    let options = SetOptions { concurrency: Concurrency::FirstWrite, ..SetOptions::default() };
    Write { options, ..write(key, "first") }
}

async fn read(state: &State, store: &str, key: &str) -> Option<Bytes> {
    let entry = state.get(&Caller::new("orders"), store, key, GetOptions::default()).await.unwrap();
    entry.map(|entry| entry.value)
}

#[tokio::test]
async fn stores_of_one_backend_differ_by_their_prefix() {
    let (backend, caller) = (memory(), Caller::new("orders"));
    let state = state(&backend);
    state.set(&caller, "plain", write("cart", "one")).await.unwrap();
    assert_eq!(read(&state, "prefixed", "cart").await, None);
    state.set(&caller, "prefixed", write("cart", "two")).await.unwrap();
    assert_eq!(read(&state, "plain", "cart").await.unwrap(), "one");
    assert_eq!(read(&state, "prefixed", "cart").await.unwrap(), "two");
    let stored = backend.get(&Key::new("orders||cart").unwrap(), GetOptions::default()).await.unwrap();
    assert_eq!(stored.unwrap().value, "two");
    state.delete(&caller, "prefixed", "cart", DeleteOptions::default()).await.unwrap();
    assert_eq!(read(&state, "prefixed", "cart").await, None);
    assert_eq!(read(&state, "plain", "cart").await.unwrap(), "one");
}

#[tokio::test]
async fn what_is_not_there_is_said_in_a_way_that_helps() {
    let state = state(&memory());
    let check = async |state: &State, store: &str, kind, names: &str| {
        let error = state.get(&Caller::new("orders"), store, "k", GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(names), "{error}");
    };
    check(&State::default(), "plain", ErrorKind::FailedPrecondition, "no state store is configured").await;
    check(&state, "plian", ErrorKind::NotConfigured, "did you mean 'plain'?").await;
    check(&state, "redis", ErrorKind::NotConfigured, "there are: plain, prefixed, private").await;
    check(&state, "", ErrorKind::NotConfigured, "store_name is empty").await;
    check(&state, "private", ErrorKind::PermissionDenied, "not open to app 'orders'").await;
    let billing = Caller::new("billing");
    assert_eq!(state.get(&billing, "private", "k", GetOptions::default()).await.unwrap(), None);
}

#[tokio::test]
async fn bulk_reads_answer_in_the_order_asked() {
    let (state, caller) = (state(&memory()), Caller::new("orders"));
    state.save(&caller, "prefixed", vec![write("a", "A"), write("b", "B")]).await.unwrap();
    let keys = ["b", "missing", "a", "b"].map(str::to_owned);
    let found = state.get_bulk(&caller, "prefixed", &keys, BulkOptions::default()).await.unwrap();
    let found = found.into_iter().map(|found| found.unwrap().map(|entry| entry.value));
    assert_eq!(found.collect::<Vec<_>>(), [Some("B".into()), None, Some("A".into()), Some("B".into())]);
    assert!(state.get_bulk(&caller, "plain", &[], BulkOptions::default()).await.unwrap().is_empty());
    let bad = ["a", "b||c"].map(str::to_owned);
    let error = state.get_bulk(&caller, "plain", &bad, BulkOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("at=keys[1]"), "{error}");
}

#[tokio::test]
async fn a_bulk_save_goes_on_after_a_conflict_and_reports_it() {
    let (state, caller) = (state(&memory()), Caller::new("orders"));
    state.save(&caller, "plain", Vec::new()).await.unwrap();
    state.save(&caller, "plain", vec![write("b", "old")]).await.unwrap();
    let writes = vec![write("a", "A"), first_write("b"), write("c", "C")];
    let error = state.save(&caller, "plain", writes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("at=states[1], failed=1 of 3"), "{error}");
    assert_eq!(read(&state, "plain", "b").await.unwrap(), "old");
    assert_eq!(read(&state, "plain", "c").await.unwrap(), "C");
    let deletes = ["a", "c"].map(|key| (key.to_owned(), DeleteOptions::default()));
    state.delete_bulk(&caller, "plain", deletes.to_vec()).await.unwrap();
    assert_eq!(read(&state, "plain", "a").await, None);
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let (state, caller) = (state(&memory()), Caller::new("orders"));
    state.save(&caller, "plain", vec![write("b", "old")]).await.unwrap();
    let operations = vec![Operation::Set(write("a", "A")), Operation::Set(first_write("b"))];
    let error = state.transact(&caller, "plain", operations).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(read(&state, "plain", "a").await, None);
    let delete = Operation::Delete { key: "b".to_owned(), options: DeleteOptions::default() };
    state.transact(&caller, "plain", vec![Operation::Set(write("a", "A")), delete]).await.unwrap();
    assert_eq!(read(&state, "plain", "a").await.unwrap(), "A");
    assert_eq!(read(&state, "plain", "b").await, None);
    let error = state.transact(&caller, "plain", vec![Operation::Set(write("||", "A"))]).await.unwrap_err();
    assert!(error.to_string().contains("at=operations[0]"), "{error}");
}

#[tokio::test]
async fn a_replaced_store_is_used_from_the_next_call_on() {
    let (state, caller) = (state(&memory()), Caller::new("orders"));
    state.set(&caller, "plain", write("cart", "one")).await.unwrap();
    let kept = state.stores.find(&caller, "plain").unwrap();
    state.stores.replace([kept, component(&[("name", "new")], &[], memory())]);
    assert_eq!(read(&state, "plain", "cart").await.unwrap(), "one");
    assert_eq!(read(&state, "new", "cart").await, None);
    assert!(state.stores.find(&caller, "prefixed").is_err());
}

#[tokio::test(start_paused = true)]
async fn reports_say_what_a_store_can_and_how_it_is() {
    let store = component(&[("name", "plain")], &[], memory());
    let report = store.report().await;
    assert_eq!((report.name.as_str(), report.type_name.as_str()), ("plain", "state.in-memory"));
    assert_eq!((report.health, report.capabilities), (Health::Up, vec!["ETAG", "TRANSACTIONAL", "TTL"]));
    store.slot().ready(Arc::new(Broken::default()));
    let reason = "no answer to a ping within 1s".to_owned();
    assert_eq!(store.report().await.health, Health::Down { reason });
    store.slot().not_ready("connection refused");
    assert_eq!(store.report().await.health, Health::Down { reason: "connection refused".to_owned() });
}

/// Every call fails and is counted; a ping never answers.
#[derive(Default)]
struct Broken(AtomicU32);

impl Broken {
    fn fail<T>(&self) -> Result<T> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Error::unavailable("broken"))
    }
}

#[async_trait]
impl Component for Broken {
    async fn ping(&self) -> Result<()> {
        std::future::pending().await
    }
}

#[async_trait]
impl StateStore for Broken {
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities { transactions: true, ..StateCapabilities::default() }
    }
    async fn get(&self, _: &Key, _: GetOptions) -> Result<Option<Entry>> {
        self.fail()
    }
    async fn set(&self, _: &Key, _: Bytes, _: SetOptions) -> Result<Etag> {
        self.fail()
    }
    async fn delete(&self, _: &Key, _: DeleteOptions) -> Result<()> {
        self.fail()
    }
    async fn transact(&self, _: Vec<Change>) -> Result<()> {
        self.fail()
    }
}

#[tokio::test(start_paused = true)]
async fn writes_that_depend_on_what_is_there_are_tried_once() {
    /// A component of its own for each call, or the breaker would answer.
    fn broken() -> (State, Arc<Broken>) {
        let (state, backend) = (State::default(), Arc::new(Broken::default()));
        state.stores.replace([component(&[("name", "plain")], &[], Arc::clone(&backend) as _)]);
        (state, backend)
    }
    let check = |backend: &Broken, result: Result<()>, attempts| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(backend.0.load(Ordering::Relaxed), attempts);
    };
    let (caller, often) = (&Caller::new("orders"), 1 + Policy::default().retries);
    let matching = DeleteOptions { if_match: Etag::from_caller("7"), ..DeleteOptions::default() };

    let (state, backend) = broken();
    check(&backend, state.set(caller, "plain", write("k", "v")).await.map(drop), often);
    let (state, backend) = broken();
    check(&backend, state.set(caller, "plain", first_write("k")).await.map(drop), 1);
    let (state, backend) = broken();
    let fenced = SetOptions { fence: Some(7), ..SetOptions::default() };
    let fenced = Write { options: fenced, ..write("k", "v") };
    check(&backend, state.set(caller, "plain", fenced).await.map(drop), 1);
    let (state, backend) = broken();
    check(&backend, state.delete(caller, "plain", "k", DeleteOptions::default()).await, often);
    let (state, backend) = broken();
    check(&backend, state.delete(caller, "plain", "k", matching).await, 1);
    let (state, backend) = broken();
    check(&backend, state.transact(caller, "plain", vec![Operation::Set(write("k", "v"))]).await, often);
    let (state, backend) = broken();
    check(&backend, state.transact(caller, "plain", vec![Operation::Set(first_write("k"))]).await, 1);
}

#[tokio::test]
async fn many_count_on_one_number_and_none_is_lost() {
    let state = &state(&memory());
    let caller = &Caller::new("orders");
    let counting = (0..20).map(|_| state.increment(caller, "plain", "n", 3));
    let mut sums: Vec<_> =
        futures_util::future::join_all(counting).await.into_iter().map(Result::unwrap).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=20).map(|n| n * 3).collect::<Vec<_>>());
    assert_eq!(state.increment(caller, "plain", "n", -70).await.unwrap(), -10);
    assert_eq!(read(state, "plain", "n").await.unwrap(), "-10");
}

#[tokio::test]
async fn only_numbers_are_counted_on_and_they_expire_when_they_would_have() {
    let state = &state(&memory());
    let caller = &Caller::new("orders");
    let options = SetOptions { ttl: Some(std::time::Duration::from_secs(60)), ..SetOptions::default() };
    state.set(caller, "plain", Write { options, ..write("n", "7") }).await.unwrap();
    assert_eq!(state.increment(caller, "plain", "n", 1).await.unwrap(), 8);
    let entry = state.get(caller, "plain", "n", GetOptions::default()).await.unwrap().unwrap();
    assert!(entry.expires.is_some(), "{entry:?}");
    for (value, by) in [("seven", 1), ("", 1), ("9223372036854775807", 1), ("-2", i64::MIN)] {
        state.set(caller, "plain", write("n", value)).await.unwrap();
        let error = state.increment(caller, "plain", "n", by).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{value}: {error}");
        assert_eq!(read(state, "plain", "n").await.unwrap(), value, "left as it was");
    }
}
