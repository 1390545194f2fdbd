//! Whose items are meant, what is refused, and what a watch does when its backend fails it.

use std::collections::VecDeque;
use std::sync::Arc;

use outrigger_component_api::{
    Component, ComponentSpec, ConfigurationCapabilities, ConfigurationChange as Change,
    ConfigurationEvent as Event, ConfigurationStore, ErrorKind, Watch, async_trait,
};
use outrigger_memory::MemoryConfiguration;
use parking_lot::Mutex;

use super::*;
use crate::{Member, Meter, Policy};

fn configuration(settings: &[(&str, &str)], backend: Arc<dyn ConfigurationStore>) -> Configuration {
    let configuration = Configuration::default();
    configuration.stores.replace([member(settings, &[], backend)]);
    configuration
}

fn member(
    settings: &[(&str, &str)],
    scopes: &[&str],
    backend: Arc<dyn ConfigurationStore>,
) -> Arc<ConfigurationComponent> {
    let mut spec = ComponentSpec { name: "config".to_owned(), ..ComponentSpec::default() };
    spec.scopes = scopes.iter().map(|app| (*app).to_owned()).collect();
    spec.settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let meter = Meter::new(&outrigger_telemetry::Metrics::new());
    let member = ConfigurationComponent::from_spec(&mut spec, Policy::default(), &meter).unwrap();
    assert!(spec.settings.is_empty(), "the backend sees the rest");
    member.slot().ready(backend);
    Arc::new(member)
}

fn item(key: &str, content: &str) -> Item {
    Item { key: key.to_owned(), content: content.to_owned(), ..Item::default() }
}

fn of(keys: &[&str]) -> Selector {
    Selector { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..Selector::default() }
}

#[tokio::test]
async fn what_is_left_out_is_the_callers_own_and_the_default() {
    let backend = Arc::new(MemoryConfiguration::new());
    let configuration =
        configuration(&[("defaultGroup", "g"), ("defaultlabel", "l")], Arc::clone(&backend) as _);
    let caller = &Caller::new("orders");
    configuration.save(caller, "config", "", vec![item("k", "own")]).await.unwrap();
    let placed = |app: &str| Selector {
        app_id: app.to_owned(),
        group: "g".to_owned(),
        label: "l".to_owned(),
        ..of(&["k"])
    };
    assert_eq!(backend.get(&placed("orders")).await.unwrap()[0].content, "own");
    let blank = Selector { group: " ".to_owned(), label: "\t".to_owned(), ..of(&["k"]) };
    assert_eq!(configuration.get(caller, "config", blank.clone()).await.unwrap()[0].content, "own");
    let other = Selector { label: "other".to_owned(), ..of(&["k"]) };
    assert_eq!(configuration.get(caller, "config", other).await.unwrap(), []);

    configuration.save(caller, "config", "billing", vec![item("k", "theirs")]).await.unwrap();
    assert_eq!(backend.get(&placed("billing")).await.unwrap()[0].content, "theirs");
    configuration.delete(caller, "config", of(&[])).await.unwrap();
    assert_eq!(
        configuration.get(caller, "config", of(&[])).await.unwrap().len(),
        1,
        "no keys remove nothing"
    );
    configuration.delete(caller, "config", blank).await.unwrap();
    assert_eq!(configuration.get(caller, "config", of(&[])).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let configuration = configuration(&[], Arc::new(MemoryConfiguration::new()));
    let caller = &Caller::new("orders");
    let refused = |error: Error, kind, names: &str| {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(names), "{error}");
    };
    use ErrorKind::{FailedPrecondition, InvalidArgument, NotConfigured};
    let error = configuration.get(caller, "confg", of(&[])).await.unwrap_err();
    refused(error, NotConfigured, "did you mean 'config'?");
    let error = configuration.get(caller, "config", of(&["a", ""])).await.unwrap_err();
    refused(error, InvalidArgument, "keys[1] is empty");
    let error =
        configuration.save(caller, "config", "", vec![item("a", ""), item("", "")]).await.unwrap_err();
    refused(error, InvalidArgument, "items[1].key is empty");
    let error = configuration.delete(caller, "config", of(&[""])).await.unwrap_err();
    refused(error, InvalidArgument, "keys[0]");
    let from = Some(Revision("soon".to_owned()));
    let error = configuration.watch(caller, "config", of(&[]), from).await.map(drop).unwrap_err();
    refused(error, InvalidArgument, "revision");
    let error = Configuration::default().get(caller, "config", of(&[])).await.unwrap_err();
    refused(error, FailedPrecondition, "no configuration store is configured");
}

