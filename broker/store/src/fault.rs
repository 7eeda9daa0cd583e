//! What goes wrong with a store: at open, where the operator is told what to do, and after.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not do something.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreFault {
    /// A write or sync of the log failed before; nothing is written any more. May have been done.
    #[error("the store has stopped: {because}")]
    Stopped {
        /// What failed.
        because: String,
    },
    /// The store was closed. Not done.
    #[error("the store is closed")]
    Closed,
    /// Bytes on the disk are not what was written.
    #[error("{} is damaged at offset {offset}, {bytes} bytes: {what}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// How many bytes from there on cannot be used, as far as that is known.
        bytes: u64,
        /// What is wrong there.
        what: String,
    },
    /// The disk is full, or nearly so. Not done.
    #[error("the disk is full: {}", file.display())]
    DiskFull {
        /// The file or directory that was to be written.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("{doing} {}: {text}", file.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        text: String,
    },
    /// A value is larger than its place takes. Not done.
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The projection's library failed; the projection is to be rebuilt.
    #[error("projection: {text}")]
    Projection {
        /// What it said.
        text: String,
    },
}

/// Why a store could not be opened, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written.
    #[error(
        "cannot write to {}: {text}; give the process write access to it, or name another data directory",
        dir.display()
    )]
    Unwritable {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        text: String,
    },
    /// Another process has it.
    #[error(
        "{} is in use by another process; stop that process, or name another data directory",
        dir.display()
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// It was written by a later version.
    #[error(
        "{} was written in format {found}, and this version knows formats up to {known}; run the version that wrote it, or a later one",
        dir.display()
    )]
    NewerFormat {
        /// The data directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest one known.
        known: u32,
    },
    /// Something that was durable is damaged.
    #[error(
        "{} is damaged at offset {offset}, {bytes} bytes: {what}; restore the data directory from a copy, or remove it and let this node join its cluster anew",
        file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// How many bytes from there on cannot be used, as far as that is known.
        bytes: u64,
        /// What is wrong there.
        what: String,
    },
    /// The disk is full.
    #[error("no room on the disk for {}; free some, or name another data directory", file.display())]
    DiskFull {
        /// What was to be written.
        file: PathBuf,
    },
    /// The operating system refused something else.
    #[error("{doing} {}: {text}; check the disk and the permissions of the data directory", file.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        text: String,
    },
}

/// Bytes that are not what was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("damaged at offset {offset}, {bytes} bytes: {what}")]
pub struct Damage {
    /// Where.
    pub offset: u64,
    /// How many bytes from there on cannot be used, as far as that is known.
    pub bytes: u64,
    /// What is wrong there.
    pub what: &'static str,
}

// === impl StoreFault ===

impl StoreFault {
    /// Returns whether what was asked has certainly not been done; otherwise it may have been.
    pub fn is_not_done(&self) -> bool {
        match self {
            StoreFault::Closed | StoreFault::DiskFull { .. } | StoreFault::TooLarge { .. } => true,
            StoreFault::Stopped { .. }
            | StoreFault::Corrupt { .. }
            | StoreFault::Io { .. }
            | StoreFault::Projection { .. } => false,
        }
    }

    /// Returns whether it was a sync that failed, after which nothing can be relied on.
    pub(crate) fn is_of_sync(&self) -> bool {
        matches!(self, StoreFault::Io { doing: "sync", .. })
    }

    pub(crate) fn io(doing: &'static str, file: &Path, error: &io::Error) -> StoreFault {
        if error.kind() == io::ErrorKind::StorageFull {
            return StoreFault::DiskFull {
                file: file.to_owned(),
            };
        }
        StoreFault::Io {
            doing,
            file: file.to_owned(),
            text: error.to_string(),
        }
    }

    pub(crate) fn damage(file: &Path, damage: &Damage) -> StoreFault {
        StoreFault::corrupt(file, damage.offset, damage.bytes, damage.what)
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, bytes: u64, what: impl Into<String>) -> StoreFault {
        StoreFault::Corrupt {
            file: file.to_owned(),
            offset,
            bytes,
            what: what.into(),
        }
    }
}

// === impl OpenError ===

impl From<StoreFault> for OpenError {
    fn from(fault: StoreFault) -> OpenError {
        match fault {
            StoreFault::Corrupt {
                file,
                offset,
                bytes,
                what,
            } => OpenError::Corrupt {
                file,
                offset,
                bytes,
                what,
            },
            StoreFault::DiskFull { file } => OpenError::DiskFull { file },
            StoreFault::Io { doing, file, text } => OpenError::Io { doing, file, text },
            StoreFault::Stopped { .. }
            | StoreFault::Closed
            | StoreFault::TooLarge { .. }
            | StoreFault::Projection { .. } => OpenError::Io {
                doing: "open",
                file: PathBuf::new(),
                text: fault.to_string(),
            },
        }
    }
}
