//! A set of sequences that knows its lowest.

use std::ops::{Deref, RangeBounds};

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize, Serializer};

/// A set of sequences that knows its lowest: the bitmap looks for it through up to 8 KiB of its first container, and it
/// is asked for several times a command. Encoded it is the bitmap alone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "RoaringTreemap")]
pub(crate) struct SequenceSet {
    all: RoaringTreemap,
    lowest: Option<u64>,
}

// === impl SequenceSet ===

impl SequenceSet {
    /// Returns the lowest sequence.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.lowest
    }

    /// Returns the lowest sequence from one on.
    pub(crate) fn lowest_from(&self, sequence: u64) -> Option<u64> {
        let lowest = self.lowest?;
        if lowest >= sequence {
            return Some(lowest);
        }
        self.first_from(sequence)
    }

    fn first_from(&self, sequence: u64) -> Option<u64> {
        let mut rest = self.all.iter();
        rest.advance_to(sequence);
        rest.next()
    }

    /// Adds a sequence, and returns whether it was not there.
    pub(crate) fn insert(&mut self, sequence: u64) -> bool {
        self.lowest = Some(self.lowest.map_or(sequence, |lowest| lowest.min(sequence)));
        self.all.insert(sequence)
    }

    /// Adds all of a set.
    pub(crate) fn insert_all(&mut self, sequences: &RoaringTreemap) {
        self.all |= sequences;
        self.lowest = self.all.min();
    }

    /// Removes a sequence, and returns whether it was there.
    pub(crate) fn remove(&mut self, sequence: u64) -> bool {
        let was_there = self.all.remove(sequence);
        if self.lowest == Some(sequence) {
            let next = sequence.saturating_add(1);
            // Mostly they follow each other, and looking whether one is there is cheaper than looking for one.
            self.lowest = match self.all.contains(next) {
                true => Some(next),
                false => self.first_from(next),
            };
        }
        was_there
    }

    /// Removes all of a range, and returns how many that were.
    pub(crate) fn remove_range(&mut self, range: impl RangeBounds<u64>) -> u64 {
        let removed = self.all.remove_range(range);
        if removed > 0 {
            self.lowest = self.all.min();
        }
        removed
    }
}

impl From<RoaringTreemap> for SequenceSet {
    fn from(all: RoaringTreemap) -> SequenceSet {
        let lowest = all.min();
        SequenceSet { all, lowest }
    }
}

impl Serialize for SequenceSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all.serialize(serializer)
    }
}

/// To be read as the bitmap it is; changed only through what keeps the lowest.
impl Deref for SequenceSet {
    type Target = RoaringTreemap;

    fn deref(&self) -> &RoaringTreemap {
        &self.all
    }
}
