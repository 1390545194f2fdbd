//! How an entry's value is stored: as it is, unless it has an end. etcd's own leases last two seconds at least and end
//! late, so the moment stands before the value, and the lease only clears up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// Stands before the end, in milliseconds since 1970 as eight bytes, and the value.
const MARK: &[u8] = b"\0outrigger\x01";
/// The end of a value that has none, but looks as if it had.
const NEVER: u64 = u64::MAX;

/// When an entry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End(u64);

impl End {
    /// After this time from now.
    pub(crate) fn after(ttl: Duration) -> Self {
        let end = now().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        Self(end.min(NEVER - 1))
    }

    pub(crate) fn has_come(self) -> bool {
        self.0 <= now()
    }

    pub(crate) fn time(self) -> SystemTime {
        // Beyond what the clock can show it is as good as that far.
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.0))
            .unwrap_or(SystemTime::now() + Duration::from_secs(1 << 40))
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The value as stored.
pub(crate) fn stored(value: &[u8], end: Option<End>) -> Vec<u8> {
    if end.is_none() && !value.starts_with(MARK) {
        return value.to_vec();
    }
    let end = end.map_or(NEVER, |end| end.0);
    [MARK, &end.to_be_bytes(), value].concat()
}

/// The value, and when it ends.
pub(crate) fn read(stored: Vec<u8>) -> (Bytes, Option<End>) {
    let stored = Bytes::from(stored);
    let marked = stored.strip_prefix(MARK).and_then(|rest| rest.first_chunk::<8>());
    match marked.map(|end| u64::from_be_bytes(*end)) {
        None => (stored, None),
        Some(end) => (stored.slice(MARK.len() + 8..), (end != NEVER).then_some(End(end))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_with_its_end() {
        let end = End::after(Duration::from_secs(60));
        for value in [&b""[..], b"plain", MARK, b"\0outrigger\x01short", &stored(b"looks alike", Some(end))] {
            for end in [None, Some(end)] {
                let (read, found) = read(stored(value, end));
                assert_eq!((&read[..], found), (value, end));
            }
        }
        assert_eq!(stored(b"plain", None), b"plain");
    }

    #[test]
    fn an_end_comes() {
        assert!(End::after(Duration::ZERO).has_come());
        assert!(!End::after(Duration::from_secs(60)).has_come());
        assert!(
            !End::after(Duration::MAX).has_come() && End::after(Duration::MAX).time() > SystemTime::now()
        );
    }
}
