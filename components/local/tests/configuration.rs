//! The local configuration stores keep the promises of a configuration store, and a file edited by hand is seen.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, ConfigurationStore, ErrorKind, Selector,
    Watch,
};
use outrigger_local::{EnvConfiguration, FileConfiguration, FileConfigurationConfig};
use outrigger_testkit::{Subject, run};

fn file(name: &str, text: &str, writable: bool) -> (Subject<dyn ConfigurationStore>, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(name);
    fs::write(&file, text).expect("written");
    let config = FileConfigurationConfig { file: file.clone(), writable };
    let store: Arc<dyn ConfigurationStore> = Arc::new(FileConfiguration::open(config).expect("opens"));
    (Subject::new(store).keeping(directory), file)
}

mod environment {
    use super::*;
    outrigger_testkit::configuration_suite!(Arc::new(EnvConfiguration::new(
        [("A".to_owned(), "1".to_owned())],
        ""
    )) as Arc<dyn ConfigurationStore>);
}

mod read_only {
    outrigger_testkit::configuration_suite!(super::file("c.json", "{}", false).0);
}

mod json {
    outrigger_testkit::configuration_suite!(super::file("c.json", "", true).0);
}

mod yaml {
    outrigger_testkit::configuration_suite!(super::file("c.yaml", "", true).0);
}

mod properties {
    outrigger_testkit::configuration_suite!(super::file("c.properties", "", true).0);
}

async fn next(watch: &mut dyn Watch) -> Vec<Change> {
    let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("in time");
    match event.expect("watching") {
        Event::Changed { changes, .. } => changes,
        Event::Compacted => unreachable!("a file has no history"),
    }
}

#[test]
fn an_edit_by_hand_is_seen_and_a_slip_is_not() {
    run(async {
        let (subject, path) = file("c.yaml", "a: 1\nb: { c: 2 }\n", false);
        let store = subject.handle();
        let mut watch = store.watch(&Selector::default(), None).await.expect("watched");
        // As careful editors do.
        let replace = |text: &str| {
            let next = path.with_extension("next");
            fs::write(&next, text).expect("written");
            fs::rename(&next, &path).expect("renamed");
        };
        replace("a: 1\nb: { c: [\n");
        replace("a: 1\nb: { c: 3 }\nd: new\n");
        let changes = next(&mut *watch).await;
        let seen: Vec<_> =
            changes.iter().map(|change| (&*change.item().key, &*change.item().content)).collect();
        assert_eq!(seen, [("b.c", "3"), ("d", "new")]);
        replace("a: 1\nb: { c: 3 }\n");
        assert!(matches!(&next(&mut *watch).await[..], [Change::Deleted(item)] if item.key == "d"));
        fs::write(&path, "a: [").expect("written");
        let error = store.get(&Selector::default()).await.expect_err("malformed");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, false), "{error}");
        store.ping().await.expect_err("the probe looks at the file");
    });
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_unless_it_may_be_written() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("new.json");
        let open =
            |writable| FileConfiguration::open(FileConfigurationConfig { file: file.clone(), writable });
        assert_eq!(open(false).map(drop).expect_err("refused").kind(), ErrorKind::InvalidArgument);
        let store = open(true).expect("opens");
        assert_eq!(store.get(&Selector::default()).await.expect("reads"), []);
        store.save("app", Vec::new()).await.expect("saved");
        assert!(file.exists());
    });
}
