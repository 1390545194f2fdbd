//! Locks, sequences and configuration of the default set: without any file, and between two sidecars of one host.

use std::time::Duration;

use outrigger_sdk::{Client, Held, Options, Write, configuration::Item};

use crate::program::{Folder, Program};

async fn client(program: &Program) -> Client {
    let options = Options { endpoint: format!("http://{}", program.api()), ..Options::default() };
    Client::connect_with(options).await.unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Two sidecars on one folder's data, with nothing configured but their ports.
fn two() -> (Folder, Program, Program) {
    let folder = Folder::empty();
    let (one, two) = (folder.run(), folder.run());
    (folder, one, two)
}

#[test]
fn a_lock_is_one_between_two_sidecars_and_its_token_counts() {
    let (_folder, one, two) = two();
    block_on(async {
        let (one, two) = (client(&one).await, client(&two).await);
        let hour = Duration::from_secs(3600);
        let first = one.lock("lock").try_lock("r", hour).await.unwrap().unwrap();
        assert!(two.lock("lock").try_lock("r", hour).await.unwrap().is_none());
        assert_eq!(first.keep_alive(hour).await.unwrap(), Held::Yes);
        let old = first.fencing_token().unwrap();
        assert_eq!(first.unlock().await.unwrap(), Held::Yes);
        let second = two.lock("lock").try_lock("r", hour).await.unwrap().unwrap();
        let new = second.fencing_token().unwrap();
        assert!(new > old);
        two.state("state").save(Write::new("k", "second").fence(new)).await.unwrap();
        let late = one.state("state").save(Write::new("k", "first").fence(old)).await.unwrap_err();
        assert_eq!(late.kind(), outrigger_sdk::ErrorKind::Conflict, "{late}");
        assert_eq!(&one.state("state").get("k").await.unwrap().unwrap().value[..], b"second");
    });
}

#[test]
fn a_change_of_configuration_reaches_the_other_sidecar() {
    let (_folder, one, two) = two();
    block_on(async {
        let (one, two) = (client(&one).await, client(&two).await);
        let here = one.configuration("configuration", "app");
        let mut watch = two.configuration("configuration", "app").watch(["a"]).await.unwrap();
        for content in ["1", "2"] {
            here.save([Item::new("a", content)]).await.unwrap();
            let seen = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
            let seen = seen.unwrap().unwrap();
            assert_eq!((seen.len(), seen[0].content.as_str()), (1, content));
        }
    });
}

#[test]
fn numbers_are_given_once_by_two_sidecars_and_grow_across_a_kill() {
    let (folder, one, two) = two();
    let last = block_on(async {
        let (one, two) = (client(&one).await, client(&two).await);
        for number in [1, 3, 5] {
            assert_eq!(one.sequencer("sequencer").next_strong("s").await.unwrap(), number);
            assert_eq!(two.sequencer("sequencer").next_strong("s").await.unwrap(), number + 1);
        }
        assert_eq!(one.sequencer("sequencer").next("weak").await.unwrap(), 1);
        two.sequencer("sequencer").next("weak").await.unwrap()
    });
    assert_eq!(last, 10_001, "each takes ten thousand in advance");
    drop((one, two));
    let again = folder.run();
    block_on(async {
        let again = client(&again).await;
        assert_eq!(again.sequencer("sequencer").next_strong("s").await.unwrap(), 7);
        assert_eq!(again.sequencer("sequencer").next("weak").await.unwrap(), 20_001);
    });
}

#[test]
fn settings_of_the_blocks_are_checked_at_their_place() {
    let check = |component: &str, expected: &str| {
        let folder = Folder::bare();
        folder.write("f.yaml", &format!("components:\n  c: {component}\n"));
        let output = folder.command(&["check", "f.yaml"]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(expected), "{expected} is missing from:\n{text}");
    };
    check(
        "{ type: lock.in-memory, settings: { keyPrefix: 'a||b' } }",
        "f.yaml:2:53: components.c.settings.keyPrefix",
    );
    check(
        "{ type: sequencer.in-memory, settings: { segmentSize: 0 } }",
        "segmentSize is a whole number from 1 to",
    );
    check(
        "{ type: sequencer.in-memory, settings: { biggerThan: { k: x } } }",
        "biggerThan has a whole number",
    );
    check(
        "{ type: configuration.in-memory, settings: { defaultGroup: [g] } }",
        "defaultGroup must be a text",
    );
    check("{ type: lock.in-memory, settings: { keyPrefix: none } }", "ok: 1 component");
}
