//! A machine's disk as one process of it has it: nothing that the process does after its end gets there.

use std::io;
use std::path::Path;
use std::sync::Arc;

use posthouse_store::crash::CrashDisk;
use posthouse_store::{Disk, DiskFile, Opening, Space, SyncPoint};

use crate::life::Life;

/// A disk until a process ends. Open files are dead after that by themselves.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) disk: CrashDisk,
    pub(crate) life: Life,
}

// === impl Mount ===

impl Mount {
    fn check(&self) -> io::Result<()> {
        if self.life.is_over() {
            return Err(io::Error::other("the process has ended"));
        }
        Ok(())
    }
}

impl Disk for Mount {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.disk.create_directory(path)
    }

    fn open(&self, path: &Path, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        self.check()?;
        self.disk.open(path, how)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.check()?;
        self.disk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path, point: SyncPoint) -> io::Result<()> {
        self.check()?;
        self.disk.sync_directory(directory, point)
    }

    fn space(&self, directory: &Path) -> io::Result<Space> {
        self.disk.space(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.check()?;
        self.disk.lock(path)
    }

    fn salt(&self) -> u64 {
        self.disk.salt()
    }
}
