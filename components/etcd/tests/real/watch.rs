//! Watches across interruptions: nothing is skipped, or it is said that something was.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::CompactionOptions;
use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, ConfigurationItem as Item,
    ConfigurationStore as _, Result, Revision, Selector, Watch, async_trait,
};
use outrigger_etcd::EtcdConfiguration;

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
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("an event")
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
