//! Reading, writing and removing items.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_component_api::{ConfigurationItem as Item, ErrorKind};

use super::fixture::*;
use crate::in_other_runtime;

pub async fn ping_succeeds(store: Store) {
    store.ping().await.expect("the probe of a working store");
}

pub async fn missing_key_is_left_out(store: Store) {
    let (app, [there, missing]) = (app(), keys(["there", "missing"]));
    assert_eq!(get(&store, &of(&app, &[&missing])).await, []);
    if is_writable(&store).await {
        save(&store, &app, &there, "1").await;
        let found = get(&store, &of(&app, &[&missing, &there])).await;
        assert_eq!(found.iter().map(|item| &item.key).collect::<Vec<_>>(), [&there]);
    }
}

pub async fn content_round_trips(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["content"]));
    let big = "x".repeat(100 << 10);
    for written in ["value", "", " two\nlines\t", "zwölf \"12\" \\ {}", "||", "@$prod", &big] {
        save(&store, &app, &key, written).await;
        assert_eq!(content(&store, &app, &key).await.as_deref(), Some(written));
    }
}

pub async fn items_come_in_the_order_asked(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [a, b, c]) = (app(), keys(["a", "b", "c"]));
    let items = [&a, &b, &c].map(|key| item(key, key)).to_vec();
    store.save(&app, items).await.expect("saved");
    let found = get(&store, &of(&app, &[&c, &a, &b])).await;
    assert_eq!(found.iter().map(|item| &item.content).collect::<Vec<_>>(), [&c, &a, &b]);
    let mut item = found.into_iter().next().expect("found");
    assert_eq!((item.tags.len(), item.metadata.len()), (0, 0), "nothing was said about it");
    item.version.clear();
    assert_eq!((item.key, item.content), (c.clone(), c));
}

pub async fn all_items_come_by_key(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, mut keys) = (app(), keys(["c", "a", "b"]));
    store.save(&app, keys.iter().map(|key| item(key, "")).collect()).await.expect("saved");
    let found = get(&store, &of(&app, &[])).await;
    let found: Vec<_> = found.into_iter().map(|item| item.key).collect();
    assert!(found.is_sorted(), "{found:?}");
    keys.sort();
    match store.capabilities().levels {
        true => assert_eq!(found, keys),
        false => assert!(keys.iter().all(|key| found.contains(key)), "{found:?}"),
    }
}

pub async fn saving_replaces(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [key, other]) = (app(), keys(["replaced", "other"]));
    save(&store, &app, &key, "one").await;
    save(&store, &app, &other, "kept").await;
    save(&store, &app, &key, "two").await;
    assert_eq!(content(&store, &app, &key).await.as_deref(), Some("two"));
    assert_eq!(content(&store, &app, &other).await.as_deref(), Some("kept"));
    store.save(&app, vec![item(&key, "three"), item(&key, "four")]).await.expect("saved");
    assert_eq!(content(&store, &app, &key).await.as_deref(), Some("four"), "in the order given");
}

pub async fn version_changes_with_every_write(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["version"]));
    let mut versions = BTreeSet::new();
    for _ in 0..5 {
        save(&store, &app, &key, "the same").await;
        let found = get(&store, &of(&app, &[&key])).await;
        versions.insert(found.into_iter().next().expect("found").version);
    }
    let has_none = versions.iter().all(String::is_empty);
    assert!(has_none || versions.len() == 5, "{versions:?}");
}

pub async fn tags_are_kept_or_refused(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["tags"]));
    let tags = BTreeMap::from([("env", "prod"), ("owner", "zwölf/=")]);
    let tags: BTreeMap<_, _> = tags.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let tagged = Item { tags: tags.clone(), ..item(&key, "tagged") };
    if !store.capabilities().tags {
        refused(store.save(&app, vec![tagged]).await, &[ErrorKind::Unsupported]);
        assert_eq!(content(&store, &app, &key).await, None);
        return;
    }
    store.save(&app, vec![tagged]).await.expect("saved");
    let found = get(&store, &of(&app, &[&key])).await;
    assert_eq!(found.iter().map(|item| &item.tags).collect::<Vec<_>>(), [&tags]);
    assert_eq!(get(&store, &of(&app, &[])).await.len(), 1, "tags are no items");
    save(&store, &app, &key, "plain").await;
    let found = get(&store, &of(&app, &[&key])).await;
    assert_eq!(found.iter().map(|item| item.tags.len()).collect::<Vec<_>>(), [0], "tags are replaced too");
}

pub async fn keys_are_exact_never_prefixes(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["exact"]));
    let similar = ["x", "/x", ".x", "@$prod", "||x", "*"].map(|suffix| format!("{key}{suffix}"));
    for similar in &similar {
        save(&store, &app, similar, "kept").await;
    }
    assert_eq!(content(&store, &app, &key).await, None);
    save(&store, &app, &key, "goes").await;
    delete(&store, &app, &key).await;
    assert_eq!(content(&store, &app, &key).await, None);
    for similar in &similar {
        assert_eq!(content(&store, &app, similar).await.as_deref(), Some("kept"), "{similar}");
    }
}

pub async fn deleting_a_missing_key_succeeds(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [there, missing]) = (app(), keys(["there", "missing"]));
    delete(&store, &app, &missing).await;
    save(&store, &app, &there, "").await;
    store.delete(&of(&app, &[&missing, &there])).await.expect("deleted");
    assert_eq!(content(&store, &app, &there).await, None);
}

pub async fn deleting_no_keys_removes_nothing(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["kept"]));
    save(&store, &app, &key, "kept").await;
    store.delete(&of(&app, &[])).await.expect("nothing to do");
    assert_eq!(content(&store, &app, &key).await.as_deref(), Some("kept"));
}

pub async fn outlives_the_runtime_that_used_it_first(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["runtime"]));
    let (other, at, same) = (store.clone(), app.clone(), key.clone());
    in_other_runtime(async move { save(&other, &at, &same, "first").await }).await;
    assert_eq!(content(&store, &app, &key).await.as_deref(), Some("first"));
    save(&store, &app, &key, "second").await;
    assert_eq!(content(&store, &app, &key).await.as_deref(), Some("second"));
}
