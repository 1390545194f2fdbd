//! The threads functions run on, and nothing else does.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use outrigger_blocks::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Timers are looked at after so many turns of guests that compute, each of which may take ten ticks.
const LOOK: u32 = 2;

/// A runtime of their own. Whoever drops it does not wait for what still runs.
pub(crate) struct Threads(Option<Runtime>);

/// What runs there. It ends when this is dropped, unless it was let go before.
pub(crate) struct Task<T> {
    running: JoinHandle<Result<T>>,
    is_owned: bool,
}

impl Threads {
    /// One for each processor, unless told otherwise.
    pub(crate) fn start(threads: Option<NonZeroUsize>) -> std::io::Result<Self> {
        let threads = threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("function")
            .event_interval(LOOK)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Task<T>> {
        let runtime = self.0.as_ref().ok_or_else(|| Error::unavailable("the process is ending"))?;
        Ok(Task { running: runtime.spawn(work), is_owned: true })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
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
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn there_are_as_many_as_asked_for() {
        let threads = Threads::start(NonZeroUsize::new(2)).unwrap();
        let run = || {
            threads.spawn(async {
                // Long enough for the other to be woken.
                std::thread::sleep(Duration::from_millis(20));
                Ok(std::thread::current().id())
            })
        };
        let tasks: Vec<_> = (0..12).map(|_| run().unwrap()).collect();
        let mut seen = HashSet::new();
        for task in tasks {
            seen.insert(task.await.unwrap());
        }
        assert_eq!(seen.len(), 2);
    }

    #[tokio::test]
    async fn a_task_ends_with_its_owner() {
        let threads = Threads::start(NonZeroUsize::new(1)).unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let task = threads.spawn(async move {
            let _sender = sender;
            std::future::pending::<Result<()>>().await
        });
        drop(task.unwrap());
        assert!(receiver.await.is_err());
    }
}
