//! A function at run time: who may come in, and what becomes of those who may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout_at;

use super::LayottoFunctionConfig;
use super::hands::Hands;
use crate::config::Failure;
use crate::filter::measures::Crashes;
use crate::filter::state::Services;
use crate::instance::{Asked, Blueprint, Crash, Said, Vm};
use crate::patience::Patience;

/// Requests that wait for their turn; more are refused.
const WAITING: usize = 256;
/// After its deadline a guest still has to be stopped.
const GRACE: Duration = Duration::from_millis(100);

/// What a function is made of.
pub(crate) struct Parts {
    pub(crate) name: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) config: LayottoFunctionConfig,
    pub(crate) sha256: Arc<str>,
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) services: Services,
    pub(crate) crashes: Crashes,
}

pub(crate) struct Function {
    /// In the configuration.
    pub(crate) name: Arc<str>,
    /// What requests name it by.
    pub(crate) id: Arc<str>,
    config: LayottoFunctionConfig,
    sha256: Arc<str>,
    blueprint: Arc<Blueprint>,
    services: Services,
    crashes: Crashes,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The next context. Numbers go on from instance to instance, so that none means two requests.
    next: AtomicU32,
    patience: Mutex<Patience>,
    hands: Hands,
}

/// One request on its way to an instance.
pub(crate) struct Job {
    function: Arc<Function>,
    asked: Asked,
    until: Instant,
    tell: oneshot::Sender<Result<Said, Failed>>,
    turn: OwnedSemaphorePermit,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Too many wait already.
    Busy,
    /// It took too long.
    Late,
    /// The instance trapped, or could not start.
    Crashed,
    /// It has crashed too often to be tried again yet.
    Out,
}

impl Function {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { name, id, config, sha256, blueprint, services, crashes } = parts;
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(config.instances)),
            name,
            id,
            config,
            sha256,
            blueprint,
            services,
            crashes,
            waiting: AtomicUsize::new(0),
            next: AtomicU32::new(1),
            patience: Mutex::new(Patience::new(Instant::now())),
            hands: Hands::default(),
        })
    }

    /// Whether the same settings and the same file would make the same function.
    pub(crate) fn is(&self, config: &LayottoFunctionConfig, sha256: &str) -> bool {
        self.config == *config && *self.sha256 == *sha256
    }

    pub(crate) fn max_body(&self) -> usize {
        self.config.max_body
    }

    /// When a request that comes now is to be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.config.deadline
    }

    /// Waits for an instance and has it answer.
    pub(crate) async fn answer(self: &Arc<Self>, asked: Asked, until: Instant) -> Result<Said, Failed> {
        let turn = self.turn(until).await?;
        if !self.patience.lock().allows(Instant::now()) {
            return Err(Failed::Out);
        }
        let (tell, told) = oneshot::channel();
        let job = Job { function: Arc::clone(self), asked, until, tell, turn };
        self.hands.give(&self.name, job).map_err(|error| {
            tracing::error!(function = &*self.name, %error, "there is no thread for a function");
            Failed::Crashed
        })?;
        match timeout_at((until + GRACE).into(), told).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Err(Failed::Crashed),
            Err(_) => Err(Failed::Late),
        }
    }

    async fn turn(&self, until: Instant) -> Result<OwnedSemaphorePermit, Failed> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let _waits = Waits::begin(&self.waiting).ok_or(Failed::Busy)?;
        let turn = timeout_at(until.into(), Arc::clone(&self.turns).acquire_owned()).await;
        turn.map_err(|_| Failed::Late)?.map_err(|_| Failed::Crashed)
    }

    /// On a thread of ours: has `vm` answer, or a fresh instance where there is none.
    fn run(&self, vm: &mut Option<Vm>, asked: Asked, until: Instant) -> Result<Said, Failed> {
        let time = until.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return Err(Failed::Late);
        }
        let said = self.alive(vm).and_then(|vm| vm.answer(self.number(), asked, time));
        said.map_err(|crash| {
            // What it was at work on may be half done.
            *vm = None;
            self.crashed(&crash);
            if matches!(crash, Crash::Late(_)) { Failed::Late } else { Failed::Crashed }
        })
    }

    fn alive<'v>(&self, vm: &'v mut Option<Vm>) -> Result<&'v mut Vm, Crash> {
        match vm {
            Some(vm) => Ok(vm),
            none => {
                let started = Vm::start(&self.blueprint, self.services.clone(), None, &[self.number()]);
                Ok(none.insert(started.map_err(|unstarted| unstarted.crash)?))
            }
        }
    }

    fn number(&self) -> u32 {
        // Zero is nobody's; after four thousand million requests the first are gone.
        match self.next.fetch_add(1, Relaxed) {
            0 => self.next.fetch_add(1, Relaxed),
            number => number,
        }
    }

    fn crashed(&self, crash: &Crash) {
        self.crashes.count(crash);
        self.patience.lock().failed(Failure::Reload, Instant::now());
        tracing::warn!(function = &*self.name, id = &*self.id, %crash, "function failed; a fresh instance takes over");
    }
}

impl Job {
    /// Does it; `put_back` makes the thread an idle one again, before the turn is given back and somebody looks for it.
    pub(super) fn run(self, vm: &mut Option<Vm>, put_back: impl FnOnce(&Hands)) {
        let Self { function, asked, until, tell, turn } = self;
        let said = function.run(vm, asked, until);
        put_back(&function.hands);
        drop(turn);
        // Whoever asked may have left.
        let _ = tell.send(said);
    }
}

/// One that waits for its turn.
struct Waits<'w>(&'w AtomicUsize);

impl<'w> Waits<'w> {
    fn begin(waiting: &'w AtomicUsize) -> Option<Self> {
        let waits = Self(waiting);
        (waiting.fetch_add(1, Relaxed) < WAITING).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}
