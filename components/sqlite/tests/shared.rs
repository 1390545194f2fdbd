//! Several stores on one file are what several processes are: nothing of theirs is shared in memory.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_component_api::{
    Backend, BuildContext, ConfigurationChange as Change, ConfigurationEvent as Event,
    ConfigurationItem as Item, ConfigurationStore, Held, Key, LockStore, NextOptions, Revision, Selector,
    Sequencer, Watch,
};
use outrigger_sqlite::{
    SqliteConfig, SqliteConfiguration, SqliteLock, SqliteLockBackend, SqliteSequencer, SqliteSequencerBackend,
};
use outrigger_testkit::{contend, history, run};

fn at(path: &Path) -> SqliteConfig {
    let busy_timeout = Duration::from_secs(60);
    SqliteConfig { path: Some(path.to_owned()), busy_timeout, ..SqliteConfig::default() }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    (directory, file)
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

fn configuration(file: &Path) -> SqliteConfiguration {
    SqliteConfiguration::new(at(file)).expect("valid settings")
}

async fn save(store: &SqliteConfiguration, content: impl ToString) {
    let item = Item { key: "a".to_owned(), content: content.to_string(), ..Item::default() };
    store.save("app", vec![item]).await.expect("saved");
}

fn all() -> Selector {
    Selector { app_id: "app".to_owned(), ..Selector::default() }
}

async fn next(watch: &mut dyn Watch) -> Event {
    tokio::time::timeout(Duration::from_secs(60), watch.next()).await.expect("in time").expect("watching")
}

fn contents(event: &Event) -> Vec<&str> {
    let Event::Changed { changes, .. } = event else { return vec!["compacted"] };
    changes.iter().map(|change| change.item().content.as_str()).collect()
}

fn sockets(file: &Path) -> usize {
    fs::read_dir(file.with_extension("db.wake")).map_or(0, |entries| entries.count())
}

#[test]
fn a_watch_sees_what_another_store_writes() {
    run(async {
        let (_directory, file) = place();
        let (one, two) = (configuration(&file), configuration(&file));
        let mut watch = one.watch(&all(), None).await.expect("watched");
        for i in 0..20 {
            save(&two, i).await;
            assert_eq!(contents(&next(&mut *watch).await), [i.to_string()]);
        }
        assert_eq!(sockets(&file), 1);
        drop((watch, one));
        assert_eq!(sockets(&file), 0, "nobody listens, nothing is left");
        save(&two, "nobody hears it").await;
    });
}

#[test]
fn a_socket_nobody_listens_on_any_more_is_removed() {
    run(async {
        let (_directory, file) = place();
        let store = configuration(&file);
        let mut watch = store.watch(&all(), None).await.expect("watched");
        let dead = file.with_extension("db.wake").join("configuration-dead");
        drop(UnixDatagram::bind(&dead).expect("bound"));
        assert!(dead.exists(), "as a killed process leaves it");
        save(&store, 1).await;
        assert_eq!(contents(&next(&mut *watch).await), ["1"]);
        assert!(!dead.exists());
    });
}

#[test]
fn a_file_deep_down_can_be_watched_too() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("x".repeat(120)).join("store.db");
        let (one, two) = (configuration(&file), configuration(&file));
        let mut watch = one.watch(&all(), None).await.expect("watched");
        save(&two, 1).await;
        assert_eq!(contents(&next(&mut *watch).await), ["1"]);
    });
}

#[test]
fn a_watch_that_is_too_far_behind_is_told() {
    run(async {
        let (_directory, file) = place();
        let store = configuration(&file);
        save(&store, "first").await;
        let items = |from: usize| {
            let item = |i: usize| Item { key: "a".to_owned(), content: i.to_string(), ..Item::default() };
            (from..from + 2500).map(item).collect::<Vec<_>>()
        };
        let mut slow = store.watch(&all(), None).await.expect("watched");
        for round in 0..5 {
            store.save("app", items(round * 2500)).await.expect("saved");
        }
        assert_eq!(next(&mut *slow).await, Event::Compacted, "12,500 changes are more than are kept");
        let mut resumed = store.watch(&all(), Some(Revision::from(1))).await.expect("watched");
        assert_eq!(next(&mut *resumed).await, Event::Compacted);
        let mut within = store.watch(&all(), Some(Revision::from(12_400))).await.expect("watched");
        assert_eq!(contents(&next(&mut *within).await).len(), 100, "as many as one event carries");
        save(&store, "later").await;
        for watch in [&mut slow, &mut resumed] {
            assert_eq!(contents(&next(&mut **watch).await), ["later"], "it goes on from there");
        }
        store.watch(&all(), Some(Revision::from(20_000))).await.map(drop).expect_err("not given out yet");
    });
}

