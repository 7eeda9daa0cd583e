//! Where bodies are in the log, until a cut writes them to a segment.

use std::collections::HashMap;

use posthouse_model::{BodyKey, Incarnation, LogIndex, Sequence};

use crate::KeepClass;

/// Where bodies are in the log: 24 bytes each, by stream in order of sequence.
#[derive(Debug, Default)]
pub(crate) struct Table {
    streams: HashMap<Incarnation, Vec<Slot>>,
    bodies: usize,
}

/// A body's place in the log.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// The entry.
    pub(crate) index: LogIndex,
    /// The submission in it.
    pub(crate) submission: u32,
    /// The message in that.
    pub(crate) ordinal: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    sequence: u64,
    index: u64,
    submission: u32,
    /// The ordinal, and in the two highest bits the class.
    ordinal_and_class: u32,
}

const ORDINAL_BITS: u32 = 30;
const ORDINAL_MASK: u32 = (1 << ORDINAL_BITS) - 1;

// === impl Table ===

impl Table {
    pub(crate) fn insert(&mut self, key: BodyKey, place: Place, class: KeepClass) {
        assert!(
            place.ordinal <= ORDINAL_MASK,
            "a submission has fewer messages than that"
        );
        let slot = Slot {
            sequence: key.sequence.0,
            index: place.index.0,
            submission: place.submission,
            ordinal_and_class: place.ordinal | (class as u32) << ORDINAL_BITS,
        };
        let slots = self.streams.entry(key.stream).or_default();
        // Sequences rise, so this is nearly always the end.
        let at = match slots.last() {
            Some(last) if last.sequence >= slot.sequence => {
                slots.partition_point(|other| other.sequence < slot.sequence)
            }
            _ => slots.len(),
        };
        match slots.get_mut(at) {
            Some(same) if same.sequence == slot.sequence => *same = slot,
            _ => {
                slots.insert(at, slot);
                self.bodies += 1;
            }
        }
    }

    pub(crate) fn get(&self, key: BodyKey) -> Option<Place> {
        let slots = self.streams.get(&key.stream)?;
        let at = slots
            .binary_search_by_key(&key.sequence.0, |slot| slot.sequence)
            .ok()?;
        slots.get(at).map(Slot::place)
    }

    pub(crate) fn each(&self, mut each: impl FnMut(BodyKey, Place, KeepClass)) {
        for (stream, slots) in &self.streams {
            for slot in slots {
                let key = BodyKey {
                    stream: *stream,
                    sequence: Sequence(slot.sequence),
                };
                each(key, slot.place(), slot.class());
            }
        }
    }

    /// Returns how many bodies are in it.
    pub(crate) fn bodies(&self) -> usize {
        self.bodies
    }
}

// === impl Slot ===

impl Slot {
    fn place(&self) -> Place {
        Place {
            index: LogIndex(self.index),
            submission: self.submission,
            ordinal: self.ordinal_and_class & ORDINAL_MASK,
        }
    }

    fn class(&self) -> KeepClass {
        KeepClass::ALL[(self.ordinal_and_class >> ORDINAL_BITS) as usize]
    }
}
