//! What a process finds of the one before it, and how long it waits for that.

use outrigger_blocks::function::Section;

use super::*;

/// State, weight and module of each version.
fn states(managed: &Arc<Managed>) -> Vec<(&'static str, u8, Arc<str>)> {
    let report = managed.blocks.functions.report("cart").unwrap();
    report.versions.iter().map(|it| (it.state.as_str(), it.weight, Arc::clone(&it.sha256))).collect()
}

fn expected(versions: &[(&'static str, u8, &str)]) -> Vec<(&'static str, u8, Arc<str>)> {
    versions.iter().map(|(state, weight, module)| (*state, *weight, sha256(module.as_bytes()))).collect()
}

async fn started_on(dir: &TempDir) -> Arc<Managed> {
    let managed = managed();
    managed.follow_folder(Some(dir.path()), PATIENCE).await;
    managed
}

#[tokio::test]
async fn a_candidate_and_the_version_before_are_found_again() {
    let (dir, first) = in_folder().await;
    deploy(&first, "one", None).await.unwrap();
    deploy(&first, "two", None).await.unwrap();
    assert!(deploy(&first, "three", Some(10)).await.unwrap().kept);
    assert!(first.change("cart", Change::Weight(30)).await.unwrap().kept);
    let all = expected(&[("current", 70, "two"), ("candidate", 30, "three"), ("previous", 0, "one")]);
    assert_eq!(states(&first), all);

    let second = started_on(&dir).await;
    assert_eq!(states(&second), all);
    assert!(second.change("cart", Change::Promote).await.unwrap().kept);
    assert!(!file(&dir, "cart.yaml").unwrap().contains("sha256"), "another one may be put there");
    assert_eq!(file(&dir, ".cart.candidate.wasm"), None);

    let third = started_on(&dir).await;
    assert_eq!(states(&third), expected(&[("current", 100, "three"), ("previous", 0, "two")]));
    assert!(third.change("cart", Change::Rollback).await.unwrap().kept);
    let fourth = started_on(&dir).await;
    assert_eq!(states(&fourth), expected(&[("current", 100, "two"), ("previous", 0, "three")]));
}

#[tokio::test]
async fn a_broken_candidate_is_refused_and_keeps_nobody_from_starting() {
    let check = async |broken: &dyn Fn(&TempDir), why: &str| {
        let (dir, first) = in_folder().await;
        deploy(&first, "one", None).await.unwrap();
        deploy(&first, "two", Some(10)).await.unwrap();
        broken(&dir);
        let next = started_on(&dir).await;
        assert!(runs(&next, "cart", "one"));
        let reason = refusal(&next, "cart").unwrap();
        assert!(reason.contains(why), "{reason}");
        assert!(!next.blocks.functions.report("cart").unwrap().has_candidate());
        // It is out of the way of the next one.
        deploy(&next, "three", Some(20)).await.unwrap();
        let again = states(&started_on(&dir).await);
        assert_eq!(again, expected(&[("current", 80, "one"), ("candidate", 20, "three")]));
    };
    let write = |name: &'static str, text: &'static str| {
        move |dir: &TempDir| fs::write(dir.path().join(name), text).unwrap()
    };
    check(&write(".cart.candidate.wasm", "tw"), "sha256: the module has another digest").await;
    check(&write(".cart.candidate.yaml", "weight: lots"), ".cart.candidate.yaml:1:9: weight: ").await;
    let unreadable = |dir: &TempDir| {
        fs::remove_file(dir.path().join(".cart.candidate.wasm")).unwrap();
        fs::create_dir(dir.path().join(".cart.candidate.wasm")).unwrap();
    };
    let (dir, first) = in_folder().await;
    deploy(&first, "one", None).await.unwrap();
    deploy(&first, "two", Some(10)).await.unwrap();
    unreadable(&dir);
    assert!(refusal(&*started_on(&dir).await, "cart").unwrap().contains("it is no regular file"));
}

#[tokio::test]
async fn an_unfinished_change_leaves_no_candidate() {
    let (dir, first) = in_folder().await;
    deploy(&first, "one", None).await.unwrap();
    for extension in ["wasm", "yaml"] {
        let (from, to) = (format!("cart.{extension}"), format!(".cart.candidate.{extension}"));
        fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
    }
    let current = expected(&[("current", 100, "one")]);
    assert_eq!(states(&started_on(&dir).await), current, "the current one is no candidate");
    fs::write(dir.path().join(".cart.candidate.wasm"), "two").unwrap();
    assert_eq!(states(&started_on(&dir).await), current, "nor is one that would get all calls");
}

#[tokio::test]
async fn one_that_takes_long_does_not_hold_the_start_up() {
    let (dir, gate) = (tempfile::tempdir().unwrap(), Arc::new(Semaphore::new(0)));
    for name in ["cart", "orders"] {
        fs::write(dir.path().join(format!("{name}.wasm")), if name == "cart" { "slow" } else { "one" })
            .unwrap();
    }
    let managed = managed_with(&gate);
    managed.follow_folder(Some(dir.path()), Duration::from_millis(1)).await;
    eventually("the other one is there", || runs(&managed, "orders", "one").then_some(())).await;
    assert_eq!(states(&managed), [("compiling", 0, Arc::default())]);
    assert_eq!(managed.arriving(), [Arc::<str>::from("cart")]);
    gate.add_permits(1);
    eventually("it is there", || runs(&managed, "cart", "slow").then_some(())).await;
    eventually("all are there", || managed.arriving().is_empty().then_some(())).await;

    // What comes later is listed, and no reason not to be ready.
    fs::write(dir.path().join("late.wasm"), "slow").unwrap();
    let late = || managed.blocks.functions.report("late").ok().filter(|report| report.is_coming());
    eventually("the late one is on its way", late).await;
    assert!(managed.arriving().is_empty());
    gate.add_permits(1);
    eventually("the late one is there", || runs(&managed, "late", "slow").then_some(())).await;
}

#[tokio::test]
async fn a_grant_of_what_is_not_there_is_refused_until_it_is() {
    let (dir, managed) = in_folder().await;
    let know = |names: &[&str]| {
        *managed.known.lock() = Arc::new(Known::default().with(Section::State, names.iter().copied()));
    };
    know(&["orders"]);
    fs::write(dir.path().join("cart.yaml"), "grants: { state: [cart] }").unwrap();
    fs::write(dir.path().join("cart.wasm"), "one").unwrap();
    let reason = eventually("it is refused", || refusal(&managed, "cart")).await;
    let expected = "grants.state[0]: state store 'cart' is not configured; there are: orders";
    assert!(reason.ends_with(&format!("cart.yaml:1:19: {expected}")), "{reason}");

    let deployment = |config: Option<&str>| Deployment {
        name: "other".to_owned(),
        module: Bytes::from_static(b"one"),
        config: config.map(str::to_owned),
        ..Deployment::default()
    };
    let error = managed.deploy(deployment(Some("{grants: {state: [cart]}}"))).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::InvalidArgument, &*format!("config:1:19: {expected}"))
    );

    know(&["orders", "cart"]);
    managed.follow_folder(Some(dir.path()), PATIENCE).await;
    eventually("it comes", || runs(&managed, "cart", "one").then_some(())).await;
    managed.deploy(deployment(Some("{grants: {state: [cart]}}"))).await.unwrap();
    know(&["orders"]);
    let error = managed.deploy(deployment(None)).await.unwrap_err();
    assert_eq!(error.message(), expected, "as it is configured now it could not be");
}