/// A store whose watches do as told, and end when there is nothing more to do.
struct Told {
    items: MemoryConfiguration,
    steps: Arc<Mutex<VecDeque<Result<Event>>>>,
}

#[async_trait]
impl Component for Told {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl ConfigurationStore for Told {
    fn capabilities(&self) -> ConfigurationCapabilities {
        self.items.capabilities()
    }
    async fn get(&self, selector: &Selector) -> Result<Vec<Item>> {
        self.items.get(selector).await
    }
    async fn save(&self, app_id: &str, items: Vec<Item>) -> Result<()> {
        self.items.save(app_id, items).await
    }
    async fn watch(&self, _: &Selector, _: Option<Revision>) -> Result<Box<dyn Watch>> {
        Ok(Box::new(Steps(Arc::clone(&self.steps))))
    }
}

struct Steps(Arc<Mutex<VecDeque<Result<Event>>>>);

#[async_trait]
impl Watch for Steps {
    async fn next(&mut self) -> Result<Event> {
        self.0.lock().pop_front().unwrap_or_else(|| Err(Error::internal("over")))
    }
}

fn changed(content: &str) -> Event {
    Event::Changed { changes: vec![Change::Set(item("a", content))], revision: None }
}

#[tokio::test(start_paused = true)]
async fn a_watch_outlives_failures_and_brings_what_was_missed() {
    let down = || Err(Error::unavailable("down"));
    let steps = [Ok(changed("1")), down(), down(), Ok(changed("2")), Ok(Event::Compacted), Ok(changed("5"))];
    let store = Told { items: MemoryConfiguration::new(), steps: Arc::new(Mutex::new(steps.into())) };
    let configuration = configuration(&[], Arc::new(store));
    let caller = &Caller::new("orders");
    configuration.save(caller, "config", "", vec![item("a", "4")]).await.unwrap();
    let mut watch = configuration.watch(caller, "config", of(&["a", "b"]), None).await.unwrap();
    assert_eq!(watch.selector().app_id, "orders");
    let contents = |update: Update| match update {
        Update::Changed { changes, .. } => {
            changes.iter().map(|change| change.item().content.clone()).collect()
        }
        Update::Resync { items, gone } => {
            assert_eq!(gone, ["b"], "asked for, and not there");
            items.into_iter().map(|item| item.content).collect::<Vec<_>>()
        }
    };
    for expected in ["1", "2", "4", "5"] {
        assert_eq!(contents(watch.next().await.unwrap()), [expected]);
    }
    assert_eq!(watch.next().await.unwrap_err().message(), "over");
}

/// What ends a watch that is being waited for when the stores become these.
async fn end_of(watch: &mut ConfigurationWatch, then: impl FnOnce()) -> Error {
    let limit = std::time::Duration::from_secs(5);
    let (ended, ()) = tokio::join!(tokio::time::timeout(limit, watch.next()), async { then() });
    ended.expect("in time").expect_err("ended")
}

#[tokio::test]
async fn a_watch_ends_with_the_store_it_was_found_in() {
    let backend: Arc<dyn ConfigurationStore> = Arc::new(MemoryConfiguration::new());
    let configuration = configuration(&[], Arc::clone(&backend));
    let caller = &Caller::new("orders");
    let stores = &configuration.stores;
    let watch = || configuration.watch(caller, "config", of(&["a"]), None);
    let mut kept = watch().await.unwrap();
    stores.replace(stores.all());
    configuration.save(caller, "config", "", vec![item("a", "1")]).await.unwrap();
    assert!(matches!(kept.next().await.unwrap(), Update::Changed { .. }), "a reload that leaves it alone");

    let error = end_of(&mut kept, || stores.replace([member(&[], &[], Arc::clone(&backend))])).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("'config' was replaced: subscribe again"), "{error}");
    let mut again = watch().await.unwrap();
    let error = end_of(&mut again, || stores.replace([member(&[], &["billing"], backend.clone())])).await;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    stores.replace([member(&[], &[], backend)]);
    let mut again = watch().await.unwrap();
    let error = end_of(&mut again, || stores.replace([])).await;
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
}

