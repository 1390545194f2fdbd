//! Functions over a host that runs none: a module is a text, and a function answers with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{Request, Response};
use outrigger_cluster::Body;
use outrigger_component_api::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::bindings::InputEvent;
use crate::caller::Caller;
use crate::function::{Door, Function, Tick, VersionState, sha256};
use crate::pubsub::{Answer, Event};

/// Modules are texts; `bad` is refused, `500` answers so, `slow` waits until it is let go.
struct Fake {
    loaded: AtomicU64,
    gate: Arc<Semaphore>,
    alive: Arc<AtomicU64>,
}

struct Text {
    text: String,
    gate: Arc<Semaphore>,
    alive: Arc<AtomicU64>,
}

impl Drop for Text {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl FunctionHost for Fake {
    async fn load(&self, load: Load) -> Result<Arc<dyn Function>> {
        self.loaded.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8(load.module.bytes().to_vec()).unwrap();
        if text == "bad" {
            return Err(Error::invalid("it traps at start"));
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Text { text, gate: Arc::clone(&self.gate), alive: Arc::clone(&self.alive) }))
    }
}

#[async_trait]
impl Function for Text {
    fn triggers(&self) -> Triggers {
        Triggers { http: true, ..Triggers::default() }
    }

    async fn serve(&self, _: &Caller<'_>, _: Door, _: Request<Body>) -> Result<Response<Body>> {
        match self.text.as_str() {
            "slow" => self.gate.acquire().await.unwrap().forget(),
            "500" => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(response);
            }
            "stream" => {
                let (_, body) = Body::channel(1);
                return Ok(Response::new(body));
            }
            _ => tokio::task::yield_now().await,
        }
        Ok(Response::new(Body::from(self.text.clone())))
    }

    async fn event(&self, _: &Caller<'_>, _: &Event, _: u32) -> Result<Answer> {
        Ok(Answer::Success)
    }

    async fn schedule(&self, _: &Caller<'_>, _: &Tick) -> Result<()> {
        Err(Error::internal("trapped"))
    }

    async fn binding(&self, _: &Caller<'_>, _: &InputEvent) -> Result<()> {
        Ok(())
    }
}

fn functions() -> (Arc<Functions>, Arc<Fake>) {
    let gate = Arc::new(Semaphore::new(0));
    let fake = Arc::new(Fake { loaded: AtomicU64::new(0), gate, alive: Arc::default() });
    let functions = Arc::new(Functions::default());
    functions.run_on(Arc::clone(&fake) as _);
    (functions, fake)
}

async fn deploy(functions: &Functions, module: &str, weight: u8) -> Result<Arc<str>> {
    let config = FunctionConfig { weight, ..FunctionConfig::default() };
    let module = Bytes::copy_from_slice(module.as_bytes());
    functions.deploy("cart", module, config, Origin::Operator).await
}

async fn call(functions: &Functions) -> Result<Response<Body>> {
    functions.serve("cart", &Caller::new("app"), Door::Route, Request::new(Body::empty())).await
}

