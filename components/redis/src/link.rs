//! One connection per runtime, made by the first call that needs it and replaced when it is lost.
//!
//! A driver's connection lives on the runtime that made it, and calls from another would cost a hop each way. So each
//! runtime has a link of its own. Nothing runs in the background: a lost connection is made anew by the next call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use outrigger_component_api::{Error, Result};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::runtime::{self, Handle};
use tokio::time::Instant;

use crate::client::{Client, Connection, breaks, from_redis};

/// What a component has of Redis.
pub(crate) struct Links {
    client: Arc<Client>,
    /// Read by every call; changes only when a runtime calls for the first time.
    links: ArcSwap<Vec<(runtime::Id, Arc<Link>)>>,
    changing: Mutex<()>,
}

/// One runtime's connection, or what stands in for it.
struct Link {
    client: Arc<Client>,
    state: Mutex<State>,
    /// How often it was made: tells a call whether the connection it used is still the present one.
    dials: AtomicU64,
}

enum State {
    Idle,
    Dialing(Dial),
    Open(Connection, u64),
    /// The last attempts failed; until then, calls fail at once.
    Refused(Error, Instant),
}

/// A connection in use by one call.
struct Open {
    link: Arc<Link>,
    connection: Connection,
    serial: u64,
}

/// Attempts under way, and everybody who waits for them.
type Dial = Shared<BoxFuture<'static, Result<(Connection, u64)>>>;

impl Links {
    pub(crate) fn new(client: Client) -> Self {
        Self { client: Arc::new(client), links: ArcSwap::default(), changing: Mutex::new(()) }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether Redis answers, tried even if it has just refused.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.here().forget_refusal();
        self.send(&redis::cmd("PING")).await.map(drop)
    }

    /// Sends a command and reads its answer.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value> {
        self.try_send(command).await?.map_err(from_redis)
    }

    /// As [`Links::send`], leaving the server's own refusals to the caller.
    pub(crate) async fn try_send(&self, command: &Cmd) -> Result<Result<Value, RedisError>> {
        let mut open = self.here().open().await?;
        let answer = open.connection.send(command).await;
        Ok(open.seen(answer))
    }

    /// Sends commands in one go; each has its own answer or refusal.
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Result<Value, RedisError>>> {
        let mut open = self.here().open().await?;
        let answers = open.connection.send_all(commands).await;
        Ok(open.seen(answers).map_err(from_redis)?.into_iter().map(Value::extract_error).collect())
    }

    /// The link of the runtime that calls.
    fn here(&self) -> Arc<Link> {
        let here = Handle::current().id();
        let find = |links: &[(runtime::Id, Arc<Link>)]| {
            links.iter().find(|(runtime, _)| *runtime == here).map(|(_, link)| Arc::clone(link))
        };
        if let Some(link) = find(&self.links.load()) {
            return link;
        }
        let _changing = self.changing.lock();
        let known = self.links.load();
        find(&known).unwrap_or_else(|| {
            let link = Arc::new(Link {
                client: Arc::clone(&self.client),
                state: Mutex::new(State::Idle),
                dials: AtomicU64::new(0),
            });
            // Those of runtimes that have ended go with them.
            let used = known.iter().filter(|(_, link)| link.is_used()).cloned();
            self.links.store(Arc::new(used.chain([(here, Arc::clone(&link))]).collect()));
            link
        })
    }
}

impl Open {
    /// Looks at what came back, and lets go of a connection that it broke.
    fn seen<T>(&self, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        if let Err(error) = &answer
            && breaks(error)
        {
            self.link.discard(self.serial);
        }
        answer
    }
}

impl Link {
    async fn open(self: Arc<Self>) -> Result<Open> {
        let dial = {
            let mut state = self.state.lock();
            match &*state {
                State::Open(connection, serial) if !connection.is_lost() => {
                    let (connection, serial) = (connection.clone(), *serial);
                    drop(state);
                    return Ok(Open { link: self, connection, serial });
                }
                State::Refused(error, until) if Instant::now() < *until => return Err(error.clone()),
                State::Dialing(dial) => dial.clone(),
                State::Open(..) | State::Idle | State::Refused(..) => {
                    let dial = self.start();
                    *state = State::Dialing(dial.clone());
                    dial
                }
            }
        };
        let (connection, serial) = dial.await?;
        Ok(Open { link: self, connection, serial })
    }

    /// Starts the attempts, as a task: they go on for the others when the first caller has given up.
    fn start(self: &Arc<Self>) -> Dial {
        let link = Arc::clone(self);
        let task = tokio::spawn(async move { link.dial().await });
        task.map(|ended| ended.unwrap_or_else(|_| Err(Error::unavailable("the connection was given up"))))
            .boxed()
            .shared()
    }

    async fn dial(&self) -> Result<(Connection, u64)> {
        let pace = self.client.pace;
        let connection = self.client.dial(pace.answer).await;
        let serial = self.dials.fetch_add(1, Ordering::Relaxed);
        *self.state.lock() = match &connection {
            Ok(connection) => State::Open(connection.clone(), serial),
            Err(error) => State::Refused(error.clone(), Instant::now() + pace.longest_pause),
        };
        connection.map(|connection| (connection, serial))
    }

    /// Lets the next call make a new connection, unless somebody has done so already. Calls under way keep theirs.
    fn discard(&self, serial: u64) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Open(_, open) if *open == serial) {
            *state = State::Idle;
        }
    }

    fn forget_refusal(&self) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Refused(..)) {
            *state = State::Idle;
        }
    }

    fn is_used(&self) -> bool {
        match &*self.state.lock() {
            State::Open(connection, _) => !connection.is_lost(),
            State::Dialing(_) => true,
            State::Idle | State::Refused(..) => false,
        }
    }
}
