//! Reads everything durable again, piece by piece, to find damage before it is needed.
//!
//! Whoever scrubs decides how fast: each step reads about a piece and says how much that was. What is found is noted
//! where it is, as when it is found by a reader.

use std::collections::VecDeque;
use std::sync::Arc;

use posthouse_model::LogIndex;

use crate::StoreFault;
use crate::segment::{BLOCK_BYTES, Entry, Segment};
use crate::shelf::Shelf;
use crate::wal::Wal;

/// How much one step reads, about: a record may be larger.
const PIECE_BYTES: u64 = 1 << 20;

/// One reading of everything that was durable when it began.
pub struct Scrub {
    wal: Arc<Wal>,
    rest: VecDeque<Item>,
}

/// Something that is still to be read.
enum Item {
    Checkpoint(Arc<Shelf>, LogIndex),
    Segment(Reading),
    /// A log file, by its epoch, from an offset on.
    Log(u32, u64),
}

/// A segment that is being read.
struct Reading {
    shelf: Arc<Shelf>,
    segment: Arc<Segment>,
    /// The next block of the index.
    block: usize,
    /// What is left of the block before it.
    entries: VecDeque<Entry>,
    is_begun: bool,
}

// === impl Scrub ===

impl Scrub {
    pub(crate) fn begin(wal: &Arc<Wal>, shelves: &[Arc<Shelf>]) -> Scrub {
        let mut rest = VecDeque::new();
        for shelf in shelves {
            let (checkpoint, segments) = shelf.look(|contents| {
                let decisions = Arc::clone(&contents.decisions);
                let segments = Arc::clone(&contents.segments);
                let all: Vec<Arc<Segment>> = segments.iter().chain(decisions.iter()).cloned().collect();
                (contents.checkpoint, all)
            });
            rest.extend(checkpoint.map(|at| Item::Checkpoint(Arc::clone(shelf), at)));
            rest.extend(segments.into_iter().map(|segment| {
                Item::Segment(Reading {
                    shelf: Arc::clone(shelf),
                    segment,
                    block: 0,
                    entries: VecDeque::new(),
                    is_begun: false,
                })
            }));
        }
        rest.extend(wal.epochs().into_iter().map(|epoch| Item::Log(epoch, 0)));
        Scrub {
            wal: Arc::clone(wal),
            rest,
        }
    }

    /// Reads a piece, and returns how many bytes that was; none when everything was read.
    pub fn step(&mut self) -> Option<u64> {
        let item = self.rest.pop_front()?;
        let bytes = match item {
            Item::Checkpoint(shelf, at) => check_checkpoint(&shelf, at),
            Item::Segment(mut reading) => {
                let bytes = reading.step();
                if !reading.is_done() {
                    self.rest.push_front(Item::Segment(reading));
                }
                bytes
            }
            Item::Log(epoch, from) => {
                let (bytes, next) = self.wal.scrub(epoch, from, PIECE_BYTES);
                if let Some(next) = next {
                    self.rest.push_front(Item::Log(epoch, next));
                }
                bytes
            }
        };
        Some(bytes)
    }
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrub")
            .field("left", &self.rest.len())
            .finish_non_exhaustive()
    }
}

fn check_checkpoint(shelf: &Shelf, at: LogIndex) -> u64 {
    if shelf.look(|contents| contents.checkpoint) != Some(at) {
        return 0;
    }
    // What is wrong with it is noted by who reads it.
    match shelf.checkpoint() {
        Ok(found) => found.map_or(0, |checkpoint| {
            (checkpoint.state.len() + checkpoint.meta.len()) as u64
        }),
        Err(_) => 0,
    }
}

// === impl Reading ===

impl Reading {
    /// Reads about a piece. A segment that was replaced meanwhile, or found damaged, needs no more reading.
    fn step(&mut self) -> u64 {
        let read = self.read_piece();
        read.unwrap_or_else(|_| {
            self.block = self.segment.block_count();
            self.entries.clear();
            PIECE_BYTES
        })
    }

    fn is_done(&self) -> bool {
        self.is_begun && self.entries.is_empty() && self.block >= self.segment.block_count()
    }

    fn read_piece(&mut self) -> Result<u64, StoreFault> {
        let mut bytes = 0;
        if !self.is_begun {
            self.is_begun = true;
            self.segment.uncache();
            let checked = self.check_ends();
            self.shelf.noted(&self.segment, checked)?;
        }
        while bytes < PIECE_BYTES && !self.is_done() {
            let Some(entry) = self.entries.pop_front() else {
                let read = self.segment.read_entries(self.block);
                self.entries = self.shelf.noted(&self.segment, read)?.into();
                self.block += 1;
                bytes += BLOCK_BYTES as u64;
                continue;
            };
            let read = self.segment.get_entry(&entry);
            bytes += self.shelf.noted(&self.segment, read)?.len() as u64;
        }
        Ok(bytes)
    }

    /// Checks header, trailer and tail, which are in memory since the segment was opened.
    fn check_ends(&self) -> Result<(), StoreFault> {
        let (disk, path) = (&*self.shelf.disk, &self.segment.path);
        match Segment::open_path(disk, path, self.segment.name) {
            Ok(found) if found.digest == self.segment.digest && found.bytes == self.segment.bytes => Ok(()),
            Ok(_) => Err(StoreFault::corrupt(
                path,
                0,
                self.segment.bytes,
                "another segment",
            )),
            // It may have been replaced just now, by a cut.
            Err(_) if !self.shelf.holds(&self.segment) => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}
