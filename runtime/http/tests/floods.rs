//! Every flood against the server as listeners run it, beside a client on another connection that must not notice.
//!
//! One test, as memory is the process's: attacks run one after the other.

#![cfg(test)]

#[path = "../../net/tests/support/h2_attack.rs"]
#[expect(dead_code, reason = "the attacker is shared with other tests")]
mod h2_attack;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2_attack::{Client, ENHANCE_YOUR_CALM, Effort, Outcome, Trick};
use http::StatusCode;
use outrigger_http::{Body, Handler, Request, Response, ResponseHead, ServerConfig, serve};
use outrigger_net::{
    Accepted, Acceptor, AcceptorHandle, Address, Drain, Listener, ListenerLimits, SocketOptions, Workers,
};
use outrigger_telemetry::Metrics;

const EFFORT: Effort = Effort { frames: 200_000, time: Duration::from_secs(25) };
/// Long before an effort is spent.
const AT_ONCE: Duration = Duration::from_secs(10);
const MOST_GROWTH: u64 = 16 << 20;

/// Reads the request to its end and answers with a kilobyte.
struct Hello;

impl Handler for Hello {
    async fn handle(&self, mut request: Request) -> Response {
        use std::pin::Pin;
        while let Some(frame) =
            std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut request.body), cx)).await
        {
            if frame.is_err() {
                return Response::status(StatusCode::REQUEST_TIMEOUT);
            }
        }
        Response::new(ResponseHead::new(StatusCode::OK), Body::full(vec![b'x'; 1000]))
    }
}

struct Setup {
    _handle: AcceptorHandle,
    address: SocketAddr,
    metrics: Metrics,
}

