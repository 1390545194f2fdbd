//! Reading back what was written.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use outrigger_component_api::{BulkOptions, Change, ErrorKind, SetOptions};

use super::fixture::*;
use crate::in_other_runtime;

pub async fn ping_succeeds(store: Store) {
    store.ping().await.expect("the probe of a working store");
}

pub async fn missing_key_reads_as_none(store: Store) {
    assert_eq!(read(&store, &unique_key("missing")).await, None);
}

pub async fn value_round_trips(store: Store) {
    for text in ["", "x", "{\"a\": 1}", "dünn 🛶\n\0"] {
        let key = unique_key("value");
        write(&store, &key, text).await;
        let entry = read(&store, &key).await.expect("present, also with an empty value");
        assert_eq!(entry.value, text.as_bytes());
        assert_eq!(entry.expires, None);
    }
}

pub async fn big_value_round_trips(store: Store) {
    let key = unique_key("big");
    let value: Bytes = (0..3_000_000_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    store.set(&key, value.clone(), SetOptions::default()).await.expect("written");
    let entry = read(&store, &key).await.expect("present");
    assert!(entry.value == value, "{} bytes came back, and not the same", entry.value.len());
}

pub async fn binary_keys_and_values_round_trip_or_are_refused(store: Store) {
    let value: Bytes = (0..=255_u8).collect();
    let text_key = unique_key("bytes");
    store.set(&text_key, value.clone(), SetOptions::default()).await.expect("values are always bytes");
    assert_eq!(read(&store, &text_key).await.expect("present").value, value);

    let binary_key = key([unique_key("binary").as_bytes(), &[0, 0xff, 0xfe, b'\'', b'%', 0]].concat());
    let written = store.set(&binary_key, value.clone(), SetOptions::default()).await;
    if store.capabilities().binary_keys {
        written.expect("keys may be any bytes");
        assert_eq!(read(&store, &binary_key).await.expect("present").value, value);
    } else {
        refused(written, ErrorKind::InvalidArgument);
    }
}

pub async fn similar_keys_do_not_collide(store: Store) {
    let base = unique_key("similar").to_string();
    let keys = ["", "a", "A", "a ", " a", "aa", "%", "_", "a\0", "a*", "ä", "a\u{308}"]
        .map(|end| key(format!("{base}{end}")));
    for (i, key) in keys.iter().enumerate() {
        write(&store, key, &i.to_string()).await;
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(value(&store, key).await, Some(i.to_string()), "{key:?}");
    }
}

pub async fn last_of_two_writes_is_read(store: Store) {
    let key = unique_key("twice");
    write(&store, &key, "a longer first value").await;
    write(&store, &key, "second").await;
    assert_eq!(value(&store, &key).await.as_deref(), Some("second"));
}

pub async fn deleted_key_reads_as_none(store: Store) {
    let key = unique_key("deleted");
    write(&store, &key, "here").await;
    remove(&store, &key).await;
    assert_eq!(read(&store, &key).await, None);
}

pub async fn deleting_a_missing_key_succeeds(store: Store) {
    let key = unique_key("never");
    remove(&store, &key).await;
    remove(&store, &key).await;
}

pub async fn bulk_read_keeps_order_and_gaps(store: Store) {
    let mut keys: Vec<_> = (0..40).map(|i| unique_key(&format!("bulk{i}"))).collect();
    for (i, key) in keys.iter().enumerate().filter(|(i, _)| i % 3 != 0) {
        write(&store, key, &i.to_string()).await;
    }
    // Neither the order of writing nor that of the keys, and one key twice.
    keys.reverse();
    keys.push(keys[1].clone());
    let expected = (0..40).rev().chain([38]).map(|i| (i % 3 != 0).then(|| i.to_string()));
    for parallelism in [0, 1, 1000] {
        let options = BulkOptions { parallelism, ..BulkOptions::default() };
        let found = store.get_bulk(&keys, options).await.expect("read");
        let found = found.into_iter().map(|entry| entry.expect("each read").map(|entry| entry.value));
        let found: Vec<_> =
            found.map(|value| value.map(|value| String::from_utf8_lossy(&value).into_owned())).collect();
        assert_eq!(found, expected.clone().collect::<Vec<_>>(), "parallelism {parallelism}");
    }
    assert!(store.get_bulk(&[], BulkOptions::default()).await.expect("read").is_empty());
}

pub async fn bulk_write_applies_in_order_and_answers_for_each(store: Store) {
    let [one, two, gone] = ["one", "two", "gone"].map(unique_key);
    let old = write(&store, &gone, "old").await;
    let changes = vec![
        setting(&one, "first", SetOptions::default()),
        setting(&two, "two", SetOptions::default()),
        removing(&gone),
        setting(&one, "second", SetOptions::default()),
    ];
    let answers = store.write_bulk(changes).await.expect("applied");
    let etags: Vec<_> = answers.into_iter().map(|answer| answer.expect("each applied")).collect();
    assert_eq!(etags.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(value(&store, &one).await.as_deref(), Some("second"));
    assert_eq!(read(&store, &two).await.map(|entry| entry.etag), etags[1]);
    assert_eq!(read(&store, &gone).await, None);
    assert!(store.write_bulk(Vec::new()).await.expect("nothing to do").is_empty());

    if has_etags(&store).await {
        let stale = Change::Delete { key: one.clone(), options: deleting(&old) };
        let changes = vec![stale, setting(&two, "later", SetOptions::default())];
        let mut answers = store.write_bulk(changes).await.expect("applied").into_iter();
        refused(answers.next().expect("two answers"), ErrorKind::Conflict);
        answers.next().expect("two answers").expect("one conflict does not stop the rest");
        assert_eq!(value(&store, &one).await.as_deref(), Some("second"));
        assert_eq!(value(&store, &two).await.as_deref(), Some("later"));
    }
}

pub async fn outlives_the_runtime_that_used_it_first(store: Store) {
    let key = unique_key("runtimes");
    for round in 0..3 {
        let (other, other_key, text) = (store.clone(), key.clone(), format!("from runtime {round}"));
        let written = text.clone();
        in_other_runtime(async move { write(&other, &other_key, &written).await }).await;
        assert_eq!(value(&store, &key).await, Some(text), "after the writing runtime has ended");
        write(&store, &key, "from here").await;
    }
    // Both at once: neither may depend on the other being driven.
    let (other, other_key) = (store.clone(), unique_key("runtimes"));
    let there = in_other_runtime(async move {
        for i in 0..50 {
            write(&other, &other_key, &i.to_string()).await;
        }
        value(&other, &other_key).await
    });
    let here = async {
        for i in 0..50 {
            write(&store, &key, &i.to_string()).await;
        }
        value(&store, &key).await
    };
    let (there, here) = futures_util::join!(there, here);
    assert_eq!((there.as_deref(), here.as_deref()), (Some("49"), Some("49")));
}

pub async fn dropped_call_leaves_the_store_whole(store: Store) {
    let key = unique_key("dropped");
    write(&store, &key, "before").await;
    for _ in 0..20 {
        let mut call = pin!(write_with(&store, &key, "abandoned", SetOptions::default()));
        // Polled once, so that it has begun, and then dropped with the block.
        let once = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context)));
        drop(once.await);
    }
    let left = value(&store, &key).await;
    assert!(matches!(left.as_deref(), Some("before" | "abandoned")), "{left:?}");
    write(&store, &key, "after").await;
    let written = value(&store, &key).await;
    assert!(matches!(written.as_deref(), Some("after" | "abandoned")), "{written:?}");
}
