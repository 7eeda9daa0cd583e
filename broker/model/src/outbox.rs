//! Outboxes: what is on its way from a queue or topic of this set to a queue, here or elsewhere.
//!
//! For each source and target, parcels are numbered from 1 without a gap, and the count never starts again while
//! the source lives: the target tells by it what it has already taken in. A parcel stays until it is shipped.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::bounds::{OUTBOX_MAX, TARGETS_MAX};
use crate::{BodyKey, Incarnation, MoveCause, Outgoing, Refusal, Sequence};

/// All outboxes of a set.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outboxes {
    boxes: BTreeMap<(Incarnation, Incarnation), Outbox>,
    /// Every parcel by when it was posted.
    order: BTreeMap<u64, (Incarnation, Incarnation, u64)>,
    posted: u64,
}

/// What is on its way from one source to one target.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct Outbox {
    last_number: u64,
    parcels: BTreeMap<u64, Waiting>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Waiting {
    sequence: u64,
    receive_count: u32,
    cause: MoveCause,
    posted: u64,
}

/// The bodies of a stream that parcels need. A topic's body may be in several parcels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outboxed {
    sequences: RoaringTreemap,
    /// How many parcels beyond the first need a body.
    more: BTreeMap<u64, u32>,
}

// === impl Outboxes ===

impl Outboxes {
    /// Posts a parcel, and returns whether there was room.
    #[must_use]
    pub(crate) fn post(
        &mut self,
        source: Incarnation,
        target: Incarnation,
        sequence: u64,
        receive_count: u32,
        cause: MoveCause,
    ) -> bool {
        if self.order.len() >= OUTBOX_MAX {
            return false;
        }
        let key = (source, target);
        if !self.boxes.contains_key(&key) && self.targets(source) >= TARGETS_MAX {
            return false;
        }
        self.posted += 1;
        let outbox = self.boxes.entry(key).or_default();
        outbox.last_number += 1;
        let waiting = Waiting {
            sequence,
            receive_count,
            cause,
            posted: self.posted,
        };
        outbox.parcels.insert(outbox.last_number, waiting);
        self.order
            .insert(self.posted, (source, target, outbox.last_number));
        true
    }

    /// Refuses parcels of a source to these targets, one each, unless there is room for all.
    pub(crate) fn check_room(
        &self,
        source: Incarnation,
        targets: impl ExactSizeIterator<Item = Incarnation>,
    ) -> Result<(), Refusal> {
        let posted = self.order.len() + targets.len();
        let new: BTreeSet<Incarnation> = targets
            .filter(|target| !self.boxes.contains_key(&(source, *target)))
            .collect();
        let has_room =
            posted <= OUTBOX_MAX && (new.is_empty() || self.targets(source) + new.len() <= TARGETS_MAX);
        has_room.then_some(()).ok_or(Refusal::OutboxFull {
            limit: OUTBOX_MAX as u64,
        })
    }

    /// Takes out parcels that the target has taken in, and returns their sequences in the source.
    pub(crate) fn ship(&mut self, source: Incarnation, target: Incarnation, numbers: &[u64]) -> Vec<u64> {
        let Some(outbox) = self.boxes.get_mut(&(source, target)) else {
            return Vec::new();
        };
        let mut shipped = Vec::new();
        for number in numbers {
            if let Some(waiting) = outbox.parcels.remove(number) {
                self.order.remove(&waiting.posted);
                shipped.push(waiting.sequence);
            }
        }
        shipped
    }

    /// Forgets all that leaves a source that is no more.
    pub(crate) fn drop_source(&mut self, source: Incarnation) {
        let keys = self.keys(source).collect::<Vec<_>>();
        for key in keys {
            for waiting in self
                .boxes
                .remove(&key)
                .into_iter()
                .flat_map(|outbox| outbox.parcels)
            {
                self.order.remove(&waiting.1.posted);
            }
        }
    }

    /// Returns up to `max` parcels, the longest posted first.
    pub(crate) fn oldest(&self, max: usize) -> Vec<Outgoing> {
        let oldest = self.order.values().take(max);
        oldest
            .filter_map(|(source, target, number)| self.outgoing(*source, *target, *number))
            .collect()
    }

    /// Returns up to `max` parcels of one outbox with numbers above `after`, lowest first.
    pub(crate) fn oldest_to(
        &self,
        source: Incarnation,
        target: Incarnation,
        after: u64,
        max: usize,
    ) -> Vec<Outgoing> {
        let Some(outbox) = self.boxes.get(&(source, target)) else {
            return Vec::new();
        };
        let numbers = outbox.parcels.range(after.saturating_add(1)..).take(max);
        numbers
            .filter_map(|(number, _)| self.outgoing(source, target, *number))
            .collect()
    }

    /// Returns the source and target of each outbox that holds something.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (Incarnation, Incarnation)> + '_ {
        self.boxes
            .iter()
            .filter(|(_, outbox)| !outbox.parcels.is_empty())
            .map(|(key, _)| *key)
    }

    /// Returns how many parcels there are.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    fn outgoing(&self, source: Incarnation, target: Incarnation, number: u64) -> Option<Outgoing> {
        let waiting = self.boxes.get(&(source, target))?.parcels.get(&number)?;
        Some(Outgoing {
            source,
            target,
            number,
            body: BodyKey {
                stream: source,
                sequence: Sequence(waiting.sequence),
            },
            receive_count: waiting.receive_count,
            cause: waiting.cause.clone(),
        })
    }

    fn targets(&self, source: Incarnation) -> usize {
        self.keys(source).count()
    }

    fn keys(&self, source: Incarnation) -> impl Iterator<Item = (Incarnation, Incarnation)> + '_ {
        let range = (source, Incarnation(0))..=(source, Incarnation(u64::MAX));
        self.boxes.range(range).map(|(key, _)| *key)
    }
}

// === impl Outboxed ===

impl Outboxed {
    /// Returns whether a parcel needs this body.
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.sequences.contains(sequence)
    }

    /// Returns the bodies that parcels need.
    pub(crate) fn sequences(&self) -> &RoaringTreemap {
        &self.sequences
    }

    /// Returns whether no parcel needs any body.
    pub(crate) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Notes that a parcel needs this body.
    pub(crate) fn add(&mut self, sequence: u64) {
        if !self.sequences.insert(sequence) {
            *self.more.entry(sequence).or_default() += 1;
        }
    }

    /// Notes that a parcel is gone, and returns whether no other needs this body.
    pub(crate) fn remove(&mut self, sequence: u64) -> bool {
        let Some(more) = self.more.get_mut(&sequence) else {
            self.sequences.remove(sequence);
            return true;
        };
        *more -= 1;
        if *more == 0 {
            self.more.remove(&sequence);
        }
        false
    }
}
