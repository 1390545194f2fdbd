//! The threads functions run on, and nothing else does.
//!
//! Schedulers give each thread its share whenever it wants it, and let it keep it for some milliseconds: too long for the
//! requests that wait beside a call that computes. Such a call goes on where it is in nobody's way: on threads of the
//! lowest priority, which have what nobody else wants, and little besides.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use outrigger_blocks::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Timers, and calls that have just come, are looked at after so many turns of guests that compute, each of which may take
/// ten ticks.
const LOOK: u32 = 2;
/// As nice as a thread can be. At 15 and at half load, one call that computes still triples the 99th percentile of the
/// requests on the same processor: what it is owed it takes in one piece.
const LOWEST: i32 = 19;

thread_local! {
    /// What runs on this thread is a call that computes.
    static COMPUTES: Cell<bool> = const { Cell::new(false) };
}

/// How long work computes, as far as one knows beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Short,
    Long,
    /// It may take what it takes: a deployment is not to fail because there is traffic.
    Trial,
}

/// Runtimes of their own. Whoever drops them does not wait for what still runs.
pub(crate) struct Threads {
    short: Option<Runtime>,
    long: Option<Runtime>,
}

/// What runs there. It ends when this is dropped, unless it was let go before.
pub(crate) struct Task<T> {
    running: JoinHandle<Result<T>>,
    is_owned: bool,
}

/// Work that began as a short call.
struct Course<W, T> {
    /// Until it turns out to be a long one.
    here: Option<Pin<Box<W>>>,
    there: Option<Task<T>>,
    long: Handle,
}

/// A long call. The connections and timers it makes belong to the threads of short ones: others use them too, and do not
/// wait for the lowest priority.
struct Away<W> {
    work: Pin<Box<W>>,
    short: Handle,
}

/// Says of the call that is polled on this thread that it has computed for long.
pub(crate) fn computes() {
    COMPUTES.set(true);
}

impl Threads {
    /// One of each kind for each processor, unless told otherwise.
    pub(crate) fn start(threads: Option<NonZeroUsize>) -> std::io::Result<Self> {
        let threads = threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let short = runtime("function", threads).build()?;
        let long = runtime("function-long", threads).on_thread_start(step_back).build()?;
        Ok(Self { short: Some(short), long: Some(long) })
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        pace: Pace,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Task<T>> {
        let (Some(short), Some(long)) = (&self.short, &self.long) else {
            return Err(Error::unavailable("the process is ending"));
        };
        Ok(Task::of(match pace {
            Pace::Short => {
                short.spawn(Course { here: Some(Box::pin(work)), there: None, long: long.handle().clone() })
            }
            Pace::Long => long.spawn(Away { work: Box::pin(work), short: short.handle().clone() }),
            Pace::Trial => short.spawn(work),
        }))
    }
}

fn runtime(name: &str, threads: usize) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all();
    builder.event_interval(LOOK).global_queue_interval(LOOK);
    builder
}

/// Lowers the priority of this thread. Elsewhere than on Linux it would be that of the process.
fn step_back() {
    if !cfg!(target_os = "linux") {
        return;
    }
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        tracing::warn!(%error, "functions that compute have the priority of everything else");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for runtime in [self.short.take(), self.long.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

impl<W, T> Future for Course<W, T>
where
    W: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(mut work) = self.here.take() {
            // What a trial says of itself stays here.
            COMPUTES.set(false);
            let polled = work.as_mut().poll(cx);
            let computes = COMPUTES.take();
            if polled.is_ready() {
                return polled;
            }
            if !computes {
                self.here = Some(work);
                return Poll::Pending;
            }
            let away = Away { work, short: Handle::current() };
            self.there = Some(Task::of(self.long.spawn(away)));
        }
        match &mut self.there {
            Some(there) => Pin::new(there).poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<W: Future> Future for Away<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { work, short } = &mut *self;
        let _belongs = short.enter();
        work.as_mut().poll(cx)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.running).poll(cx)) {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => {
                Err(Error::new(ErrorKind::Cancelled, "the process is ending"))
            }
            Err(_) => Err(Error::internal("the host panicked in a call of a function")),
        })
    }
}

impl<T> Task<T> {
    fn of(running: JoinHandle<Result<T>>) -> Self {
        Self { running, is_owned: true }
    }

