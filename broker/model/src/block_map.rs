//! A map of numbers that are given out rising, and mostly lie close together.
//!
//! Who has a message, and by which handle, is looked up, put down and taken out again for each message that is received, on
//! each node. An ordered map has a node for every few keys, and its path down is as long as the map is large. Here a block of
//! 64 numbers is one entry of an ordered map, and what is in it lies in a row:
//!
//! ```text
//!   7 ─► present 0b…0010_1101   values [of 448, of 450, of 451, of 453]
//!   9 ─► …
//! ```
//!
//! So the ordered map is a small part as large. A number far from all others costs an allocation of its own, which has room for
//! four. Encoded it is a map.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// For so many values a block keeps room whether it is used or not.
const ROOM_KEPT: usize = 8;

/// A map of numbers that are given out rising.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "BTreeMap<u64, V>", bound = "V: Deserialize<'de>")]
pub(crate) struct BlockMap<V> {
    /// None of them is empty.
    blocks: BTreeMap<u64, Block<V>>,
    len: usize,
}

/// What is there of 64 numbers that follow each other.
#[derive(Clone, Debug, PartialEq)]
struct Block<V> {
    /// A bit for each number, the lowest first.
    present: u64,
    /// One value for each bit that is set, in their order.
    values: VecDeque<V>,
}

// === impl BlockMap ===

impl<V> BlockMap<V> {
    /// Returns how many numbers are in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns what a number stands for.
    pub(crate) fn get(&self, number: u64) -> Option<&V> {
        let (block, bit) = place(number);
        let block = self.blocks.get(&block)?;
        block.values.get(block.rank(bit)?)
    }

    /// Returns what a number stands for, to be changed.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut V> {
        let (block, bit) = place(number);
        let block = self.blocks.get_mut(&block)?;
        let rank = block.rank(bit)?;
        block.values.get_mut(rank)
    }

    /// Has a number stand for something, and returns what it stood for.
    pub(crate) fn insert(&mut self, number: u64, value: V) -> Option<V> {
        let (block, bit) = place(number);
        let block = self.blocks.entry(block).or_default();
        if let Some(rank) = block.rank(bit) {
            return Some(std::mem::replace(&mut block.values[rank], value));
        }
        block.values.insert(block.below(bit), value);
        block.present |= bit;
        self.len += 1;
        None
    }

    /// Takes a number out, and returns what it stood for.
    pub(crate) fn remove(&mut self, number: u64) -> Option<V> {
        let (at, bit) = place(number);
        let block = self.blocks.get_mut(&at)?;
        let value = block.values.remove(block.rank(bit)?);
        block.present &= !bit;
        self.len -= 1;
        if block.present == 0 {
            self.blocks.remove(&at);
        } else {
            block.tighten();
        }
        value
    }

    /// Keeps what is worth it.
    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let all: Vec<u64> = self.iter().map(|(number, _)| number).collect();
        for number in all {
            if !self.get(number).is_some_and(&keep) {
                self.remove(number);
            }
        }
    }

    /// Returns all of it, rising.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let blocks = self.blocks.iter();
        blocks.flat_map(|(at, block)| numbers(*at, block.present).zip(&block.values))
    }

    /// Returns the numbers of a range, rising.
    pub(crate) fn numbers_in(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let blocks = match range.is_empty() {
            true => 0..0,
            false => range.start / 64..(range.end - 1) / 64 + 1,
        };
        let all = self.blocks.range(blocks);
        let all = all.flat_map(|(at, block)| numbers(*at, block.present));
        all.filter(move |number| range.contains(number))
    }
}

impl<V> Default for BlockMap<V> {
    fn default() -> Self {
        BlockMap {
            blocks: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<V> From<BTreeMap<u64, V>> for BlockMap<V> {
    fn from(all: BTreeMap<u64, V>) -> Self {
        let mut map = BlockMap::default();
        for (number, value) in all {
            map.insert(number, value);
        }
        map
    }
}

impl<V: Serialize> Serialize for BlockMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (number, value) in self.iter() {
            map.serialize_entry(&number, value)?;
        }
        map.end()
    }
}

// === impl Block ===

impl<V> Block<V> {
    /// Returns where the value of a bit is; none where the bit is not set.
    fn rank(&self, bit: u64) -> Option<usize> {
        (self.present & bit != 0).then(|| self.below(bit))
    }

