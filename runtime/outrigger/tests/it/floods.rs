//! Every flood against the real program, on a proxy listener and on an API listener with the settings they have by
//! themselves, beside a client on another connection that must not notice.

#[path = "../../../net/tests/support/h2_attack.rs"]
#[expect(dead_code, reason = "the attacker is shared with other tests")]
mod h2_attack;

use std::{fmt::Debug, io, net::SocketAddr, time::Duration};

use h2_attack::{ENHANCE_YOUR_CALM, Effort, Outcome, Trick};
use outrigger_sdk::Options;

use crate::{
    backend::Backend,
    http::metric,
    program::{Folder, Program},
};

const EFFORT: Effort = Effort { frames: 200_000, time: Duration::from_secs(25) };
const MOST_GROWTH: u64 = 16 << 20;
/// Budgets are used up in milliseconds; the rest is for the machine, on which other tests run.
const AT_ONCE: Duration = Duration::from_secs(10);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A program with a proxy listener, whose `http` section may be given, before a backend.
struct Scene {
    program: Program,
    _folder: Folder,
    _backend: Backend,
}

/// Where the attack goes, and the victim with it.
#[derive(Clone, Copy, Debug)]
enum Door {
    Proxy,
    Api,
}

enum Victim {
    Proxy(h2_attack::Client),
    Api(outrigger_sdk::Client),
}

impl Victim {
    async fn is_served(&mut self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(5);
        match self {
            Self::Proxy(client) => client.get(PATIENCE).await,
            Self::Api(client) => {
                let state = client.state("kept");
                let found = tokio::time::timeout(PATIENCE, state.get("key")).await;
                matches!(found, Ok(Ok(Some(_))))
            }
        }
    }
}

impl Scene {
    async fn set(http: &str) -> Self {
        let backend = Backend::start(200).await;
        let folder = Folder::with(&format!(
            "listeners: {{ web: {{ address: '127.0.0.1:0', http: {{ {http} }} }} }}
routes: {{ all: {{ backends: [ {{ cluster: back }} ] }} }}
clusters: {{ back: {{ endpoints: [ '{}' ] }} }}
components: {{ kept: {{ type: state.in-memory }} }}
",
            backend.address
        ));
        Self { program: folder.run(), _folder: folder, _backend: backend }
    }

    fn address(&self, door: Door) -> SocketAddr {
        match door {
            Door::Proxy => self.program.web(),
            Door::Api => self.program.api(),
        }
    }

    async fn victim(&self, door: Door) -> Victim {
        let address = self.address(door);
        let mut victim = match door {
            Door::Proxy => Victim::Proxy(h2_attack::Client::connect(address, &[]).await.unwrap()),
            Door::Api => {
                let options = Options { endpoint: format!("http://{address}"), ..Options::default() };
                let client = outrigger_sdk::Client::connect_with(options).await.unwrap();
                client.state("kept").save(("key", "value")).await.unwrap();
                Victim::Api(client)
            }
        };
        assert!(victim.is_served().await);
        victim
    }

    /// Memory the program holds data in, in bytes; its code comes and goes.
    fn held(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    fn counted(&self, kind: &str) -> u64 {
        metric(self.program.admin(), &format!("outrigger_http2_floods_total{{kind=\"{kind}\"}}"))
    }

    /// Runs an attack beside the victim. The victim must be served all the while, and the program may not grow.
    async fn beside_a_victim<T: Debug + Send + 'static>(
        &self,
        name: &str,
        door: Door,
        attack: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> T {
        let mut victim = self.victim(door).await;
        let before = self.held();
        let attack = tokio::spawn(attack);
        let (mut served, mut most) = (0, 0);
        while !attack.is_finished() || served < 50 {
            assert!(victim.is_served().await, "{name}: request {served} of the victim failed");
            served += 1;
            most = most.max(self.held().saturating_sub(before));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let outcome = attack.await.unwrap().unwrap();
        println!("{door:?} {name}: {outcome:?}, victim {served}, grew {} KiB", most / 1024);
        assert!(most < MOST_GROWTH, "{door:?} {name}: grew by {most} bytes");
        outcome
    }
}

/// What must come of an attack.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// The connection is ended at once, with ENHANCE_YOUR_CALM.
    Calmed,
    /// The connection is ended at once.
    Cut,
    /// No request is served.
    Refused,
    /// The connection is ended after this, unserved.
    Slow(Duration),
    /// So many streams are reset.
    Reset(u64),
}

fn verdict(outcome: &Outcome, rule: Rule) -> Result<(), String> {
    let require = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {outcome:?}")) };
    let cut_within = |at_most| outcome.cut.is_some_and(|after| after < at_most);
    match rule {
        Rule::Calmed => {
            require(cut_within(AT_ONCE), "not cut")?;
            require(outcome.goaway == Some(ENHANCE_YOUR_CALM), "not told to calm down")
        }
        Rule::Cut => require(cut_within(AT_ONCE), "not cut"),
        Rule::Refused => {
            require(outcome.ok == 0, "served")?;
            require(outcome.answers + outcome.resets > 0 || outcome.cut.is_some(), "not refused")
        }
        Rule::Slow(after) => {
            require(cut_within(after + AT_ONCE), "not cut")?;
            require(outcome.ok == 0, "served")
        }
        Rule::Reset(streams) => require(outcome.resets == streams, "not reset"),
    }
}

#[track_caller]
fn holds(name: &str, outcome: &Outcome, rule: Rule) {
    assert_eq!(verdict(outcome, rule), Ok(()), "{name}");
}

/// The attacks that go as fast as they can.
async fn fast_floods(door: Door) {
    let scene = Scene::set("").await;
    let address = scene.address(door);
    // The first touch of everything, counted for nobody.
    scene.victim(door).await;
    let before = scene.held();
    macro_rules! calmed {
        ($attack:ident, $($kind:literal),+) => {
            let counted = || [$($kind),+].map(|kind| scene.counted(kind)).iter().sum::<u64>();
            let earlier = counted();
            let name = stringify!($attack);
            let outcome = scene.beside_a_victim(name, door, h2_attack::$attack(address, EFFORT)).await;
            holds(name, &outcome, Rule::Calmed);
            // Both may have seen it: the library's GOAWAY is on its way when our own budget is used up.
            assert!(counted() > earlier, "{name} is not counted");
        };
    }
    calmed!(ping, "ping");
    calmed!(settings, "settings");
    calmed!(priority, "priority");
    calmed!(window_update, "window_update");
    calmed!(continuation, "continuation", "codec");
    calmed!(rapid_reset, "rapid_reset", "codec");
    calmed!(empty_data, "empty_data", "codec");
    for trick in [Trick::Length, Trick::HalfClosed, Trick::Overflow, Trick::ZeroIncrement] {
        let attack = h2_attack::made_you_reset(address, EFFORT, trick);
        let outcome = scene.beside_a_victim("made_you_reset", door, attack).await;
        holds("made_you_reset", &outcome, if let Trick::Length = trick { Rule::Calmed } else { Rule::Cut });
    }
    let effort = Effort { frames: 300, time: Duration::from_secs(5) };
    let bombs = scene.beside_a_victim("hpack_bomb", door, h2_attack::hpack_bomb(address, effort)).await;
    holds("hpack_bomb", &bombs, Rule::Refused);
    let crumbs =
        scene.beside_a_victim("cookie_crumbs", door, h2_attack::cookie_crumbs(address, effort)).await;
    holds("cookie_crumbs", &crumbs, Rule::Refused);
    let grown = scene.held().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "all of them together have left {grown} bytes behind");
}

