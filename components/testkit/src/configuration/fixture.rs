//! Short ways to say what the cases say most.

use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, ConfigurationItem as Item,
    ConfigurationStore, ErrorKind, Result, Revision, Selector, Watch,
};

use crate::{patience, unique_name};

/// The store as the cases take it.
pub(super) type Store = std::sync::Arc<dyn ConfigurationStore>;

/// An application nobody has used before: what is written for it is all there is.
pub(super) fn app() -> String {
    unique_name("app")
}

pub(super) fn item(key: &str, content: &str) -> Item {
    Item { key: key.to_owned(), content: content.to_owned(), ..Item::default() }
}

pub(super) fn of(app: &str, keys: &[&str]) -> Selector {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Selector { app_id: app.to_owned(), keys, ..Selector::default() }
}

/// Keys of the case's own: stores without levels have one application for all.
pub(super) fn keys<const N: usize>(names: [&str; N]) -> [String; N] {
    names.map(unique_name)
}

pub(super) async fn save(store: &Store, app: &str, key: &str, content: &str) {
    store.save(app, vec![item(key, content)]).await.expect("saved");
}

pub(super) async fn delete(store: &Store, app: &str, key: &str) {
    store.delete(&of(app, &[key])).await.expect("deleted");
}

pub(super) async fn get(store: &Store, selector: &Selector) -> Vec<Item> {
    store.get(selector).await.expect("read")
}

/// What one key holds.
pub(super) async fn content(store: &Store, app: &str, key: &str) -> Option<String> {
    let items = get(store, &of(app, &[key])).await;
    assert!(items.len() <= 1 && items.iter().all(|item| item.key == key), "{items:?}");
    items.into_iter().next().map(|item| item.content)
}

#[track_caller]
pub(super) fn refused<T>(result: Result<T>, kinds: &[ErrorKind]) {
    match result {
        Ok(_) => panic!("must be refused"),
        Err(error) => assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind()),
    }
}

/// Whether writing is declared; if not, that it is refused.
pub(super) async fn is_writable(store: &Store) -> bool {
    if !store.capabilities().writable {
        let [key] = keys(["read-only"]);
        refused(store.save(&app(), vec![item(&key, "")]).await, &[ErrorKind::Unsupported]);
        refused(store.delete(&of(&app(), &[&key])).await, &[ErrorKind::Unsupported]);
    }
    store.capabilities().writable
}

/// Whether watching (what the case also has to write) is declared; if not, that it is refused.
pub(super) async fn is_watchable(store: &Store) -> bool {
    if !store.capabilities().watchable {
        refused(store.watch(&of(&app(), &[]), None).await, &[ErrorKind::Unsupported]);
    }
    store.capabilities().watchable && is_writable(store).await
}

pub(super) async fn watch(store: &Store, selector: &Selector, from: Option<Revision>) -> Box<dyn Watch> {
    store.watch(selector, from).await.expect("watched")
}

/// Key and content of a change; `None` is a deletion.
pub(super) type Seen = (String, Option<String>);

pub(super) fn set(key: &str, content: impl ToString) -> Seen {
    (key.to_owned(), Some(content.to_string()))
}

pub(super) fn gone(key: &str) -> Seen {
    (key.to_owned(), None)
}

fn seen(change: Change) -> Seen {
    match change {
        Change::Set(item) => (item.key, Some(item.content)),
        Change::Deleted(item) => {
            assert_eq!((item.content.as_str(), item.tags.len()), ("", 0), "what is gone has no content");
            (item.key, None)
        }
    }
}

/// The next changes, and where to go on after them.
pub(super) async fn next_event(watch: &mut dyn Watch) -> (Vec<Seen>, Option<Revision>) {
    let event = tokio::time::timeout(patience(), watch.next()).await;
    match event.unwrap_or_else(|_| panic!("no change was seen within {:?}", patience())).expect("watching") {
        Event::Changed { changes, revision } => (changes.into_iter().map(seen).collect(), revision),
        Event::Compacted => panic!("nothing was compacted"),
    }
}

/// What is seen up to and including `last`.
pub(super) async fn seen_until(watch: &mut dyn Watch, last: &Seen) -> Vec<Seen> {
    let mut all = Vec::new();
    while !all.contains(last) {
        all.extend(next_event(watch).await.0);
    }
    all
}

/// Holds what was seen against what was done: the same, or, where a store shows only the last of several quick
/// writes of a key, some of it in the same order with the last of each key.
pub(super) fn assert_seen(store: &Store, seen: &[Seen], done: &[Seen]) {
    if store.capabilities().every_change {
        assert_eq!(seen, done);
        return;
    }
    for (key, _) in done {
        let of_key = |all: &[Seen]| all.iter().filter(|(k, _)| k == key).cloned().collect::<Vec<_>>();
        let (seen, done) = (of_key(seen), of_key(done));
        assert_eq!(seen.last(), done.last(), "the last change of {key}");
        let mut left = done.iter();
        assert!(seen.iter().all(|change| left.any(|done| done == change)), "{seen:?} is not from {done:?}");
    }
}