#[test]
fn a_deletion_is_a_change_and_history_outlives_the_store() {
    run(async {
        let (_directory, file) = place();
        let first = configuration(&file);
        save(&first, "1").await;
        first.delete(&Selector { keys: vec!["a".to_owned()], ..all() }).await.expect("deleted");
        drop(first);
        let mut watch = configuration(&file).watch(&all(), Some(Revision::from(1))).await.expect("watched");
        let Event::Changed { changes, revision } = next(&mut *watch).await else { panic!("compacted") };
        assert!(matches!(changes.as_slice(), [Change::Deleted(item)] if item.key == "a"), "{changes:?}");
        assert_eq!(revision, Some(Revision::from(2)));
    });
}

#[test]
fn leases_hold_and_tokens_increase_between_stores() {
    let (_directory, file) = place();
    let stores: Vec<_> =
        (0..2).map(|_| std::sync::Arc::new(SqliteLock::new(at(&file)).expect("valid"))).collect();
    run(async {
        let hour = Duration::from_secs(3600);
        let (one, two) = (&stores[0], &stores[1]);
        let first = one.try_lock(&key("r"), "a", hour).await.expect("answered").expect("free");
        assert_eq!(two.try_lock(&key("r"), "b", hour).await.expect("answered"), None);
        assert_eq!(two.unlock(&key("r"), "b").await.expect("answered"), Held::Other);
        assert_eq!(two.unlock(&key("r"), "a").await.expect("answered"), Held::Yes);
        let second = two.try_lock(&key("r"), "b", hour).await.expect("answered").expect("free");
        assert!(second.token > first.token);
        let claimed = contend(|caller| {
            let store = stores[caller % 2].clone();
            async move { store.try_lock(&key("race"), &caller.to_string(), hour).await.expect("answered") }
        });
        assert_eq!(claimed.await.into_iter().flatten().count(), 1);
    });
}

#[test]
fn numbers_never_repeat_between_stores() {
    let (_directory, file) = place();
    let stores: Vec<_> =
        (0..2).map(|_| std::sync::Arc::new(SqliteSequencer::new(at(&file)).expect("valid"))).collect();
    let began = std::time::Instant::now();
    run(async {
        let given = contend(|caller| {
            let store = stores[caller % 2].clone();
            async move {
                let mut given = Vec::new();
                for _ in 0..10 {
                    let asked = began.elapsed();
                    let number = store.next(&key("s"), NextOptions::default()).await.expect("a number");
                    let name = String::new();
                    given.push(history::Given { name, number, asked, answered: began.elapsed() });
                }
                given
            }
        });
        assert_eq!(history::numbers_go_back(&given.await.concat()), [""; 0]);
    });
}

#[test]
fn components_of_one_process_share_the_file_until_the_last_ends() {
    run(async {
        let (_directory, file) = place();
        let context = BuildContext::default();
        let lock = SqliteLockBackend::build(at(&file), &context).await.expect("builds");
        let sequencer = SqliteSequencerBackend::build(at(&file), &context).await.expect("builds");
        lock.ping().await.expect("opens");
        sequencer.ping().await.expect("opens");
        let wal = file.with_extension("db-wal");
        drop(lock);
        assert!(wal.exists(), "the other one still uses the file");
        assert_eq!(sequencer.next(&key("s"), NextOptions::default()).await.expect("a number"), 1);
        drop(sequencer);
        assert!(!wal.exists(), "the last one closes it");
    });
}
