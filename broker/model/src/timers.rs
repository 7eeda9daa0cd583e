//! When messages are let go of: a time for each, the earliest first.
//!
//! What is received at once is let go of at once, and its numbers follow each other: so those of one time and one block of
//! 64 numbers are one entry of an ordered map. Encoded it is a set of times and numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::Time;
use crate::block_map::{numbers, place};

/// Times of messages, the earliest first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "BTreeSet<(Time, u64)>")]
pub(crate) struct Timers {
    /// By time and block, a bit for each number; none is zero.
    bits: BTreeMap<(Time, u64), u64>,
    len: usize,
}

// === impl Timers ===

impl Timers {
    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the earliest: of those of the same time, that of the lowest number.
    pub(crate) fn first(&self) -> Option<(Time, u64)> {
        let ((time, block), bits) = self.bits.first_key_value()?;
        Some((*time, numbers(*block, *bits).next()?))
    }

    /// Adds one.
    pub(crate) fn insert(&mut self, time: Time, number: u64) {
        let (block, bit) = place(number);
        let bits = self.bits.entry((time, block)).or_default();
        self.len += usize::from(*bits & bit == 0);
        *bits |= bit;
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, time: Time, number: u64) {
        let (block, bit) = place(number);
        let Some(bits) = self.bits.get_mut(&(time, block)) else {
            return;
        };
        self.len -= usize::from(*bits & bit != 0);
        *bits &= !bit;
        if *bits == 0 {
            self.bits.remove(&(time, block));
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Time, u64)> {
        let all = self.bits.iter();
        all.flat_map(|((time, block), bits)| numbers(*block, *bits).map(|number| (*time, number)))
    }
}

impl From<BTreeSet<(Time, u64)>> for Timers {
    fn from(all: BTreeSet<(Time, u64)>) -> Self {
        let mut timers = Timers::default();
        for (time, number) in all {
            timers.insert(time, number);
        }
        timers
    }
}

impl Serialize for Timers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(Some(self.len))?;
        for timer in self.iter() {
            all.serialize_element(&timer)?;
        }
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timer() -> impl Strategy<Value = (Time, u64)> {
        let number = prop_oneof![4 => 0..150_u64, 1 => u64::MAX - 100..=u64::MAX];
        ((0..5_u64).prop_map(Time::from_millis), number)
    }

    proptest! {
        #[test]
        fn they_are_an_ordered_set(changes in prop::collection::vec((any::<bool>(), timer()), 0..300)) {
            let (mut timers, mut ordered) = (Timers::default(), BTreeSet::new());
            for (add, (time, number)) in changes {
                if add {
                    timers.insert(time, number);
                    ordered.insert((time, number));
                } else {
                    timers.remove(time, number);
                    ordered.remove(&(time, number));
                }
                prop_assert_eq!(timers.len(), ordered.len());
                prop_assert_eq!(timers.first(), ordered.first().copied());
            }
            prop_assert!(timers.iter().eq(ordered.iter().copied()));

            let encoded = postcard::to_allocvec(&timers).expect("encodes");
            prop_assert_eq!(&encoded, &postcard::to_allocvec(&ordered).expect("encodes"));
            let decoded: Timers = postcard::from_bytes(&encoded).expect("decodes");
            prop_assert_eq!(&decoded, &timers);
            for (time, number) in ordered {
                timers.remove(time, number);
            }
            prop_assert_eq!(timers, Timers::default());
        }
    }
}
