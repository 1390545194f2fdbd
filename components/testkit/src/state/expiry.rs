//! Entries that end by themselves. Real time, in the whole seconds every store can count.

use std::time::{Duration, Instant, SystemTime};

use outrigger_component_api::{BulkOptions, ErrorKind, Key, SetOptions};

use super::fixture::*;
use crate::patience;

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

fn living(ttl: Duration) -> SetOptions {
    SetOptions { ttl: Some(ttl), ..SetOptions::default() }
}

async fn until_gone(store: &Store, key: &Key, written: Instant) {
    while read(store, key).await.is_some() {
        assert!(
            written.elapsed() < SHORT + patience(),
            "still there {:?} after the write",
            written.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn expired_key_reads_as_none(store: Store) {
    if !has_ttl(&store).await {
        return;
    }
    let key = unique_key("expired");
    let written = Instant::now();
    let etag = write_with(&store, &key, "short", living(SHORT)).await.expect("written");
    assert!(read(&store, &key).await.is_some() || written.elapsed() >= SHORT, "gone before its time");
    until_gone(&store, &key, written).await;
    assert!(written.elapsed() >= SHORT, "gone {:?} after the write", written.elapsed());

    let bulk = store.get_bulk(std::slice::from_ref(&key), BulkOptions::default()).await.expect("read");
    assert!(matches!(bulk.as_slice(), [Ok(None)]), "{bulk:?}");
    if store.capabilities().etags {
        refused(write_with(&store, &key, "", matching(&etag)).await, ErrorKind::Conflict);
        refused(store.delete(&key, deleting(&etag)).await, ErrorKind::Conflict);
        write_with(&store, &key, "new", first_write()).await.expect("an expired key does not exist");
        assert_eq!(read(&store, &key).await.expect("present").expires, None);
    }
}

pub async fn live_key_tells_when_it_expires(store: Store) {
    if !has_ttl(&store).await {
        return;
    }
    let key = unique_key("expires");
    let earliest = SystemTime::now() + LONG;
    write_with(&store, &key, "", living(LONG)).await.expect("written");
    let latest = SystemTime::now() + LONG;
    let expires = read(&store, &key).await.expect("present").expires.expect("it has a ttl");
    let slack = Duration::from_secs(10);
    assert!(expires + slack >= earliest && expires <= latest + slack, "{expires:?}");
}

pub async fn zero_ttl_is_gone_at_once(store: Store) {
    if !has_ttl(&store).await {
        return;
    }
    let key = unique_key("zero");
    write(&store, &key, "before").await;
    write_with(&store, &key, "after", living(Duration::ZERO)).await.expect("written");
    assert_eq!(read(&store, &key).await, None);
}

pub async fn writing_without_ttl_clears_it(store: Store) {
    if !has_ttl(&store).await {
        return;
    }
    let key = unique_key("cleared");
    let written = Instant::now();
    write_with(&store, &key, "short", living(SHORT)).await.expect("written");
    write(&store, &key, "kept").await;
    assert_eq!(read(&store, &key).await.expect("present").expires, None);
    tokio::time::sleep((SHORT + Duration::from_millis(200)).saturating_sub(written.elapsed())).await;
    assert_eq!(value(&store, &key).await.as_deref(), Some("kept"));
}

pub async fn writing_with_ttl_renews_it(store: Store) {
    if !has_ttl(&store).await {
        return;
    }
    let key = unique_key("renewed");
    let written = Instant::now();
    write_with(&store, &key, "short", living(SHORT)).await.expect("written");
    write_with(&store, &key, "long", living(LONG)).await.expect("written");
    tokio::time::sleep((SHORT + Duration::from_millis(200)).saturating_sub(written.elapsed())).await;
    assert_eq!(value(&store, &key).await.as_deref(), Some("long"));
}

pub async fn transaction_honours_ttl(store: Store) {
    if !(has_ttl(&store).await && has_transactions(&store).await) {
        return;
    }
    let [short, long] = ["short", "long"].map(unique_key);
    let written = Instant::now();
    let changes = vec![setting(&short, "", living(SHORT)), setting(&long, "", SetOptions::default())];
    store.transact(changes).await.expect("applied");
    until_gone(&store, &short, written).await;
    assert_eq!(read(&store, &long).await.expect("present").expires, None);
}
