//! Messages and decoded entries kept in memory, within one bound for the node.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use posthouse_model::{Batch, BodyKey, LogIndex, SetCommand, StoredMessage};

use crate::GroupId;

/// How many decoded entries are kept: who consumes a queue reads the messages of one after the other.
const ENTRIES_MAX: usize = 8;
/// What a message costs beside its content.
const MESSAGE_OVERHEAD_BYTES: usize = 320;

/// A decoded entry of a set's log.
pub(crate) type Entry = Arc<Batch<SetCommand>>;

/// Messages and decoded entries kept in memory.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    bytes_max: usize,
    messages: Mutex<Messages>,
    entries: Mutex<VecDeque<(GroupId, LogIndex, Entry)>>,
}

#[derive(Debug, Default)]
struct Messages {
    by_key: HashMap<(GroupId, BodyKey), Arc<StoredMessage>>,
    order: VecDeque<(GroupId, BodyKey)>,
    bytes: usize,
}

// === impl BodyMemory ===

impl BodyMemory {
    pub(crate) fn new(bytes_max: usize) -> BodyMemory {
        BodyMemory {
            bytes_max,
            messages: Mutex::default(),
            entries: Mutex::default(),
        }
    }

    pub(crate) fn insert(&self, group: GroupId, key: BodyKey, message: Arc<StoredMessage>) {
        let mut messages = self.messages.lock();
        messages.bytes += weight(&message);
        match messages.by_key.insert((group, key), message) {
            None => messages.order.push_back((group, key)),
            Some(before) => messages.bytes -= weight(&before),
        }
        while messages.bytes > self.bytes_max
            && let Some(oldest) = messages.order.pop_front()
        {
            let freed = messages
                .by_key
                .remove(&oldest)
                .map_or(0, |message| weight(&message));
            messages.bytes -= freed;
        }
    }

    pub(crate) fn get(&self, group: GroupId, key: BodyKey) -> Option<Arc<StoredMessage>> {
        self.messages.lock().by_key.get(&(group, key)).cloned()
    }

    pub(crate) fn entry(&self, group: GroupId, index: LogIndex) -> Option<Entry> {
        let entries = self.entries.lock();
        let found = entries.iter().find(|(of, at, _)| *of == group && *at == index);
        found.map(|(_, _, entry)| Arc::clone(entry))
    }

    pub(crate) fn keep_entry(&self, group: GroupId, index: LogIndex, entry: Entry) {
        let mut entries = self.entries.lock();
        if entries.len() == ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back((group, index, entry));
    }

    /// Forgets what is kept of a group, whose content was replaced.
    pub(crate) fn forget(&self, group: GroupId) {
        let mut messages = self.messages.lock();
        let Messages { by_key, order, bytes } = &mut *messages;
        order.retain(|key| key.0 != group);
        by_key.retain(|key, _| key.0 != group);
        *bytes = by_key.values().map(|message| weight(message)).sum();
        self.entries.lock().retain(|(of, _, _)| *of != group);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.messages.lock().bytes
    }
}

fn weight(message: &StoredMessage) -> usize {
    message.message.weight() + MESSAGE_OVERHEAD_BYTES
}
