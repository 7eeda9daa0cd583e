//! Entries of sets' logs kept in memory, decoded, within one bound for the node: what was just sent is mostly received
//! before it is anywhere else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use posthouse_model::{Batch, LogIndex, SetCommand};

use super::Pieces;
use crate::GroupId;

/// How many entries are kept that were read back: who consumes a queue reads the messages of one after the other.
const READ_BACK_MAX: usize = 8;
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
}

/// The entries that were applied last.
#[derive(Debug, Default)]
struct Recent {
    by_place: HashMap<(GroupId, LogIndex), Weighed>,
    order: VecDeque<(GroupId, LogIndex)>,
    bytes: usize,
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
            match recent.by_place.insert((group, index), Weighed { entry, bytes }) {
                None => recent.order.push_back((group, index)),
                Some(before) => {
                    recent.bytes -= before.bytes;
                    evicted.push(before);
                }
            }
            while recent.bytes > self.bytes_max
                && let Some(oldest) = recent.order.pop_front()
            {
                if let Some(gone) = recent.by_place.remove(&oldest) {
                    recent.bytes -= gone.bytes;
                    evicted.push(gone);
                }
            }
        }
        // Freed when nobody waits for the lock.
        drop(evicted);
    }

    pub(crate) fn entry(&self, group: GroupId, index: LogIndex) -> Option<Entry> {
        if let Some(found) = self.recent.lock().by_place.get(&(group, index)) {
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
        let mut recent = self.recent.lock();
        let Recent {
            by_place,
            order,
            bytes,
        } = &mut *recent;
        order.retain(|place| place.0 != group);
        by_place.retain(|place, _| place.0 != group);
        *bytes = by_place.values().map(|weighed| weighed.bytes).sum();
        self.read_back.lock().retain(|(of, _, _)| *of != group);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.recent.lock().bytes
    }
}
