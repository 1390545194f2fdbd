//! Read and write buffers, lent by the thread while there is something to read or write.
//!
//! An idle connection holds none, which is most of the difference between 2 KiB and 20 KiB a connection.

use std::cell::RefCell;

use bytes::BytesMut;

/// Room for a usual head, and for most small messages whole.
pub(crate) const SIZE: usize = 8 * 1024;
/// How large a buffer grows for a body that keeps filling it.
pub(crate) const LARGE: usize = 64 * 1024;
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer of [`SIZE`].
pub(crate) fn take() -> BytesMut {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// Returns a buffer whose content is no longer needed. One that is still shared, or has grown, is let go.
pub(crate) fn give(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.capacity() == 0 || !buffer.try_reclaim(SIZE) || buffer.capacity() > 2 * SIZE {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < KEPT {
            pool.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_somebody_still_reads_it() {
        let mut buffer = take();
        buffer.extend_from_slice(b"head body");
        let head = buffer.split_to(4).freeze();
        let at = head.as_ptr();
        give(buffer);
        assert_ne!(take().as_ptr(), at, "still shared");

        let mut buffer = take();
        buffer.extend_from_slice(b"head body");
        let at = buffer.as_ptr();
        drop(buffer.split_to(4).freeze());
        give(buffer);
        let again = take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (at, 0, SIZE));
    }
}
