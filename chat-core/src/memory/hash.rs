//! A cheap keyed hash for the maps of this module: ids are looked up on every append, and the
//! standard hash would cost more than the rest of the look-up.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

pub(super) type KeyedMap<K, V> = HashMap<K, V, Keyed>;

/// Makes hashers that share one secret, so that a client who picks ids cannot aim at one bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed {
    start: u64,
    factor: u64,
}

impl Default for Keyed {
    fn default() -> Self {
        let random = RandomState::new();
        Self { start: random.hash_one(1_u8), factor: random.hash_one(2_u8) | 1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: self.start, factor: self.factor }
    }
}

/// Multiplies each word into 128 bits and folds the halves together.
#[derive(Debug)]
pub(super) struct KeyedHasher {
    state: u64,
    factor: u64,
}

impl KeyedHasher {
    fn word(&mut self, word: u64) {
        self.state = folded(self.state ^ word, self.factor);
        // A product of zero would forget everything before it.
        self.state = self.state.wrapping_add(GOLDEN);
    }
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.word(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn finish(&self) -> u64 {
        // Under some factors near ids differ in a part of the bits only; this carries it to all.
        folded(self.state, GOLDEN)
    }
}

fn folded(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    // Both halves are wanted as they are; the cast takes the lower one.
    ((wide >> 64) as u64) ^ (wide as u64)
}

/// 2^64 divided by the golden ratio, which spreads well (Knuth, The Art of Computer Programming 3).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// FNV-1a: the same on every machine and in every release, as a partition must be.
pub(super) fn stable_hash(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stable_hash_is_fnv_1a() {
        assert_eq!(stable_hash(""), 0x811C_9DC5);
        assert_eq!(stable_hash("a"), 0xE40C_292C);
        assert_eq!(stable_hash("foobar"), 0xBF9C_F968);
    }

    #[test]
    fn keyed_hashes_of_near_ids_differ_in_both_ends() {
        // Whatever the secret is: also factors of a few bits, which a random one may resemble.
        let few_bits = (0..64).map(|bit| (1_u64 << bit) | 1);
        let others = (1..=192_u64).map(|n| n.wrapping_mul(0xD6E8_FEB8_6659_FD93) | 1);
        for factor in few_bits.chain(others) {
            let keyed = Keyed { start: factor.rotate_left(17), factor };
            let mut low = std::collections::HashSet::new();
            let mut high = std::collections::HashSet::new();
            for id in 0..4_096_u128 {
                let hash = keyed.hash_one(id.to_be_bytes());
                low.insert(hash & 0xFFFF);
                high.insert(hash >> 48);
            }
            // 4,096 balls into 65,536 bins fill about 3,970 of them.
            let fill = (low.len(), high.len());
            assert!(fill.0 > 3_000 && fill.1 > 3_000, "{factor:x}: {fill:?}");
        }
    }
}
