//! Reading many bodies, of which it is known what comes next: those that lie one after the other in a segment are read at
//! once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{BodyKey, StoredMessage};

use super::{Bodies, BodyMemory};
use crate::StoreFault;
use crate::segment::{self, Segment};
use crate::shelf::{Segments, Shelf};

/// How much is read at once: little enough to be in the processor's own memory still when it is looked at.
const RUN_BYTES_MAX: u64 = 512 << 10;
/// Who reads less is likely to go on with what comes after it, and reads in [`Pieces`](super::Pieces).
const RUN_BYTES_MIN: u64 = 16 << 10;
/// Who reads so much, nearly all of it wanted, reads it past the page cache: nobody else will want it, and the copy out of the
/// cache, with the pages that the system has to find for it first, costs four times as much. Less would wait for the
/// drive too often.
const FETCH_BYTES_MIN: u64 = 128 << 10;

/// Bodies that are read one after the other, each as [`Bodies::read`] reads it. As an iterator it waits for the drive.
#[derive(Debug)]
pub struct Reading<'a> {
    bodies: &'a Bodies,
    /// Those that are still to be handed out.
    keys: &'a [BodyKey],
    run: Option<Run>,
}

/// What comes next of a [`Reading`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are bodies")]
pub enum Step {
    /// The next body.
    Body(Result<Option<StoredMessage>, StoreFault>),
    /// The next bodies are to be read from the drive first, by [`Fetch::run`], which waits for it; what comes of it is for
    /// [`Reading::fetched`].
    Fetch(Fetch),
}

/// A read of many bodies.
#[derive(Clone, Debug)]
pub struct Fetch {
    segment: Arc<Segment>,
    memory: Arc<BodyMemory>,
    range: Range<u64>,
}

/// What was read by a [`Fetch`]; nothing where that went wrong.
#[derive(Debug, Default)]
pub struct Fetched(Option<Bytes>);

/// Records of a segment that lie one after the other.
#[derive(Debug)]
struct Run {
    segment: Arc<Segment>,
    /// Those that are still to be handed out.
    entries: VecDeque<segment::Entry>,
    /// Where the first of them was.
    start: u64,
    read: Read,
}

/// How the records of a run are read.
#[derive(Debug)]
enum Read {
    /// They are read, from the first on.
    Whole(Bytes),
    /// They are to be fetched.
    Awaited(Fetch),
    /// Each for itself.
    Each,
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
            keys,
            run: None,
        }
    }
}

// === impl Reading ===

impl Iterator for Reading<'_> {
    type Item = Result<Option<StoredMessage>, StoreFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Step::Body(read) => return Some(read),
                Step::Fetch(fetch) => self.fetched(fetch.run()),
            }
        }
    }
}

impl Reading<'_> {
    /// Returns the next body, or what is to be fetched before; none after the last.
    pub fn step(&mut self) -> Option<Step> {
        let (key, rest) = self.keys.split_first()?;
        let step = self.step_to(*key, rest);
        let step = step.unwrap_or_else(|fault| Step::Body(Err(fault)));
        if let Step::Body(_) = step {
            self.keys = rest;
        }
        Some(step)
    }

    /// Takes what was fetched.
    pub fn fetched(&mut self, fetched: Fetched) {
        if let Some(run) = &mut self.run {
            run.read = Read::of(fetched.0);
        }
    }

    fn step_to(&mut self, key: BodyKey, rest: &[BodyKey]) -> Result<Step, StoreFault> {
        let shelf = &self.bodies.shelf;
        if self.run.as_ref().is_none_or(|run| !run.is_next(key)) {
            self.run = None;
            let (place, segments) =
                shelf.look(|contents| (contents.place(key), Arc::clone(&contents.segments)));
            if let Some(place) = place {
                return Ok(Step::Body(match self.bodies.read_place(place)? {
                    Some(message) => Ok(Some(message)),
                    // A cut has moved it since.
                    None => self.bodies.read(key),
                }));
            }
            self.run = Run::find(shelf, &segments, key, rest)?;
        }
        match &mut self.run {
            Some(run) => run.step(shelf),
            None => Ok(Step::Body(Ok(None))),
        }
    }
}

// === impl Fetch ===

impl Fetch {
    /// Waits for the drive.
    pub fn run(self) -> Fetched {
        Fetched(self.segment.read_once(self.range, &self.memory.buffers).ok())
    }
}

// === impl Run ===

impl Run {
    /// Finds a body and those that are wanted next and lie after it; none if it is in no segment.
    fn find(
        shelf: &Shelf,
        segments: &Segments,
        key: BodyKey,
        rest: &[BodyKey],
    ) -> Result<Option<Run>, StoreFault> {
        let Some((segment, first)) = segments.find_record(shelf, key)? else {
            return Ok(None);
        };
        let mut stretch = Stretch::of(&first);
        let mut entries = VecDeque::from([first]);
        let mut lookup = segment.lookup();
        for key in rest {
            // What is wrong with the next is for who reads that.
            let next = shelf.noted(segment, lookup.find(*key)).ok().flatten();
            let longer = next.and_then(|entry| Some((entry, stretch.with(&entry)?)));
            let Some((entry, longer)) = longer else {
                break;
            };
            stretch = longer;
            entries.push_back(entry);
        }
        Ok(Some(Run {
            segment: Arc::clone(segment),
            entries,
            start: stretch.range.start,
            read: stretch.read(segment, &shelf.memory),
        }))
    }

    fn is_next(&self, key: BodyKey) -> bool {
        self.entries.front().is_some_and(|entry| entry.key == key)
    }

    /// Returns the next of its bodies, or what is to be fetched before.
    fn step(&mut self, shelf: &Shelf) -> Result<Step, StoreFault> {
        if let Read::Awaited(fetch) = &self.read {
            return Ok(Step::Fetch(fetch.clone()));
        }
        let Some(entry) = self.entries.pop_front() else {
            return Ok(Step::Body(Ok(None)));
        };
        let segment = &self.segment;
        let message = match &self.read {
            // About half of what it keeps in memory, at the least, is bodies that were asked for with it.
            Read::Whole(bytes) => {
                let record = segment.record_of(&entry, self.start, bytes);
                segment.decode_shared(&shelf.noted(segment, record)?)?
            }
            Read::Awaited(_) | Read::Each => {
                let record = segment.get_along(&entry, &shelf.memory.pieces);
                segment.decode(&shelf.noted(segment, record)?)?
            }
        };
        Ok(Step::Body(Ok(Some(message))))
    }
}

// === impl Read ===

impl Read {
    /// Returns what is to be done with what was read, or could not be: then each for itself tells which cannot be read.
    fn of(read: Option<Bytes>) -> Read {
        read.map_or(Read::Each, Read::Whole)
    }
}

// === impl Stretch ===

impl Stretch {
    fn of(entry: &segment::Entry) -> Stretch {
        let range = entry.range();
        let wanted = range.end - range.start;
        Stretch { range, wanted }
    }

    /// Reads it, if it is long, or says how.
    fn read(self, segment: &Arc<Segment>, memory: &Arc<BodyMemory>) -> Read {
        let bytes = self.range.end - self.range.start;
        if bytes < RUN_BYTES_MIN {
            return Read::Each;
        }
        if bytes >= FETCH_BYTES_MIN && self.wanted >= bytes / 16 * 15 {
            return Read::Awaited(Fetch {
                segment: Arc::clone(segment),
                memory: Arc::clone(memory),
                range: self.range,
            });
        }
        Read::of(segment.read_records(self.range, self.wanted).ok())
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
