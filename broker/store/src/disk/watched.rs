//! For tests: a file that notes how often it is read, what it is asked for in advance, and what it may let go of.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{DiskFile, SyncPoint};
use crate::aligned::ALIGNMENT;

/// A file that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    file: Arc<dyn DiskFile>,
    pub(crate) reads: AtomicU64,
    pub(crate) asked: Mutex<Vec<Range<u64>>>,
    pub(crate) let_go: Mutex<Vec<Range<u64>>>,
}

impl Watched {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Watched {
        Watched {
            file,
            reads: AtomicU64::new(0),
            asked: Mutex::default(),
            let_go: Mutex::default(),
        }
    }
}

impl DiskFile for Watched {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_at(into, offset)
    }

    fn read_once_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(into.as_ptr().align_offset(ALIGNMENT) == 0 && into.len().is_multiple_of(ALIGNMENT));
        assert!(offset.is_multiple_of(ALIGNMENT as u64));
        self.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        self.file.sync(point)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn read_ahead(&self, range: Range<u64>) {
        self.asked.lock().push(range);
    }

    fn uncache(&self, range: Range<u64>) {
        self.let_go.lock().push(range);
    }
}
