//! A new file that is written from front to back, in blocks, so that it can be written past the page cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::StoreFault;
use crate::aligned::{ALIGNMENT, Aligned};
use crate::disk::{Disk, DiskFile, Opening, SyncPoint, WrittenBack};

/// How much is written at once.
const WRITE_BYTES: usize = 1 << 20;

/// A new file that is written from front to back.
pub(crate) struct SequentialWriter {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// What is not written yet.
    buffer: Aligned,
    written: u64,
    written_back: WrittenBack,
}

// === impl SequentialWriter ===

impl SequentialWriter {
    /// Creates the file.
    pub(crate) fn create(disk: &dyn Disk, path: PathBuf) -> Result<SequentialWriter, StoreFault> {
        let file = disk
            .open(&path, Opening::Create)
            .map_err(|error| StoreFault::io("create", &path, &error))?;
        Ok(SequentialWriter {
            path,
            file,
            buffer: Aligned::default(),
            written: 0,
            written_back: WrittenBack::default(),
        })
    }

    /// Returns how long the file is with all that was put.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), StoreFault> {
        for piece in bytes.chunks(WRITE_BYTES) {
            self.buffer.extend_from_slice(piece);
            if self.buffer.len() >= WRITE_BYTES {
                self.write_blocks()?;
            }
        }
        Ok(())
    }

    /// Writes what is left, makes all of it durable and gives the file another name, which is left to be made durable with
    /// others.
    pub(crate) fn finish(mut self, disk: &dyn Disk, path: &Path, point: SyncPoint) -> Result<(), StoreFault> {
        self.write_blocks()?;
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(|error| StoreFault::io("write", &self.path, &error))?;
        self.file
            .sync(point)
            .map_err(|error| StoreFault::io("sync", &self.path, &error))?;
        disk.rename(&self.path, path)
            .map_err(|error| StoreFault::io("rename", &self.path, &error))
    }

    /// Writes what fills blocks of the drive.
    fn write_blocks(&mut self) -> Result<(), StoreFault> {
        let whole = self.buffer.len() - self.buffer.len() % ALIGNMENT;
        if whole == 0 {
            return Ok(());
        }
        self.file
            .write_at(&self.buffer[..whole], self.written)
            .map_err(|error| StoreFault::io("write", &self.path, &error))?;
        self.written += whole as u64;
        self.buffer.drop_first(whole);
        self.written_back
            .keep_up(&*self.file, self.written)
            .map_err(|error| StoreFault::io("sync", &self.path, &error))
    }
}
