//! Which slice of the per-worker state this thread owns.
//!
//! Workers set their index once, when they start. Every other thread (control runtime, component drivers) shares the
//! last shard. State indexed by shard stays correct whatever the index: it is only slower when two threads share one.

use std::cell::Cell;
use std::sync::OnceLock;

/// Workers use `0..MAX_SHARDS - 1`; all other threads share `MAX_SHARDS - 1`.
pub const MAX_SHARDS: usize = 65;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(MAX_SHARDS - 1) };
}

static COUNT: OnceLock<usize> = OnceLock::new();

/// Makes the calling thread the owner of shard `i`. Called by a worker when it starts.
pub fn set_index(i: usize) {
    INDEX.with(|index| index.set(i.min(MAX_SHARDS - 1)));
}

/// The calling thread's shard, below [`MAX_SHARDS`].
#[inline]
pub fn index() -> usize {
    INDEX.with(Cell::get)
}

/// Says how many workers there will be, before the first metric is made; returns false when it came too late.
///
/// Without it one shard per core is kept, which is right unless the configuration asks for more workers than cores.
pub fn set_workers(workers: usize) -> bool {
    let count = workers.clamp(1, MAX_SHARDS - 1) + 1;
    *COUNT.get_or_init(|| count) == count
}

/// How many shards are worth keeping: one per worker and one for everybody else.
pub fn count() -> usize {
    *COUNT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.clamp(2, MAX_SHARDS - 1) + 1
    })
}

/// A value per shard, each on its own cache lines.
#[derive(Debug)]
pub struct Sharded<T>(Box<[crossbeam_utils::CachePadded<T>]>);

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T> Sharded<T> {
    /// One value per shard of [`count`].
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        Self((0..count()).map(|_| crossbeam_utils::CachePadded::new(make())).collect())
    }

    /// The calling thread's value.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "count() is at least 2, and the index is clamped to it")]
    pub fn here(&self) -> &T {
        &self.0[index().min(self.0.len() - 1)]
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &**padded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_threads_share_the_last_shard() {
        std::thread::spawn(|| {
            assert_eq!(index(), MAX_SHARDS - 1);
            set_index(3);
            assert_eq!(index(), 3);
            set_index(1_000);
            assert_eq!(index(), MAX_SHARDS - 1);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn every_index_has_a_value() {
        let values = Sharded::<u8>::default();
        std::thread::scope(|scope| {
            for i in 0..MAX_SHARDS {
                let values = &values;
                scope.spawn(move || {
                    set_index(i);
                    assert_eq!(*values.here(), 0);
                });
            }
        });
    }
}
