//! The disk of a node in development mode, which a test can have take long.
//!
//! Outside development mode there is none of this: a node opens its store on the operating system's disk.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthouse_store::{Disk, DiskFile, Opening, RealDisk, Space, SyncPoint};

/// The file in the data directory that has each sync take so many milliseconds longer, in development mode alone. Tests
/// write it; it must be there when the node starts, and is read at each sync.
const DELAY_FILE: &str = "sync-delay";
/// How much longer a sync takes, at the most.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// A disk that is as slow as a file says.
#[derive(Debug)]
struct SlowDisk {
    real: RealDisk,
    delay: Arc<Delay>,
}

#[derive(Debug)]
struct SlowFile {
    real: Arc<dyn DiskFile>,
    delay: Arc<Delay>,
}

#[derive(Debug)]
struct Delay(PathBuf);

/// Returns the disk of a node in development mode: the operating system's, unless a test is to make it slow.
pub fn in_development(data: &Path) -> Arc<dyn Disk> {
    let delay = data.join(DELAY_FILE);
    match delay.exists() {
        true => Arc::new(SlowDisk {
            real: RealDisk,
            delay: Arc::new(Delay(delay)),
        }),
        false => Arc::new(RealDisk),
    }
}

// === impl Delay ===

impl Delay {
    /// Waits as long as the file says now.
    fn wait(&self) {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let millis = text.trim().parse().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(millis).min(DELAY_MAX));
    }
}

// === impl SlowDisk ===

impl Disk for SlowDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.real.create_directory(path)
    }

    fn open(&self, path: &Path, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile {
            real: self.real.open(path, how)?,
            delay: Arc::clone(&self.delay),
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.real.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }

    fn sync_directory(&self, directory: &Path, point: SyncPoint) -> io::Result<()> {
        self.delay.wait();
        self.real.sync_directory(directory, point)
    }

    fn space(&self, directory: &Path) -> io::Result<Space> {
        self.real.space(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.real.lock(path)
    }

    fn salt(&self) -> u64 {
        self.real.salt()
    }
}

// === impl SlowFile ===

impl DiskFile for SlowFile {
    fn bytes(&self) -> io::Result<u64> {
        self.real.bytes()
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.real.read_at(into, offset)
    }

    fn append_at(&self, into: &mut Vec<u8>, bytes: usize, offset: u64) -> io::Result<usize> {
        self.real.append_at(into, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.real.write_at(bytes, offset)
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        self.delay.wait();
        self.real.sync(point)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.real.allocate(bytes)
    }

    fn write_back(&self) -> io::Result<()> {
        self.delay.wait();
        self.real.write_back()
    }

    fn read_ahead(&self, range: Range<u64>) {
        self.real.read_ahead(range);
    }

    fn uncache(&self, range: Range<u64>) {
        self.real.uncache(range);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_sync_takes_as_long_as_the_file_says_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let delay = folder.path().join(DELAY_FILE);
        std::fs::write(&delay, "0").expect("writable");
        let disk = in_development(folder.path());
        let file = disk.open(&folder.path().join("file"), Opening::Create);
        let file = file.expect("it can be made");
        file.write_at(b"bytes", 0).expect("written");
        file.sync(SyncPoint::WalBatch).expect("synced");
        std::fs::write(&delay, "150").expect("writable");
        let began = Instant::now();
        file.sync(SyncPoint::WalBatch).expect("synced");
        assert!(began.elapsed() >= Duration::from_millis(150));
    }

    #[test]
    fn without_the_file_nothing_is_slow_however_it_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = in_development(folder.path());
        assert_eq!(format!("{disk:?}"), format!("{RealDisk:?}"));
    }
}