#[tokio::test(start_paused = true)]
async fn watches_end_with_the_process_even_while_their_store_is_away() {
    let down = (0..1000).map(|_| Err(Error::unavailable("down")));
    let steps = Arc::new(Mutex::new(down.collect()));
    let configuration = configuration(&[], Arc::new(Told { items: MemoryConfiguration::new(), steps }));
    let caller = &Caller::new("orders");
    let mut watch = configuration.watch(caller, "config", of(&[]), None).await.unwrap();
    let error = end_of(&mut watch, || configuration.stores.close()).await;
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "the sidecar is stopping"));
    let late = configuration.watch(caller, "config", of(&[]), None).await.map(drop).unwrap_err();
    assert_eq!((late.kind(), late.message()), (ErrorKind::Unavailable, "the sidecar is stopping"));
    configuration.get(caller, "config", of(&[])).await.expect("calls are answered to the end");
    assert_eq!(configuration.stopping().await.message(), "the sidecar is stopping");
}

/// A store without a history: its watches do not say where they are.
struct Forgetful(MemoryConfiguration);

#[async_trait]
impl Component for Forgetful {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl ConfigurationStore for Forgetful {
    async fn get(&self, selector: &Selector) -> Result<Vec<Item>> {
        self.0.get(selector).await
    }
    async fn save(&self, app_id: &str, items: Vec<Item>) -> Result<()> {
        self.0.save(app_id, items).await
    }
    async fn delete(&self, selector: &Selector) -> Result<()> {
        self.0.delete(selector).await
    }
    async fn watch(&self, selector: &Selector, from: Option<Revision>) -> Result<Box<dyn Watch>> {
        assert_eq!(from, None, "it has given out none");
        Ok(Box::new(NoRevisions(self.0.watch(selector, None).await?)))
    }
}

struct NoRevisions(Box<dyn Watch>);

#[async_trait]
impl Watch for NoRevisions {
    async fn next(&mut self) -> Result<Event> {
        Ok(match self.0.next().await? {
            Event::Changed { changes, .. } => Event::Changed { changes, revision: None },
            Event::Compacted => Event::Compacted,
        })
    }
}

/// What is told of a change: items as `key=content`, and what is gone as `-key`.
fn told(polled: &Polled) -> Vec<String> {
    let items = polled.items.iter().map(|item| format!("{}={}", item.key, item.content));
    items.chain(polled.gone.iter().map(|key| format!("-{key}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_and_again_misses_no_change() {
    let stores: [Arc<dyn ConfigurationStore>; 2] =
        [Arc::new(MemoryConfiguration::new()), Arc::new(Forgetful(MemoryConfiguration::new()))];
    for (at, backend) in stores.into_iter().enumerate() {
        let configuration = &configuration(&[], backend);
        let caller = &Caller::new("orders");
        let second = std::time::Duration::from_secs(1);
        let poll = async |since: &str| configuration.poll(caller, "config", of(&[]), since, second).await;
        let save = async |key: &str, content: &str| {
            configuration.save(caller, "config", "", vec![item(key, content)]).await.unwrap();
        };
        save("a", "1").await;
        let quiet = poll("").await.unwrap();
        assert_eq!(told(&quiet), [""; 0], "{at}");

        let (asked, ()) = tokio::join!(poll(&quiet.since), async {
            tokio::task::yield_now().await;
            save("b", "1").await;
        });
        let asked = asked.unwrap();
        assert_eq!(told(&asked), ["b=1"], "{at}: while it waited");

        save("a", "2").await;
        let between = poll(&asked.since).await.unwrap();
        assert!(told(&between).contains(&"a=2".to_owned()), "{at}: {between:?}");

        let quiet = poll(&between.since).await.unwrap();
        assert_eq!(told(&quiet), [""; 0], "{at}: told once");
        configuration.delete(caller, "config", of(&["b"])).await.unwrap();
        let gone = configuration.poll(caller, "config", of(&["a", "b"]), &quiet.since, second).await.unwrap();
        assert!(told(&gone).contains(&"-b".to_owned()), "{at}: {gone:?}");
        for wrong in ["7", "s", "sx", "é"] {
            let error = poll(wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{at}: {wrong}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_asked_for_changes_that_are_no_longer_known_is_told_what_there_is() {
    let steps = [Ok(Event::Compacted)];
    let store = Told { items: MemoryConfiguration::new(), steps: Arc::new(Mutex::new(steps.into())) };
    let configuration = configuration(&[], Arc::new(store));
    let caller = &Caller::new("orders");
    configuration.save(caller, "config", "", vec![item("a", "4")]).await.unwrap();
    let second = std::time::Duration::from_secs(1);
    let polled = configuration.poll(caller, "config", of(&["a", "b"]), "r1", second).await.unwrap();
    assert_eq!(told(&polled), ["a=4", "-b"]);
}
