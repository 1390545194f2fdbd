//! All changes or none.

use outrigger_component_api::{Change, ErrorKind, SetOptions};

use super::fixture::*;

fn plainly(key: &outrigger_component_api::Key, value: &str) -> Change {
    setting(key, value, SetOptions::default())
}

pub async fn empty_transaction_succeeds(store: Store) {
    if has_transactions(&store).await {
        store.transact(Vec::new()).await.expect("nothing to do");
    }
}

pub async fn transaction_applies_in_order(store: Store) {
    if !has_transactions(&store).await {
        return;
    }
    let [one, two, gone] = ["one", "two", "gone"].map(unique_key);
    write(&store, &gone, "old").await;
    let never = unique_key("never");
    let changes = vec![
        plainly(&one, "first"),
        removing(&gone),
        removing(&never),
        plainly(&two, "deleted again"),
        plainly(&one, "second"),
        removing(&two),
    ];
    store.transact(changes).await.expect("applied");
    assert_eq!(value(&store, &one).await.as_deref(), Some("second"));
    assert_eq!(value(&store, &two).await, None);
    assert_eq!(value(&store, &gone).await, None);
}

pub async fn transaction_is_all_or_nothing(store: Store) {
    if !(has_transactions(&store).await && has_etags(&store).await) {
        return;
    }
    let [changed, removed, guarded, new] = ["changed", "removed", "guarded", "new"].map(unique_key);
    let before = write(&store, &changed, "old").await;
    write(&store, &removed, "old").await;
    let stale = write(&store, &guarded, "one").await;
    write(&store, &guarded, "two").await;
    let refusing = [
        setting(&guarded, "three", matching(&stale)),
        Change::Delete { key: guarded.clone(), options: deleting(&stale) },
    ];
    for refusing in refusing {
        let changes = vec![
            plainly(&changed, "new"),
            removing(&removed),
            plainly(&new, "new"),
            refusing,
            plainly(&new, ""),
        ];
        let error = refused(store.transact(changes).await, ErrorKind::Conflict);
        let position = error.context().iter().find(|(name, _)| *name == "operation");
        assert_eq!(position.map(|(_, value)| value.as_str()), Some("3"), "{error}");
        assert_eq!(read(&store, &changed).await.map(|entry| entry.etag), Some(before.clone()));
        assert_eq!(value(&store, &changed).await.as_deref(), Some("old"));
        assert_eq!(value(&store, &removed).await.as_deref(), Some("old"));
        assert_eq!(value(&store, &guarded).await.as_deref(), Some("two"));
        assert_eq!(value(&store, &new).await, None);
    }
}

pub async fn transaction_sees_its_own_changes(store: Store) {
    if !(has_transactions(&store).await && has_etags(&store).await) {
        return;
    }
    let key = unique_key("own");
    let twice = vec![setting(&key, "a", first_write()), setting(&key, "b", first_write())];
    refused(store.transact(twice).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &key).await, None);

    write(&store, &key, "old").await;
    let anew = vec![removing(&key), setting(&key, "anew", first_write())];
    store.transact(anew).await.expect("the key was deleted one change earlier");
    assert_eq!(value(&store, &key).await.as_deref(), Some("anew"));

    let etag = read(&store, &key).await.expect("present").etag;
    let written_over = vec![plainly(&key, "x"), setting(&key, "y", matching(&etag))];
    refused(store.transact(written_over).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &key).await.as_deref(), Some("anew"));
}

pub async fn transaction_checks_first_write(store: Store) {
    if !(has_transactions(&store).await && has_etags(&store).await) {
        return;
    }
    let [lock, effect] = ["lock", "effect"].map(unique_key);
    let claim = |text: &str| vec![setting(&lock, text, first_write()), plainly(&effect, text)];
    store.transact(claim("first")).await.expect("nobody holds it");
    refused(store.transact(claim("second")).await, ErrorKind::Conflict);
    assert_eq!(value(&store, &effect).await.as_deref(), Some("first"));
}
