//! Entries of sets' logs kept in memory, decoded, within one bound for the node: what was just sent is mostly received
//! before it is anywhere else, and a cut writes what came last.
//!
//! Where producers are faster than cuts, entries that a cut is about to write stay before others, as far as half of the memory:
//! the oldest are what it writes next, so that each would be read back from the log otherwise. The other half is for what was
//! just sent. Once a cut is done nobody looks for its entries here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use posthouse_model::{Batch, LogIndex, SetCommand};

use super::Pieces;
use crate::GroupId;
use crate::buffers::Buffers;

/// How many entries are kept that were read back: who consumes a queue reads the messages of one after the other.
const READ_BACK_MAX: usize = 8;
/// How many entries are forgotten at once, while others wait.
const FORGOTTEN_AT_ONCE: usize = 1_024;
/// What a message costs beside its bytes in the entry: 256 bytes decoded, a hundred for a body that is a copy, and about as much
/// again for what the allocator keeps free while entries come and go. It keeps small messages from costing far more than said.
const MESSAGE_OVERHEAD_BYTES: usize = 768;

/// A decoded entry of a set's log.
pub(crate) type Entry = Arc<Batch<SetCommand>>;

/// Entries kept in memory.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    bytes_max: usize,
    recent: Mutex<Recent>,
    read_back: Mutex<VecDeque<(GroupId, LogIndex, Entry)>>,
    /// What was read last of segments.
    pub(crate) pieces: Pieces,
    /// For what is read of segments at once.
    pub(crate) buffers: Buffers,
}

/// The entries that were applied and not cut.
#[derive(Debug, Default)]
struct Recent {
    by_spot: HashMap<Spot, Weighed>,
    /// As they came, but for those that were held when it was their turn to go.
    order: VecDeque<Spot>,
    /// With what each took when it was set aside: one that takes another's place may take more.
    held: VecDeque<(Spot, usize)>,
    cuts: HashMap<GroupId, CutSpan>,
    bytes: usize,
    held_bytes: usize,
}

/// An entry's group and index.
type Spot = (GroupId, LogIndex);

/// What a cut of a group is about to write.
#[derive(Clone, Copy, Debug)]
struct CutSpan {
    /// Up to which it is written; none if nothing is.
    written: Option<LogIndex>,
    /// The last.
    at: LogIndex,
}

#[derive(Debug)]
struct Weighed {
    entry: Entry,
    bytes: usize,
}

// === impl BodyMemory ===

impl BodyMemory {
    pub(crate) fn new(bytes_max: usize) -> BodyMemory {
        BodyMemory {
            bytes_max,
            recent: Mutex::default(),
            read_back: Mutex::default(),
            pieces: Pieces::default(),
            buffers: Buffers::default(),
        }
    }

    /// Keeps an entry that was applied: so many bytes, with so many messages. It takes the place of one that had its index
    /// before.
    pub(crate) fn keep(&self, group: GroupId, index: LogIndex, entry: Entry, bytes: usize, messages: usize) {
        let bytes = bytes + messages * MESSAGE_OVERHEAD_BYTES;
        let mut evicted = Vec::new();
        {
            let mut recent = self.recent.lock();
            recent.bytes += bytes;
            match recent.by_spot.insert((group, index), Weighed { entry, bytes }) {
                None => recent.order.push_back((group, index)),
                Some(before) => {
                    recent.bytes -= before.bytes;
                    evicted.push(before);
                }
            }
            while recent.bytes > self.bytes_max
                && let Some(next) = recent.next_to_go(self.bytes_max / 2)
            {
                if let Some(gone) = recent.by_spot.remove(&next) {
                    recent.bytes -= gone.bytes;
                    evicted.push(gone);
                }
            }
        }
        // Freed when nobody waits for the lock.
        drop(evicted);
    }

    /// Takes notice that a group's entries up to an index are about to be written to segments, by one cut.
    pub(crate) fn begin_cut(&self, group: GroupId, at: LogIndex) {
        self.recent
            .lock()
            .cuts
            .insert(group, CutSpan { written: None, at });
    }

    /// Takes notice that a cut has written an entry, and those before it.
    pub(crate) fn note_written(&self, group: GroupId, index: LogIndex) {
        if let Some(span) = self.recent.lock().cuts.get_mut(&group) {
            span.written = Some(index);
        }
    }

    /// Takes notice that a cut up to an index is over. If it is done, what it has written is forgotten.
    pub(crate) fn end_cut(&self, group: GroupId, at: LogIndex, is_done: bool) {
        let gone = {
            let mut recent = self.recent.lock();
            recent.cuts.remove(&group);
            match is_done {
                true => recent.set_aside(|(of, index)| of == group && index <= at),
                false => Vec::new(),
            }
        };
        for some in gone.chunks(FORGOTTEN_AT_ONCE) {
            let freed = self.recent.lock().remove(some);
            drop(freed);
        }
    }

