//! What a queue has taken in from others' outboxes, kept without expiry so that nothing is taken in twice.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::Incarnation;
use crate::bounds::TAKEN_AHEAD_MAX;

/// What a queue has taken in, by source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TakenIn(BTreeMap<Incarnation, Taken>);

/// The numbers taken in from one source: all up to one, and some above it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Taken {
    contiguous: u64,
    above: RoaringTreemap,
}

// === impl TakenIn ===

impl TakenIn {
    /// Returns what was taken in from a source.
    pub(crate) fn of(&self, source: Incarnation) -> Option<&Taken> {
        self.0.get(&source)
    }

    /// Returns what was taken in from a source, to add to it.
    pub(crate) fn of_mut(&mut self, source: Incarnation) -> &mut Taken {
        self.0.entry(source).or_default()
    }

    /// Returns how many sources there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether nothing was ever taken in.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Taken ===

impl Taken {
    /// Returns whether a number was taken in.
    pub(crate) fn contains(&self, number: u64) -> bool {
        number <= self.contiguous || self.above.contains(number)
    }

    /// Returns whether a number is too far above what is complete to be noted.
    pub(crate) fn is_too_far(&self, number: u64) -> bool {
        number > self.contiguous.saturating_add(TAKEN_AHEAD_MAX)
    }

    /// Notes that a number is taken in.
    pub(crate) fn add(&mut self, number: u64) {
        debug_assert!(!self.is_too_far(number), "the caller left out what is too far");
        if number <= self.contiguous {
            return;
        }
        self.above.insert(number);
        while self.above.remove(self.contiguous.saturating_add(1)) {
            self.contiguous += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_order_close_up() {
        let mut taken = Taken::default();
        for number in [3, 1, 5, 2] {
            assert!(!taken.contains(number));
            taken.add(number);
            assert!(taken.contains(number));
        }
        assert!(!taken.contains(4));
        assert_eq!((taken.contiguous, taken.above.len()), (3, 1));
        assert!(taken.is_too_far(4 + TAKEN_AHEAD_MAX));
        assert!(!taken.is_too_far(3 + TAKEN_AHEAD_MAX));
    }
}
