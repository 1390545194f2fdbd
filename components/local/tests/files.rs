//! Local files keep the promises of a file store, and no link leads out of the root.

#![expect(clippy::unwrap_used, reason = "this crate is tests: a panic is a verdict")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{TryStreamExt, stream};
use outrigger_component_api::{Error, ErrorKind, FileBody, FileOptions, FileStore, Page, Result};
use outrigger_local::{LocalFiles, LocalFilesConfig};
use outrigger_testkit::{Subject, run};
use tempfile::TempDir;

fn store() -> (Arc<dyn FileStore>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let root_path = directory.path().join("made/when/missing");
    let store = run(LocalFiles::open(LocalFilesConfig { root_path })).unwrap();
    (Arc::new(store), directory)
}

mod suite {
    use super::*;

    /// Built in the case's own runtime.
    fn subject() -> Subject<dyn FileStore> {
        let (store, directory) = std::thread::spawn(store).join().unwrap();
        Subject::new(store).keeping(directory)
    }

    outrigger_testkit::file_suite!(subject());
}

fn root(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("made/when/missing")
}

fn body(content: &'static str) -> FileBody {
    Box::pin(stream::iter([Ok(content.into())]))
}

fn options(metadata: &[(&str, &str)]) -> FileOptions {
    let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    FileOptions { metadata }
}

async fn read(store: &Arc<dyn FileStore>, name: &str) -> Result<Vec<u8>> {
    let pieces: Vec<bytes::Bytes> = store.get(name, FileOptions::default()).await?.try_collect().await?;
    Ok(pieces.concat())
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.into_string().unwrap()).collect()
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error: Error| error.kind())
}

#[test]
fn no_link_is_followed_wherever_it_stands() {
    let (store, directory) = store();
    let (root, outside) = (root(&directory), directory.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "hunter2").unwrap();
    fs::create_dir(root.join("real")).unwrap();
    symlink(&outside, root.join("out")).unwrap();
    symlink(outside.join("secret"), root.join("real/leaf")).unwrap();
    symlink("../../../../outside", root.join("real/relative")).unwrap();
    symlink("/nowhere/at/all", root.join("dangling")).unwrap();
    symlink("real", root.join("within")).unwrap();
    run(async {
        for name in [
            "out/secret",
            "real/leaf",
            "real/relative/secret",
            "dangling",
            "dangling/x",
            "within/leaf",
            "within",
        ] {
            let refused = Some(ErrorKind::InvalidArgument);
            assert_eq!(kind(read(&store, name).await), refused, "read {name}");
            assert_eq!(kind(store.put(name, body("x"), options(&[])).await), refused, "put {name}");
            assert_eq!(kind(store.stat(name, options(&[])).await), refused, "stat {name}");
            assert_eq!(kind(store.delete(name, options(&[])).await), refused, "delete {name}");
        }
        for name in ["out", "real/relative", "within"] {
            let page = Page { size: 10, marker: String::new() };
            assert_eq!(kind(store.list(name, page, options(&[])).await), Some(ErrorKind::InvalidArgument));
        }
        let all = store.list("real", Page { size: 10, marker: String::new() }, options(&[])).await.unwrap();
        assert_eq!(all.files, [], "links are not files");
    });
    assert_eq!(entries(&outside), ["secret"]);
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "hunter2");
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn what_is_not_a_file_is_not_opened() {
    let (store, directory) = store();
    let root = root(&directory);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::create_dir(root.join("directory")).unwrap();
    run(async {
        for name in ["pipe", "directory"] {
            let refused = Some(ErrorKind::InvalidArgument);
            assert_eq!(kind(read(&store, name).await), refused, "{name}");
            assert_eq!(kind(store.put(name, body("x"), options(&[])).await), refused, "{name}");
            assert_eq!(kind(store.delete(name, options(&[])).await), refused, "{name}");
        }
        store.put("file", body("x"), options(&[])).await.unwrap();
        assert_eq!(kind(read(&store, "file/below").await), Some(ErrorKind::InvalidArgument));
        let long = "x".repeat(300);
        assert_eq!(kind(store.put(&long, body("x"), options(&[])).await), Some(ErrorKind::InvalidArgument));
    });
}

#[test]
fn mode_and_flag_are_honoured() {
    let (store, directory) = store();
    run(async {
        store.put("plain", body("x"), options(&[("FileMode", "0600")])).await.unwrap();
        let mode = fs::metadata(root(&directory).join("plain")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let info = store.stat("plain", options(&[])).await.unwrap();
        assert_eq!(info.metadata["FileMode"], "0600");

        let exclusive = || options(&[("FileFlag", "193"), ("FileMode", "0644")]);
        store.put("once", body("first"), exclusive()).await.unwrap();
        assert_eq!(kind(store.put("once", body("second"), exclusive()).await), Some(ErrorKind::Exists));
        assert_eq!(read(&store, "once").await.unwrap(), b"first");
        let append = options(&[("FileFlag", "1025")]);
        assert_eq!(kind(store.put("plain", body("y"), append).await), Some(ErrorKind::InvalidArgument));
        assert_eq!(read(&store, "plain").await.unwrap(), b"x");
    });
    let mut left = entries(&root(&directory));
    left.sort();
    assert_eq!(left, ["once", "plain"], "nothing is left of what was refused");
}

#[test]
fn of_exclusive_writers_exactly_one_succeeds() {
    let (store, _directory) = store();
    run(async {
        let write = |_| store.put("one", body("x"), options(&[("FileFlag", "193")]));
        let results = futures_util::future::join_all((0..16).map(write)).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    });
}

#[test]
fn what_dead_processes_left_is_cleared_and_never_shown() {
    let (store, directory) = store();
    let left = |name: &str| root(&directory).join(format!(".outrigger-upload-{name}"));
    fs::write(left("new"), "x").unwrap();
    fs::write(left("old"), "x").unwrap();
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    fs::File::options().write(true).open(left("old")).unwrap().set_modified(two_days_ago).unwrap();
    run(async {
        let all = store.list("", Page { size: 10, marker: String::new() }, options(&[])).await.unwrap();
        assert_eq!(all.files, []);
        assert_eq!(kind(read(&store, ".outrigger-upload-new").await), Some(ErrorKind::InvalidArgument));
    });
    assert!(left("new").exists() && !left("old").exists());
}

#[test]
fn a_root_that_is_gone_is_unavailable_and_one_that_comes_back_is_found() {
    let (store, directory) = store();
    run(async {
        store.put("file", body("x"), options(&[])).await.unwrap();
        fs::remove_dir_all(root(&directory)).unwrap();
        assert_eq!(kind(store.ping().await), Some(ErrorKind::Unavailable));
        assert_eq!(kind(read(&store, "file").await), Some(ErrorKind::Unavailable));
        fs::create_dir(root(&directory)).unwrap();
        store.ping().await.unwrap();
        assert_eq!(kind(read(&store, "file").await), Some(ErrorKind::NotFound));
    });
}

#[test]
fn with_the_whole_host_as_root_a_name_may_begin_with_a_slash() {
    let directory = tempfile::tempdir().unwrap();
    run(async {
        let store = LocalFiles::open(LocalFilesConfig { root_path: "/".into() }).await.unwrap();
        let store: Arc<dyn FileStore> = Arc::new(store);
        let name = directory.path().join("file").display().to_string();
        store.put(&name, body("x"), options(&[])).await.unwrap();
        assert_eq!(read(&store, &name).await.unwrap(), b"x");
        assert_eq!(kind(read(&store, &format!("/{name}")).await), Some(ErrorKind::InvalidArgument));
    });
}
