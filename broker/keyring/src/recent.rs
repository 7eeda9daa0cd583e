//! A map that keeps what was used most recently, up to a bound.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that keeps what was used most recently, up to a bound.
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, K>,
    uses: u64,
    entries_max: usize,
}

// === impl Recent ===

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(entries_max: usize) -> Recent<K, V> {
        Recent {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            entries_max,
        }
    }

    /// Returns what is kept under a key, and notes its use.
    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (used, value) = self.entries.get_mut(key)?;
        // Who is asked for again and again is first already.
        if *used == self.uses {
            return Some(value);
        }
        let name = self.order.remove(used)?;
        self.uses += 1;
        *used = self.uses;
        self.order.insert(self.uses, name);
        Some(value)
    }

    /// Keeps a value; the least recently used one goes if there are too many.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        if let Some((used, _)) = self.entries.insert(key, (self.uses, value)) {
            self.order.remove(&used);
        }
        if self.entries.len() > self.entries_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Lets go of every entry that `keep` refuses.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|key, (used, value)| {
            let kept = keep(key, value);
            if !kept {
                order.remove(used);
            }
            kept
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut recent = Recent::new(2);
        recent.insert("a".to_owned(), 1);
        recent.insert("b".to_owned(), 2);
        assert_eq!(recent.get("a"), Some(&1));
        recent.insert("c".to_owned(), 3);
        assert_eq!(recent.get("b"), None);
        assert_eq!(recent.get("a"), Some(&1));
        assert_eq!(recent.get("c"), Some(&3));
        assert_eq!(recent.len(), 2);
    }

    #[test]
    fn a_key_inserted_twice_is_kept_once() {
        let mut recent = Recent::new(2);
        recent.insert("a".to_owned(), 1);
        recent.insert("a".to_owned(), 2);
        assert_eq!(recent.get("a"), Some(&2));
        assert_eq!(recent.len(), 1);
    }

    #[test]
    fn what_is_not_retained_is_gone() {
        let mut recent = Recent::new(9);
        for number in 0..9 {
            recent.insert(number, number);
        }
        recent.retain(|_, value| value % 2 == 0);
        assert_eq!(recent.len(), 5);
        assert_eq!(recent.get(&1), None);
        assert_eq!(recent.get(&2), Some(&2));
    }
}
