//! Which parked messages were taken in again: so that one is, once, however often it is sent.
//!
//! The queue that they were parked in may be another set's, which lets go of each after this set has it. Between the two
//! anything may stop, and be done again.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::bounds::{READMITTED_MAX, SOURCES_MAX};
use crate::{Incarnation, Refusal, Sequence};

/// Messages that were taken in again, by where they went and where they were parked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Readmissions(BTreeMap<(Incarnation, Incarnation), Known>);

/// What is known of messages that were parked in one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    /// Those below it are gone from there, whatever became of them.
    gone_below: u64,
    /// Those from there on that were taken in.
    sequences: RoaringTreemap,
}

// === impl Readmissions ===

impl Readmissions {
    pub(super) fn contains(&self, target: Incarnation, source: Incarnation, sequence: Sequence) -> bool {
        let known = self.0.get(&(target, source));
        known.is_some_and(|known| sequence.0 < known.gone_below || known.sequences.contains(sequence.0))
    }

    /// Refuses one more where too many are remembered that are not gone from where they were parked.
    pub(super) fn check_room(
        &self,
        target: Incarnation,
        source: Incarnation,
        gone_below: Sequence,
    ) -> Result<(), Refusal> {
        let Some(known) = self.0.get(&(target, source)) else {
            let sources = (target, Incarnation(0))..=(target, Incarnation(u64::MAX));
            return match self.0.range(sources).count() < SOURCES_MAX {
                true => Ok(()),
                false => Err(Refusal::Full {
                    limit: SOURCES_MAX as u64,
                }),
            };
        };
        match known.sequences.range_cardinality(gone_below.0..) < READMITTED_MAX {
            true => Ok(()),
            false => Err(Refusal::Full {
                limit: READMITTED_MAX,
            }),
        }
    }

    /// Remembers one, and forgets those that are gone from where they were parked.
    pub(super) fn add(
        &mut self,
        target: Incarnation,
        source: Incarnation,
        sequence: Sequence,
        gone_below: Sequence,
    ) {
        let known = self.0.entry((target, source)).or_default();
        known.gone_below = known.gone_below.max(gone_below.0);
        known.sequences.remove_range(..known.gone_below);
        known.sequences.insert(sequence.0);
    }

    /// Forgets what went into a queue or topic that is no more.
    pub(super) fn drop_target(&mut self, target: Incarnation) {
        self.0.retain(|(into, _), _| *into != target);
    }
}
