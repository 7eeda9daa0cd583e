//! The operating system's disk.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::{Disk, DiskFile, Opening, Space, SyncPoint};
use crate::aligned::ALIGNMENT;

/// The operating system's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile {
    file: File,
    /// The same, to be written past the page cache; none where that cannot be.
    direct: Option<File>,
}

/// How much is written past the page cache at the least. Less gains nothing, and may be read soon.
const DIRECT_BYTES_MIN: usize = 64 << 10;
/// How much the system is told of at once that will be read: of a longer piece it may take the beginning only.
const ADVICE_BYTES: u64 = 128 << 10;

// === impl RealDisk ===

impl Disk for RealDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn open(&self, path: &Path, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Opening::Read => {}
            Opening::Write => {
                options.write(true);
            }
            Opening::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(path)?;
        let direct = match how {
            Opening::Read => None,
            // Some file systems have no such way.
            Opening::Write | Opening::Create => OpenOptions::new()
                .write(true)
                .custom_flags(OFlags::DIRECT.bits().cast_signed())
                .open(path)
                .ok(),
        };
        Ok(Arc::new(RealFile { file, direct }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            // A name that is not text is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path, _point: SyncPoint) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn space(&self, directory: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn salt(&self) -> u64 {
        // The standard library seeds each of these from the operating system.
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    }
}

// === impl RealFile ===

impl RealFile {
    /// Opens the file again, to be read past the page cache. It is opened for each read, since a node may have a great many
    /// segments open; that is a hundredth of what such a read costs.
    fn open_direct(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl DiskFile for RealFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => return answer,
            }
        }
    }

    fn append_at(&self, into: &mut Vec<u8>, bytes: usize, offset: u64) -> io::Result<usize> {
        if bytes == 0 {
            return Ok(0);
        }
        let end = into.len() + bytes;
        into.reserve_exact(bytes);
        loop {
            match rustix::io::pread(&self.file, spare_capacity(into), offset) {
                Err(Errno::INTR) => {}
                answer => {
                    // There may have been room for more.
                    let read = answer?.min(bytes);
                    into.truncate(end);
                    return Ok(read);
                }
            }
        }
    }

    fn read_once_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let direct = self.open_direct().and_then(|direct| direct.read_at(into, offset));
        // Where that cannot be, or is wrong, the other way reads it or says what is wrong.
        direct.or_else(|_| self.read_at(into, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // What fills whole blocks, as a batch under load and a piece of a segment do, is not read again soon: in the page
        // cache it costs a copy, and the kernel the search for memory to put it in, a fifth of all time under load.
        if let Some(direct) = &self.direct
            && is_aligned(bytes, offset)
        {
            match direct.write_all_at(bytes, offset) {
                // The drive wants another alignment.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                answer => return answer,
            }
        }
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self, _point: SyncPoint) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve; the length alone must do there.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn write_back(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_ahead(&self, range: Range<u64>) {
        for start in range.clone().step_by(ADVICE_BYTES as usize) {
            let bytes = NonZeroU64::new(ADVICE_BYTES.min(range.end - start));
            // Without it, it is read when it is wanted.
            let _ = rustix::fs::fadvise(&self.file, start, bytes, rustix::fs::Advice::WillNeed);
        }
    }

    fn uncache(&self, range: Range<u64>) {
        // A length of zero would be all that there is.
        let Some(bytes) = NonZeroU64::new(range.end.saturating_sub(range.start)) else {
            return;
        };
        // What was not written yet stays; and a file system that knows no such advice loses nothing by it.
        let _ = rustix::fs::fadvise(&self.file, range.start, Some(bytes), rustix::fs::Advice::DontNeed);
    }
}

/// Returns whether bytes can be written past the page cache, and it is worth it.
fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    bytes.len() >= DIRECT_BYTES_MIN
        && bytes.len().is_multiple_of(ALIGNMENT)
        && offset.is_multiple_of(ALIGNMENT as u64)
        && bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligned::Aligned;
    use crate::disk::read_range;

    fn file_with(write: impl FnOnce(&dyn DiskFile)) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let file = RealDisk.open(&path, Opening::Create).expect("a new file");
        write(&*file);
        file.sync(SyncPoint::SegmentFile).expect("a sync");
        std::fs::read(&path).expect("the file")
    }

    #[test]
    fn what_is_appended_is_as_much_as_was_asked_for_or_up_to_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let file = RealDisk.open(&path, Opening::Create).expect("a new file");
        file.write_at(b"0123456789", 0).expect("a write");
        // There is room for more than is asked for.
        let mut read = Vec::with_capacity(100);
        read.extend_from_slice(b"at 2: ");
        assert_eq!(file.append_at(&mut read, 3, 2).expect("reads"), 3);
        assert_eq!(read, b"at 2: 234");
        assert_eq!(file.append_at(&mut read, 5, 8).expect("reads"), 2, "the end");
        assert_eq!(
            file.append_at(&mut read, 5, 10).expect("reads"),
            0,
            "after the end"
        );
        assert_eq!(read, b"at 2: 23489");
        assert_eq!(read_range(&*file, 1..4).expect("reads"), b"123");
        assert_eq!(read_range(&*file, 0..10).expect("reads"), b"0123456789");
        let ended = read_range(&*file, 5..11).expect_err("the file is shorter");
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_read_once_is_what_was_written_last_whatever_the_file_is_called_now() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let file = RealDisk.open(&path, Opening::Create).expect("a new file");
        let content: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
        // It waits in the cache.
        file.write_at(&content, 0).expect("a write");
        let read_by = RealDisk.open(&path, Opening::Read).expect("the file");
        RealDisk.remove(&path).expect("removes");
        let mut room = Aligned::zeros(400 * 1_024);
        for offset in [0, 4_096, 294_912, 303_104] {
            let read = read_by.read_once_at(&mut room, offset as u64).expect("reads");
            assert!(room[..read] == content[offset.min(content.len())..], "{offset}");
        }
        // What no drive reads past the cache is read all the same.
        let read = read_by.read_once_at(&mut room[1..1_000], 77).expect("reads");
        assert!(room[1..=read] == content[77..77 + 999]);
        let file = RealDisk.open(folder.path(), Opening::Read).expect("a folder");
        file.read_once_at(&mut room, 0).expect_err("a folder is no file");
    }

    #[test]
    fn what_is_written_past_the_cache_and_through_it_is_in_the_file() {
        let mut block = Aligned::zeros(4 * DIRECT_BYTES_MIN);
        (0..)
            .zip(block.iter_mut())
            .for_each(|(at, byte)| *byte = (at % 251) as u8);
        assert!(is_aligned(&block, 0), "the first write is past the cache");
        let end = block.len() as u64;
        let read = file_with(|file| {
            file.write_at(&block, 0).expect("aligned");
            file.write_at(&block[..100], end).expect("not aligned");
            file.write_at(&block[1..], 8_192)
                .expect("not aligned, over what is there");
            file.write_at(&block[..DIRECT_BYTES_MIN], 4_096)
                .expect("aligned, over what waits in the cache");
        });
        let mut expected = block.to_vec();
        expected.extend_from_slice(&block[..100]);
        let over = 8_192 + block.len() - 1;
        expected.resize(over, 0);
        expected[8_192..].copy_from_slice(&block[1..]);
        expected[4_096..][..DIRECT_BYTES_MIN].copy_from_slice(&block[..DIRECT_BYTES_MIN]);
        assert!(
            read == expected,
            "the file is what was written last at each place"
        );
    }
}
