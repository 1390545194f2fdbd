//! One connection for each runtime that calls, made by its first call and made anew when it breaks. A connection's
//! driver lives on the runtime that made it and ends with it, so no two runtimes may share one; and nothing runs in the
//! background, as whatever breaks is noticed by the call that meets it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use outrigger_component_api::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, timeout_at};

use crate::client::Connection;
use crate::config::{Cluster, EtcdConfig};
use crate::failure::{breaks, from_etcd};

/// After a refusal calls fail at once for this long, so that a server that comes back is not met by all of them.
const PAUSE: Duration = Duration::from_millis(100);

/// A component's way to its cluster.
pub(crate) struct Links {
    cluster: Arc<Cluster>,
    links: ArcSwap<Vec<(Id, Arc<Link>)>>,
    adding: Mutex<()>,
}

/// One runtime's way.
struct Link {
    cluster: Arc<Cluster>,
    state: Mutex<State>,
    /// Which connection it is on: counts those that were given up.
    turn: AtomicUsize,
}

enum State {
    None,
    Connecting(Connecting),
    Connected(Arc<Connection>),
    Refused(Error, Instant),
}

/// An attempt that everybody who needs it waits for.
type Connecting = Shared<BoxFuture<'static, Result<Arc<Connection>>>>;

impl Links {
    pub(crate) fn new(config: &EtcdConfig) -> Result<Self> {
        let cluster = Arc::new(config.cluster()?);
        Ok(Self { cluster, links: ArcSwap::default(), adding: Mutex::new(()) })
    }

    /// Runs one request. What it fails with is told in our words; a connection that it found broken is given up.
    pub(crate) async fn run<T, F>(&self, request: impl FnOnce(Arc<Connection>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.attempt(request).await?.map_err(|error| from_etcd(&error))
    }

    /// As [`Links::run`], leaving what etcd says to the caller.
    pub(crate) async fn attempt<T, F>(
        &self,
        request: impl FnOnce(Arc<Connection>) -> F,
    ) -> Result<Result<T, etcd_client::Error>>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let link = self.here();
        let (connection, turn) = link.connection().await?;
        Ok(link.judge(turn, request(connection).await))
    }

    /// As [`Links::attempt`], for no longer than this. A connection on which no answer came in time is given up: what
    /// is at its other end may be gone without a word.
    pub(crate) async fn attempt_within<T, F>(
        &self,
        limit: Duration,
        request: impl FnOnce(Arc<Connection>) -> F,
    ) -> Result<Result<T, etcd_client::Error>>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let (link, end) = (self.here(), Instant::now() + limit);
        let late = || Error::new(ErrorKind::Timeout, "etcd did not answer in time");
        let (connection, turn) = timeout_at(end, link.connection()).await.map_err(|_| late())??;
        let Ok(answer) = timeout_at(end, request(connection)).await else {
            link.give_up(turn);
            return Err(late());
        };
        Ok(link.judge(turn, answer))
    }

    /// As [`Links::run`], for no longer than this: see [`Links::attempt_within`].
    pub(crate) async fn run_within<T, F>(
        &self,
        limit: Duration,
        request: impl FnOnce(Arc<Connection>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.attempt_within(limit, request).await?.map_err(|error| from_etcd(&error))
    }

    /// Whether the cluster answers now, whatever it did a moment ago.
    pub(crate) async fn ping(&self, key: &str) -> Result<()> {
        self.here().forget_refusal();
        self.run(|etcd| async move { etcd.kv().get(key, None).await }).await.map(drop)
    }

    fn here(&self) -> Arc<Link> {
        let here = Handle::current().id();
        let known = |links: &[(Id, Arc<Link>)]| {
            links.iter().find_map(|(id, link)| (*id == here).then(|| Arc::clone(link)))
        };
        if let Some(link) = known(&self.links.load()) {
            return link;
        }
        let _adding = self.adding.lock();
        let links = self.links.load();
        known(&links).unwrap_or_else(|| {
            let link = Arc::new(Link::new(Arc::clone(&self.cluster)));
            let mut next = links.as_ref().clone();
            // Runtimes that have ended do not come back; theirs is forgotten when there are many.
            if next.len() >= KEPT {
                next.drain(..KEPT / 2);
            }
            next.push((here, Arc::clone(&link)));
            self.links.store(Arc::new(next));
            link
        })
    }
}

/// More runtimes than any machine has workers. One that still lives and is forgotten connects again.
const KEPT: usize = 256;

impl Link {
    fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, state: Mutex::new(State::None), turn: AtomicUsize::new(0) }
    }

    async fn connection(self: &Arc<Self>) -> Result<(Arc<Connection>, usize)> {
        let (connecting, turn) = {
            let mut state = self.state.lock();
            let turn = self.turn.load(Ordering::Acquire);
            let connecting = match &*state {
                State::Connected(connection) => return Ok((Arc::clone(connection), turn)),
                State::Refused(error, until) if Instant::now() < *until => return Err(error.clone()),
                State::Connecting(connecting) => connecting.clone(),
                State::None | State::Refused(..) => {
                    let connecting = self.connect(turn);
                    *state = State::Connecting(connecting.clone());
                    connecting
                }
            };
            (connecting, turn)
        };
        Ok((connecting.await?, turn))
    }

    /// A task of the runtime, so that it goes on for the others when the call that began it is given up.
    fn connect(self: &Arc<Self>, turn: usize) -> Connecting {
        let link = Arc::clone(self);
        let attempt = tokio::spawn(async move {
            let connected = link.cluster.connect(turn).await.map(Arc::new);
            let mut state = link.state.lock();
            *state = match &connected {
                Ok(connection) => State::Connected(Arc::clone(connection)),
                Err(error) => {
                    tracing::debug!(%error, cause = ?std::error::Error::source(error), "etcd refused a connection");
                    link.turn.fetch_add(1, Ordering::AcqRel);
                    State::Refused(error.clone(), Instant::now() + PAUSE)
                }
            };
            drop(state);
            connected
        });
        let lost = || Err(Error::unavailable("the connection to etcd was given up"));
        attempt.map(move |ended| ended.unwrap_or_else(|_| lost())).boxed().shared()
    }

    /// Passes an answer on, and gives the connection up where it says that this one is broken.
    fn judge<T>(&self, turn: usize, answer: Result<T, etcd_client::Error>) -> Result<T, etcd_client::Error> {
        if answer.as_ref().is_err_and(breaks) {
            self.give_up(turn);
        }
        answer
    }

    /// Lets the next call connect, to the next member, unless somebody has seen to that.
    fn give_up(&self, turn: usize) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Connected(_)) && self.turn.load(Ordering::Acquire) == turn {
            self.turn.store(turn.wrapping_add(1), Ordering::Release);
            *state = State::None;
        }
    }

    fn forget_refusal(&self) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Refused(..)) {
            *state = State::None;
        }
    }
}
