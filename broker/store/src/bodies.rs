//! A set's bodies: in the log first, in segments after a cut.
//!
//! ```text
//!  insert ─► table ── cut ──► frozen table ── segments, checkpoint durable ──► gone
//!              │ place in the log  │                │  (a bounded memory of entries is in front of the log)
//!  read ───────┴───────────────────┴────────────────┘
//! ```

use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{
    Batch, Body, BodyKey, Incarnation, LogIndex, Message, SealedBody, Sequence, Sequences, SetCommand,
    Stored, StoredMessage,
};

use crate::log::RecordKind;
use crate::shelf::Shelf;
use crate::{Done, KeepClass, StoreFault};

mod cut;
mod memory;
mod memtable;
mod pieces;
mod reading;

pub use cut::CutPlan;
pub(crate) use memory::BodyMemory;
pub(crate) use memtable::{Place, Table};
pub(crate) use pieces::Pieces;
pub use reading::{Fetch, Fetched, Reading, Step};

/// How often a read starts anew because a cut moved what it was about to read.
const READ_TRIES_MAX: usize = 8;
/// A body that is smaller is copied out of its entry when it is read. A larger one is most of what it is a part of.
const COPIED_BYTES_MAX: usize = 64 << 10;

/// A set's bodies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bodies {
    pub(crate) shelf: Arc<Shelf>,
}

/// What of a set's bodies is still needed, as of one index of its log.
pub trait Live: Send {
    /// Returns whether a body is needed.
    fn is_live(&self, key: BodyKey) -> bool;
    /// Returns how many bodies of a stream are needed in a range.
    fn live_in(&self, stream: Incarnation, sequences: Sequences) -> u64;
}

/// What a segment holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SegmentSummary {
    /// The index of the cut that made it.
    pub made_at: LogIndex,
    /// How long its messages are kept, at most.
    pub class: KeepClass,
    /// Its size.
    pub bytes: u64,
    /// How many bodies it has.
    pub bodies: u64,
    /// What it has of each stream.
    pub streams: Vec<StreamSummary>,
}

/// What a segment holds of one stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamSummary {
    /// The stream.
    pub stream: Incarnation,
    /// The first sequence that is there.
    pub first: Sequence,
    /// The last sequence that is there.
    pub last: Sequence,
    /// How many are there.
    pub count: u64,
    /// What they take.
    pub bytes: u64,
}

// === impl Bodies ===

impl Bodies {
    /// Takes in the bodies that were stored by the entry at `index`, which takes so many bytes in the log.
    pub fn insert(&self, index: LogIndex, entry: &Arc<Batch<SetCommand>>, bytes: usize, stored: &[Stored]) {
        if stored.is_empty() {
            return;
        }
        let (group, kept) = (self.shelf.group, Arc::clone(entry));
        self.shelf.memory.keep(group, index, kept, bytes, stored.len());
        self.shelf.change(|contents| {
            for stored in stored {
                let class = KeepClass::of(stored.keep_until.since(entry.now));
                let place = Place {
                    index,
                    submission: stored.submission,
                    ordinal: stored.ordinal,
                };
                contents.active.insert(stored.body, place, class);
            }
        });
    }

    /// Reads a body, if it is here. One that was dead at a cut may still be, or not.
    pub fn read(&self, key: BodyKey) -> Result<Option<StoredMessage>, StoreFault> {
        for _ in 0..READ_TRIES_MAX {
            let (place, segments) = self
                .shelf
                .look(|contents| (contents.place(key), Arc::clone(&contents.segments)));
            let Some(place) = place else {
                return segments.read(&self.shelf, key);
            };
            if let Some(message) = self.read_place(place)? {
                return Ok(Some(message));
            }
            // A cut has moved it to a segment, and the log was purged, between the two looks.
        }
        Err(self.shelf.missing(key))
    }

    /// Writes what is live of the bodies to segments and then a checkpoint that names them, in the background.
    /// Once `done` is told so, all of it is durable and the log may be purged up to `plan.at`. To be called when
    /// the entry at `plan.at` was applied and none after it. A cut that fails leaves everything as it was.
    pub fn cut(&self, plan: CutPlan, done: Done) {
        self.shelf.cut(plan, done);
    }

    /// Returns what segments there are, oldest first.
    pub fn segments(&self) -> Vec<SegmentSummary> {
        self.shelf
            .look(|contents| Arc::clone(&contents.segments))
            .summaries()
    }

    /// Returns how many bodies wait for a cut.
    pub fn uncut(&self) -> usize {
        self.shelf.look(|contents| contents.uncut())
    }

    fn read_place(&self, place: Place) -> Result<Option<StoredMessage>, StoreFault> {
        let Some(entry) = self.shelf.entry(place.index)? else {
            return Ok(None);
        };
        match entry.message(place.submission, place.ordinal) {
            Some(message) => Ok(Some(StoredMessage {
                message: of_its_own(message),
                produced: entry.now,
            })),
            None => Err(self.shelf.not_there(place)),
        }
    }
}

/// Returns a message that keeps no more in memory than itself: it may be on its way for long, and the body of one in an entry
/// is a part of the entry, or of the frame that brought it.
fn of_its_own(message: &Message) -> Message {
    let copied = |bytes: &Bytes| match bytes.len() {
        ..COPIED_BYTES_MAX => Bytes::copy_from_slice(bytes),
        _ => bytes.clone(),
    };
    let body = match &message.body {
        Body::Clear(body) => Body::Clear(copied(body)),
        Body::Sealed(sealed) => Body::Sealed(SealedBody {
            ciphertext: copied(&sealed.ciphertext),
            ..sealed.clone()
        }),
    };
    Message {
        body,
        ..message.clone()
    }
}

impl Shelf {
    /// Reads an entry of the set's log, decoded.
    pub(crate) fn entry(&self, index: LogIndex) -> Result<Option<memory::Entry>, StoreFault> {
        if let Some(entry) = self.memory.entry(self.group, index) {
            return Ok(Some(entry));
        }
        let Some(record) = self.log.read_one(index)? else {
            return Ok(None);
        };
        if record.kind != RecordKind::Normal {
            return Err(self.undecodable(index, "not an entry of commands"));
        }
        let batch = posthouse_wire::decode_set_batch(&record.payload)
            .map_err(|error| self.undecodable(index, &error.to_string()))?;
        let entry = Arc::new(batch);
        self.memory.keep_read_back(self.group, index, Arc::clone(&entry));
        Ok(Some(entry))
    }

    fn undecodable(&self, index: LogIndex, what: &str) -> StoreFault {
        StoreFault::corrupt(&self.log.wal.directory, 0, 0, format!("entry {index}: {what}"))
    }

    fn not_there(&self, place: Place) -> StoreFault {
        self.undecodable(place.index, "has no such message")
    }

    pub(crate) fn missing(&self, key: BodyKey) -> StoreFault {
        let what = format!(
            "the body {}/{} was purged from the log before a cut",
            key.stream, key.sequence
        );
        StoreFault::corrupt(&self.log.wal.directory, 0, 0, what)
    }
}
