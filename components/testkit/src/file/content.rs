//! What is read is what was written, whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use outrigger_component_api::{ErrorKind, FileOptions};

use super::fixture::{Store, body, broken, endless, read, refused, write};
use crate::{in_other_runtime, unique_name};

pub async fn ping_succeeds(store: Store) {
    store.ping().await.expect("the probe of a working store");
}

pub async fn a_file_is_read_as_it_was_written(store: Store) {
    let directory = unique_name("content");
    let every_byte: Bytes = (0..=255).collect::<Vec<u8>>().repeat(2_000).into();
    let pieces = [every_byte.clone(), Bytes::new(), every_byte.slice(1..), Bytes::from_static(b"end")];
    for (name, pieces) in [("empty", &pieces[1..2]), ("small", &pieces[3..]), ("in-pieces", &pieces[..])] {
        let name = format!("{directory}/deeper/{name}");
        store.put(&name, body(pieces.iter().cloned()), FileOptions::default()).await.expect("written");
        assert!(read(&store, &name).await.expect("read") == pieces.concat(), "{name}");
    }
}

pub async fn writing_again_replaces_the_whole_file(store: Store) {
    let name = format!("{}/file", unique_name("replace"));
    write(&store, &name, vec![b'a'; 300_000]).await;
    write(&store, &name, "b").await;
    assert_eq!(read(&store, &name).await.expect("read"), b"b");
}

pub async fn a_body_that_fails_changes_nothing(store: Store) {
    let directory = unique_name("broken");
    let (old, new) = (format!("{directory}/old"), format!("{directory}/new"));
    write(&store, &old, "before").await;
    let pieces = || [Bytes::from(vec![b'x'; 200_000]), Bytes::from_static(b"y")];
    for name in [&old, &new] {
        refused(store.put(name, broken(pieces()), FileOptions::default()).await, ErrorKind::Cancelled);
    }
    assert_eq!(read(&store, &old).await.expect("read"), b"before");
    refused(read(&store, &new).await, ErrorKind::NotFound);
}

pub async fn a_put_that_is_given_up_changes_nothing(store: Store) {
    let name = format!("{}/file", unique_name("given-up"));
    write(&store, &name, "before").await;
    let put = store.put(&name, endless([Bytes::from(vec![b'x'; 200_000])]), FileOptions::default());
    tokio::time::timeout(Duration::from_millis(200), put).await.expect_err("the body does not end");
    assert_eq!(read(&store, &name).await.expect("read"), b"before");
}

pub async fn a_reader_sees_one_version(store: Store) {
    let name = format!("{}/file", unique_name("version"));
    write(&store, &name, vec![b'a'; 1_000_000]).await;
    let mut reader = store.get(&name, FileOptions::default()).await.expect("opened");
    let first = reader.next().await.expect("a piece").expect("read");
    write(&store, &name, vec![b'b'; 1_000_000]).await;
    let rest: Vec<Bytes> = reader.try_collect().await.expect("read");
    assert!(first.iter().chain(rest.iter().flatten()).all(|byte| *byte == b'a'), "two versions in one");
    assert_eq!(first.len() + rest.iter().map(Bytes::len).sum::<usize>(), 1_000_000);
}

pub async fn of_many_writers_one_wins_whole(store: Store) {
    let name = format!("{}/file", unique_name("writers"));
    let write = async |letter: u8| {
        let pieces = (0..10).map(|_| Bytes::from(vec![letter; 50_000]));
        store.put(&name, body(pieces), FileOptions::default()).await.expect("written");
    };
    futures_util::future::join_all((b'a'..=b'h').map(write)).await;
    let content = read(&store, &name).await.expect("read");
    assert_eq!(content.len(), 500_000);
    assert!(content.iter().all(|byte| *byte == content[0]), "several writers in one file");
}

pub async fn a_missing_file_is_not_found(store: Store) {
    let directory = unique_name("missing");
    for name in [directory.clone(), format!("{directory}/a/b")] {
        refused(read(&store, &name).await, ErrorKind::NotFound);
        refused(store.stat(&name, FileOptions::default()).await, ErrorKind::NotFound);
        refused(store.delete(&name, FileOptions::default()).await, ErrorKind::NotFound);
    }
}

pub async fn a_deleted_file_is_gone(store: Store) {
    let directory = unique_name("deleted");
    let (gone, other) = (format!("{directory}/gone"), format!("{directory}/other"));
    write(&store, &gone, "x").await;
    write(&store, &other, "y").await;
    store.delete(&gone, FileOptions::default()).await.expect("deleted");
    refused(read(&store, &gone).await, ErrorKind::NotFound);
    refused(store.delete(&gone, FileOptions::default()).await, ErrorKind::NotFound);
    assert_eq!(read(&store, &other).await.expect("read"), b"y");
}

pub async fn outlives_the_runtime_that_used_it_first(store: Store) {
    let name = format!("{}/file", unique_name("runtimes"));
    let (other, there) = (Arc::clone(&store), name.clone());
    in_other_runtime(async move { write(&other, &there, "x").await }).await;
    assert_eq!(read(&store, &name).await.expect("read"), b"x");
    write(&store, &name, "y").await;
    assert_eq!(read(&store, &name).await.expect("read"), b"y");
}
