//! What the store does with its file: where, when and how it opens it, and what it says when it cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_component_api::{
    Backend, BuildContext, Change, Component, DeleteOptions, ErrorKind, GetOptions, Key, Result, SetOptions,
    StateStore,
};
use outrigger_sqlite::{SqliteConfig, SqliteState, SqliteStateBackend};
use outrigger_testkit::{in_other_runtime, run, state};
use rusqlite::Connection;

fn at(path: &Path) -> SqliteConfig {
    let busy_timeout = Duration::from_secs(60);
    SqliteConfig { path: Some(path.to_owned()), busy_timeout, ..SqliteConfig::default() }
}

fn open(path: &Path) -> Arc<SqliteState> {
    Arc::new(SqliteState::new(at(path)).expect("valid settings"))
}

fn key(name: impl ToString) -> Key {
    Key::new(name.to_string()).expect("not empty")
}

async fn put(store: &SqliteState, name: impl ToString, value: &str) -> Result<()> {
    store.set(&key(name), Bytes::copy_from_slice(value.as_bytes()), SetOptions::default()).await.map(drop)
}

async fn has(store: &SqliteState, name: impl ToString) -> bool {
    store.get(&key(name), GetOptions::default()).await.expect("read").is_some()
}

struct Place {
    file: PathBuf,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("a directory");
    Place { file: directory.path().join("new/state.db"), _directory: directory }
}

#[test]
fn nothing_is_created_before_the_first_call_and_then_only_for_the_owner() {
    run(async {
        let place = place();
        let store =
            SqliteStateBackend::build(at(&place.file), &BuildContext::default()).await.expect("builds");
        assert!(!place.file.parent().expect("a parent").exists());
        store.ping().await.expect("opens");
        let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
        assert_eq!(mode(place.file.parent().expect("a parent")), 0o700);
        assert_eq!(mode(&place.file), 0o600);
        assert_eq!(mode(&place.file.with_extension("db-wal")), 0o600);
        assert_eq!(mode(&place.file.with_extension("db-shm")), 0o600);
    });
}

#[test]
fn entries_and_versions_outlive_the_store() {
    run(async {
        let place = place();
        let first = open(&place.file);
        put(&first, "kept", "value").await.expect("written");
        let old = first.set(&key("gone"), Bytes::new(), SetOptions::default()).await.expect("written");
        first.delete(&key("gone"), DeleteOptions::default()).await.expect("deleted");
        drop(first);
        let second = open(&place.file);
        assert!(has(&second, "kept").await);
        let new = second.set(&key("gone"), Bytes::new(), SetOptions::default()).await.expect("written");
        assert_ne!(old, new, "the counter goes on where it was");
    });
}

/// Two stores on one file are what two processes are: nothing of theirs is shared in memory.
#[test]
fn several_stores_share_one_file() {
    run(async {
        let place = place();
        let (one, two) = (open(&place.file), open(&place.file));
        let writing = |store: Arc<SqliteState>, whose: &'static str| {
            in_other_runtime(async move {
                for i in 0..100 {
                    put(&store, format!("{whose}{i}"), whose)
                        .await
                        .expect("written, after waiting for the other");
                }
            })
        };
        futures_util::join!(writing(Arc::clone(&one), "one"), writing(Arc::clone(&two), "two"));
        for i in 0..100 {
            assert!(has(&one, format!("two{i}")).await && has(&two, format!("one{i}")).await, "{i}");
        }
    });
}

#[test]
fn conditions_hold_between_stores_on_one_file() {
    let place = place();
    let stores: Arc<[Arc<SqliteState>]> = (0..4).map(|_| open(&place.file)).collect();
    run(async {
        let name = state::unique_key("shared");
        let claim = |store: Arc<SqliteState>| {
            let name = name.clone();
            let concurrency = outrigger_component_api::Concurrency::FirstWrite;
            in_other_runtime(async move {
                store.set(&name, Bytes::new(), SetOptions { concurrency, ..SetOptions::default() }).await
            })
        };
        let results = futures_util::future::join_all(stores.iter().cloned().map(claim)).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    });
}

#[test]
fn a_locked_file_is_unavailable_and_worth_retrying() {
    run(async {
        let place = place();
        let config = SqliteConfig { busy_timeout: Duration::from_millis(50), ..at(&place.file) };
        let store = SqliteState::new(config).expect("valid settings");
        put(&store, "before", "").await.expect("written");
        let other = Connection::open(&place.file).expect("opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("locks");
        let started = Instant::now();
        let error = put(&store, "during", "").await.expect_err("locked");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30), "the setting bounds the wait");
        assert!(has(&store, "before").await, "reading goes on meanwhile");
        other.execute_batch("ROLLBACK").expect("unlocks");
        put(&store, "after", "").await.expect("written");
        assert!(!has(&store, "during").await);
    });
}

#[test]
fn a_full_store_refuses_and_still_deletes() {
    run(async {
        let place = place();
        let config = SqliteConfig { max_size_bytes: 256 << 10, ..at(&place.file) };
        let store = SqliteState::new(config).expect("valid settings");
        let value = "x".repeat(16 << 10);
        let mut written = 0;
        let error = loop {
            match put(&store, written, &value).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 100, "the cap does nothing");
        };
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, false), "{error}");
        assert!(error.to_string().contains("maxSizeBytes"), "{error}");
        assert!(written > 5, "{written}");
        for i in 0..written {
            assert!(has(&store, i).await, "{i} was acknowledged");
        }
        for i in 0..3 {
            store.delete(&key(i), DeleteOptions::default()).await.expect("deleting makes room");
        }
        put(&store, "again", &value).await.expect("there is room again");
    });
}

