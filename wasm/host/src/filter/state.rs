//! What the host remembers for one instance.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use outrigger_cluster::Cluster;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use wasmtime::{Memory, StoreLimits, TypedFunc};

use super::abi::{Status, Version};
use super::blocks::{Acting, Backing};
use super::calls::{Calls, Gate};
use super::control::Tick;
use super::metrics::Defined;
use super::shared::{Space, Spaces};
use super::stream::{Life, Reaper, Stream};
use super::wasi::Console;
use crate::layotto::LayottoGrants;
use crate::limits;
use crate::plugin::Cell;

/// What a plugin is, from its configuration.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: Arc<str>,
    pub(crate) root_id: String,
    pub(crate) vm_id: String,
    pub(crate) vm_config: Bytes,
    pub(crate) config: Bytes,
    pub(crate) memory: usize,
    pub(crate) deadline: Duration,
    pub(crate) max_buffer: usize,
    /// Of a function: what it may use.
    pub(crate) grants: Option<Arc<LayottoGrants>>,
}

/// Clusters by name, those of the configuration in force.
pub(crate) type Clusters = Arc<ArcSwap<HashMap<Arc<str>, Arc<Cluster>>>>;

/// What instances share with others.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) spaces: Arc<Spaces>,
    pub(crate) metrics: Arc<Defined>,
    pub(crate) clusters: Clusters,
    /// For functions.
    pub(crate) backing: Option<Backing>,
}

/// Where an instance lives. One that is only tried out lives nowhere: what it wants done later is not done.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) cell: Weak<Cell>,
    pub(crate) worker: Handle,
}

/// What a guest had begun to say is told at its end, which it may explain.
impl Drop for State {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Home {
    fn reap(self, context: u32) -> Reaper {
        Reaper(self.worker.spawn(async move {
            tokio::time::sleep(limits::LINGER).await;
            if let Some(cell) = self.cell.upgrade() {
                // It may be done by now; a callback that fails has been told of by the cell.
                let _ = cell.about(context, |vm| vm.finish(context));
            }
        }))
    }
}

/// A plugin in an instance, and the context it has there.
pub(crate) struct Seat {
    pub(crate) root: u32,
    pub(crate) plan: Arc<Plan>,
}

pub(crate) struct State {
    /// Of the plugin that host calls are about.
    pub(crate) plan: Arc<Plan>,
    pub(crate) services: Services,
    pub(crate) space: Arc<Space>,
    pub(crate) home: Option<Home>,
    pub(crate) version: Version,
    pub(crate) limits: StoreLimits,
    pub(crate) memory: Option<Memory>,
    /// Shared, as a copy of a function's type is dear.
    pub(crate) allocate: Option<Arc<TypedFunc<u32, u32>>>,
    /// The guest is allocating for us.
    pub(crate) allocating: bool,
    /// The plugins this is an instance of.
    pub(crate) seats: Vec<Seat>,
    /// The context of the plugin that `plan` is of: the one of the current context.
    pub(crate) root: u32,
    /// The context that host calls are about.
    pub(crate) current: u32,
    /// Boxed: they are as long as many lines of text, and come and go with each request.
    pub(crate) streams: HashMap<u32, Box<Stream>, BuildHasherDefault<Numbered>>,
    /// The code it exited with, if that is how its last call ended.
    pub(crate) exited: Option<u32>,
    /// Contexts that wanted to live on after `on_done` and have now said `done`.
    pub(crate) finished: Vec<u32>,
    /// Those that have not.
    lingering: BTreeSet<u32>,
    pub(crate) calls: Calls,
    /// While it starts: what comes back from calls waits.
    pub(crate) gate: Option<Gate>,
    /// By the contexts of plugins.
    pub(crate) ticks: HashMap<u32, Tick>,
    pub(crate) clock: Clock,
    pub(crate) lines: Lines,
    pub(crate) console: Console,
    /// Of a function.
    pub(crate) acting: Option<Acting>,
}

impl State {
    pub(crate) fn new(plan: Arc<Plan>, services: Services, home: Option<Home>, version: Version) -> Self {
        Self {
            space: services.spaces.of(&plan.vm_id),
            limits: limits::of_store(plan.memory),
            acting: plan.grants.is_some().then(Acting::default),
            plan,
            services,
            home,
            version,
            memory: None,
            allocate: None,
            allocating: false,
            seats: Vec::new(),
            root: 0,
            current: 0,
            streams: HashMap::default(),
            exited: None,
            finished: Vec::new(),
            lingering: BTreeSet::new(),
            calls: Calls::default(),
            gate: Some(Gate::default()),
            ticks: HashMap::new(),
            clock: Clock::default(),
            lines: Lines::default(),
            console: Console::default(),
        }
    }

