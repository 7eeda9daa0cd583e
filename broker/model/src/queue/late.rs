//! Messages that were sent with a delay, while they are kept: their age counts from when they became visible.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

use serde::{Deserialize, Serialize};

use crate::{Span, Time};

/// The messages of a queue that were sent with a delay.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Late {
    starts: BTreeMap<u64, Time>,
    order: BTreeSet<(Time, u64)>,
    /// Up to where the dead letter policy has looked at them.
    aged_through: (Time, u64),
}

// === impl Late ===

impl Late {
    /// Adds a message whose age counts from `start`.
    pub(super) fn add(&mut self, sequence: u64, start: Time) {
        self.starts.insert(sequence, start);
        self.order.insert((start, sequence));
    }

    /// Forgets a message that is gone, or whose age now counts from production.
    pub(super) fn remove(&mut self, sequence: u64) {
        if let Some(start) = self.starts.remove(&sequence) {
            self.order.remove(&(start, sequence));
        }
    }

    /// Returns from when a message's age counts, if it was sent with a delay.
    pub(super) fn start(&self, sequence: u64) -> Option<Time> {
        self.starts.get(&sequence).copied()
    }

    /// Returns the messages of a range, rising.
    pub(super) fn in_range(&self, range: Range<u64>) -> Vec<u64> {
        self.starts.range(range).map(|(sequence, _)| *sequence).collect()
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Returns the one that is of an age first, if it is at `now`.
    pub(super) fn older_than(&self, age: Span, now: Time) -> Option<u64> {
        let (start, sequence) = self.order.first()?;
        (*start + age <= now).then_some(*sequence)
    }

    /// Returns when the next is of an age.
    pub(super) fn next_of_age(&self, age: Span) -> Option<Time> {
        self.order.first().map(|(start, _)| *start + age)
    }

    /// Returns the next that the dead letter policy has not looked at, and from when its age counts.
    pub(super) fn next_unaged(&self) -> Option<(Time, u64)> {
        let unaged = (Bound::Excluded(self.aged_through), Bound::Unbounded);
        self.order.range(unaged).next().copied()
    }

    /// Notes up to where the dead letter policy has looked.
    pub(super) fn aged(&mut self, through: (Time, u64)) {
        self.aged_through = through;
    }

    /// Has the dead letter policy look at all of them again.
    pub(super) fn unage(&mut self) {
        self.aged_through = (Time::default(), 0);
    }
}
