//! A hash map for keys that come from the configuration.
//!
//! Nobody outside can add keys, so there are no collisions to attack with and the standard hasher's protection is not
//! needed; this one (FNV-1a over eight bytes at a time, folded) is several times faster on names and path segments.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(super) type Map<K, V> = HashMap<K, V, BuildHasherDefault<ConfigHasher>>;

#[derive(Default)]
pub(super) struct ConfigHasher(u64);

const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

impl ConfigHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(PRIME).rotate_left(29);
    }
}

impl Hasher for ConfigHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (slot, byte) in last.iter_mut().zip(rest) {
            *slot = *byte;
        }
        self.mix(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        // The map takes its bucket from the low bits and its tag from the high ones: fold so that both depend on all.
        let folded = self.0.wrapping_mul(PRIME);
        folded ^ folded >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_spread_over_the_buckets() {
        let buckets: std::collections::HashSet<u64> = (0..10_000)
            .map(|i| {
                let mut hasher = ConfigHasher::default();
                hasher.write(format!("service-{i}").as_bytes());
                hasher.finish() & 0xffff
            })
            .collect();
        // 10,000 balls in 65,536 bins fill about 9,275 of them when thrown at random.
        assert!(buckets.len() > 9_000, "{}", buckets.len());
    }
}
