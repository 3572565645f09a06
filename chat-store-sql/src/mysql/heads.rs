//! What the writer remembers between appends, so that it need not ask the database for each. It is
//! true as long as nobody else wrote, which the next append finds out by itself.

use std::collections::HashMap;
use std::hash::Hash;

use chat_core::StreamId;

/// The end of the log and of streams, as this store last saw them.
#[derive(Debug)]
pub(super) struct Memory {
    /// The last position of the log; `None` if it must be asked for.
    pub(super) last: Option<u64>,
    pub(super) heads: Recent<StreamId, u64>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { last: None, heads: Recent::new(REMEMBERED_STREAMS) }
    }

    /// Forgets everything: the database may be another one now.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.heads.clear();
    }
}

/// Heads kept in memory, at most twice as many: 10 to 20 MB.
const REMEMBERED_STREAMS: usize = 65_536;

/// A map that forgets what was not used for long: when the young half is full, the old half goes.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    /// Holds at least the `half` and at most twice the `half` that were used last.
    pub(super) fn new(half: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    pub(super) fn put(&mut self, key: &K, value: V) {
        if let Some(known) = self.young.get_mut(key) {
            *known = value;
            return;
        }
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), value);
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut recent = Recent::new(2);
        for key in 0..100 {
            recent.put(&key, key * 10);
            assert_eq!(recent.get(&0), Some(0), "after {key}");
        }
        assert_eq!(recent.get(&99), Some(990));
        assert_eq!(recent.get(&50), None);
        assert!(recent.young.len() + recent.old.len() <= 4);
    }

    #[test]
    fn the_newest_value_wins_wherever_the_old_one_was() {
        let mut recent = Recent::new(1);
        recent.put(&1, 10);
        recent.put(&2, 20);
        recent.put(&1, 11);
        recent.put(&3, 30);
        assert_ne!(recent.get(&1), Some(10));
        recent.clear();
        assert_eq!(recent.get(&3), None);
    }
}
