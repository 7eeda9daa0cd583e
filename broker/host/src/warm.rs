//! Instances that wait to be asked again, the longest unused going first when there are too many.
//!
//! An instance is kept under the binding it was started for, the tenant and the version, so it never serves another.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values that wait under keys; several may wait under one.
pub(crate) struct Warm<K, V> {
    waiting: HashMap<K, Vec<(u64, V)>>,
    /// The keys by when their values came to wait.
    order: BTreeMap<u64, K>,
    next: u64,
    max: usize,
}

// === impl Warm ===

impl<K: Clone + Eq + Hash, V> Warm<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            max,
        }
    }

    /// Takes the value that came to wait last under a key.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        self.take_if(key, |_| true)
    }

    /// Takes the value that came to wait last under a key, if that one fits.
    pub(crate) fn take_if(&mut self, key: &K, fits: impl FnOnce(&V) -> bool) -> Option<V> {
        let values = self.waiting.get_mut(key)?;
        let (number, value) = values.pop_if(|(_, value)| fits(value))?;
        if values.is_empty() {
            self.waiting.remove(key);
        }
        self.order.remove(&number);
        Some(value)
    }

    /// Lets a value wait, and returns the one that has to go for it.
    #[must_use = "dropping what has to go takes time, so it is done where no lock is held"]
    pub(crate) fn put(&mut self, key: K, value: V) -> Option<V> {
        let number = self.next;
        self.next += 1;
        self.order.insert(number, key.clone());
        self.waiting.entry(key).or_default().push((number, value));
        if self.order.len() > self.max {
            self.evict(|_| true)
        } else {
            None
        }
    }

    /// Takes the value that has waited longest under any key that fits.
    pub(crate) fn evict(&mut self, fits: impl Fn(&K) -> bool) -> Option<V> {
        let (number, key) = self
            .order
            .iter()
            .find(|(_, key)| fits(key))
            .map(|(number, key)| (*number, key.clone()))?;
        self.order.remove(&number);
        let values = self.waiting.get_mut(&key)?;
        let at = values.iter().position(|(waiting, _)| *waiting == number)?;
        let (_, value) = values.remove(at);
        if values.is_empty() {
            self.waiting.remove(&key);
        }
        Some(value)
    }

    /// Takes every value under a key that fits.
    pub(crate) fn evict_all(&mut self, fits: impl Fn(&K) -> bool) -> Vec<V> {
        let mut evicted = Vec::new();
        while let Some(value) = self.evict(&fits) {
            evicted.push(value);
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first() {
        let mut warm = Warm::new(2);
        assert_eq!(warm.put("a", 1), None);
        assert_eq!(warm.put("b", 2), None);
        assert_eq!(warm.take(&"a"), Some(1));
        assert_eq!(warm.put("a", 1), None);
        assert_eq!(warm.put("c", 3), Some(2));
        assert_eq!(warm.take(&"b"), None);
        assert_eq!(warm.take(&"a"), Some(1));
    }

    #[test]
    fn several_wait_under_one_key() {
        let mut warm = Warm::new(3);
        for value in 1..=3 {
            assert_eq!(warm.put("a", value), None);
        }
        assert_eq!(warm.put("a", 4), Some(1));
        assert_eq!(warm.take(&"a"), Some(4));
        assert_eq!(warm.evict(|_| true), Some(2));
        assert_eq!(warm.take(&"a"), Some(3));
        assert_eq!(warm.take(&"a"), None);
    }

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let mut warm = Warm::new(2);
        assert_eq!(warm.put("a", 1), None);
        assert_eq!(warm.take_if(&"a", |value| *value == 2), None);
        assert_eq!(warm.take_if(&"a", |value| *value == 1), Some(1));
        assert_eq!(warm.take_if(&"a", |_| true), None);
    }

    #[test]
    fn only_what_fits_is_evicted() {
        let mut warm = Warm::new(8);
        for key in [1, 2, 1, 3] {
            assert_eq!(warm.put(key, key), None);
        }
        assert_eq!(warm.evict_all(|key| *key == 1), [1, 1]);
        assert_eq!(warm.evict(|key| *key == 1), None);
        assert_eq!(warm.take(&2), Some(2));
        assert_eq!(warm.take(&3), Some(3));
    }
}
