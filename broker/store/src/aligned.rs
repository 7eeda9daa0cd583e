//! Bytes that begin in memory at a multiple of a drive's block, so that a file can be written past the page cache.

use std::ops::{Deref, DerefMut};

/// What drives and file systems want addresses, lengths and offsets to be multiples of, at most.
pub(crate) const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of [`ALIGNMENT`]. They grow like a vector's.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    /// Never made to grow where it is: its address would be another.
    room: Vec<u8>,
    /// Where the bytes begin in it.
    lead: usize,
}

// === impl Aligned ===

impl Aligned {
    /// Returns so many zeros.
    pub(crate) fn zeros(bytes: usize) -> Aligned {
        let mut zeros = Aligned::default();
        zeros.resize(bytes);
        zeros
    }

    /// Takes all bytes away. The room stays.
    pub(crate) fn clear(&mut self) {
        self.room.truncate(self.lead);
    }

    /// Takes the first bytes away, so that the others begin where they did.
    pub(crate) fn drop_first(&mut self, bytes: usize) {
        let left = self.len() - bytes;
        self.copy_within(bytes.., 0);
        self.room.truncate(self.lead + left);
    }

    /// Appends bytes.
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.room.extend_from_slice(bytes);
    }

    /// Makes it so many bytes, the new ones zeros.
    pub(crate) fn resize(&mut self, bytes: usize) {
        self.reserve(bytes.saturating_sub(self.len()));
        self.room.resize(self.lead + bytes, 0);
    }

    fn reserve(&mut self, more: usize) {
        if self.room.capacity() - self.room.len() >= more {
            return;
        }
        let bytes = (self.len() + more).max(2 * self.len());
        let mut room: Vec<u8> = Vec::with_capacity(bytes + ALIGNMENT);
        let lead = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        room.resize(lead, 0);
        room.extend_from_slice(self);
        *self = Aligned { room, lead };
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[self.lead..]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.lead..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Clear,
        DropFirst(usize),
        Extend(Vec<u8>),
        Resize(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Clear),
            (0_usize..10_000).prop_map(Step::DropFirst),
            prop::collection::vec(any::<u8>(), 0..9_000).prop_map(Step::Extend),
            (0_usize..20_000).prop_map(Step::Resize),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_vector_that_begins_at_a_block(steps in prop::collection::vec(step(), 0..20)) {
            let (mut aligned, mut vector) = (Aligned::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Clear => {
                        aligned.clear();
                        vector.clear();
                    }
                    Step::DropFirst(bytes) => {
                        let bytes = bytes.min(vector.len());
                        aligned.drop_first(bytes);
                        vector.drain(..bytes);
                    }
                    Step::Extend(bytes) => {
                        aligned.extend_from_slice(&bytes);
                        vector.extend_from_slice(&bytes);
                    }
                    Step::Resize(bytes) => {
                        aligned.resize(bytes);
                        vector.resize(bytes, 0);
                    }
                }
                prop_assert_eq!(&aligned[..], &vector[..]);
                prop_assert!(aligned.is_empty() || aligned.as_ptr().align_offset(ALIGNMENT) == 0);
            }
        }
    }
}
