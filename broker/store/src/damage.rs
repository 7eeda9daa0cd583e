//! What is known to be damaged: found when it was opened, read or scrubbed, until it is replaced or needed no more.
//!
//! Damage is noted where it is: a segment knows that it was found damaged, a shelf which of its segments could not be
//! opened, a group's log where it lost entries. So nothing that was replaced is called damaged still.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::{GroupId, SegmentFile, StoreFault};

/// What a store does about damage that it finds when it is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnDamage {
    /// It does not open: nobody has what is lost.
    Refuse,
    /// It opens with what is whole, and says which groups lost something: others have it.
    Tell,
}

/// Something of a group that is not what was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damaged {
    /// The group.
    pub group: GroupId,
    /// What of it.
    pub part: DamagedPart,
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// How many bytes from there on cannot be used, as far as that is known.
    pub bytes: u64,
    /// What is wrong there.
    pub what: String,
}

/// What of a group is damaged, which says how it can be had again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DamagedPart {
    /// A segment. Replicas that cut at the same entries have the same file.
    Segment(SegmentFile),
    /// The checkpoint's file. The state is in memory: the next checkpoint replaces it.
    Checkpoint,
    /// Entries of the log, which another replica's checkpoint can take the place of.
    Log,
}

/// Is told that something was found damaged. Called by whoever found it, so it must be quick.
pub trait DamageObserver: Send + Sync {
    /// Takes notice that something of a group is damaged.
    fn damaged(&self, group: GroupId);
}

/// Tells the observer, once there is one.
#[derive(Clone, Default)]
pub(crate) struct Alarm(Arc<OnceLock<Arc<dyn DamageObserver>>>);

/// What is wrong with a file, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wrong {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) what: String,
}

// === impl Alarm ===

impl Alarm {
    /// The first observer stays.
    pub(crate) fn observe(&self, observer: Arc<dyn DamageObserver>) {
        // Whoever comes second is told nothing.
        let _ = self.0.set(observer);
    }

    /// Says that something was found, with what it is, for the log and for the observer.
    pub(crate) fn raise(&self, group: GroupId, wrong: &Wrong) {
        let Wrong {
            file,
            offset,
            bytes,
            what,
        } = wrong;
        tracing::error!(%group, file = %file.display(), offset, bytes, what, "damaged");
        if let Some(observer) = self.0.get() {
            observer.damaged(group);
        }
    }
}

// === impl Wrong ===

impl Wrong {
    /// Returns what a fault says of a file that cannot be read; none for faults of another kind.
    pub(crate) fn of(fault: &StoreFault) -> Option<Wrong> {
        match fault {
            StoreFault::Corrupt {
                file,
                offset,
                bytes,
                what,
            } => Some(Wrong {
                file: file.clone(),
                offset: *offset,
                bytes: *bytes,
                what: what.clone(),
            }),
            // A sector that the drive cannot read, or a file that ends too early or is gone.
            StoreFault::Io {
                doing: "read" | "open",
                file,
                text,
            } => Some(Wrong {
                file: file.clone(),
                offset: 0,
                bytes: 0,
                what: text.clone(),
            }),
            StoreFault::Io { .. }
            | StoreFault::Stopped { .. }
            | StoreFault::Closed
            | StoreFault::DiskFull { .. }
            | StoreFault::TooLarge { .. }
            | StoreFault::Projection { .. } => None,
        }
    }

    pub(crate) fn fault(&self) -> StoreFault {
        StoreFault::corrupt(&self.file, self.offset, self.bytes, self.what.clone())
    }

    pub(crate) fn of_group(&self, group: GroupId, part: DamagedPart) -> Damaged {
        let Wrong {
            file,
            offset,
            bytes,
            what,
        } = self.clone();
        Damaged {
            group,
            part,
            file,
            offset,
            bytes,
            what,
        }
    }
}
