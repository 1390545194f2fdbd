//! A backend, the program with every block on it, and an application that uses them all.

use std::{
    error::Error as _,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use outrigger_sdk::{
    self as sdk, Client, Options, Outcome, Subscription,
    configuration::{Item, Watch},
};
use outrigger_testkit::relay::Relay;
use tokio::{runtime::Runtime, time::timeout};
use tonic::{Code, Status};

use super::{
    Outage,
    backend::{Backend, PASSWORD},
};
use crate::{
    http::get,
    program::{Folder, Program},
    servers::Server,
};

/// The components' timeout. The application has more patience, so that it is told by the sidecar.
const DEADLINE: Duration = Duration::from_secs(1);
/// What a busy machine may add. Whoever is in a hurry still does not wait until the components' timeout.
pub(super) const SLACK: Duration = Duration::from_millis(700);
/// What a caller in a hurry gives the sidecar.
const HURRY: Duration = Duration::from_millis(200);
/// How soon after the backend's return all is to be of use. Five times that is what the machine may make of it.
pub(super) const SOON: Duration = Duration::from_secs(2);
/// How soon readiness has to show what is wrong.
const SHOWN: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Block {
    State,
    Lock,
    Sequencer,
    Configuration,
    PubSub,
}

impl Block {
    /// The type's first word, and the component's name.
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Lock => "lock",
            Self::Sequencer => "sequencer",
            Self::Configuration => "configuration",
            Self::PubSub => "pubsub",
        }
    }

    /// Writes something that bears this mark.
    async fn write(self, client: &Client, mark: &str) -> sdk::Result<()> {
        match self {
            Self::State => client.state("state").save(("key", mark.to_owned())).await,
            Self::Lock => client.lock("lock").try_lock(mark, DEADLINE).await.map(drop),
            Self::Sequencer => client.sequencer("sequencer").next_strong("number").await.map(drop),
            Self::Configuration => {
                client.configuration("configuration", "app").save([Item::new("item", mark)]).await
            }
            Self::PubSub => client.pubsub("pubsub").publish("topic", mark.to_owned(), "text/plain").await,
        }
    }
}

pub(super) struct Stage {
    pub(super) backend: Backend,
    pub(super) server: Server,
    /// Another way to the server.
    pub(super) relay: Relay,
    program: Program,
    _folder: Folder,
    runtime: Runtime,
    client: Client,
    /// With less patience than the components have.
    hasty: Client,
    streams: Option<Streams>,
    marks: usize,
}

/// What the application listens to, from before an outage to after it.
struct Streams {
    watch: Watch,
    subscription: Option<Subscription>,
}

