//! What nobody waits for, while something is being compiled.

use super::*;

const LONG: Duration = Duration::from_secs(3600);

/// A folder with these modules.
fn folder(modules: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, module) in modules {
        fs::write(dir.path().join(format!("{name}.wasm")), module).unwrap();
    }
    dir
}

fn is_coming(managed: &Managed, name: &str) -> bool {
    managed.blocks.functions.report(name).is_ok_and(|report| report.is_coming())
}

async fn soon<R>(work: impl Future<Output = R>) -> R {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("nobody waits for that")
}

async fn deploy_as(managed: &Managed, name: &str, module: &'static str) -> Result<Changed> {
    let module = Bytes::from_static(module.as_bytes());
    managed.deploy(Deployment { name: name.to_owned(), module, ..Deployment::default() }).await
}

#[tokio::test]
async fn an_operator_does_not_wait_for_what_is_compiled() {
    let dir = folder(&[("orders", "slow"), ("stock", "slow")]);
    fs::write(dir.path().join("orders.yaml"), "deadline: 7s").unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let managed = managed_with(&gate);
    managed.follow_folder(Some(dir.path()), Duration::from_millis(1)).await;
    assert_eq!(managed.arriving().len(), 2);
    assert!(soon(deploy(&managed, "one", None)).await.unwrap().kept);
    soon(deploy(&managed, "two", Some(10))).await.unwrap();
    soon(managed.change("cart", Change::Promote)).await.unwrap();
    assert!(runs(&managed, "cart", "two"));
    soon(managed.remove("cart")).await.unwrap();

    // One of the same function is told what that is told, so it is its turn afterwards.
    let next = deploy_as(&managed, "orders", "two");
    let (deployed, ()) = tokio::join!(next, async { gate.add_permits(2) });
    assert!(deployed.unwrap().kept);
    assert!(runs(&managed, "orders", "two"));
    let config = managed.blocks.functions.get("orders").unwrap().config;
    assert_eq!(config.deadline, Duration::from_secs(7));
    eventually("the other is there", || runs(&managed, "stock", "slow").then_some(())).await;
}

#[tokio::test]
async fn what_is_changed_while_a_version_is_compiled_is_newer() {
    let gate = Arc::new(Semaphore::new(0));
    let managed = managed_with(&gate);
    deploy(&managed, "one", None).await.unwrap();
    let changed = async {
        // Once it is its turn.
        eventually("it is compiled", || {
            (managed.deploying.available_permits() < operate::AT_ONCE).then_some(())
        })
        .await;
        managed.remove("cart").await.unwrap();
        gate.add_permits(1);
    };
    let (late, ()) = soon(async { tokio::join!(deploy(&managed, "slow", None), changed) }).await;
    let late = late.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    assert_eq!(late.message(), "'cart' was changed while this version was compiled: deploy it again");
    assert!(!managed.blocks.functions.has("cart"));
}

#[tokio::test]
async fn so_many_are_deployed_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let managed = managed_with(&gate);
    let names: Vec<_> = (0..operate::AT_ONCE).map(|number| format!("f{number}")).collect();
    let all = futures_util::future::join_all(names.iter().map(|name| deploy_as(&managed, name, "slow")));
    let one_more = async {
        let refused = deploy(&managed, "one", None).await.unwrap_err();
        gate.add_permits(operate::AT_ONCE);
        refused
    };
    let (deployed, refused) = soon(async { tokio::join!(all, one_more) }).await;
    assert!(deployed.iter().all(Result::is_ok));
    assert_eq!(refused.kind(), ErrorKind::RateLimited);
    deploy(&managed, "one", None).await.unwrap();
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_compiled_is_read_again() {
    let (dir, gate) = (folder(&[("cart", "slow")]), Arc::new(Semaphore::new(0)));
    let managed = managed_with(&gate);
    managed.follow_folder(Some(dir.path()), Duration::from_millis(1)).await;
    fs::write(dir.path().join("cart.wasm"), "another").unwrap();
    gate.add_permits(1);
    eventually("the other one is there", || runs(&managed, "cart", "another").then_some(())).await;
    let report = managed.blocks.functions.report("cart").unwrap();
    assert_eq!(report.versions.len(), 1, "what does not lie there any more never ran");
}

