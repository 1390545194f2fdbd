//! Watches across interruptions: nothing is skipped, or it is said that something was.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{CompactionOptions, Txn, TxnOp};
use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, ConfigurationItem as Item,
    ConfigurationStore as _, ErrorKind, Result, Revision, Selector, Watch, async_trait,
};
use outrigger_etcd::{EtcdConfig, EtcdConfiguration};

use crate::server::Server;
use crate::verdict::recovers;

fn of(key: &str) -> Selector {
    Selector { app_id: "app".to_owned(), keys: vec![key.to_owned()], ..Selector::default() }
}

async fn save(store: &EtcdConfiguration, key: &str, content: impl ToString) {
    let item = Item { key: key.to_owned(), content: content.to_string(), ..Item::default() };
    recovers(async || store.save("app", vec![item.clone()]).await).await.expect("saved");
}

async fn next(watch: &mut dyn Watch) -> Event {
    let wait = async {
        loop {
            match watch.next().await {
                Ok(event) => return event,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("an event")
}

fn content(event: &Event) -> Option<(&str, Option<Revision>)> {
    match event {
        Event::Changed { changes, revision } => match changes.as_slice() {
            [Change::Set(item)] => Some((&item.content, revision.clone())),
            other => panic!("{other:?}"),
        },
        Event::Compacted => None,
    }
}

/// Whoever follows `watch` ends up with all of `written`, or knows that something is missing.
async fn tells_all(watch: &mut dyn Watch, written: &[&str]) -> Result<(), String> {
    let mut seen = Vec::new();
    loop {
        let event = next(watch).await;
        match content(&event) {
            None => seen.clear(),
            Some((content, _)) => seen.push(content.to_owned()),
        }
        if content(&event).is_none() || seen.last().map(String::as_str) == written.last().copied() {
            return match content(&event) {
                None => Ok(()),
                Some(_) if seen == written => Ok(()),
                Some(_) => Err(format!("{seen:?} of {written:?}, without a word")),
            };
        }
    }
}

/// A watch that goes on after a gap as if there were none.
struct Forgetful(Box<dyn Watch>);

#[async_trait]
impl Watch for Forgetful {
    async fn next(&mut self) -> Result<Event> {
        loop {
            match self.0.next().await? {
                Event::Compacted => {}
                event => return Ok(event),
            }
        }
    }
}

#[tokio::test]
async fn what_compaction_took_is_told_and_the_watch_goes_on() {
    let Some(server) = Server::started() else { return };
    let store = EtcdConfiguration::new(&server.config()).expect("valid");
    save(&store, "k", "before").await;
    let mut watch = store.watch(&of("k"), None).await.expect("watched");
    save(&store, "k", "seen").await;
    let event = next(&mut *watch).await;
    let (seen, revision) = content(&event).expect("a change");
    assert_eq!(seen, "seen");
    drop(watch);

    for lost in ["one", "two", "three"] {
        save(&store, "k", lost).await;
    }
    let mut client = server.client().await;
    let now = client.get("k", None).await.expect("read").header().expect("there").revision();
    client.compact(now, Some(CompactionOptions::new().with_physical())).await.expect("compacted");

    let resume = async || store.watch(&of("k"), revision.clone()).await;
    let mut resumed = resume().await.expect("watched");
    assert_eq!(next(&mut *resumed).await, Event::Compacted);
    save(&store, "k", "after").await;
    assert_eq!(content(&next(&mut *resumed).await).expect("a change").0, "after");

    let written = ["one", "two", "three", "after"];
    tells_all(&mut *resume().await.expect("watched"), &written).await.expect("told");
    let mut forgetful = Forgetful(resume().await.expect("watched"));
    save(&store, "k", "after").await;
    tells_all(&mut forgetful, &written).await.expect_err("one that says nothing is found out");
}

#[tokio::test]
async fn a_watch_survives_the_death_of_its_server() {
    let Some(mut server) = Server::started() else { return };
    let store = Arc::new(EtcdConfiguration::new(&server.config()).expect("valid"));
    save(&store, "k", "0").await;
    let mut watch = store.watch(&of("k"), None).await.expect("watched");
    let follower = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last().map(String::as_str) != Some("6") {
            let event = next(&mut *watch).await;
            seen.push(content(&event).expect("nothing was compacted").0.to_owned());
        }
        seen
    });
    for round in 0..3 {
        save(&store, "k", 2 * round + 1).await;
        server.kill();
        server.start();
        save(&store, "k", 2 * round + 2).await;
    }
    let seen = follower.await.expect("followed");
    assert_eq!(seen, ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn a_revision_that_has_not_been_is_a_gap() {
    let Some(server) = Server::started() else { return };
    let store = EtcdConfiguration::new(&server.config()).expect("valid");
    save(&store, "k", "here").await;
    let mut watch = store.watch(&of("k"), Some(Revision::from(1_000_000))).await.expect("watched");
    assert_eq!(next(&mut *watch).await, Event::Compacted, "the cluster was set back, or is another one");
    save(&store, "k", "next").await;
    assert_eq!(content(&next(&mut *watch).await).expect("a change").0, "next");
}

#[tokio::test]
async fn what_cannot_be_read_does_not_end_the_watch_on_the_rest() {
    let Some(server) = Server::started() else { return };
    let store = EtcdConfiguration::new(&server.config()).expect("valid");
    save(&store, "k", "before").await;
    let folder = Selector { keys: Vec::new(), ..of("") };
    let mut all = store.watch(&folder, None).await.expect("watched");
    let mut one = store.watch(&of("k"), None).await.expect("watched");
    let mut others = server.client().await;
    let path = |name: &str| format!("/app/default/default/{name}");
    others.put(path("binary"), vec![0xff, 0xfe], None).await.expect("written");
    let together =
        [TxnOp::put(path("tagged"), "content", None), TxnOp::put(path("tagged\0tags"), "not JSON", None)];
    others.txn(Txn::new().and_then(together)).await.expect("written");
    save(&store, "k", "after").await;
    for watch in [&mut all, &mut one] {
        assert_eq!(content(&next(&mut **watch).await).expect("a change").0, "after");
    }
    for name in ["binary", "tagged"] {
        let error = store.get(&of(name)).await.expect_err("cannot be read");
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// More than what lies unread in the buffers of a connection between two members.
const MORE_THAN_BUFFERED: usize = 12;

/// Writes in a cluster that may be about to choose another leader, as often as it takes.
async fn insist(store: &EtcdConfiguration, key: &str, content: impl ToString) {
    let item = Item { key: key.to_owned(), content: content.to_string(), ..Item::default() };
    let written = async {
        loop {
            let save = store.save("app", vec![item.clone()]);
            match tokio::time::timeout(Duration::from_secs(3), save).await {
                Ok(Ok(())) => return,
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written).await.expect("written");
}

/// The next change. Whoever insists may have written one twice, of which the second is passed over.
async fn next_after(watch: &mut dyn Watch, seen: &str) -> String {
    loop {
        let event = next(watch).await;
        let (content, _) = content(&event).expect("nothing was compacted");
        if content != seen {
            return content.to_owned();
        }
    }
}

#[tokio::test]
async fn a_member_that_lags_behind_is_no_gap() {
    let Some(mut members) = Server::cluster::<3>() else { return };
    members.iter_mut().for_each(Server::start);
    let [mut first, second, behind] = members;
    let with = |servers: &[&Server]| {
        let urls: Vec<_> = servers.iter().map(|server| server.url()).collect();
        let endpoints = urls.join(";").as_str().into();
        EtcdConfiguration::new(&EtcdConfig { endpoints, ..EtcdConfig::default() }).expect("valid")
    };
    let (store, writer) = (with(&[&first, &behind]), with(&[&first]));
    insist(&writer, "k", "1").await;
    let mut watch = store.watch(&of("k"), None).await.expect("watched");
    behind.pause();
    for _ in 0..MORE_THAN_BUFFERED {
        insist(&writer, "other", "x".repeat(1 << 20)).await;
    }
    insist(&writer, "k", "2").await;
    assert_eq!(next_after(&mut *watch, "1").await, "2");

    // What is left does not know of it, and nobody is there to tell.
    second.pause();
    first.kill();
    behind.go_on();
    let told = tokio::time::timeout(Duration::from_secs(3), next(&mut *watch)).await;
    assert!(told.is_err(), "told of what nobody can know: {told:?}");
    second.go_on();
    insist(&with(&[&second]), "k", "3").await;
    assert_eq!(next_after(&mut *watch, "2").await, "3");
}
