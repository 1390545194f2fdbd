//! How outages are judged: within which time a call must answer, and how soon all must work again. Each judge also
//! stands before a component that breaks the rule.

use std::future::Future;
use std::time::{Duration, Instant};

use outrigger_component_api::{Error, ErrorKind, Result};

/// What a call may take before somebody's deadline ends it, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// After a server is back, for how long its clients may still fail, on a busy machine: it elects itself first.
const RECOVERY: Duration = Duration::from_secs(30);
/// What stands in for both where they pass for certain.
const BRIEFLY: Duration = Duration::from_secs(2);

/// A call while the server is away is refused in time, with the right kind.
pub(crate) async fn refused_in_time<T>(call: impl Future<Output = Result<T>>) -> Result<(), String> {
    refused_within(DEADLINE, call).await
}

async fn refused_within<T>(time: Duration, call: impl Future<Output = Result<T>>) -> Result<(), String> {
    match tokio::time::timeout(time, call).await {
        Err(_) => Err("no answer within the deadline".to_owned()),
        Ok(Ok(_)) => Err("answered although nobody was there".to_owned()),
        Ok(Err(error)) if error.kind() == ErrorKind::Unavailable && error.is_retryable() => Ok(()),
        Ok(Err(error)) => Err(format!("{:?}: {error}", error.kind())),
    }
}

/// Calls work again soon enough.
pub(crate) async fn recovers<T>(call: impl AsyncFn() -> Result<T>) -> Result<T, String> {
    recovers_within(RECOVERY, call).await
}

async fn recovers_within<T>(time: Duration, call: impl AsyncFn() -> Result<T>) -> Result<T, String> {
    let begun = Instant::now();
    let mut last = Error::internal("never called");
    while begun.elapsed() < time {
        match tokio::time::timeout(time, call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = error,
            Err(_) => last = Error::internal("no answer"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("still failing after {:?}: {last}", begun.elapsed()))
}

#[tokio::test]
async fn components_that_break_the_rules_are_found_out() {
    let hangs = std::future::pending::<Result<()>>();
    assert!(refused_within(BRIEFLY, hangs).await.is_err(), "one that hangs");
    assert!(refused_in_time(async { Ok(()) }).await.is_err(), "one that makes answers up");
    assert!(refused_in_time(async { Err::<(), _>(Error::internal("x")) }).await.is_err(), "the wrong kind");
    let full = Error::unavailable("full").permanent();
    assert!(refused_in_time(async { Err::<(), _>(full) }).await.is_err(), "one that says it is for ever");
    let never = async || Err::<(), _>(Error::unavailable("remembered"));
    assert!(recovers_within(BRIEFLY, never).await.is_err(), "one that remembers a refusal");
    let back = Instant::now() + BRIEFLY + Duration::from_millis(500);
    let late = async || if Instant::now() < back { Err(Error::unavailable("late")) } else { Ok(()) };
    assert!(recovers_within(BRIEFLY, late).await.is_err(), "one that is late");
}
