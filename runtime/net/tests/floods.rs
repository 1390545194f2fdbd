//! Every HTTP/2 flood against the library behind the accountant, beside a client that does nothing wrong.

#![cfg(test)]

#[path = "support/h2_attack.rs"]
#[expect(dead_code, reason = "other crates' tests use the rest")]
mod h2_attack;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2_attack::{Client, ENHANCE_YOUR_CALM, Effort, Outcome, Trick};
use outrigger_net::frames::{Accountant, FloodLimits};
use outrigger_net::{
    Accepted, Acceptor, AcceptorHandle, Address, Drain, Listener, ListenerLimits, SocketOptions, Workers,
};
use outrigger_telemetry::Metrics;

const EFFORT: Effort = Effort { frames: 1_000_000, time: Duration::from_secs(20) };

struct Setup {
    handle: AcceptorHandle,
    address: SocketAddr,
    metrics: Metrics,
}

fn start(limits: FloodLimits) -> Setup {
    start_with(limits, Duration::from_secs(30))
}

fn start_with(limits: FloodLimits, write_stall: Duration) -> Setup {
    let metrics = Metrics::new();
    let service = move |conn: Accepted| {
        let accountant = Accountant::new(conn.stream, limits.clone(), write_stall, conn.floods);
        async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(100).max_header_list_size(48 * 1024);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(accountant).await else { return };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    if let Ok(mut body) = respond.send_response(http::Response::new(()), false) {
                        // The client may be gone.
                        let _ = body.send_data(Bytes::from_static(&[b'x'; 1000]), true);
                    }
                });
            }
        }
    };
    let acceptor = Acceptor {
        name: "web".into(),
        listener: Listener::bind(&"127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap(),
        workers: Arc::new(Workers::start(1).unwrap()),
        service: Arc::new(service),
        limits: ListenerLimits::default(),
        tls: None,
        drain: Drain::new(),
    };
    let handle = acceptor.spawn(&metrics).unwrap();
    let Address::Tcp(address) = *handle.address() else { unreachable!("bound to TCP") };
    Setup { handle, address, metrics }
}

/// Runs an attack beside a victim on another connection, who must not notice.
async fn under_attack<F>(setup: &Setup, attack: F) -> Outcome
where
    F: Future<Output = std::io::Result<Outcome>> + Send + 'static,
{
    let mut victim = Client::connect(setup.address, &[]).await.unwrap();
    let attack = tokio::spawn(attack);
    let mut completed = 0;
    while !attack.is_finished() || completed < 50 {
        assert!(victim.get(Duration::from_secs(5)).await, "request {completed} of the victim failed");
        completed += 1;
    }
    attack.await.unwrap().unwrap()
}

impl Setup {
    #[track_caller]
    fn check(&self, outcome: &Outcome, kind: &str) {
        let text = self.metrics.render();
        assert_eq!(outcome.goaway, Some(ENHANCE_YOUR_CALM), "{kind}: {outcome:?}");
        assert!(outcome.is_cut_short(), "{kind}: {outcome:?}");
        let line = format!("outrigger_http2_floods_total{{kind=\"{kind}\"}} 1\n");
        assert!(text.contains(&line), "{kind} is not counted in\n{text}");
        assert!(self.handle.stats().accepted == 2);
    }
}

impl Outcome {
    /// Cut before the effort was spent. How much is on the way by then is up to the buffers between the two.
    fn is_cut_short(&self) -> bool {
        self.cut.is_some() && self.sent < EFFORT.frames
    }
}

#[tokio::test]
async fn control_floods_are_cut_and_the_victim_does_not_notice() {
    macro_rules! check {
        ($attack:ident, $kind:literal) => {
            let setup = start(FloodLimits::default());
            let outcome = under_attack(&setup, h2_attack::$attack(setup.address, EFFORT)).await;
            setup.check(&outcome, $kind);
        };
    }
    check!(ping, "ping");
    check!(settings, "settings");
    check!(priority, "priority");
    check!(window_update, "window_update");
    check!(continuation, "continuation");
}

#[tokio::test]
async fn without_the_budget_the_same_flood_goes_through() {
    let limits = FloodLimits { control_frames_per_second: u32::MAX, ..FloodLimits::default() };
    let setup = start(limits);
    let effort = Effort { frames: 5000, ..EFFORT };
    let outcome = under_attack(&setup, h2_attack::ping(setup.address, effort)).await;
    assert!(outcome.cut.is_none() && outcome.sent == 5000, "{outcome:?}");
}

/// Here the library has a budget as well; whichever is used up first ends the connection.
#[tokio::test]
async fn floods_of_requests_are_cut() {
    macro_rules! check {
        ($attack:ident, $kind:literal) => {
            let setup = start(FloodLimits::default());
            let outcome = under_attack(&setup, h2_attack::$attack(setup.address, EFFORT)).await;
            let text = setup.metrics.render();
            assert_eq!(outcome.goaway, Some(ENHANCE_YOUR_CALM), "{} {outcome:?}", $kind);
            assert!(outcome.is_cut_short(), "{} {outcome:?}", $kind);
            let counted = [$kind, "codec"]
                .iter()
                .any(|kind| text.contains(&format!("outrigger_http2_floods_total{{kind=\"{kind}\"}} 1\n")));
            assert!(counted, "{text}");
        };
    }
    check!(rapid_reset, "rapid_reset");
    check!(empty_data, "empty_data");
}

#[tokio::test]
async fn resets_we_are_made_to_send_are_cut() {
    let setup = start(FloodLimits::default());
    let attack = h2_attack::made_you_reset(setup.address, EFFORT, Trick::Length);
    let outcome = under_attack(&setup, attack).await;
    setup.check(&outcome, "made_you_reset");
    // These the library ends at the first frame, or the budget for WINDOW_UPDATE does.
    for trick in [Trick::HalfClosed, Trick::Overflow, Trick::ZeroIncrement] {
        let setup = start(FloodLimits::default());
        let outcome = under_attack(&setup, h2_attack::made_you_reset(setup.address, EFFORT, trick)).await;
        assert!(outcome.is_cut_short(), "{trick:?} {outcome:?}");
        assert!(outcome.goaway.is_some_and(|code| code != 0), "{trick:?} {outcome:?}");
    }
}

#[tokio::test]
async fn streams_held_at_zero_window_are_reset() {
    let setup = start_with(FloodLimits::default(), Duration::from_millis(500));
    let effort = Effort { frames: 50, time: Duration::from_secs(10) };
    let outcome = under_attack(&setup, h2_attack::zero_window(setup.address, effort)).await;
    assert_eq!((outcome.resets, outcome.cut), (50, None), "{outcome:?}");
    let text = setup.metrics.render();
    assert!(text.contains("outrigger_http2_floods_total{kind=\"stalled_stream\"} 50\n"), "{text}");
}

#[tokio::test]
async fn header_bombs_are_refused() {
    for bomb in [0, 1] {
        let setup = start(FloodLimits::default());
        let effort = Effort { frames: 200, time: Duration::from_secs(5) };
        let address = setup.address;
        let attack = async move {
            if bomb == 0 {
                h2_attack::cookie_crumbs(address, effort).await
            } else {
                h2_attack::hpack_bomb(address, effort).await
            }
        };
        let outcome = under_attack(&setup, attack).await;
        assert_eq!(outcome.ok, 0, "{outcome:?}");
        assert!(outcome.answers + outcome.resets > 0 || outcome.cut.is_some(), "{outcome:?}");
    }
}
