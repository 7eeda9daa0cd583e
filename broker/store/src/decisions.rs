//! Short records by message id, which `explain` reads: what was decided about a message.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use posthouse_model::{MessageId, Time};

use crate::StoreFault;
use crate::shelf::{Notes, Shelf};

/// A set's decisions. Cheap to clone.
///
/// They are in memory until a cut writes them to a file of their own; what was noted after the last cut comes back
/// when the log is applied again. A file is dropped as a whole once it is old.
#[derive(Clone, Debug)]
pub struct Decisions {
    pub(crate) shelf: Arc<Shelf>,
}

// === impl Decisions ===

impl Decisions {
    /// The most that one record says, in bytes.
    pub const RECORD_BYTES_MAX: usize = 128;

    /// Notes a decision about a message. One that is too long, or more than may wait for a cut, is counted and not
    /// kept.
    pub fn note(&self, message: MessageId, record: Bytes) {
        let bytes_max = self.shelf.log.wal.config.uncut_decision_bytes_max;
        let is_kept = record.len() <= Self::RECORD_BYTES_MAX
            && self.shelf.change(|contents| {
                let has_room = contents.notes.bytes() < bytes_max;
                if has_room {
                    contents.notes.insert(message, record);
                }
                has_room
            });
        if !is_kept {
            self.shelf.unnoted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns what was noted about a message, oldest first.
    pub fn lookup(&self, message: MessageId) -> Result<Vec<Bytes>, StoreFault> {
        let (files, waiting) = self.shelf.look(|contents| {
            let waiting: Vec<Bytes> = contents
                .all_notes()
                .flat_map(|notes| notes.get(message))
                .cloned()
                .collect();
            (Arc::clone(&contents.decisions), waiting)
        });
        let mut found = Vec::new();
        for file in files.iter() {
            if let Some(record) = file.get(Notes::key(message), &self.shelf.memory.pieces)? {
                split(&record, &mut found);
            }
        }
        found.extend(waiting);
        Ok(found)
    }

    /// Drops the files that are all about messages stamped before a time.
    pub fn drop_before(&self, time: Time) {
        let dropped = self.shelf.change(|contents| {
            let newest = |segment: &crate::segment::Segment| {
                segment
                    .streams
                    .iter()
                    .map(|stream| MessageId(stream.last.0).stamped())
                    .max()
            };
            let before = contents.decisions.len();
            let files = Arc::make_mut(&mut contents.decisions);
            files.retain(|segment| newest(segment) >= Some(time));
            files.len() < before
        });
        if dropped {
            // Among the jobs, because a cut under way has files that nothing names yet.
            let shelf = Arc::clone(&self.shelf);
            // When it is too late for that, they go at the next start.
            let _ = self.shelf.jobs.push(Box::new(move || shelf.remove_unnamed()));
        }
    }

    /// Returns how many records were not kept.
    pub fn unnoted(&self) -> u64 {
        self.shelf.unnoted.load(Ordering::Relaxed)
    }
}

/// Takes a file's record apart: each note stands after its length in a byte.
fn split(record: &Bytes, into: &mut Vec<Bytes>) {
    let mut at = 0;
    while let Some(length) = record.get(at) {
        let start = at + 1;
        let end = (start + usize::from(*length)).min(record.len());
        into.push(record.slice(start..end));
        at = end;
    }
}