impl Stage {
    /// What an outage needs, with more in the components' policy. None where there is no such server.
    pub(super) fn set(backend: Backend, outage: &Outage, policy: &str) -> Option<Self> {
        let mut server = backend.server()?;
        if outage.comes_later {
            server.kill();
        }
        let relay = Relay::to(server.port()).unwrap();
        let port = if outage.relayed { relay.address().port() } else { server.port() };
        let folder = Folder::with(&components(backend, &format!("127.0.0.1:{port}"), policy));
        let program = folder.run();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connect = |timeout| {
            let endpoint = format!("http://{}", program.api());
            let client = Client::connect_with(Options { endpoint, timeout, ..Options::default() });
            runtime.block_on(client).unwrap()
        };
        let (client, hasty) = (connect(10 * DEADLINE), connect(HURRY));
        Some(Self {
            backend,
            server,
            relay,
            program,
            _folder: folder,
            runtime,
            client,
            hasty,
            streams: None,
            marks: 0,
        })
    }

    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("mark-{}", self.marks)
    }

    /// Whether a call of each block fails with one of these codes, and earlier for a caller in a hurry. By how much the
    /// latest of them was late.
    pub(super) fn calls_fail(&mut self, codes: &[Code]) -> Result<Duration, String> {
        let mark = self.mark();
        let hasty = |block: &Block| block.write(&self.hasty, &mark);
        let began = Instant::now();
        let answers = self.runtime.block_on(join_all(self.backend.blocks().iter().map(hasty)));
        if answers.iter().any(Result::is_ok) {
            return Err(format!("in a hurry: {answers:?}"));
        }
        let mut late = began.elapsed().saturating_sub(HURRY);
        let (client, began) = (&self.client, Instant::now());
        let calls = self.backend.blocks().iter().map(async |block| {
            let answer = block.write(client, &mark).await;
            (block, answer, began.elapsed())
        });
        for (block, answer, took) in self.runtime.block_on(join_all(calls)) {
            let Err(error) = answer else { return Err(format!("the call of {block:?} succeeded")) };
            late = late.max(took.saturating_sub(DEADLINE));
            let code = code(&error);
            if code.is_none_or(|code| !codes.contains(&code)) {
                return Err(format!("the call of {block:?} ended with {code:?}: {error}"));
            }
        }
        Ok(late)
    }

    /// As [`Stage::looks_down`], soon.
    pub(super) fn says_why(&self, reasons: &[&str]) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let verdict = self.looks_down(reasons);
            if verdict.is_ok() || began.elapsed() > SHOWN {
                return verdict;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether readiness says of each component that it is down for one of these reasons, while liveness holds.
    pub(super) fn looks_down(&self, reasons: &[&str]) -> Result<(), String> {
        let answer = get(self.program.admin(), "/actuator/health/readiness");
        if answer.status != 503 || answer.body.contains(PASSWORD) {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        let components = &answer.json()["components"];
        for block in self.backend.blocks() {
            let component = &components[block.name()];
            let reason = component["details"]["reason"].as_str().unwrap_or_default();
            if component["status"] != "DOWN" || !reasons.iter().any(|expected| reason.contains(expected)) {
                return Err(format!("{block:?}: {component}"));
            }
        }
        match get(self.program.admin(), "/actuator/health/liveness").status {
            200 => Ok(()),
            status => Err(format!("liveness is {status}, and a restart would not help")),
        }
    }

    /// Whether all is of use soon: calls of each block succeed, what they wrote comes out of the streams, and readiness
    /// says so. How long that took.
    pub(super) fn is_up_soon(&mut self) -> Result<Duration, String> {
        self.is_up_within(5 * SOON)
    }

    /// The same with less patience, for what is not to be seen.
    pub(super) fn is_up_within(&mut self, limit: Duration) -> Result<Duration, String> {
        let (began, mark) = (Instant::now(), self.mark());
        let client = &self.client;
        let streams = &mut self.streams;
        let blocks = self.backend.blocks();
        self.runtime.block_on(async {
            let writes = blocks.iter().map(|block| succeeds(client, *block, &mark, (began, limit)));
            for written in join_all(writes).await {
                written?;
            }
            let Some(streams) = streams.as_mut() else {
                // The first time there is something to listen to.
                *streams = Some(Streams::open(client, blocks).await.map_err(|error| error.to_string())?);
                return Ok(());
            };
            let left = limit.saturating_sub(began.elapsed());
            let brought = timeout(left, streams.bring(&mark)).await;
            brought.unwrap_or_else(|_| Err("what was written does not come out of the streams".to_owned()))
        })?;
        while get(self.program.admin(), "/actuator/health/readiness").status != 200 {
            if began.elapsed() > limit {
                return Err("readiness does not show it".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(began.elapsed())
    }
}

fn components(backend: Backend, address: &str, policy: &str) -> String {
    let (technology, settings) = (backend.technology(), backend.settings(address));
    let components = backend.blocks().iter().map(|block| {
        let name = block.name();
        format!(
            "  {name}: {{ type: {name}.{technology}, settings: {{ {settings} }}, policy: {{ timeout: {DEADLINE:?}{policy} }} }}\n"
        )
    });
    format!("app: {{ id: shop }}\ncomponents:\n{}", components.collect::<String>())
}

/// The code the sidecar answered with.
fn code(error: &sdk::Error) -> Option<Code> {
    Some(error.source()?.downcast_ref::<Status>()?.code())
}

/// Writes until it succeeds, in the way of an application under load.
async fn succeeds(
    client: &Client,
    block: Block,
    mark: &str,
    (began, limit): (Instant, Duration),
) -> Result<(), String> {
    loop {
        let Err(error) = block.write(client, mark).await else { return Ok(()) };
        if began.elapsed() > limit {
            return Err(format!("{block:?} still fails after {:?}: {error}", began.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Streams {
    async fn open(client: &Client, blocks: &[Block]) -> sdk::Result<Self> {
        let watch = client.configuration("configuration", "app").watch(["item"]).await?;
        let subscription = match blocks.contains(&Block::PubSub) {
            true => Some(client.pubsub("pubsub").subscribe("topic").await?),
            false => None,
        };
        Ok(Self { watch, subscription })
    }

    /// Waits until both have brought what bears the mark.
    async fn bring(&mut self, mark: &str) -> Result<(), String> {
        let ended = |what: &str| format!("the {what} was ended by the sidecar");
        loop {
            let items = self.watch.next().await.map_err(|error| format!("the watch: {error}"))?;
            if items.ok_or_else(|| ended("watch"))?.iter().any(|item| item.content == mark) {
                break;
            }
        }
        let Some(subscription) = &mut self.subscription else { return Ok(()) };
        loop {
            let event = subscription.next().await.map_err(|error| format!("the subscription: {error}"))?;
            let event = event.ok_or_else(|| ended("subscription"))?;
            let settled = subscription.settle(&event, Outcome::Done).await;
            settled.map_err(|error| format!("the subscription: {error}"))?;
            if event.data == mark.as_bytes() {
                return Ok(());
            }
        }
    }
}
