//! What filters have set on a request: each filter of its chain may read it, on both ways, and so may the access log.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

/// Values of one request, and the bytes of all of them with their paths.
const VALUES: usize = 256;
const BYTES: usize = 1 << 20;

/// Values by paths, whose parts have NUL between them.
#[derive(Debug, Default)]
pub struct FilterState(Mutex<BTreeMap<Vec<u8>, Bytes>>);

/// A path there cannot be, or more values than one request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no path, or more than one request may have")]
pub struct Unsettable;

impl FilterState {
    /// # Errors
    /// An empty path, more than 256 values, or more than 1 MiB of them.
    pub fn set(&self, path: &[u8], value: &[u8]) -> Result<(), Unsettable> {
        let mut values = self.0.lock();
        let others = values.iter().filter(|(known, _)| *known != path);
        let (count, size) =
            others.fold((0, 0), |(n, size), (path, value)| (n + 1, size + path.len() + value.len()));
        if path.is_empty() || count >= VALUES || size + path.len() + value.len() > BYTES {
            return Err(Unsettable);
        }
        values.insert(path.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }

    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<Bytes> {
        self.0.lock().get(path).cloned()
    }

    /// As a line of text writes the path: with a dot for NUL.
    pub(crate) fn dotted(&self, name: &str) -> Option<Bytes> {
        let dot = |byte: &u8| if *byte == 0 { b'.' } else { *byte };
        let values = self.0.lock();
        let found = values.iter().find(|(path, _)| path.iter().map(dot).eq(name.bytes()));
        found.map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_request_carries_has_its_bounds() {
        let state = FilterState::default();
        let set = |path: usize, size: usize| state.set(&vec![b'p'; path], &vec![0; size]);
        assert_eq!(set(0, 1), Err(Unsettable));
        assert_eq!(set(1, BYTES), Err(Unsettable));
        assert_eq!(set(BYTES, 1), Err(Unsettable), "paths count too");
        set(1, BYTES - 1).unwrap();
        assert_eq!(set(2, 0), Err(Unsettable));
        set(1, 0).unwrap();
        assert_eq!((2..1000).filter(|path| set(*path, 1).is_ok()).count(), VALUES - 1);
        set(1, 10).unwrap();
    }

    #[test]
    fn a_path_is_found_by_its_dotted_name() {
        let state = FilterState::default();
        state.set(b"a\0b", b"1").unwrap();
        assert_eq!(state.get(b"a\0b").as_deref(), Some(b"1".as_slice()));
        assert_eq!(state.dotted("a.b").as_deref(), Some(b"1".as_slice()));
        assert_eq!((state.dotted("a"), state.dotted("a.b.c"), state.get(b"a.b")), (None, None, None));
    }
}
