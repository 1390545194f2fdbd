//! Many callers at once: tasks on several runtimes, each on a thread of its own.

use std::future::Future;

use futures_util::future::join_all;

use crate::in_other_runtime;

const THREADS: usize = 4;
const TASKS: usize = 8;
/// How many call at once.
pub const CALLERS: usize = THREADS * TASKS;

/// Runs 32 callers over four runtimes and gathers their results.
pub async fn contend<T, F>(caller: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let threads = (0..THREADS).map(|thread| {
        let callers: Vec<_> = (0..TASKS).map(|task| caller(thread * TASKS + task)).collect();
        in_other_runtime(join_all(callers))
    });
    join_all(threads).await.into_iter().flatten().collect()
}
