//! Pieces of segments that were read last: who consumes a queue reads its messages one after the other, and one read of
//! many costs little more than one of one.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::{DiskFile, read_range};

/// How much is read when nothing says that more will be wanted.
const PIECE_BYTES_MIN: u64 = 16 << 10;
/// How much is read at once by who reads on and on.
const PIECE_BYTES_MAX: u64 = 128 << 10;
/// How many pieces are kept.
const PIECES_MAX: usize = 32;

/// Pieces of files that were read last, within a bound.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    kept: Mutex<VecDeque<Piece>>,
}

#[derive(Debug)]
struct Piece {
    /// The file: as long as this is here, no other is at its address.
    file: Weak<dyn DiskFile>,
    start: u64,
    bytes: Bytes,
}

// === impl Pieces ===

impl Pieces {
    /// Reads a range of a file, and what comes after it up to `end`, as far as it is likely to be read next.
    pub(crate) fn read(&self, file: &Arc<dyn DiskFile>, range: Range<u64>, end: u64) -> io::Result<Bytes> {
        let wanted = match self.look(file, &range) {
            Ok(bytes) => return Ok(bytes),
            Err(wanted) => wanted,
        };
        let bytes = range.end - range.start;
        let read = wanted.min(end.saturating_sub(range.start)).max(bytes);
        let piece = Bytes::from(read_range(&**file, range.start..range.start + read)?);
        if read > bytes {
            self.keep(Piece {
                file: Arc::downgrade(file),
                start: range.start,
                bytes: piece.clone(),
            });
        }
        Ok(piece.slice(..bytes as usize))
    }

    /// Returns a range that is here, or else how much is to be read: twice as much as before by who goes on from there.
    fn look(&self, file: &Arc<dyn DiskFile>, range: &Range<u64>) -> Result<Bytes, u64> {
        let mut kept = self.kept.lock();
        let of_it = |piece: &Piece| std::ptr::addr_eq(piece.file.as_ptr(), Arc::as_ptr(file));
        if let Some(piece) = kept
            .iter()
            .find(|piece| of_it(piece) && piece.start <= range.start && range.end <= piece.end())
        {
            let (from, to) = (range.start - piece.start, range.end - piece.start);
            return Ok(piece.bytes.slice(from as usize..to as usize));
        }
        let goes_on = |piece: &Piece| {
            let near = piece.end() + piece.bytes.len() as u64;
            of_it(piece) && (piece.start..=near).contains(&range.start)
        };
        let before = kept.iter().position(goes_on).and_then(|place| kept.remove(place));
        Err(before.map_or(PIECE_BYTES_MIN, |piece| {
            (2 * piece.bytes.len() as u64).min(PIECE_BYTES_MAX)
        }))
    }

    fn keep(&self, piece: Piece) {
        let mut kept = self.kept.lock();
        if kept.len() == PIECES_MAX {
            kept.pop_front();
        }
        kept.push_back(piece);
    }
}

// === impl Piece ===

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::crash::CrashDisk;
    use crate::disk::{Disk, Opening, Watched};

    fn file(seed: u8, bytes: usize) -> (Arc<Watched>, Vec<u8>) {
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8 ^ seed).collect();
        let disk = CrashDisk::new(1);
        let file = disk.open(Path::new("/file"), Opening::Create).expect("a file");
        file.write_at(&content, 0).expect("writes");
        (Arc::new(Watched::new(file)), content)
    }

    #[test]
    fn who_reads_on_and_on_asks_the_drive_seldom() {
        let (counted, content) = file(0, 1 << 20);
        let file: Arc<dyn DiskFile> = counted.clone();
        let pieces = Pieces::default();
        for start in (0..content.len() - 1_000).step_by(1_000) {
            let range = start as u64..start as u64 + 1_000;
            let read = pieces.read(&file, range, content.len() as u64).expect("reads");
            assert_eq!(read, content[start..start + 1_000]);
        }
        let reads = counted.reads.load(Ordering::Relaxed);
        assert!(reads < 15, "{reads} reads for a thousand records");
    }

    #[test]
    fn pieces_are_of_their_file_and_bounded() {
        let pieces = Pieces::default();
        for seed in 0..2 * PIECES_MAX as u8 {
            let (counted, content) = file(seed, 40_000);
            let file: Arc<dyn DiskFile> = counted;
            for start in [0, 30_000, 100, 39_000] {
                let range = start as u64..start as u64 + 1_000;
                let read = pieces.read(&file, range, content.len() as u64).expect("reads");
                assert_eq!(read, content[start..start + 1_000]);
            }
        }
        let kept = pieces.kept.lock();
        assert!(kept.len() <= PIECES_MAX);
        assert!(
            kept.iter()
                .all(|piece| piece.bytes.len() as u64 <= PIECE_BYTES_MAX)
        );
    }

    #[test]
    fn nothing_after_the_end_is_read_and_what_is_larger_than_a_piece_is_read_whole() {
        let (counted, content) = file(0, 300_000);
        let file: Arc<dyn DiskFile> = counted.clone();
        let pieces = Pieces::default();
        assert_eq!(
            pieces.read(&file, 0..200_000, 200_000).expect("reads"),
            content[..200_000]
        );
        assert_eq!(
            pieces.read(&file, 199_000..200_000, 200_000).expect("reads"),
            content[199_000..200_000]
        );
        assert!(
            pieces.kept.lock().is_empty(),
            "nothing more was read than was asked for"
        );
        assert!(
            pieces.read(&file, 299_500..300_500, 300_500).is_err(),
            "the file is shorter"
        );
    }
}