    pub(crate) fn entry(&self, group: GroupId, index: LogIndex) -> Option<Entry> {
        if let Some(found) = self.recent.lock().by_spot.get(&(group, index)) {
            return Some(Arc::clone(&found.entry));
        }
        let entries = self.read_back.lock();
        let found = entries.iter().find(|(of, at, _)| *of == group && *at == index);
        found.map(|(_, _, entry)| Arc::clone(entry))
    }

    /// Keeps an entry that was read back from the log.
    pub(crate) fn keep_read_back(&self, group: GroupId, index: LogIndex, entry: Entry) {
        let mut entries = self.read_back.lock();
        if entries.len() == READ_BACK_MAX {
            entries.pop_front();
        }
        entries.push_back((group, index, entry));
    }

    /// Forgets what is kept of a group, whose content was replaced.
    pub(crate) fn forget(&self, group: GroupId) {
        let freed = {
            let mut recent = self.recent.lock();
            recent.cuts.remove(&group);
            let gone = recent.set_aside(|(of, _)| of == group);
            recent.remove(&gone)
        };
        drop(freed);
        self.read_back.lock().retain(|(of, _, _)| *of != group);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.recent.lock().bytes
    }
}

// === impl Recent ===

impl Recent {
    /// Takes out the spot of the entry that is missed least, where so many bytes may be held for cuts.
    fn next_to_go(&mut self, held_bytes_max: usize) -> Option<Spot> {
        let free = self.held.pop_front_if(|(spot, _)| !is_held(&self.cuts, *spot));
        if let Some((spot, bytes)) = free {
            self.held_bytes -= bytes;
            return Some(spot);
        }
        while let Some(spot) = self.order.pop_front() {
            let bytes = self.by_spot.get(&spot).map_or(0, |weighed| weighed.bytes);
            if !is_held(&self.cuts, spot) || self.held_bytes + bytes > held_bytes_max {
                return Some(spot);
            }
            self.held.push_back((spot, bytes));
            self.held_bytes += bytes;
        }
        let (spot, bytes) = self.held.pop_back()?;
        self.held_bytes -= bytes;
        Some(spot)
    }

    /// Takes entries out of what may go, and returns their spots: they are to be removed.
    fn set_aside(&mut self, which: impl Fn(Spot) -> bool) -> Vec<Spot> {
        let mut gone = Vec::new();
        let mut stays = |spot: Spot| {
            let goes = which(spot);
            if goes {
                gone.push(spot);
            }
            !goes
        };
        self.held.retain(|(spot, _)| stays(*spot));
        self.order.retain(|spot| stays(*spot));
        self.held_bytes = self.held.iter().map(|(_, bytes)| bytes).sum();
        gone
    }

    /// Removes entries, to be freed when nobody waits for the lock.
    fn remove(&mut self, spots: &[Spot]) -> Vec<Weighed> {
        let gone = spots.iter().filter_map(|spot| self.by_spot.remove(spot));
        let gone: Vec<Weighed> = gone.collect();
        self.bytes -= gone.iter().map(|weighed| weighed.bytes).sum::<usize>();
        gone
    }
}

/// Returns whether a cut is about to write an entry.
fn is_held(cuts: &HashMap<GroupId, CutSpan>, (group, index): Spot) -> bool {
    let span = cuts.get(&group);
    span.is_some_and(|span| span.written < Some(index) && index <= span.at)
}

#[cfg(test)]
mod tests {
    use posthouse_model::Time;

    use super::*;

    const GROUP: GroupId = GroupId(1);
    const OTHER: GroupId = GroupId(2);
    /// What ten entries take.
    const BYTES_MAX: usize = 1_000;

    fn keep(memory: &BodyMemory, group: GroupId, indices: impl IntoIterator<Item = u64>) {
        for index in indices {
            keep_of(memory, group, index, BYTES_MAX / 10);
        }
    }

    fn keep_of(memory: &BodyMemory, group: GroupId, index: u64, bytes: usize) {
        let entry = Arc::new(Batch {
            now: Time::from_millis(index),
            submissions: Vec::new(),
        });
        memory.keep(group, LogIndex(index), entry, bytes, 0);
    }

    fn kept(memory: &BodyMemory, group: GroupId) -> Vec<u64> {
        let is_kept = |index: &u64| memory.entry(group, LogIndex(*index)).is_some();
        (1..100).filter(is_kept).collect()
    }

    fn range(from: u64, to: u64) -> Vec<u64> {
        (from..=to).collect()
    }