fn start(config: ServerConfig) -> Setup {
    let metrics = Metrics::new();
    let (handler, config) = (Arc::new(Hello), Arc::new(config));
    let acceptor = Acceptor {
        name: "web".into(),
        listener: Listener::bind(&"127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap(),
        workers: Arc::new(Workers::start(1).unwrap()),
        service: Arc::new(move |conn: Accepted| serve(conn, Arc::clone(&handler), Arc::clone(&config))),
        limits: ListenerLimits::default(),
        tls: None,
        drain: Drain::new(),
    };
    let handle = acceptor.spawn(&metrics).unwrap();
    let Address::Tcp(address) = *handle.address() else { unreachable!("bound to TCP") };
    Setup { _handle: handle, address, metrics }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Runs an attack beside the victim; the process, attacker and victim included, may not grow.
async fn under_attack<F>(name: &str, setup: &Setup, attack: F) -> Outcome
where
    F: Future<Output = std::io::Result<Outcome>> + Send + 'static,
{
    let mut victim = Client::connect(setup.address, &[]).await.unwrap();
    assert!(victim.get(Duration::from_secs(5)).await);
    let before = resident();
    let attack = tokio::spawn(attack);
    let (mut completed, mut most) = (0, 0);
    while !attack.is_finished() || completed < 100 {
        assert!(victim.get(Duration::from_secs(5)).await, "{name}: request {completed} of the victim failed");
        completed += 1;
        most = most.max(resident().saturating_sub(before));
    }
    let outcome = attack.await.unwrap().unwrap();
    println!("{name}: {outcome:?}, victim {completed}, grew {} KiB", most / 1024);
    assert!(most < MOST_GROWTH, "{name}: grew by {most} bytes");
    outcome
}

impl Setup {
    fn count(&self, kind: &str) -> u64 {
        let start = format!("outrigger_http2_floods_total{{kind=\"{kind}\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |count| count.parse().unwrap())
    }

    /// The connection was ended with ENHANCE_YOUR_CALM by one of these rules.
    #[track_caller]
    fn check_calmed(&self, outcome: &Outcome, kinds: &[&str]) {
        assert_eq!(outcome.goaway, Some(ENHANCE_YOUR_CALM), "{kinds:?}: {outcome:?}");
        assert!(outcome.cut.is_some_and(|after| after < AT_ONCE), "{kinds:?}: {outcome:?}");
        // Both may have seen it: the library's GOAWAY is on its way when our own budget is used up.
        assert!(kinds.iter().any(|kind| self.count(kind) == 1), "{kinds:?}: {}", self.metrics.render());
    }
}

#[tokio::test]
async fn floods_are_cut_by_their_budgets() {
    without_budgets_the_floods_go_through().await;
    attackers_are_cut_and_the_victim_does_not_notice().await;
}

async fn attackers_are_cut_and_the_victim_does_not_notice() {
    macro_rules! calmed {
        ($attack:ident, $($kind:literal),+) => {
            let setup = start(ServerConfig::default());
            let attack = h2_attack::$attack(setup.address, EFFORT);
            let outcome = under_attack(stringify!($attack), &setup, attack).await;
            setup.check_calmed(&outcome, &[$($kind),+]);
        };
    }
    calmed!(ping, "ping");
    calmed!(settings, "settings");
    calmed!(priority, "priority");
    calmed!(window_update, "window_update");
    // The library has budgets for these as well; whichever is used up first ends the connection.
    calmed!(continuation, "continuation", "codec");
    calmed!(rapid_reset, "rapid_reset", "codec");
    calmed!(empty_data, "empty_data", "codec");

    for trick in [Trick::Length, Trick::HalfClosed, Trick::Overflow, Trick::ZeroIncrement] {
        let setup = start(ServerConfig::default());
        let attack = h2_attack::made_you_reset(setup.address, EFFORT, trick);
        let outcome = under_attack("made_you_reset", &setup, attack).await;
        assert!(outcome.cut.is_some_and(|after| after < AT_ONCE), "{trick:?} {outcome:?}");
        if let Trick::Length = trick {
            setup.check_calmed(&outcome, &["made_you_reset", "codec"]);
        }
    }

    // Header bombs are refused request by request.
    let setup = start(ServerConfig::default());
    let effort = Effort { frames: 300, time: Duration::from_secs(5) };
    let bombs = under_attack("hpack_bomb", &setup, h2_attack::hpack_bomb(setup.address, effort)).await;
    assert!(bombs.ok == 0 && (bombs.answers + bombs.resets > 0 || bombs.cut.is_some()), "{bombs:?}");
    let crumbs = under_attack("cookie_crumbs", &setup, h2_attack::cookie_crumbs(setup.address, effort)).await;
    assert!(crumbs.ok == 0 && (crumbs.answers + crumbs.resets > 0 || crumbs.cut.is_some()), "{crumbs:?}");

    // Streams nobody reads are reset, the connection may go on.
    let short = ServerConfig {
        write_stall_timeout: Duration::from_millis(500),
        header_timeout: Duration::from_millis(500),
        body_idle_timeout: Duration::from_millis(500),
        ..ServerConfig::default()
    };
    let setup = start(short.clone());
    let effort = Effort { frames: 50, time: Duration::from_secs(20) };
    let held = under_attack("zero_window", &setup, h2_attack::zero_window(setup.address, effort)).await;
    assert_eq!((held.resets, setup.count("stalled_stream")), (50, 50), "{held:?}");

    let slow = Effort { frames: 10_000, time: Duration::from_secs(20) };
    let pause = Duration::from_millis(50);
    let setup = start(short.clone());
    let heads =
        under_attack("slow_headers", &setup, h2_attack::slow_headers(setup.address, slow, pause)).await;
    assert!(heads.ok == 0 && heads.cut.is_some_and(|after| after < AT_ONCE), "{heads:?}");
    let setup = start(short);
    let silent = h2_attack::slow_body(setup.address, slow, Duration::from_secs(5));
    let bodies = under_attack("slow_body", &setup, silent).await;
    assert!(bodies.ok == 0 && bodies.cut.is_some_and(|after| after < AT_ONCE), "{bodies:?}");
}

/// The planted violation: without budgets the same attackers get through, so the checks above can fail.
async fn without_budgets_the_floods_go_through() {
    let mut config = ServerConfig::default();
    config.http2.floods.control_frames_per_second = u32::MAX;
    let setup = start(config);
    let effort = Effort { frames: 5000, ..EFFORT };
    let outcome = h2_attack::ping(setup.address, effort).await.unwrap();
    assert!(outcome.cut.is_none() && outcome.sent == 5000, "{outcome:?}");
    let outcome = h2_attack::priority(setup.address, effort).await.unwrap();
    assert!(outcome.cut.is_none() && outcome.sent == 5000, "{outcome:?}");
}