#[test]
fn floods_of_the_proxy_are_cut_and_the_victim_does_not_notice() {
    runtime().block_on(fast_floods(Door::Proxy));
}

#[test]
fn floods_of_the_api_are_cut_and_the_victim_does_not_notice() {
    runtime().block_on(fast_floods(Door::Api));
}

const STREAMS: u64 = 50;

/// Silence in different places, all at the same time as each takes long: a head that drips, a body that stops, and
/// answers nobody takes.
async fn slow_floods(scene: &Scene, door: Door, time: Duration) -> [Outcome; 3] {
    let address = scene.address(door);
    let slow = Effort { frames: 10_000, time };
    let held = Effort { frames: STREAMS, time };
    let attack = async move {
        let (heads, bodies, windows) = tokio::join!(
            h2_attack::slow_headers(address, slow, Duration::from_millis(50)),
            h2_attack::slow_body(address, slow, time),
            h2_attack::zero_window(address, held),
        );
        Ok([heads?, bodies?, windows?])
    };
    scene.beside_a_victim("slow", door, attack).await
}

/// What the documentation says about a listener that is told nothing.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn slow_clients_of_the_proxy_are_cut_and_the_victim_does_not_notice() {
    runtime().block_on(async {
        let scene = Scene::set("").await;
        let stalled = scene.counted("stalled_stream");
        let [heads, bodies, windows] = slow_floods(&scene, Door::Proxy, WRITE_STALL_TIMEOUT + AT_ONCE).await;
        holds("slow_headers", &heads, Rule::Slow(HEADER_TIMEOUT));
        holds("slow_body", &bodies, Rule::Slow(BODY_IDLE_TIMEOUT));
        holds("zero_window", &windows, Rule::Reset(STREAMS));
        assert_eq!(scene.counted("stalled_stream") - stalled, STREAMS);
    });
}

/// The API answers a body of no use before its end, and none of its answers to such requests has a body to stall.
#[test]
fn slow_clients_of_the_api_are_cut_and_the_victim_does_not_notice() {
    runtime().block_on(async {
        let scene = Scene::set("").await;
        let [heads, bodies, _] = slow_floods(&scene, Door::Api, HEADER_TIMEOUT + AT_ONCE).await;
        holds("slow_headers", &heads, Rule::Slow(HEADER_TIMEOUT));
        holds("slow_body", &bodies, Rule::Slow(HEADER_TIMEOUT));
    });
}

/// The planted violation: with budgets and time-outs nobody reaches, the same verdicts find every attacker uncut.
#[test]
fn without_budgets_the_verdicts_find_the_floods() {
    runtime().block_on(async {
        let scene = Scene::set(
            "header_timeout: 1h, body_idle_timeout: 1h, write_stall_timeout: 1h, \
             http2: { floods: { control_frames_per_second: 4000000000 } }",
        )
        .await;
        let (address, effort) = (scene.address(Door::Proxy), Effort { frames: 5000, ..EFFORT });
        let uncut = |name: &str, outcome: &Outcome, rule| {
            let found = verdict(outcome, rule).expect_err(name);
            assert!(found.starts_with("not "), "{name}: {found}");
        };
        uncut("ping", &h2_attack::ping(address, effort).await.unwrap(), Rule::Calmed);
        uncut("settings", &h2_attack::settings(address, effort).await.unwrap(), Rule::Calmed);
        uncut("priority", &h2_attack::priority(address, effort).await.unwrap(), Rule::Calmed);
        uncut("window_update", &h2_attack::window_update(address, effort).await.unwrap(), Rule::Calmed);
        let [heads, bodies, windows] = slow_floods(&scene, Door::Proxy, Duration::from_secs(3)).await;
        uncut("slow_headers", &heads, Rule::Slow(Duration::ZERO));
        uncut("slow_body", &bodies, Rule::Slow(Duration::ZERO));
        uncut("zero_window", &windows, Rule::Reset(STREAMS));
    });
}