    /// A plugin comes aboard.
    pub(crate) fn seat(&mut self, root: u32, plan: &Arc<Plan>) {
        (self.root, self.plan) = (root, Arc::clone(plan));
        self.current = root;
        self.seats.push(Seat { root, plan: Arc::clone(plan) });
    }

    /// Host calls are about this context from now on.
    pub(crate) fn focus(&mut self, context: u32) {
        self.current = context;
        if self.seats.len() > 1
            && let Some(Seat { root, plan }) = self.seat_of(context)
        {
            (self.root, self.plan) = (*root, Arc::clone(plan));
        }
    }

    fn seat_of(&self, context: u32) -> Option<&Seat> {
        match self.streams.get(&context) {
            Some(stream) => self.seats.get(stream.seat),
            None => self.seats.iter().find(|seat| seat.root == context),
        }
    }

    /// Whether this is the context of a plugin.
    pub(crate) fn is_root(&self, context: u32) -> bool {
        self.seats.iter().any(|seat| seat.root == context)
    }

    /// The stream host calls are about; there is none in the plugin's own context.
    pub(crate) fn stream(&self) -> Result<&Stream, Status> {
        self.streams.get(&self.current).map(Box::as_ref).ok_or(Status::NotFound)
    }

    /// A context is through, once; one that nobody has asked about is not.
    pub(crate) fn finish(&mut self, context: u32) -> bool {
        let stream = self.streams.get_mut(&context).filter(|stream| stream.life == Life::Ending);
        if let Some(stream) = stream {
            stream.life = Life::Over;
            self.lingering.remove(&context);
            self.finished.push(context);
            return true;
        }
        false
    }

    /// The filter is not done with a context: it has a while to say so, and must not have too many of them.
    pub(crate) fn linger(&mut self, context: u32) {
        let Some(stream) = self.streams.get_mut(&context).filter(|stream| stream.life == Life::Ending) else {
            return;
        };
        stream.reaper = self.home.clone().map(|home| home.reap(context));
        self.lingering.insert(context);
        if self.lingering.len() > limits::LINGERING
            && let Some(oldest) = self.lingering.pop_first()
        {
            self.finish(oldest);
        }
    }

    pub(crate) fn stream_mut(&mut self) -> Result<&mut Stream, Status> {
        self.streams.get_mut(&self.current).map(Box::as_mut).ok_or(Status::NotFound)
    }
}

/// Contexts are numbers of ours, one after the other: nobody chooses them, so nothing guards them from meeting. Streams
/// are looked up some twenty times a request.
#[derive(Debug, Default)]
pub(crate) struct Numbered(u64);

impl Hasher for Numbered {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32((*byte).into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How long the call under way may go on.
///
/// Its deadline is one of time, as ticks count it. When that is over it matters whether the guest had the processor:
/// on a machine with more to do than it can, a call may have been waiting for most of it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    deadline: Duration,
    /// The thread's processor time when the deadline passed.
    overtime_since: Option<Duration>,
    overtime: u32,
}

/// What a guest in overtime may still compute.
const OVERTIME: Duration = Duration::from_millis(10);
/// Ticks after which it ends whatever the processor says.
const MOST_OVERTIME: u32 = 2_000;

impl Clock {
    pub(crate) fn start(deadline: Duration) -> Self {
        Self { deadline, ..Self::default() }
    }

    /// Asked at each tick from the deadline on: whether the guest may go on.
    pub(crate) fn goes_on(&mut self) -> bool {
        let now = processor_time();
        let since = *self.overtime_since.get_or_insert(now);
        self.overtime += 1;
        now.saturating_sub(since) < self.deadline.min(OVERTIME) && self.overtime < MOST_OVERTIME
    }
}

pub(crate) fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Log lines left in this second.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    second: Option<Instant>,
    written: u32,
    dropped: u64,
}

impl Lines {
    /// Whether one more may be written.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            (self.second, self.written) = (Some(now), 0);
        }
        self.written += 1;
        let fits = self.written <= limits::LOG_LINES;
        self.dropped += u64::from(!fits);
        fits
    }

    /// How many were dropped since this was last asked.
    pub(crate) fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_a_hundred_a_second_are_dropped() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        assert_eq!((0..150).filter(|_| lines.take(now)).count(), 100);
        assert_eq!((lines.dropped(), lines.dropped()), (50, 0));
        assert!(lines.take(now + Duration::from_secs(1)));
    }

    #[test]
    fn overtime_is_of_the_processor_and_ends() {
        let mut clock = Clock::start(Duration::from_millis(1));
        assert!(clock.goes_on());
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.goes_on(), "asleep, it computed nothing");
        let since = processor_time();
        while processor_time() - since < Duration::from_millis(2) {}
        assert!(!clock.goes_on());
        let mut clock = Clock::start(Duration::from_secs(1));
        assert_eq!((0..5_000).take_while(|_| clock.goes_on()).count(), MOST_OVERTIME as usize - 1);
    }
}
