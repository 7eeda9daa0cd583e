//! What the store asks of a disk. The real one is the operating system's; tests have one that forgets.
//!
//! Every sync says which one it is, so that a test can leave out exactly that one and must then see a loss.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

mod real;
#[cfg(test)]
mod watched;

pub use real::RealDisk;
#[cfg(test)]
pub(crate) use watched::Watched;

/// A disk with files and directories.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes a directory with its parents. One that is there already is fine.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, how: Opening) -> io::Result<Arc<dyn DiskFile>>;
    /// Returns the names in a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Renames a file within its directory, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Those who have it open can go on reading it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes what was created, renamed and removed in a directory durable.
    fn sync_directory(&self, directory: &Path, point: SyncPoint) -> io::Result<()>;
    /// Returns how much room there is where the directory is.
    fn space(&self, directory: &Path) -> io::Result<Space>;
    /// Takes a lock that lasts as long as what is returned; `WouldBlock` when another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// Returns a number that nobody can guess, another each time.
    fn salt(&self) -> u64;
}

/// How much is written into a file before it is written back: syncs of other files wait for no more than that.
pub(crate) const WRITE_BACK_BYTES: u64 = 4 << 20;

/// How much of a file that is written from front to back was written back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WrittenBack(u64);

/// An open file.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Returns the file's length in bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads at an offset; returns fewer bytes only at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Appends what it reads at an offset to a vector, so many bytes at most; returns how many, fewer only at the end of the
    /// file. A file that can do so leaves out writing zeros first.
    fn append_at(&self, into: &mut Vec<u8>, bytes: usize, offset: u64) -> io::Result<usize> {
        let start = into.len();
        into.resize(start + bytes, 0);
        let read = self.read_at(&mut into[start..], offset);
        into.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }
    /// Reads at an offset what nobody is likely to read again: past the page cache if that can be, which costs a quarter
    /// of a copy out of it. Address, offset and length are to be multiples of 4 KiB. Returns fewer bytes only at the end of the
    /// file.
    fn read_once_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(into, offset)
    }
    /// Writes all of the bytes at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable, and the length with it.
    fn sync(&self, point: SyncPoint) -> io::Result<()>;
    /// Sets the file's length and reserves room for it; what is new reads as zeros.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Has what was written so far go to the drive, and waits for that: a sync that comes later has little left to do, and
    /// others' syncs do not queue behind all of it. It promises nothing; but one that fails is a sync that failed.
    fn write_back(&self) -> io::Result<()> {
        Ok(())
    }
    /// Says that a range will be read soon, so that nobody has to wait for the drive then. That is a wish, too.
    fn read_ahead(&self, _range: Range<u64>) {}
    /// Lets go of what is in memory of a range of the file, so that it is read from the drive next. That is a wish: what
    /// cannot do it does nothing.
    fn uncache(&self, _range: Range<u64>) {}
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// To read.
    Read,
    /// To read and write one that is there.
    Write,
    /// To read and write a new one; what was there under the name is emptied.
    Create,
}

/// Room on a disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Which sync it is. Leaving out any one of them (but `WalSpare`) loses something that was promised.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SyncPoint {
    /// The data directory's own folders, when they are made.
    Layout,
    /// The format and identity files.
    SettingFile,
    /// Their names.
    SettingDirectory,
    /// A batch of the log: what every "yes" waits for.
    WalBatch,
    /// A new log file's beginning, before it gets its name.
    WalFile,
    /// A new log file's name, before a batch in it counts.
    WalDirectory,
    /// A released log file's other name, before it is written over.
    WalRelease,
    /// The zeros in a file made ahead. For speed only: a first write to a zeroed file has no metadata to sync.
    WalSpare,
    /// The log's tail as found at open: a killed process may have left it in the page cache only.
    WalRecovered,
    /// Names as found at open, for the same reason.
    RecoveredDirectory,
    /// A segment, before a checkpoint names it.
    SegmentFile,
    /// A segment's name, before a checkpoint names it.
    SegmentDirectory,
    /// A file of decisions.
    DecisionsFile,
    /// A checkpoint, before it gets its name.
    CheckpointFile,
    /// A checkpoint's name, before the log that it replaces may go.
    CheckpointDirectory,
    /// That a group's files are gone, before another replica of the group may begin.
    ClearedDirectory,
}

impl SyncPoint {
    /// All of them.
    pub const ALL: [SyncPoint; 16] = [
        SyncPoint::Layout,
        SyncPoint::SettingFile,
        SyncPoint::SettingDirectory,
        SyncPoint::WalBatch,
        SyncPoint::WalFile,
        SyncPoint::WalDirectory,
        SyncPoint::WalRelease,
        SyncPoint::WalSpare,
        SyncPoint::WalRecovered,
        SyncPoint::RecoveredDirectory,
        SyncPoint::SegmentFile,
        SyncPoint::SegmentDirectory,
        SyncPoint::DecisionsFile,
        SyncPoint::CheckpointFile,
        SyncPoint::CheckpointDirectory,
        SyncPoint::ClearedDirectory,
    ];
}

impl WrittenBack {
    /// Has a file written back, of which so much is written, once that is much more than before.
    pub(crate) fn keep_up(&mut self, file: &dyn DiskFile, written: u64) -> io::Result<()> {
        if written - self.0 < WRITE_BACK_BYTES {
            return Ok(());
        }
        self.0 = written;
        file.write_back()
    }
}

/// Reads exactly as many bytes as there is room for; a file that ends before is an error.
pub(crate) fn read_exact_at(file: &dyn DiskFile, into: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let read = file.read_at(&mut into[done..], offset + done as u64)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += read;
    }
    Ok(())
}

/// Reads a range of a file; a file that ends before is an error.
pub(crate) fn read_range(file: &dyn DiskFile, range: Range<u64>) -> io::Result<Vec<u8>> {
    let bytes = range.end.saturating_sub(range.start);
    let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut read = Vec::with_capacity(bytes);
    while read.len() < bytes {
        let offset = range.start + read.len() as u64;
        let left = bytes - read.len();
        if file.append_at(&mut read, left, offset)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(read)
}

/// Reads a whole file.
pub(crate) fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    read_range(file, 0..file.bytes()?)
}
