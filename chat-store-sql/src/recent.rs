//! What a writer remembers between appends, so that it need not ask the database for each.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets what was not used for long: when the young half is full, the old half goes.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    /// Holds at least the `half` and at most twice the `half` that were used last.
    pub(crate) fn new(half: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    pub(crate) fn put(&mut self, key: &K, value: V) {
        if let Some(known) = self.young.get_mut(key) {
            *known = value;
            return;
        }
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), value);
    }

    #[cfg(any(feature = "mysql", feature = "sqlite", test))]
    pub(crate) fn clear(&mut self) {
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
