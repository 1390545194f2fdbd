//! Workers: the threads connections live on, each with its own current-thread runtime.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outrigger_telemetry::shard;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};

/// The running workers. Dropping it stops them without waiting.
#[derive(Debug)]
pub struct Workers {
    workers: Box<[Worker]>,
    /// Where the search for the worker with fewest starts, so that equals take turns.
    turn: AtomicUsize,
    arrived: Notify,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// One worker on a single core, else two.
    pub fn default_count() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2))
    }

    /// Starts `n` workers (at least one, at most 64) on threads named `worker-0` and so on.
    pub fn start(n: usize) -> io::Result<Self> {
        let workers = (0..n.clamp(1, shard::MAX_SHARDS - 1)).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Self { workers, turn: AtomicUsize::new(0), arrived: Notify::new() })
    }

    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// The runtime of worker `i`, counted from 0 and round again after the last.
    pub fn handle(&self, i: usize) -> &Handle {
        &self.worker(i).handle
    }

    /// Runs `future` on worker `i`. Whoever spawns it sees to its end; `stop` cuts it off.
    pub fn spawn_on<F>(&self, i: usize, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle(i).spawn(future)
    }

    /// How many connections each worker has.
    pub fn connections(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.connections.load(Relaxed)).collect()
    }

    /// How long all of them together have been at work so far. It does not change while they rest.
    pub fn worked(&self) -> Duration {
        self.workers.iter().map(|worker| worker.handle.metrics().worker_total_busy_duration(0)).sum()
    }

    /// Is over with the next connection on any of them, counted from this call on, whether or not it is awaited by then.
    pub fn arrival(&self) -> impl Future<Output = ()> {
        self.arrived.notified()
    }

    /// What the acceptor calls for each connection it gives away. Wakes only who waits by now.
    pub(crate) fn announce(&self) {
        self.arrived.notify_waiters();
    }

    /// The worker with fewest connections and its counter, for the acceptor.
    pub(crate) fn least(&self) -> (usize, Arc<AtomicUsize>) {
        let start = self.turn.fetch_add(1, Relaxed);
        let index = (start..start + self.len())
            .min_by_key(|i| self.worker(*i).connections.load(Relaxed))
            .map_or(0, |i| i % self.len());
        (index, Arc::clone(&self.worker(index).connections))
    }

    /// Stops all workers, cutting off what still runs on them, and waits for their threads at most for `deadline`.
    /// Says whether all ended. Blocks; connections should have been drained before.
    pub fn stop(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let running: Vec<_> = self.workers.iter().filter_map(|worker| worker.running.lock().take()).collect();
        let stopping: Vec<_> = running
            .into_iter()
            .map(|Running { stop, stopped, thread }| {
                // A worker that is gone already needs no telling.
                let _ = stop.send(());
                (stopped, thread)
            })
            .collect();
        stopping.into_iter().fold(true, |all, (stopped, thread)| {
            let left = until.saturating_duration_since(Instant::now());
            // The sender is dropped when the thread ends, which is the answer we wait for.
            if matches!(stopped.recv_timeout(left), Err(mpsc::RecvTimeoutError::Timeout)) {
                let name = thread.thread().name().unwrap_or_default();
                tracing::warn!(worker = name, ?deadline, "worker did not stop in time; a task on it blocks");
                return false;
            }
            thread.join().is_ok() && all
        })
    }

    #[expect(clippy::indexing_slicing, reason = "there is at least one worker, and the index wraps")]
    fn worker(&self, i: usize) -> &Worker {
        &self.workers[i % self.workers.len()]
    }
}

impl Worker {
    fn start(index: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stop_asked) = oneshot::channel::<()>();
        let (ending, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            shard::set_index(index);
            // An error means the owner is gone, which asks for the same.
            let _ = runtime.block_on(stop_asked);
            runtime.shutdown_background();
            drop(ending);
        })?;
        let running = Mutex::new(Some(Running { stop, stopped, thread }));
        Ok(Self { handle, connections: Arc::default(), running })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_its_shard_and_stops() {
        let workers = Workers::start(3).unwrap();
        for i in 0..3 {
            let (tell, told) = mpsc::channel();
            workers.spawn_on(i, async move {
                let name = std::thread::current().name().map(str::to_owned);
                tell.send((shard::index(), name)).unwrap();
                std::future::pending::<()>().await;
            });
            assert_eq!(told.recv().unwrap(), (i, Some(format!("worker-{i}"))));
        }
        assert!(workers.stop(Duration::from_secs(5)), "a task that never ends does not keep a worker");
        assert!(workers.stop(Duration::ZERO), "a second stop has nothing to do");
    }

    /// Waits until the condition holds, at most 20 s.
    fn eventually(mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < until, "did not happen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_they_work_adds_up_and_stands_still_while_they_rest() {
        let workers = Workers::start(2).unwrap();
        let rest = || {
            let mut before = workers.worked();
            eventually(|| {
                std::thread::sleep(Duration::from_millis(50));
                std::mem::replace(&mut before, workers.worked()) == before
            });
            before
        };
        for i in 0..2 {
            let before = rest();
            drop(workers.spawn_on(i, async {}));
            eventually(|| workers.worked() > before);
        }
        // One that never parks is seen, too.
        let before = rest();
        let busy = workers.spawn_on(0, async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        for more in 1..=10 {
            eventually(|| workers.worked() > before + Duration::from_millis(more));
        }
        busy.abort();
        rest();
    }

    #[tokio::test]
    async fn an_arrival_counts_from_when_it_is_asked_for() {
        let workers = Workers::start(1).unwrap();
        workers.announce();
        let mut arrival = std::pin::pin!(workers.arrival());
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, &mut arrival).await.is_err(), "what came before is not news");
        workers.announce();
        arrival.await;
        let arrival = workers.arrival();
        workers.announce();
        tokio::time::timeout(Duration::ZERO, arrival).await.expect("what comes before it is awaited is kept");
    }

    #[test]
    fn a_blocked_worker_is_reported() {
        let workers = Workers::start(2).unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let (entered, wait) = mpsc::channel();
        workers.spawn_on(0, async move {
            entered.send(()).unwrap();
            let _ = blocked.recv();
        });
        wait.recv().unwrap();
        assert!(!workers.stop(Duration::from_millis(50)));
        drop(release);
    }

    #[test]
    fn the_worker_with_fewest_is_next_and_equals_take_turns() {
        let workers = Workers::start(3).unwrap();
        let mut taken: Vec<usize> = (0..3)
            .map(|_| {
                let (index, load) = workers.least();
                load.fetch_add(1, Relaxed);
                index
            })
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
        workers.worker(1).connections.store(0, Relaxed);
        assert_eq!(workers.least().0, 1);
        assert_eq!(workers.connections(), [1, 0, 1]);
    }
}