    /// Gives room back that is mostly empty: of all that is leased, one of each block may be what is left.
    fn tighten(&mut self) {
        let room = self.values.capacity();
        if room > ROOM_KEPT && self.values.len() * 4 <= room {
            self.values.shrink_to_fit();
        }
    }

    /// Returns how many bits below one are set.
    fn below(&self, bit: u64) -> usize {
        (self.present & (bit - 1)).count_ones() as usize
    }
}

impl<V> Default for Block<V> {
    fn default() -> Self {
        Block {
            present: 0,
            values: VecDeque::new(),
        }
    }
}

/// Returns in which block a number is, and which bit of it stands for the number.
pub(crate) fn place(number: u64) -> (u64, u64) {
    (number / 64, 1 << (number % 64))
}

/// Returns the numbers of a block whose bits are set, rising.
pub(crate) fn numbers(block: u64, bits: u64) -> impl Iterator<Item = u64> {
    let lowest_off = |bits: &u64| Some(bits & (bits - 1)).filter(|rest| *rest != 0);
    let rests = std::iter::successors(Some(bits).filter(|bits| *bits != 0), lowest_off);
    rests.map(move |rest| block * 64 + u64::from(rest.trailing_zeros()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u64, u8),
        Remove(u64),
        Double(u64),
        Retain(u8),
    }

    /// Numbers close together, at the end of all numbers, and anywhere.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..200_u64, 1 => u64::MAX - 100..=u64::MAX, 1 => any::<u64>()]
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (number(), any::<u8>()).prop_map(|(number, value)| Change::Insert(number, value)),
            5 => number().prop_map(Change::Remove),
            1 => number().prop_map(Change::Double),
            1 => (0..4_u8).prop_map(Change::Retain),
        ]
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(
            changes in prop::collection::vec(change(), 0..200),
            range in (number(), number()).prop_map(|(start, end)| start..end),
        ) {
            let (mut map, mut ordered) = (BlockMap::default(), BTreeMap::new());
            for change in changes {
                match change {
                    Change::Insert(number, value) => {
                        prop_assert_eq!(map.insert(number, value), ordered.insert(number, value));
                    }
                    Change::Remove(number) => prop_assert_eq!(map.remove(number), ordered.remove(&number)),
                    Change::Double(number) => {
                        let (one, other) = (map.get_mut(number), ordered.get_mut(&number));
                        prop_assert_eq!(&one, &other);
                        [one, other].into_iter().flatten().for_each(|value| *value = value.wrapping_mul(2));
                    }
                    Change::Retain(rest) => {
                        map.retain(|value| value % 4 != rest);
                        ordered.retain(|_, value| *value % 4 != rest);
                    }
                }
                prop_assert_eq!(map.len(), ordered.len());
            }
            prop_assert!(map.iter().eq(ordered.iter().map(|(number, value)| (*number, value))));
            let numbers: Vec<u64> = ordered.keys().copied().filter(|number| range.contains(number)).collect();
            prop_assert_eq!(map.numbers_in(range).collect::<Vec<_>>(), numbers);
            for (number, value) in &ordered {
                prop_assert_eq!(map.get(*number), Some(value));
            }
            for block in map.blocks.values() {
                prop_assert!(block.values.capacity() <= (block.values.len() * 4).max(ROOM_KEPT), "room is kept for nothing");
            }

            let encoded = postcard::to_allocvec(&map).expect("encodes");
            prop_assert_eq!(&encoded, &postcard::to_allocvec(&ordered).expect("encodes"));
            let decoded: BlockMap<u8> = postcard::from_bytes(&encoded).expect("decodes");
            prop_assert_eq!(&decoded, &map);
            for number in ordered.keys() {
                map.remove(*number);
            }
            prop_assert_eq!(map, BlockMap::default());
        }
    }
}
