//! Reading many bodies, of which it is known what comes next: those that lie one after the other in a segment are read at
//! once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{BodyKey, StoredMessage};

use super::Bodies;
use crate::StoreFault;
use crate::segment::{self, Segment};
use crate::shelf::Segments;

/// How much is read at once: little enough to be in the processor's own memory still when it is looked at.
const RUN_BYTES_MAX: u64 = 512 << 10;
/// Who reads less is likely to go on with what comes after it, and reads in [`Pieces`](super::Pieces).
const RUN_BYTES_MIN: u64 = 16 << 10;

/// Bodies that are read one after the other, each as [`Bodies::read`] reads it.
#[derive(Debug)]
pub struct Reading<'a> {
    bodies: &'a Bodies,
    keys: std::slice::Iter<'a, BodyKey>,
    run: Option<Run>,
}

/// Records of a segment that lie one after the other.
#[derive(Debug)]
struct Run {
    segment: Arc<Segment>,
    /// Those that are still to be handed out.
    entries: VecDeque<segment::Entry>,
    /// What was read of the file at once, and where that begins; none where each is read for itself.
    read: Option<(u64, Bytes)>,
}

/// Where the records of a run are.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Stretch {
    range: Range<u64>,
    /// How many of those bytes are the records'.
    wanted: u64,
}

// === impl Bodies ===

impl Bodies {
    /// Reads bodies in this order, each when it is asked for.
    pub fn reading<'a>(&'a self, keys: &'a [BodyKey]) -> Reading<'a> {
        Reading {
            bodies: self,
            keys: keys.iter(),
            run: None,
        }
    }
}

// === impl Reading ===

impl Iterator for Reading<'_> {
    type Item = Result<Option<StoredMessage>, StoreFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = *self.keys.next()?;
        Some(self.read(key))
    }
}

impl Reading<'_> {
    fn read(&mut self, key: BodyKey) -> Result<Option<StoredMessage>, StoreFault> {
        if let Some(message) = self.read_of_run(key)? {
            return Ok(Some(message));
        }
        let (place, segments) = self
            .bodies
            .shelf
            .look(|contents| (contents.place(key), Arc::clone(&contents.segments)));
        if let Some(place) = place {
            return match self.bodies.read_place(place)? {
                Some(message) => Ok(Some(message)),
                // A cut has moved it since.
                None => self.bodies.read(key),
            };
        }
        self.run = self.begin_run(&segments, key)?;
        self.read_of_run(key)
    }

    /// Finds a body and those that are wanted next and lie after it, and reads them if they are many; none if it is in no
    /// segment.
    fn begin_run(&self, segments: &Segments, key: BodyKey) -> Result<Option<Run>, StoreFault> {
        let shelf = &self.bodies.shelf;
        let Some((segment, first)) = segments.find_record(shelf, key)? else {
            return Ok(None);
        };
        let mut stretch = Stretch::of(&first);
        let mut entries = VecDeque::from([first]);
        let mut lookup = segment.lookup();
        for key in self.keys.as_slice() {
            // What is wrong with the next is for who reads that.
            let next = shelf.noted(segment, lookup.find(*key)).ok().flatten();
            let longer = next.and_then(|entry| Some((entry, stretch.with(&entry)?)));
            let Some((entry, longer)) = longer else {
                break;
            };
            stretch = longer;
            entries.push_back(entry);
        }
        let start = stretch.range.start;
        let is_long = stretch.range.end - start >= RUN_BYTES_MIN;
        // Where it cannot be read at once, each for itself tells which cannot be read.
        let read = is_long
            .then(|| segment.read_records(stretch.range, stretch.wanted).ok())
            .flatten();
        Ok(Some(Run {
            segment: Arc::clone(segment),
            entries,
            read: read.map(|bytes| (start, bytes)),
        }))
    }

    /// Reads a body if it is the next of the run.
    fn read_of_run(&mut self, key: BodyKey) -> Result<Option<StoredMessage>, StoreFault> {
        let shelf = &self.bodies.shelf;
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        let entry = run.entries.pop_front().filter(|entry| entry.key == key);
        let Some(entry) = entry else {
            self.run = None;
            return Ok(None);
        };
        let segment = &run.segment;
        let message = match &run.read {
            // At least half of what it keeps in memory is bodies that were asked for with it.
            Some((start, bytes)) => {
                let record = segment.record_of(&entry, *start, bytes);
                segment.decode_shared(&shelf.noted(segment, record)?)?
            }
            None => {
                let record = segment.get_along(&entry, &shelf.memory.pieces);
                segment.decode(&shelf.noted(segment, record)?)?
            }
        };
        Ok(Some(message))
    }
}

// === impl Stretch ===

impl Stretch {
    fn of(entry: &segment::Entry) -> Stretch {
        let range = entry.range();
        let wanted = range.end - range.start;
        Stretch { range, wanted }
    }

    /// Returns it with another record that lies after it; none where that would be too much to be read at once, or more of
    /// what nobody asked for than of what somebody did.
    fn with(&self, entry: &segment::Entry) -> Option<Stretch> {
        let next = entry.range();
        if next.start < self.range.end {
            return None;
        }
        let range = self.range.start..next.end;
        let wanted = self.wanted + (next.end - next.start);
        let bytes = range.end - range.start;
        (bytes <= RUN_BYTES_MAX && bytes <= 2 * wanted).then_some(Stretch { range, wanted })
    }
}

#[cfg(test)]
mod tests {
    use posthouse_model::{Incarnation, Sequence, Time};

    use super::*;

    /// Returns where a record is that takes so many bytes.
    fn entry(position: u64, bytes: u64) -> segment::Entry {
        let none = segment::Entry {
            key: BodyKey {
                stream: Incarnation(1),
                sequence: Sequence(1),
            },
            time: Time::default(),
            position,
            length: 0,
        };
        let header = none.range().end - position;
        segment::Entry {
            length: u32::try_from(bytes - header).expect("a length"),
            ..none
        }
    }

    fn joined(first: segment::Entry, next: segment::Entry) -> Option<Range<u64>> {
        Some(Stretch::of(&first).with(&next)?.range)
    }

    #[test]
    fn records_are_read_at_once_when_they_lie_after_each_other_and_are_few() {
        assert_eq!(joined(entry(10, 100), entry(110, 50)), Some(10..160));
        assert_eq!(joined(entry(10, 100), entry(109, 50)), None, "before the end");
        assert_eq!(
            joined(entry(0, 100), entry(100, RUN_BYTES_MAX - 100)),
            Some(0..RUN_BYTES_MAX)
        );
        assert_eq!(
            joined(entry(0, 100), entry(100, RUN_BYTES_MAX - 99)),
            None,
            "too many"
        );
    }

    #[test]
    fn half_of_what_is_read_is_wanted() {
        assert_eq!(joined(entry(0, 100), entry(300, 100)), Some(0..400));
        assert_eq!(joined(entry(0, 100), entry(301, 100)), None, "one byte less");
    }

    #[test]
    fn an_index_that_says_what_cannot_be_joins_nothing() {
        let mut last = entry(0, 100);
        last.position = u64::MAX - 10;
        assert_eq!(joined(entry(0, 100), last), None);
        assert_eq!(joined(last, entry(100, 100)), None);
        assert_eq!(joined(last, last), None);
    }
}