/// One write that does not fit must not take those down that share its transaction.
#[test]
fn a_write_that_fails_fails_alone() {
    run(async {
        let place = place();
        let config = SqliteConfig { max_size_bytes: 256 << 10, ..at(&place.file) };
        let store = SqliteState::new(config).expect("valid settings");
        let set = |name: &str, size: usize| Change::Set {
            key: key(name),
            value: vec![0; size].into(),
            options: SetOptions::default(),
        };
        let answers = store.write_bulk(vec![set("small", 10), set("huge", 1 << 20), set("other", 10)]).await;
        let answers: Vec<_> = answers.expect("answered").into_iter().map(|answer| answer.is_ok()).collect();
        assert_eq!(answers, [true, false, true]);
        assert!(has(&store, "small").await && has(&store, "other").await && !has(&store, "huge").await);

        store.transact(vec![set("third", 10), set("huge", 1 << 20)]).await.expect_err("all or nothing");
        assert!(!has(&store, "third").await);
        put(&store, "fourth", "").await.expect("the store works on");
    });
}

#[test]
fn what_is_not_our_database_is_refused_unchanged() {
    run(async {
        let place = place();
        fs::create_dir_all(place.file.parent().expect("a parent")).expect("created");
        let check = async |expected: &str| {
            let before = fs::read(&place.file).expect("readable");
            let error = put(&open(&place.file), "a", "").await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(fs::read(&place.file).expect("readable"), before, "nothing was changed");
        };
        fs::write(&place.file, "this is a text file, long enough to be looked at as a database. ".repeat(20))
            .expect("written");
        check("not an SQLite database").await;

        fs::remove_file(&place.file).expect("removed");
        Connection::open(&place.file)
            .and_then(|other| other.execute_batch("CREATE TABLE t (a)"))
            .expect("created");
        check("another program").await;

        fs::remove_file(&place.file).expect("removed");
        put(&open(&place.file), "a", "").await.expect("a new one");
        let newer = Connection::open(&place.file).expect("opens");
        newer.execute_batch("UPDATE schemas SET version = 99").expect("updated");
        let error = put(&open(&place.file), "a", "").await.expect_err("refused");
        assert_eq!(error.to_string(), "the store was written by a newer version of this program (schema=99)");
    });
}

#[test]
fn a_damaged_file_is_data_loss() {
    run(async {
        let place = place();
        let store = open(&place.file);
        for i in 0..200 {
            put(&store, i, &"x".repeat(500)).await.expect("written");
        }
        drop(store);
        let mut bytes = fs::read(&place.file).expect("readable");
        assert!(bytes.len() > 16 << 10, "{}", bytes.len());
        bytes[8 << 10..].fill(0xA5);
        fs::write(&place.file, bytes).expect("written");
        let store = open(&place.file);
        let mut kinds = Vec::new();
        for i in 0..200 {
            kinds.extend(store.get(&key(i), GetOptions::default()).await.err().map(|error| error.kind()));
        }
        assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == ErrorKind::DataLoss), "{kinds:?}");
    });
}

#[test]
fn a_place_that_cannot_be_written_is_unavailable_until_it_can() {
    run(async {
        let place = place();
        let blocker = place.file.parent().expect("a parent").to_owned();
        fs::write(&blocker, "a file where a directory should be").expect("written");
        let store = open(&place.file);
        for error in [store.ping().await.expect_err("probe"), put(&store, "a", "").await.expect_err("write")]
        {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("cannot be created"), "{error}");
        }
        fs::remove_file(&blocker).expect("removed");
        put(&store, "a", "").await.expect("tried anew each time");
    });
}

#[test]
fn the_probe_notices_a_file_that_was_replaced() {
    run(async {
        let place = place();
        let store = open(&place.file);
        store.ping().await.expect("alive");
        let elsewhere = place.file.with_extension("moved");
        fs::rename(&place.file, &elsewhere).expect("moved");
        store.ping().await.expect_err("no file");
        fs::write(&place.file, "").expect("written");
        store.ping().await.expect_err("another file");
        fs::remove_file(&place.file).expect("removed");
        fs::rename(&elsewhere, &place.file).expect("moved back");
        store.ping().await.expect("alive");
    });
}

#[test]
fn writes_free_expired_rows() {
    run(async {
        let place = place();
        let store = open(&place.file);
        let short = SetOptions { ttl: Some(Duration::from_millis(1)), ..SetOptions::default() };
        let expiring =
            (0..1000).map(|i| Change::Set { key: key(i), value: Bytes::new(), options: short.clone() });
        store.write_bulk(expiring.collect()).await.expect("written");
        let rows = Connection::open(&place.file).expect("opens");
        let rows =
            || rows.query_row("SELECT count(*) FROM state", [], |row| row.get::<_, i64>(0)).expect("counts");
        assert!(rows() >= 1000 - 200, "{}", rows());
        let give_up = Instant::now() + Duration::from_secs(60);
        while rows() > 1 {
            assert!(Instant::now() < give_up, "{} rows left", rows());
            put(&store, "other", "").await.expect("written");
        }
    });
}

#[test]
fn dropping_the_store_ends_its_thread_and_leaves_a_clean_file() {
    run(async {
        let place = place();
        let store = open(&place.file);
        put(&store, "a", "").await.expect("written");
        assert!(place.file.with_extension("db-wal").exists());
        drop(store);
        assert!(!place.file.with_extension("db-wal").exists(), "the last connection to close merges the log");
    });
}
