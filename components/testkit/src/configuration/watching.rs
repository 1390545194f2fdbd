//! Watches see what changes after they began.

use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::fixture::*;
use crate::{in_other_runtime, patience};

pub async fn watch_sees_every_later_change_in_order(store: Store) {
    if !is_watchable(&store).await {
        return;
    }
    let (app, [a, b, before]) = (app(), keys(["a", "b", "before"]));
    save(&store, &app, &before, "not seen").await;
    let mut watch = watch(&store, &of(&app, &[&a, &b, &before]), None).await;
    let mut done = Vec::new();
    for i in 0..50 {
        save(&store, &app, &a, &i.to_string()).await;
        done.push(set(&a, i));
        if i % 10 == 5 {
            save(&store, &app, &b, &i.to_string()).await;
            delete(&store, &app, &a).await;
            done.extend([set(&b, i), gone(&a)]);
        }
    }
    save(&store, &app, &b, "last").await;
    done.push(set(&b, "last"));
    assert_seen(&store, &seen_until(&mut *watch, &set(&b, "last")).await, &done);
}

pub async fn watch_sees_what_other_runtimes_change(store: Store) {
    if !is_watchable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["other"]));
    let selector = of(&app, &[&key]);
    let (other, asked) = (store.clone(), selector.clone());
    // The watch begins in a runtime that ends.
    let mut watch = in_other_runtime(async move { watch(&other, &asked, None).await }).await;
    for i in 0..3 {
        let (store, app, key) = (store.clone(), app.clone(), key.clone());
        in_other_runtime(async move { save(&store, &app, &key, &i.to_string()).await }).await;
    }
    let done = [set(&key, 0), set(&key, 1), set(&key, 2)];
    assert_seen(&store, &seen_until(&mut *watch, &set(&key, 2)).await, &done);
}

pub async fn watch_sees_only_what_it_selects(store: Store) {
    if !is_watchable(&store).await {
        return;
    }
    let (app, [one, two]) = (app(), keys(["one", "two"]));
    let mut watch_one = watch(&store, &of(&app, &[&one]), None).await;
    let mut watch_all = watch(&store, &of(&app, &[]), None).await;
    save(&store, &app, &format!("{one}x"), "longer").await;
    save(&store, &app, &two, "2").await;
    save(&store, &app, &one, "1").await;
    assert_eq!(seen_until(&mut *watch_one, &set(&one, 1)).await, [set(&one, 1)]);
    let all = seen_until(&mut *watch_all, &set(&one, 1)).await;
    assert!(all.contains(&set(&two, 2)), "{all:?}");
    if store.capabilities().levels {
        assert_eq!(all.len(), 3, "{all:?}");
    }
}

pub async fn ending_one_watch_leaves_the_others_alone(store: Store) {
    if !is_watchable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["alone"]));
    let selector = of(&app, &[&key]);
    let mut kept = watch(&store, &selector, None).await;
    let mut ended = watch(&store, &selector, None).await;
    save(&store, &app, &key, "1").await;
    seen_until(&mut *ended, &set(&key, 1)).await;
    drop(ended);
    save(&store, &app, &key, "2").await;
    let mut later = watch(&store, &selector, None).await;
    save(&store, &app, &key, "3").await;
    let done = [set(&key, 1), set(&key, 2), set(&key, 3)];
    assert_seen(&store, &seen_until(&mut *kept, &set(&key, 3)).await, &done);
    assert_eq!(seen_until(&mut *later, &set(&key, 3)).await, [set(&key, 3)]);
}

pub async fn dropped_wait_loses_nothing(store: Store) {
    if !is_watchable(&store).await {
        return;
    }
    let (app, [key]) = (app(), keys(["dropped"]));
    let mut watch = watch(&store, &of(&app, &[&key]), None).await;
    for i in 0..20 {
        save(&store, &app, &key, &i.to_string()).await;
    }
    let mut seen = Vec::new();
    let (begun, mut waits) = (Instant::now(), 2000);
    while seen.last() != Some(&set(&key, 19)) {
        // Each wait but the last ones is given up, some at their first step and some in the middle.
        let wait = Duration::from_millis(waits % 7);
        if let Some((changes, _)) = next_event(&mut *watch).now_or_never() {
            seen.extend(changes);
        }
        if let Ok((changes, _)) = tokio::time::timeout(wait, next_event(&mut *watch)).await {
            seen.extend(changes);
        }
        waits -= 1;
        assert!(waits > 0 || begun.elapsed() < patience(), "seen so far: {seen:?}");
    }
    let done: Vec<_> = (0..20).map(|i| set(&key, i)).collect();
    assert_seen(&store, &seen, &done);
}
