//! Buffers shared by all pairs of a thread, in three sizes.

use std::cell::RefCell;

/// Sizes, and after how many bytes a direction goes on to the next.
const CLASSES: [(usize, u64); 3] =
    [(16 * 1024, 1024 * 1024), (64 * 1024, 10 * 1024 * 1024), (256 * 1024, u64::MAX)];

/// How many of each size a thread keeps.
const KEPT: [usize; 3] = [8, 4, 1];

thread_local! {
    static POOL: RefCell<[Vec<Box<[u8]>>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// A buffer of the size that suits a direction which has moved this much.
pub(super) fn take(moved: u64) -> Box<[u8]> {
    let class = CLASSES.iter().position(|(_, until)| moved < *until).unwrap_or(CLASSES.len() - 1);
    let pooled = POOL.with_borrow_mut(|pool| pool.get_mut(class).and_then(Vec::pop));
    pooled.unwrap_or_else(|| {
        let size = CLASSES.get(class).map_or(0, |(size, _)| *size);
        vec![0; size].into_boxed_slice()
    })
}

/// Gives a buffer back.
pub(super) fn give(buffer: Box<[u8]>) {
    let Some(class) = CLASSES.iter().position(|(size, _)| *size == buffer.len()) else { return };
    POOL.with_borrow_mut(|pool| {
        if let (Some(kept), Some(max)) = (pool.get_mut(class), KEPT.get(class))
            && kept.len() < *max
        {
            kept.push(buffer);
        }
    });
}

#[cfg(test)]
pub(super) fn pooled() -> usize {
    POOL.with_borrow(|pool| pool.iter().map(Vec::len).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_and_buffers_come_back() {
        assert_eq!(take(0).len(), 16 * 1024);
        assert_eq!(take(1024 * 1024).len(), 64 * 1024);
        assert_eq!(take(10 * 1024 * 1024).len(), 256 * 1024);
        assert_eq!(take(u64::MAX).len(), 256 * 1024);
        let many: Vec<_> = (0..100).map(|_| take(0)).collect();
        many.into_iter().for_each(give);
        assert_eq!(pooled(), KEPT[0], "the rest is freed");
    }
}
