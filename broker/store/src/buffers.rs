//! Memory for what is read past the page cache, kept to be read into again: finding new memory costs more than the read.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::aligned::{ALIGNMENT, Aligned};
use crate::disk::DiskFile;

/// How much is kept at most, while nothing is read into it.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// What the length of a buffer is a multiple of, so that those that are kept fit what is read next. What is read is half of its
/// buffer at the least, if it is as much as this.
const STEP_BYTES: usize = 128 << 10;

/// Buffers that nothing is read into now.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The one used last is last.
    buffers: VecDeque<Aligned>,
    bytes: usize,
}

/// A buffer that goes back to the others.
struct Lent {
    buffer: Aligned,
    kept: Weak<Mutex<Kept>>,
}

// === impl Buffers ===

impl Buffers {
    /// Reads a range of a file that nobody is likely to read again. A file that ends before is an error.
    pub(crate) fn read(&self, file: &dyn DiskFile, range: Range<u64>) -> io::Result<Bytes> {
        let alignment = ALIGNMENT as u64;
        let start = range.start - range.start % alignment;
        let end = range.end.checked_next_multiple_of(alignment);
        let length = |end: u64| usize::try_from(end.saturating_sub(start)).ok();
        let (Some(wanted), Some(bytes)) = (length(range.end), end.and_then(length)) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let mut lent = self.lend(bytes);
        if file.read_once_at(&mut lent.buffer[..bytes], start)? < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let lead = (range.start - start) as usize;
        Ok(Bytes::from_owner(lent).slice(lead..wanted))
    }

    fn lend(&self, bytes: usize) -> Lent {
        let bytes = bytes.next_multiple_of(STEP_BYTES);
        let kept = self.kept.lock().take(bytes);
        Lent {
            buffer: kept.unwrap_or_else(|| Aligned::zeros(bytes)),
            kept: Arc::downgrade(&self.kept),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// Takes out the one used last of a length: it is in the processor's own memory yet.
    fn take(&mut self, bytes: usize) -> Option<Aligned> {
        let place = self.buffers.iter().rposition(|buffer| buffer.len() == bytes)?;
        let buffer = self.buffers.remove(place)?;
        self.bytes -= buffer.len();
        Some(buffer)
    }

    /// Keeps one. Those used longest ago go for it: they are of a length that is wanted no more.
    fn put(&mut self, buffer: Aligned) {
        self.bytes += buffer.len();
        self.buffers.push_back(buffer);
        while self.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}

// === impl Lent ===

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.upgrade() {
            kept.lock().put(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::crash::CrashDisk;
    use crate::disk::{Disk, Opening, Watched};

    fn file(bytes: usize) -> (Watched, Vec<u8>) {
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let disk = CrashDisk::new(1);
        let file = disk.open(Path::new("/file"), Opening::Create).expect("a file");
        file.write_at(&content, 0).expect("writes");
        (Watched::new(file), content)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_read_is_the_range_whatever_was_read_into_the_buffer_before(
            bytes in 1_usize..600_000,
            ranges in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 1..10),
            holds in any::<bool>(),
        ) {
            // It is asked for whole blocks only.
            let (file, content) = file(bytes);
            let buffers = Buffers::default();
            let mut held = Vec::new();
            for (one, other) in ranges {
                let (one, other) = (one.index(bytes + 1), other.index(bytes + 1));
                let range = one.min(other)..one.max(other);
                let read = buffers.read(&file, range.start as u64..range.end as u64).expect("it is there");
                prop_assert!(read == content[range.clone()]);
                if holds {
                    held.push((range, read));
                }
            }
            for (range, read) in held {
                prop_assert!(read == content[range], "it stays as long as somebody has it");
            }
        }
    }

    #[test]
    fn a_buffer_is_kept_once_nobody_has_a_part_of_it() {
        let (file, _) = file(300_000);
        let buffers = Buffers::default();
        let kept = || buffers.kept.lock().buffers.len();
        let read = buffers.read(&file, 5_000..300_000).expect("it is there");
        let part = read.slice(7..9);
        drop(read);
        assert_eq!(kept(), 0);
        drop(part);
        assert_eq!(kept(), 1);
        let again = buffers.read(&file, 5_000..280_000).expect("it is there");
        assert_eq!(kept(), 0, "it is of that length");
        let small = buffers.read(&file, 0..1_000).expect("it is there");
        drop((again, small));
        assert_eq!(kept(), 2);
        drop(buffers.read(&file, 100..2_000).expect("it is there"));
        assert_eq!(kept(), 2);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let (file, _) = file(1 << 20);
        let buffers = Buffers::default();
        let read = || buffers.read(&file, 0..1 << 20).expect("it is there");
        let many: Vec<Bytes> = (0..40).map(|_| read()).collect();
        drop(many);
        let kept = buffers.kept.lock();
        assert_eq!(kept.bytes, KEPT_BYTES_MAX);
        let bytes: usize = kept.buffers.iter().map(|buffer| buffer.len()).sum();
        assert_eq!(bytes, kept.bytes);
    }

    #[test]
    fn those_of_a_length_that_is_wanted_no_more_go_for_others() {
        let (file, _) = file(1 << 20);
        let buffers = Buffers::default();
        let read_many = |bytes: u64| {
            let many: Vec<Bytes> = (0..64)
                .map(|_| buffers.read(&file, 0..bytes).expect("it is there"))
                .collect();
            drop(many);
        };
        read_many(1 << 20);
        read_many(300_000);
        let length = 300_000_usize.next_multiple_of(STEP_BYTES);
        let kept = buffers.kept.lock();
        let of_it = kept.buffers.iter().filter(|buffer| buffer.len() == length);
        assert_eq!(of_it.count(), 64);
        assert!(kept.bytes <= KEPT_BYTES_MAX);
    }

    #[test]
    fn what_is_read_outlives_the_buffers() {
        let (file, content) = file(10_000);
        let read = Buffers::default().read(&file, 10..9_000).expect("it is there");
        assert!(read == content[10..9_000]);
    }

    #[test]
    fn a_file_that_ends_before_is_an_error_and_so_is_a_range_that_cannot_be() {
        let (file, _) = file(10_000);
        let buffers = Buffers::default();
        let fault = |range| buffers.read(&file, range).expect_err("it is not there").kind();
        assert_eq!(fault(9_000..10_001), io::ErrorKind::UnexpectedEof);
        assert_eq!(fault(20_000..20_001), io::ErrorKind::UnexpectedEof);
        assert_eq!(fault(0..u64::MAX), io::ErrorKind::FileTooLarge);
        assert_eq!(
            buffers.kept.lock().buffers.len(),
            1,
            "what they were read into is kept"
        );
    }
}