#[tokio::test]
async fn another_folder_is_not_waited_for_and_leaves_nothing_on_its_way() {
    let dir = folder(&[("cart", "slow"), ("orders", "slow")]);
    let managed = managed();
    managed.follow_folder(None, LONG).await;
    deploy(&managed, "one", None).await.unwrap();
    soon(managed.follow_folder(Some(dir.path()), LONG)).await;
    eventually("they are on their way", || {
        (is_coming(&managed, "cart") && is_coming(&managed, "orders")).then_some(())
    })
    .await;
    soon(managed.follow_folder(None, LONG)).await;
    assert!(!is_coming(&managed, "cart"), "nobody brings it any more");
    assert!(runs(&managed, "cart", "one"), "it was not of the folder");
    assert!(managed.blocks.functions.report("orders").is_err());
    assert!(managed.arriving().is_empty());
}

#[tokio::test]
async fn a_file_that_is_on_its_way_is_not_written_over() {
    let (dir, gate) = (folder(&[]), Arc::new(Semaphore::new(0)));
    let managed = managed_with(&gate);
    managed.follow_folder(Some(dir.path()), LONG).await;
    deploy(&managed, "one", None).await.unwrap();
    deploy(&managed, "two", Some(10)).await.unwrap();
    fs::write(dir.path().join("cart.wasm"), "slow").unwrap();
    eventually("it is on its way", || is_coming(&managed, "cart").then_some(())).await;
    assert!(managed.change("cart", Change::Weight(30)).await.unwrap().kept, "it is not in the way of that");
    for change in [Change::Promote, Change::Weight(100)] {
        let error = managed.change("cart", change).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let expected = "the file of 'cart' has changed and is being brought in: try again later";
        assert_eq!(error.message(), expected);
    }
    managed.change("cart", Change::Rollback).await.unwrap();
    assert!(runs(&managed, "cart", "one"), "what was refused has changed nothing");
    gate.add_permits(1);
    eventually("it is there", || runs(&managed, "cart", "slow").then_some(())).await;
}

#[tokio::test]
async fn a_file_that_changes_while_another_version_is_compiled_is_not_written_over() {
    let (dir, gate) = (folder(&[]), Arc::new(Semaphore::new(0)));
    let managed = managed_with(&gate);
    managed.follow_folder(Some(dir.path()), LONG).await;
    deploy(&managed, "one", None).await.unwrap();
    let changed = async {
        eventually("it is compiled", || {
            (managed.deploying.available_permits() < operate::AT_ONCE).then_some(())
        })
        .await;
        fs::write(dir.path().join("cart.wasm"), "another").unwrap();
        gate.add_permits(1);
    };
    let (late, ()) = soon(async { tokio::join!(deploy(&managed, "slow", None), changed) }).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
    eventually("the file is brought in", || runs(&managed, "cart", "another").then_some(())).await;
}

#[tokio::test]
async fn one_for_which_there_was_no_room_is_brought_in_later() {
    let (dir, gate) = (folder(&[("cart", "busy")]), Arc::new(Semaphore::new(0)));
    let managed = managed_with(&gate);
    managed.follow_folder(Some(dir.path()), LONG).await;
    assert_eq!(refusal(&managed, "cart").as_deref(), Some("others are compiled"));
    gate.add_permits(1);
    eventually("there is room", || runs(&managed, "cart", "busy").then_some(())).await;
    assert_eq!(refusal(&managed, "cart"), None);
}

#[tokio::test]
async fn what_lies_beside_is_on_its_way_as_well() {
    let (dir, gate) = (folder(&[]), Arc::new(Semaphore::new(1)));
    let first = managed_with(&gate);
    first.follow_folder(Some(dir.path()), LONG).await;
    deploy(&first, "one", None).await.unwrap();
    deploy(&first, "slow", Some(10)).await.unwrap();
    drop(first);

    let next = managed_with(&gate);
    next.follow_folder(Some(dir.path()), Duration::from_millis(1)).await;
    eventually("the current one is there", || runs(&next, "cart", "one").then_some(())).await;
    eventually("the candidate is on its way", || is_coming(&next, "cart").then_some(())).await;
    assert_eq!(next.arriving(), [Arc::<str>::from("cart")]);
    for change in [Change::Promote, Change::Weight(30), Change::Rollback] {
        let error = next.change("cart", change).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), "a version of 'cart' is still being compiled: try again later");
    }
    gate.add_permits(1);
    eventually("all are there", || next.arriving().is_empty().then_some(())).await;
    assert!(next.change("cart", Change::Promote).await.unwrap().kept);
    assert!(runs(&next, "cart", "slow"));
}
