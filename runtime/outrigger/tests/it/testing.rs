//! The sidecar that runs inside a test: quick to start, and at fault when asked.

use std::time::{Duration, Instant};

use outrigger::testing::{ErrorKind as Kind, Fault, Outrigger};
use outrigger_sdk::{Client, ErrorKind, Options, StateStore};

const STATE: &str = "components: { state: { type: state.in-memory, policy: { timeout: 2s, retries: 0 } } }\n";

fn with_state(sidecar: &Outrigger, test: impl AsyncFnOnce(StateStore)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { endpoint: sidecar.endpoint(), ..Options::default() };
        test(Client::connect_with(options).await.unwrap().state("state")).await;
    });
}

#[test]
fn faults_look_like_the_backends_own() {
    let sidecar = Outrigger::start_test_with(STATE).unwrap();
    with_state(&sidecar, async |state| {
        state.save(("k", "v")).await.unwrap();
        let kind = async || state.get("k").await.map(drop).map_err(|error| error.kind());
        for (fault, expected) in [
            (Fault::Gone, Err(ErrorKind::Unavailable)),
            (Fault::Failing(Kind::Internal), Err(ErrorKind::Internal)),
            (Fault::Slow(Duration::from_secs(60)), Err(ErrorKind::Timeout)),
            (Fault::Slow(Duration::from_millis(1)), Ok(())),
        ] {
            sidecar.inject("state", fault).unwrap();
            assert_eq!(kind().await, expected, "{fault:?}");
            sidecar.heal("state").unwrap();
            assert_eq!(kind().await, Ok(()), "after {fault:?}");
        }
    });
    assert!(sidecar.inject("nobody", Fault::Gone).is_err());
}

#[test]
fn several_live_side_by_side_and_leave_nothing() {
    let start = |_| (Instant::now(), Outrigger::start_test_with(STATE).unwrap());
    let timed = (0..5).map(start).map(|(began, sidecar)| (began.elapsed(), sidecar));
    let (took, sidecars): (Vec<_>, Vec<_>) = timed.unzip();
    // Far more than one takes on a quiet machine.
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
    for (at, sidecar) in sidecars.iter().enumerate() {
        with_state(sidecar, async |state| {
            assert_eq!(state.get("k").await.unwrap(), None, "the stores are apart");
            state.save(("k", at.to_string())).await.unwrap();
        });
    }
    let endpoints: Vec<_> = sidecars.iter().map(Outrigger::endpoint).collect();
    drop(sidecars);
    for endpoint in endpoints {
        assert!(std::net::TcpStream::connect(&endpoint).is_err(), "{endpoint} still listens");
    }
}