#[tokio::test]
async fn what_was_beside_another_version_does_not_come_back() {
    let kept = async || {
        let (dir, first) = in_folder().await;
        deploy(&first, "one", None).await.unwrap();
        deploy(&first, "two", None).await.unwrap();
        deploy(&first, "three", Some(10)).await.unwrap();
        (dir, first)
    };
    let replaced = expected(&[("current", 100, "four")]);
    let put = |dir: &TempDir, module: &str| fs::write(dir.path().join("cart.wasm"), module).unwrap();

    let (dir, running) = kept().await;
    put(&dir, "four");
    eventually("the new one is there", || runs(&running, "cart", "four").then_some(())).await;
    eventually("nothing is beside it", || file(&dir, ".cart.candidate.wasm").is_none().then_some(())).await;
    assert_eq!(states(&started_on(&dir).await), replaced, "exchanged while the process runs");

    let (dir, running) = kept().await;
    drop(running);
    put(&dir, "four");
    assert_eq!(states(&started_on(&dir).await), replaced, "and while it does not");

    let (dir, running) = kept().await;
    fs::remove_file(dir.path().join("cart.wasm")).unwrap();
    eventually("it is gone", || (!running.blocks.functions.has("cart")).then_some(())).await;
    put(&dir, "two");
    let alone = expected(&[("current", 100, "two")]);
    eventually("it is new", || {
        (running.blocks.functions.has("cart") && states(&running) == alone).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_with_other_settings_is_another_version() {
    let (dir, first) = in_folder().await;
    deploy(&first, "one", None).await.unwrap();
    let deployment = Deployment {
        name: "cart".to_owned(),
        module: Bytes::from_static(b"one"),
        config: Some("{deadline: 7s, weight: 20}".to_owned()),
        ..Deployment::default()
    };
    assert!(first.deploy(deployment).await.unwrap().kept);
    let both = expected(&[("current", 80, "one"), ("candidate", 20, "one")]);
    assert_eq!(states(&first), both);
    let second = started_on(&dir).await;
    assert_eq!(states(&second), both);
    second.change("cart", Change::Promote).await.unwrap();
    let both = expected(&[("current", 100, "one"), ("previous", 0, "one")]);
    assert_eq!(states(&started_on(&dir).await), both);
}

#[tokio::test]
async fn a_deployed_configuration_does_not_read_the_environment_later_either() {
    let (dir, managed) = in_folder().await;
    let deployment = Deployment {
        name: "cart".to_owned(),
        module: Bytes::from_static(b"one"),
        config: Some("config: { a: '${env:NOT_SET:-${env:PATH}}' }".to_owned()),
        ..Deployment::default()
    };
    let error = managed.deploy(deployment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("`${env:`"), "{}", error.message());
    assert_eq!(file(&dir, "cart.yaml"), None);
}
