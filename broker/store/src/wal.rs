//! The write-ahead log: one for all groups of a node, in files that are written over and over.
//!
//! ```text
//!  append, vote, truncate, purge            writer
//!  ───────────────► queue (bounded) ───────► one buffer ─ one write ─ one sync ─► callbacks
//! ```
//!
//! A file is a header and batches, each beginning on a block of its own. A batch is written only after the one
//! before it is durable, so at most the last one can be in doubt: what is damaged below a valid batch was durable
//! and is corruption, what is damaged at the end is a torn tail. Every new file begins with each group's newest
//! vote, purge point and committed index, so that the files before it are needed only for their entries.

mod checking;
mod flipped;
mod format;
mod recovery;
mod salvage;
mod writer;

use std::time::Duration;

pub use format::{FileEnd, FileHeader, FileReading, Mark, RawRecord, Tail, read_file};
pub(crate) use format::{RECORD_HEADER_BYTES, check_record};
pub(crate) use writer::{Location, Operation, Wal, WalFile, Work};

pub(crate) use recovery::recover;

/// Is told of every batch of the log that was made durable: for figures, which the store does not keep itself.
pub trait LogObserver: Send + Sync {
    /// A batch of so many bytes was synced, which took so long. Called by the writer, so it must not wait.
    fn synced(&self, bytes: u64, time: Duration);
}
