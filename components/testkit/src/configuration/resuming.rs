//! Watches that go on where another one stopped.

use outrigger_component_api::{ErrorKind, Revision};

use super::fixture::*;

pub async fn resuming_goes_on_after_the_revision(store: Store) {
    if !is_watchable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["resumed"]));
    let selector = of(&app, &[&key]);
    let mut first = watch(&store, &selector, None).await;
    save(&store, &app, &key, "0").await;
    let (seen, revision) = next_event(&mut *first).await;
    assert_eq!(seen, [set(&key, 0)]);
    drop(first);
    if !store.capabilities().resumable {
        if let Some(revision) = revision {
            refused(store.watch(&selector, Some(revision)).await, &[ErrorKind::InvalidArgument]);
        }
        return;
    }
    for i in 1..=5 {
        save(&store, &app, &key, &i.to_string()).await;
    }
    delete(&store, &app, &key).await;
    let mut resumed = watch(&store, &selector, Some(revision.expect("it has a history"))).await;
    save(&store, &app, &key, "last").await;
    let mut done: Vec<_> = (1..=5).map(|i| set(&key, i)).collect();
    done.extend([gone(&key), set(&key, "last")]);
    assert_seen(&store, &seen_until(&mut *resumed, &set(&key, "last")).await, &done);
}

pub async fn foreign_revision_is_refused(store: Store) {
    if !is_watchable(&store).await {
        return;
    }
    for foreign in ["", "not a revision", "-1", "1; DROP TABLE"] {
        let revision = Some(Revision(foreign.to_owned()));
        refused(store.watch(&of(&app(), &[]), revision).await, &[ErrorKind::InvalidArgument]);
    }
}