    #[test]
    fn what_came_last_is_kept_and_all_of_a_group_is_forgotten() {
        let memory = BodyMemory::new(BYTES_MAX);
        keep(&memory, GROUP, 1..=8);
        keep(&memory, OTHER, 1..=4);
        assert_eq!(kept(&memory, GROUP), range(3, 8));
        // In place of what it said before.
        keep(&memory, GROUP, [8]);
        assert_eq!(memory.bytes(), BYTES_MAX);
        memory.begin_cut(GROUP, LogIndex(8));
        memory.forget(GROUP);
        assert_eq!(kept(&memory, GROUP), []);
        assert_eq!(kept(&memory, OTHER), range(1, 4));
        assert_eq!(memory.bytes(), 400);
        keep(&memory, GROUP, 1..=12);
        assert_eq!(kept(&memory, GROUP), range(3, 12), "nothing is held any more");
    }

    #[test]
    fn what_a_cut_is_about_to_write_stays_and_what_it_has_written_goes_first() {
        let memory = BodyMemory::new(BYTES_MAX);
        keep(&memory, GROUP, 1..=8);
        memory.begin_cut(GROUP, LogIndex(5));
        keep(&memory, OTHER, 1..=2);
        keep(&memory, GROUP, 9..=10);
        assert_eq!(kept(&memory, GROUP), [range(1, 5), range(8, 10)].concat());
        memory.note_written(GROUP, LogIndex(2));
        keep(&memory, GROUP, 11..=13);
        assert_eq!(kept(&memory, GROUP), [range(3, 5), range(9, 13)].concat());
        assert_eq!(
            kept(&memory, OTHER),
            range(1, 2),
            "what came first of the others went"
        );
        memory.end_cut(GROUP, LogIndex(5), true);
        assert_eq!(kept(&memory, GROUP), range(9, 13));
        assert_eq!(memory.bytes(), 700);
    }

    #[test]
    fn a_cut_holds_half_at_most() {
        let memory = BodyMemory::new(BYTES_MAX);
        keep(&memory, GROUP, 1..=10);
        memory.begin_cut(GROUP, LogIndex(30));
        keep(&memory, GROUP, 11..=12);
        assert_eq!(kept(&memory, GROUP), [range(1, 5), range(8, 12)].concat());
        keep(&memory, GROUP, 31..=35);
        assert_eq!(kept(&memory, GROUP), [range(1, 5), range(31, 35)].concat());
        assert_eq!(memory.bytes(), BYTES_MAX);
        // One that needs all of it.
        keep_of(&memory, GROUP, 36, BYTES_MAX);
        assert_eq!(memory.bytes(), 500, "it does not go round what is held");
    }

    #[test]
    fn one_that_takes_the_place_of_another_that_is_held_may_take_more() {
        let memory = BodyMemory::new(BYTES_MAX);
        keep(&memory, GROUP, 1..=10);
        memory.begin_cut(GROUP, LogIndex(1));
        keep(&memory, GROUP, [11]);
        assert_eq!(kept(&memory, GROUP), [range(1, 1), range(3, 11)].concat());
        keep_of(&memory, GROUP, 1, 500);
        assert_eq!(kept(&memory, GROUP), [range(1, 1), range(7, 11)].concat());
        memory.note_written(GROUP, LogIndex(1));
        keep(&memory, GROUP, [12]);
        assert_eq!(kept(&memory, GROUP), range(7, 12));
        assert_eq!(memory.bytes(), 600);
    }

    #[test]
    fn a_cut_that_failed_holds_nothing_and_the_next_holds_all_of_it() {
        let memory = BodyMemory::new(BYTES_MAX);
        keep(&memory, GROUP, 1..=10);
        memory.begin_cut(GROUP, LogIndex(5));
        memory.note_written(GROUP, LogIndex(2));
        memory.end_cut(GROUP, LogIndex(5), false);
        assert_eq!(kept(&memory, GROUP), range(1, 10));
        memory.begin_cut(GROUP, LogIndex(5));
        keep(&memory, GROUP, 11..=12);
        assert_eq!(kept(&memory, GROUP), [range(1, 5), range(8, 12)].concat());
        memory.end_cut(GROUP, LogIndex(5), false);
        keep(&memory, GROUP, 13..=14);
        assert_eq!(kept(&memory, GROUP), [range(3, 5), range(8, 14)].concat());
    }

    #[test]
    fn all_that_a_cut_has_written_is_forgotten_however_many() {
        let memory = BodyMemory::new(usize::MAX);
        let count = 3 * FORGOTTEN_AT_ONCE as u64;
        keep(&memory, GROUP, 1..=count + 5);
        keep(&memory, OTHER, 1..=5);
        memory.begin_cut(GROUP, LogIndex(count));
        memory.end_cut(GROUP, LogIndex(count), true);
        assert_eq!(memory.bytes(), 10 * BYTES_MAX / 10);
        assert_eq!(kept(&memory, GROUP), []);
        assert!(memory.entry(GROUP, LogIndex(count + 1)).is_some());
        assert_eq!(kept(&memory, OTHER), range(1, 5));
    }
}
