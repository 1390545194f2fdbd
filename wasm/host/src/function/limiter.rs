//! The memory of one instance, over all core modules it consists of.

use wasmtime::ResourceLimiter;

use crate::limits::TABLE;

/// What a component may consist of. One made of QuickJS has more than ten instances.
pub(crate) const CORE_INSTANCES: u32 = 32;
pub(crate) const MEMORIES: u32 = 4;
pub(crate) const TABLES: u32 = 32;

/// Counts what an instance has, and lets it have no more than it may.
#[derive(Debug)]
pub(crate) struct Limiter {
    left: usize,
    /// What the growth under way took.
    taken: usize,
    denied: bool,
}

impl Limiter {
    /// `memory` bytes, in all.
    pub(crate) fn new(memory: usize) -> Self {
        Self { left: memory, taken: 0, denied: false }
    }

    /// Whether it was denied memory since this was last asked.
    pub(crate) fn denied(&mut self) -> bool {
        std::mem::take(&mut self.denied)
    }
}

/// Growing beyond fails as it does when a machine has no memory left; the guest is told.
impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.taken = desired.saturating_sub(current);
        match self.left.checked_sub(self.taken) {
            Some(left) => self.left = left,
            None => (self.taken, self.denied) = (0, true),
        }
        Ok(self.taken > 0 || desired <= current)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.left = self.left.saturating_add(std::mem::take(&mut self.taken));
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize + 1
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_share_one_bound() {
        let mut limiter = Limiter::new(100);
        let mut grow = |from, to| limiter.memory_growing(from, to, None).unwrap();
        assert!(grow(0, 60) && grow(0, 30));
        assert!(!grow(60, 71), "one more than there is");
        assert!(grow(60, 60));
        assert!(grow(60, 70));
        assert!(limiter.denied() && !limiter.denied());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(limiter.memory_growing(60, 70, None).unwrap(), "what was not grown is there again");
        assert!(
            limiter.table_growing(0, TABLE, None).unwrap()
                && !limiter.table_growing(0, TABLE + 1, None).unwrap()
        );
    }
}