async fn answer(functions: &Functions) -> String {
    let body = call(functions).await.unwrap().into_body().collect(1 << 10).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// State, weight and calls of each version.
fn states(functions: &Functions) -> Vec<(&'static str, u8, u64)> {
    let report = functions.report("cart").unwrap();
    report.versions.iter().map(|it| (it.state.as_str(), it.weight, it.calls)).collect()
}

#[tokio::test]
async fn a_function_is_found_by_its_name_or_nearly() {
    let (functions, _) = functions();
    let version = deploy(&functions, "one", 100).await.unwrap();
    assert_eq!((version.len(), answer(&functions).await.as_str()), (12, "one"));
    let error = functions
        .serve("crat", &Caller::new(""), Door::Invoke, Request::new(Body::empty()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConfigured);
    assert_eq!(error.message(), "there is no function 'crat'; did you mean 'cart'?");
    functions.remove("cart").unwrap();
    assert_eq!(functions.remove("cart").unwrap_err().kind(), ErrorKind::NotConfigured);
    assert!(call(&functions).await.is_err() && functions.list().is_empty());
}

#[tokio::test]
async fn a_program_without_functions_says_so() {
    let functions = Functions::default();
    let error = deploy(&functions, "one", 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_is_wrong_with_a_deployment_is_told_before_it_is_loaded() {
    let (functions, fake) = functions();
    let check = async |name: &str, config: FunctionConfig, expected: &str| {
        let module = Bytes::from_static(b"one");
        let error = functions.deploy(name, module, config, Origin::Operator).await.unwrap_err();
        assert!(error.message().contains(expected), "{}", error.message());
    };
    let usual = FunctionConfig::default;
    check("../x", usual(), "is no name for a function").await;
    check("x", FunctionConfig { memory: 1, ..usual() }, "memory: must be between").await;
    check("x", FunctionConfig { sha256: Some("0".repeat(64)), ..usual() }, "another digest: 7692c3ad3540bb")
        .await;
    assert_eq!(fake.loaded.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refused_version_leaves_the_old_one_and_its_reason() {
    let (functions, _) = functions();
    deploy(&functions, "one", 100).await.unwrap();
    let error = deploy(&functions, "bad", 100).await.unwrap_err();
    assert_eq!(error.message(), "it traps at start");
    assert_eq!(answer(&functions).await, "one");
    let report = functions.report("cart").unwrap();
    assert_eq!(report.versions[1].state, VersionState::Refused { reason: "it traps at start".to_owned() });
    let log = functions.logs("cart").unwrap().after(0);
    assert_eq!((log[0].level, log[0].text.as_str()), ("error", "refused: it traps at start"));
    functions.settle("cart");
    assert_eq!(states(&functions), [("current", 100, 1)], "nobody wants it any more");
    deploy(&functions, "bad", 100).await.unwrap_err();
    deploy(&functions, "two", 100).await.unwrap();
    assert_eq!(states(&functions), [("current", 100, 0), ("previous", 0, 1)], "what was refused is history");
}

#[tokio::test]
async fn one_that_never_ran_is_listed_and_not_called() {
    let (functions, _) = functions();
    functions.refuse("cart", &sha256(b"bad"), "it is no component", Origin::Folder);
    assert_eq!(states(&functions), [("refused", 0, 0)]);
    assert!(!functions.has("cart") && functions.all().is_empty());
    let error = call(&functions).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.message(), "the function 'cart' has no version that runs: it is no component");
    let coming = functions.expect("cart", Origin::Folder);
    assert_eq!(states(&functions), [("refused", 0, 0), ("compiling", 0, 0)]);
    assert!(functions.report("cart").unwrap().is_coming() && !functions.has("cart"));
    let error = call(&functions).await.unwrap_err();
    assert_eq!(error.message(), "the function 'cart' has no version that runs: it is being compiled");
    functions.refuse("cart", &sha256(b"bad"), "it is no component", Origin::Folder);
    assert!(!functions.report("cart").unwrap().is_coming());
    drop(coming);
    deploy(&functions, "one", 100).await.unwrap();
    assert_eq!(answer(&functions).await, "one");
}

#[tokio::test]
async fn what_does_not_come_after_all_is_forgotten() {
    let (functions, _) = functions();
    drop(functions.expect("cart", Origin::Folder));
    assert!(functions.report("cart").is_err(), "nothing else is known of it");
    functions.refuse("cart", &sha256(b"bad"), "it is no component", Origin::Folder);
    drop(functions.expect("cart", Origin::Folder));
    assert_eq!(states(&functions), [("refused", 0, 0)]);
    deploy(&functions, "one", 100).await.unwrap();
    let coming = functions.expect("cart", Origin::Folder);
    assert!(functions.report("cart").unwrap().is_coming());
    drop(coming);
    assert_eq!(states(&functions), [("current", 100, 0)]);
}

#[tokio::test]
async fn what_changes_does_not_stand() {
    let (functions, _) = functions();
    let check = |before: &Standing| {
        assert!(!functions.stands("cart", before));
        let now = functions.standing("cart");
        assert!(functions.stands("cart", &now));
        now
    };
    let nothing = functions.standing("cart");
    assert!(functions.stands("cart", &nothing));
    deploy(&functions, "one", 100).await.unwrap();
    let one = check(&nothing);
    deploy(&functions, "two", 10).await.unwrap();
    let two = check(&one);
    functions.set_weight("cart", 20).unwrap();
    let weighed = check(&two);
    functions.remove("cart").unwrap();
    check(&weighed);
    deploy(&functions, "one", 100).await.unwrap();
    let again = check(&one);
    drop(functions.expect("cart", Origin::Folder));
    assert!(functions.stands("cart", &again), "what is only on its way changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_versions_are_switched() {
    let (functions, _) = functions();
    deploy(&functions, "0", 100).await.unwrap();
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (functions, stop, made) = (Arc::clone(&functions), Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                let mut last = 0u64;
                while !stop.load(Ordering::SeqCst) {
                    let seen: u64 = answer(&functions).await.parse().unwrap();
                    assert!(seen >= last, "version {seen} answered after {last}");
                    last = seen;
                    made.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for version in 1..=200 {
        let before = made.load(Ordering::SeqCst);
        deploy(&functions, &version.to_string(), 100).await.unwrap();
        while made.load(Ordering::SeqCst) < before + 8 && !callers.iter().any(|caller| caller.is_finished()) {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(answer(&functions).await, "200");
}

#[tokio::test]
async fn versions_no_longer_called_are_let_go() {
    let (functions, fake) = functions();
    for version in 0..50 {
        deploy(&functions, &version.to_string(), 100).await.unwrap();
    }
    assert_eq!(fake.alive.load(Ordering::SeqCst), 2, "the current and the previous one");
}

#[tokio::test]
async fn a_candidate_gets_its_share_until_it_is_promoted_or_taken_back() {
    let (functions, _) = functions();
    deploy(&functions, "old", 100).await.unwrap();
    deploy(&functions, "new", 20).await.unwrap();
    let mut new = 0;
    for _ in 0..2_000 {
        new += u32::from(answer(&functions).await == "new");
    }
    // Six standard deviations of a binomial distribution around 400.
    assert!((292..=508).contains(&new), "{new}");
    assert!(matches!(states(&functions)[..], [("current", 80, _), ("candidate", 20, _)]));
    functions.set_weight("cart", 1).unwrap();
    assert_eq!(functions.set_weight("cart", 101).unwrap_err().kind(), ErrorKind::InvalidArgument);
    functions.rollback("cart").unwrap();
    assert_eq!(answer(&functions).await, "old");
    assert_eq!(functions.promote("cart").unwrap_err().kind(), ErrorKind::FailedPrecondition);

    deploy(&functions, "newer", 1).await.unwrap();
    functions.promote("cart").unwrap();
    assert_eq!(answer(&functions).await, "newer");
    functions.rollback("cart").unwrap();
    assert_eq!(answer(&functions).await, "old");
    functions.rollback("cart").unwrap();
    assert_eq!(answer(&functions).await, "newer", "a second rollback undoes the first");
}

#[tokio::test]
async fn calls_under_way_finish_on_the_version_they_began_with() {
    let (functions, fake) = functions();
    deploy(&functions, "slow", 100).await.unwrap();
    let begun = tokio::spawn({
        let functions = Arc::clone(&functions);
        async move { answer(&functions).await }
    });
    while functions.report("cart").unwrap().versions[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    deploy(&functions, "two", 100).await.unwrap();
    deploy(&functions, "three", 100).await.unwrap();
    assert_eq!(states(&functions), [("current", 100, 0), ("previous", 0, 0), ("draining", 0, 1)]);
    assert_eq!(answer(&functions).await, "three");
    assert_eq!(functions.drain(Duration::from_millis(20)).await, 1, "it is waited for, not for ever");
    fake.gate.add_permits(1);
    assert_eq!(functions.drain(Duration::from_secs(20)).await, 0);
    assert_eq!(begun.await.unwrap(), "slow");
    assert_eq!(states(&functions).len(), 2);
    assert_eq!(fake.alive.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_is_under_way_until_its_end() {
    let (functions, _) = functions();
    deploy(&functions, "stream", 100).await.unwrap();
    let in_flight = || functions.report("cart").unwrap().versions[0].in_flight;
    let mut response = call(&functions).await.unwrap();
    assert_eq!(in_flight(), 1);
    assert!(response.body_mut().frame().await.is_none());
    drop(response);
    assert_eq!(in_flight(), 0);
}

#[tokio::test]
async fn failures_are_counted() {
    let (functions, _) = functions();
    deploy(&functions, "500", 100).await.unwrap();
    call(&functions).await.unwrap();
    let tick = Tick { name: "tick".into(), due: std::time::SystemTime::now() };
    functions.schedule("cart", &Caller::new(""), &tick).await.unwrap_err();
    let version = functions.report("cart").unwrap().versions.remove(0);
    assert_eq!((version.calls, version.errors, version.in_flight), (2, 2, 0));
}

#[tokio::test]
async fn whoever_follows_is_told_of_each_change() {
    let (functions, _) = functions();
    let mut changes = functions.changes();
    deploy(&functions, "one", 100).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert!(call(&functions).await.is_ok() && !changes.has_changed().unwrap());
    functions.remove("cart").unwrap();
    assert!(changes.has_changed().unwrap());
}