    /// It goes on until it ends by itself, or at its deadline.
    pub(crate) fn detach(mut self) {
        self.is_owned = false;
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if self.is_owned {
            self.running.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use outrigger_blocks::Deadline;

    use super::super::clock::{Clock, guarded};
    use super::*;
    use crate::engine::Engine;
    use crate::filter::state::processor_time;

    #[tokio::test]
    async fn there_are_as_many_as_asked_for() {
        let threads = Threads::start(NonZeroUsize::new(2)).unwrap();
        // Two of them wait for each other, where they are.
        let meeting = Arc::new(Barrier::new(2));
        let run = |number| {
            let meeting = Arc::clone(&meeting);
            threads.spawn(Pace::Short, async move {
                if number < 2 {
                    meeting.wait();
                }
                Ok(std::thread::current().id())
            })
        };
        let tasks: Vec<_> = (0..12).map(|number| run(number).unwrap()).collect();
        let mut seen = HashSet::new();
        for task in tasks {
            seen.insert(tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap());
        }
        assert_eq!(seen.len(), 2);
    }

    #[tokio::test]
    async fn a_task_ends_with_its_owner() {
        let threads = Threads::start(NonZeroUsize::new(1)).unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let task = threads.spawn(Pace::Short, async move {
            let _sender = sender;
            std::future::pending::<Result<()>>().await
        });
        drop(task.unwrap());
        assert!(receiver.await.is_err());
    }

    fn here() -> (String, i32) {
        let name = std::thread::current().name().unwrap().to_owned();
        (name, rustix::process::getpriority_process(None).unwrap())
    }

    #[tokio::test]
    async fn a_call_that_computes_goes_on_where_it_is_in_nobodys_way() {
        let threads = Threads::start(NonZeroUsize::new(1)).unwrap();
        let usual = rustix::process::getpriority_process(None).unwrap();
        let begun_short = async {
            let begun = here();
            tokio::task::yield_now().await;
            let waited = here();
            computes();
            tokio::task::yield_now().await;
            Ok([begun, waited, here()])
        };
        let seen = threads.spawn(Pace::Short, begun_short).unwrap().await.unwrap();
        let (short, long) = (("function".to_owned(), usual), ("function-long".to_owned(), LOWEST));
        assert_eq!(seen, [short.clone(), short.clone(), long.clone()]);
        // The next one on that thread is another call.
        assert_eq!(threads.spawn(Pace::Short, async { Ok(here()) }).unwrap().await.unwrap(), short);
        assert_eq!(threads.spawn(Pace::Long, async { Ok(here()) }).unwrap().await.unwrap(), long);
        let trial = async {
            computes();
            tokio::task::yield_now().await;
            Ok(here())
        };
        assert_eq!(threads.spawn(Pace::Trial, trial).unwrap().await.unwrap(), short);
        let waits = async {
            tokio::task::yield_now().await;
            Ok(here())
        };
        assert_eq!(threads.spawn(Pace::Short, waits).unwrap().await.unwrap(), short, "it computes nothing");
    }

    #[tokio::test]
    async fn what_a_long_call_makes_belongs_to_short_ones() {
        let threads = Threads::start(NonZeroUsize::new(1)).unwrap();
        let makes = async || Ok(tokio::spawn(async { here().0 }).await.unwrap());
        let begun_short = async move {
            computes();
            tokio::task::yield_now().await;
            makes().await
        };
        let made = [
            threads.spawn(Pace::Long, makes()).unwrap().await.unwrap(),
            threads.spawn(Pace::Short, begun_short).unwrap().await.unwrap(),
        ];
        assert_eq!(made, ["function", "function"]);
    }

    #[tokio::test]
    async fn a_guest_that_computes_moves_between_two_turns() {
        let threads = Threads::start(NonZeroUsize::new(1)).unwrap();
        let (engine, clock) = (Engine::new().unwrap(), Clock::default());
        let spins = async move {
            clock.start(Duration::from_secs(60), Deadline::NEVER);
            let turns = async {
                while here().0 == "function" {
                    let until = processor_time() + Duration::from_millis(1);
                    while processor_time() < until {}
                    clock.turn()?;
                    tokio::task::yield_now().await;
                }
                Ok(here().0)
            };
            guarded(&engine, &clock, Deadline::NEVER, turns).await.map_err(|crash| crash.error("f"))
        };
        assert_eq!(threads.spawn(Pace::Short, spins).unwrap().await.unwrap(), "function-long");
    }

    #[tokio::test]
    async fn a_task_that_went_on_elsewhere_ends_with_its_owner() {
        let threads = Threads::start(NonZeroUsize::new(1)).unwrap();
        let (moved, has_moved) = tokio::sync::oneshot::channel();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let task = threads.spawn(Pace::Short, async move {
            let _sender = sender;
            computes();
            tokio::task::yield_now().await;
            moved.send(()).unwrap();
            std::future::pending::<Result<()>>().await
        });
        has_moved.await.unwrap();
        drop(task.unwrap());
        assert!(receiver.await.is_err());
    }

    #[tokio::test]
    async fn a_panic_costs_one_call_wherever_it_is() {
        let threads = Threads::start(NonZeroUsize::new(1)).unwrap();
        for moves in [false, true] {
            let task = threads.spawn(Pace::Short, async move {
                if moves {
                    computes();
                }
                tokio::task::yield_now().await;
                panic!("as it does")
            });
            let error = task.unwrap().await.map(|()| "an answer").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
        }
    }
}
