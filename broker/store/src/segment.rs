//! Immutable files of records by stream and sequence: bodies, and what was decided about them.
//!
//! ```text
//! header  magic 8 | kind 1 | group 1 | 0 2 | crc 4 | made at 8                          24 bytes
//! record  crc 4 | length 4 | stream 8 | sequence 8 | bytes                              in order of writing
//! index   blocks of 4 KiB: crc 4 | count 4 | entries, sorted by stream and sequence
//! entry   stream 8 | sequence 8 | position 8 | length 4 | time 8                        36 bytes
//! trailer streams 4 | blocks 4 | per stream: stream, first, last, count, bytes | per block: its first key
//! tail    index at 8 | trailer at 8 | trailer bytes 8 | entries 8 | trailer crc 4 | tail crc 4 | magic 8
//! ```
//!
//! Only the trailer is held in memory: some numbers for each stream, and a key for each 113 records. A lookup is a
//! binary search in memory, a read of one block and a read of the record; all three are checked, so a byte that
//! was flipped is an error with file and offset, and never a wrong answer.

mod ahead;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_model::{BodyKey, Incarnation, LogIndex, Sequence, Span, StoredMessage, Time};
use posthouse_wire::{DecodeError, Kind};

use self::ahead::Readers;
use crate::bodies::Pieces;
use crate::buffers::Buffers;
use crate::bytes_at::{put_u32, put_u64, u32_at, u64_at};
use crate::checkpoint::PARTIAL_SUFFIX;
use crate::damage::Wrong;
use crate::disk::{Disk, DiskFile, Opening, SyncPoint, read_exact_at, read_range};
use crate::sequential::SequentialWriter;
use crate::{Damage, GroupId, StoreFault, StreamSummary};

const MAGIC: [u8; 8] = *b"PHSEG\0\0\x01";
const HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 24;
pub(crate) const BLOCK_BYTES: usize = 4096;
const BLOCK_HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 36;
const BLOCK_ENTRIES_MAX: usize = (BLOCK_BYTES - BLOCK_HEADER_BYTES) / ENTRY_BYTES;
const TRAILER_HEADER_BYTES: usize = 8;
const STREAM_BYTES: usize = 40;
const KEY_BYTES: usize = 16;
const TAIL_BYTES: usize = 48;

/// How long the messages of a segment are kept, at most.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeepClass {
    /// Up to an hour.
    Hour,
    /// Up to a day.
    Day,
    /// Up to four days.
    FourDays,
    /// Up to 15 days, or longer.
    FifteenDays,
}

/// A record of a segment file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SegmentRecord {
    /// Its key.
    pub key: BodyKey,
    /// When it was produced.
    pub time: Time,
    /// What it says.
    pub bytes: Bytes,
}

/// What a segment file is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct SegmentName {
    pub(crate) group: GroupId,
    pub(crate) made_at: LogIndex,
    pub(crate) kind: SegmentKind,
}

/// What is in a segment file.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum SegmentKind {
    Bodies(KeepClass),
    Decisions,
}

/// A segment file that is open to be read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    /// The trailer's checksum, by which a checkpoint knows the file.
    pub(crate) digest: u32,
    pub(crate) streams: Box<[StreamSummary]>,
    file: Arc<dyn DiskFile>,
    index_at: u64,
    blocks: Box<[BodyKey]>,
    /// Who reads many records at once.
    readers: Readers,
    /// The block read last: who consumes a queue reads its entries one after the other.
    recent: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
    /// What was found wrong with the file first, once something was.
    wrong: OnceLock<Wrong>,
    /// Whether that was told.
    is_told: AtomicBool,
}

/// A record's place in a segment file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: BodyKey,
    pub(crate) time: Time,
    pub(crate) position: u64,
    pub(crate) length: u32,
}

/// Looks for records of a segment of which most follow each other.
pub(crate) struct Lookup<'a> {
    segment: &'a Segment,
    /// What was found last.
    last: Option<Indexed>,
}

/// Where an entry is in the index.
struct Indexed {
    block: Arc<Vec<u8>>,
    place: usize,
}

/// A segment file being written.
pub(crate) struct SegmentWriter {
    name: SegmentName,
    file: SequentialWriter,
    entries: Vec<Entry>,
}

/// What of a segment is held in memory.
struct Trailer {
    streams: Box<[StreamSummary]>,
    /// The first key of each block of the index.
    blocks: Box<[BodyKey]>,
}

/// The last bytes of a segment file.
struct Tail {
    index_at: u64,
    trailer_at: u64,
    trailer_bytes: u64,
    entries: u64,
    trailer_crc: u32,
}

/// Bytes in memory as a file to read.
#[derive(Debug)]
struct MemoryFile(Vec<u8>);

/// Reads a whole segment file, in the order of its index.
pub fn read(bytes: &[u8]) -> Result<Vec<SegmentRecord>, Damage> {
    let path = PathBuf::new();
    let file = Arc::new(MemoryFile(bytes.to_owned()));
    let segment = Segment::read(file, path, None).map_err(Fault::into_damage)?;
    let mut records = Vec::new();
    let mut total = 0;
    for block in 0..segment.blocks.len() {
        for entry in segment.block_entries(block).map_err(Fault::into_damage)? {
            let bytes = segment.read_alone(&entry).map_err(Fault::into_damage)?;
            // Records do not overlap, so they cannot have more bytes than the file.
            total += RECORD_HEADER_BYTES as u64 + bytes.len() as u64;
            if total > segment.bytes {
                return Err(Damage {
                    offset: entry.position,
                    bytes: bytes.len() as u64,
                    what: "records overlap",
                });
            }
            records.push(SegmentRecord {
                key: entry.key,
                time: entry.time,
                bytes,
            });
        }
    }
    Ok(records)
}

/// What can go wrong with a read: the bytes, or the reading of them.
enum Fault {
    Damage(Damage),
    Io(io::Error),
}

// === impl KeepClass ===

impl KeepClass {
    /// All classes, shortest first.
    pub const ALL: [KeepClass; 4] = [
        KeepClass::Hour,
        KeepClass::Day,
        KeepClass::FourDays,
        KeepClass::FifteenDays,
    ];

    /// Returns the class of a message that is kept for so long.
    pub fn of(kept: Span) -> KeepClass {
        const HOUR_SECONDS: u64 = 3_600;
        const DAY_SECONDS: u64 = 86_400;
        match kept.millis().div_ceil(1_000) {
            seconds if seconds <= HOUR_SECONDS => KeepClass::Hour,
            seconds if seconds <= DAY_SECONDS => KeepClass::Day,
            seconds if seconds <= 4 * DAY_SECONDS => KeepClass::FourDays,
            _ => KeepClass::FifteenDays,
        }
    }
}

// === impl SegmentKind ===

impl SegmentKind {
    pub(crate) fn encode(self) -> u8 {
        match self {
            SegmentKind::Bodies(KeepClass::Hour) => 0,
            SegmentKind::Bodies(KeepClass::Day) => 1,
            SegmentKind::Bodies(KeepClass::FourDays) => 2,
            SegmentKind::Bodies(KeepClass::FifteenDays) => 3,
            SegmentKind::Decisions => 255,
        }
    }

    pub(crate) fn parse(byte: u8) -> Option<SegmentKind> {
        Some(match byte {
            0 => SegmentKind::Bodies(KeepClass::Hour),
            1 => SegmentKind::Bodies(KeepClass::Day),
            2 => SegmentKind::Bodies(KeepClass::FourDays),
            3 => SegmentKind::Bodies(KeepClass::FifteenDays),
            255 => SegmentKind::Decisions,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            SegmentKind::Bodies(KeepClass::Hour) => "1h.segment",
            SegmentKind::Bodies(KeepClass::Day) => "1d.segment",
            SegmentKind::Bodies(KeepClass::FourDays) => "4d.segment",
            SegmentKind::Bodies(KeepClass::FifteenDays) => "15d.segment",
            SegmentKind::Decisions => "decisions",
        }
    }

    const ALL: [SegmentKind; 5] = [
        SegmentKind::Bodies(KeepClass::Hour),
        SegmentKind::Bodies(KeepClass::Day),
        SegmentKind::Bodies(KeepClass::FourDays),
        SegmentKind::Bodies(KeepClass::FifteenDays),
        SegmentKind::Decisions,
    ];
}

// === impl SegmentName ===

impl SegmentName {
    /// Returns the name of the file with a digest: other content never takes the place of what is named.
    pub(crate) fn file_name(&self, digest: u32) -> String {
        let (group, word) = (self.group.file_prefix(), self.kind.word());
        format!("{group}-{:020}-{digest:08x}.{word}", self.made_at.0)
    }

    /// Returns the name of a file that is being written.
    pub(crate) fn partial_name(&self) -> String {
        let (group, word) = (self.group.file_prefix(), self.kind.word());
        format!("{group}-{:020}.{word}{PARTIAL_SUFFIX}", self.made_at.0)
    }

    /// Returns what a file is by its name, and its digest.
    pub(crate) fn parse(name: &str) -> Option<(SegmentName, u32)> {
        let (rest, word) = name.split_once('.')?;
        let kind = SegmentKind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let (group, rest) = rest.split_once('-')?;
        let (made_at, digest) = rest.split_once('-')?;
        let (group, made_at) = (GroupId(group.parse().ok()?), LogIndex(made_at.parse().ok()?));
        let digest = u32::from_str_radix(digest, 16).ok()?;
        Some((SegmentName { group, made_at, kind }, digest))
    }
}

// === impl Segment ===

impl Segment {
    /// Opens a segment file and checks its ends; records are checked as they are read.
    pub(crate) fn open(
        disk: &dyn Disk,
        directory: &Path,
        name: SegmentName,
        digest: u32,
    ) -> Result<Segment, StoreFault> {
        let path = directory.join(name.file_name(digest));
        let segment = Segment::open_path(disk, &path, name)?;
        if segment.digest != digest {
            let what = "the segment is another than its name says";
            return Err(StoreFault::corrupt(&path, 0, segment.bytes, what));
        }
        Ok(segment)
    }

    /// Opens a segment file under any name.
    pub(crate) fn open_path(disk: &dyn Disk, path: &Path, name: SegmentName) -> Result<Segment, StoreFault> {
        let file = disk
            .open(path, Opening::Read)
            .map_err(|error| StoreFault::io("open", path, &error))?;
        Segment::read(file, path.to_owned(), Some(name)).map_err(|fault| fault.of(path))
    }

    /// Checks every record.
    pub(crate) fn check(&self) -> Result<(), StoreFault> {
        let mut fault = None;
        self.each_entry(|entry| {
            if fault.is_none() {
                fault = self.get_entry(&entry).err();
            }
        })?;
        fault.map_or(Ok(()), Err)
    }

    fn read(file: Arc<dyn DiskFile>, path: PathBuf, expected: Option<SegmentName>) -> Result<Segment, Fault> {
        let bytes = file.bytes()?;
        if bytes < (HEADER_BYTES + TAIL_BYTES) as u64 {
            return Err(damage(0, bytes, "the segment is too short"));
        }
        let mut header = [0; HEADER_BYTES];
        read_exact_at(&*file, &mut header, 0)?;
        let name = parse_header(&header)?;
        if expected.is_some_and(|expected| expected != name) {
            return Err(damage(
                0,
                HEADER_BYTES as u64,
                "the segment is another than its name says",
            ));
        }
        let mut tail = [0; TAIL_BYTES];
        let tail_at = bytes - TAIL_BYTES as u64;
        read_exact_at(&*file, &mut tail, tail_at)?;
        let tail = Tail::parse(&tail, tail_at)?;

        let mut trailer = vec![0; tail.trailer_bytes as usize];
        read_exact_at(&*file, &mut trailer, tail.trailer_at)?;
        if crc32c::crc32c(&trailer) != tail.trailer_crc {
            return Err(damage(
                tail.trailer_at,
                tail.trailer_bytes,
                "the segment's trailer has a wrong checksum",
            ));
        }
        let Trailer { streams, blocks } = parse_trailer(&trailer).ok_or_else(|| {
            damage(
                tail.trailer_at,
                tail.trailer_bytes,
                "the segment's trailer does not add up",
            )
        })?;
        if tail.index_at + (blocks.len() * BLOCK_BYTES) as u64 != tail.trailer_at {
            return Err(damage(
                tail.trailer_at,
                tail.trailer_bytes,
                "the segment's index is not where it should be",
            ));
        }
        Ok(Segment {
            name,
            path,
            bytes,
            entries: tail.entries,
            digest: tail.trailer_crc,
            streams,
            file,
            index_at: tail.index_at,
            blocks,
            readers: Readers::default(),
            recent: Mutex::new(None),
            wrong: OnceLock::new(),
            is_told: AtomicBool::new(false),
        })
    }

    /// Reads the record of a key, if it is here, with what is likely to be read next.
    pub(crate) fn get(&self, key: BodyKey, pieces: &Pieces) -> Result<Option<Bytes>, StoreFault> {
        let found = self.find_record(key)?;
        found.map(|entry| self.get_along(&entry, pieces)).transpose()
    }

    /// Returns where the record of a key is, if it is here.
    pub(crate) fn find_record(&self, key: BodyKey) -> Result<Option<Entry>, StoreFault> {
        self.lookup().find(key)
    }

    /// Looks for records of many keys, one after the other.
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            segment: self,
            last: None,
        }
    }

    /// Reads a range of the file in which records are, and has the drive begin with those after it: who reads many at once
    /// goes on with those, and reads where it must not wait for a drive. What was read before is let go of, if most of
    /// it was wanted: few read a message twice, and memory that the system has to find for each page costs more than the
    /// copy out of it.
    pub(crate) fn read_records(&self, range: Range<u64>, wanted_bytes: u64) -> io::Result<Bytes> {
        self.check_range(&range)?;
        if let Some(advice) = self.readers.advise(&range, wanted_bytes, self.index_at) {
            self.file.read_ahead(advice.ahead);
            for behind in advice.behind {
                self.file.uncache(behind);
            }
        }
        Ok(Bytes::from(read_range(&*self.file, range)?))
    }

    /// Reads a range of the file in which records are that nobody is likely to read again, past the page cache.
    pub(crate) fn read_once(&self, range: Range<u64>, buffers: &Buffers) -> io::Result<Bytes> {
        self.check_range(&range)?;
        buffers.read(&*self.file, range)
    }

    /// Refuses a range that is not within the records.
    fn check_range(&self, range: &Range<u64>) -> io::Result<()> {
        if range.start > range.end || range.end > self.index_at {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }

    /// Returns the record of an entry, of bytes that were read from `start` on.
    pub(crate) fn record_of(&self, entry: &Entry, start: u64, bytes: &Bytes) -> Result<Bytes, StoreFault> {
        let part = |range: Range<u64>| {
            let part = (range.start - start) as usize..(range.end - start) as usize;
            Ok(bytes.slice(part))
        };
        self.read_record(entry, part).map_err(|fault| self.noted(fault))
    }

    /// Decodes a record of a body.
    pub(crate) fn decode(&self, record: &[u8]) -> Result<StoredMessage, StoreFault> {
        posthouse_wire::decode_stored_message(record).map_err(|error| self.undecodable(&error))
    }

    /// Decodes a record of a body, which is a part of the record: it keeps all that was read with it in memory.
    pub(crate) fn decode_shared(&self, record: &Bytes) -> Result<StoredMessage, StoreFault> {
        posthouse_wire::decode_shared(Kind::StoredMessage, record).map_err(|error| self.undecodable(&error))
    }

    fn undecodable(&self, error: &DecodeError) -> StoreFault {
        let what = format!("a body cannot be read: {error}");
        StoreFault::corrupt(&self.path, 0, 0, what)
    }

    /// Reads the record of an entry, with what is likely to be read next.
    pub(crate) fn get_along(&self, entry: &Entry, pieces: &Pieces) -> Result<Bytes, StoreFault> {
        let read = |range| pieces.read(&self.file, range, self.index_at);
        self.read_record(entry, read).map_err(|fault| self.noted(fault))
    }

    /// Reads the record of an entry from the file, whatever is in memory of it.
    pub(crate) fn get_entry(&self, entry: &Entry) -> Result<Bytes, StoreFault> {
        self.read_alone(entry).map_err(|fault| self.noted(fault))
    }

    /// Hands over every entry, by stream and sequence.
    pub(crate) fn each_entry(&self, mut each: impl FnMut(Entry)) -> Result<(), StoreFault> {
        for block in 0..self.blocks.len() {
            let entries = self.block_entries(block).map_err(|fault| self.noted(fault))?;
            entries.into_iter().for_each(&mut each);
        }
        Ok(())
    }

    /// Returns what is known of a stream here.
    pub(crate) fn stream(&self, stream: Incarnation) -> Option<&StreamSummary> {
        let place = self
            .streams
            .binary_search_by_key(&stream, |summary| summary.stream)
            .ok()?;
        self.streams.get(place)
    }

    /// Reads part of the file as it is, to hand it to another node.
    pub(crate) fn read_raw(&self, offset: u64, bytes_max: usize) -> Result<Bytes, StoreFault> {
        let end = offset.saturating_add(bytes_max as u64).min(self.bytes);
        let read = read_range(&*self.file, offset..end);
        read.map(Bytes::from)
            .map_err(|error| self.noted(Fault::Io(error)))
    }

    /// Returns what was found wrong with the file; none as long as nothing was.
    pub(crate) fn wrong(&self) -> Option<&Wrong> {
        self.wrong.get()
    }

    /// Takes notice that something is wrong with the file. Returns whether nobody was told yet.
    pub(crate) fn note(&self, wrong: Wrong) -> bool {
        // What was found first is enough to have it replaced.
        let _ = self.wrong.set(wrong);
        !self.is_told.swap(true, Ordering::Relaxed)
    }

    /// Returns how many blocks the index has.
    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Reads the entries of a block of the index from the drive, whatever is in memory of it.
    pub(crate) fn read_entries(&self, block: usize) -> Result<Vec<Entry>, StoreFault> {
        let bytes = self.read_block(block).map_err(|fault| self.noted(fault))?;
        Ok(entries_of(&bytes))
    }

    /// Has what is read next come from the drive, as far as that can be had.
    pub(crate) fn uncache(&self) {
        self.file.uncache(0..self.bytes);
    }

    fn noted(&self, fault: Fault) -> StoreFault {
        let fault = fault.of(&self.path);
        if let Some(wrong) = Wrong::of(&fault) {
            let _ = self.wrong.set(wrong);
        }
        fault
    }

    fn find(&self, key: BodyKey) -> Result<Option<Indexed>, Fault> {
        let holds = |summary: &&StreamSummary| summary.first <= key.sequence && key.sequence <= summary.last;
        if self.stream(key.stream).filter(holds).is_none() {
            return Ok(None);
        }
        let Some(block) = self.blocks.partition_point(|first| *first <= key).checked_sub(1) else {
            return Ok(None);
        };
        let block = self.block(block)?;
        let (mut low, mut high) = (0, count_of(&block));
        while low < high {
            let place = low.midpoint(high);
            match Entry::parse(&block, place).key.cmp(&key) {
                std::cmp::Ordering::Equal => return Ok(Some(Indexed { block, place })),
                std::cmp::Ordering::Less => low = place + 1,
                std::cmp::Ordering::Greater => high = place,
            }
        }
        Ok(None)
    }

    fn block(&self, number: usize) -> Result<Arc<Vec<u8>>, Fault> {
        if let Some((at, bytes)) = &*self.recent.lock()
            && *at == number
        {
            return Ok(Arc::clone(bytes));
        }
        let bytes = Arc::new(self.read_block(number)?);
        *self.recent.lock() = Some((number, Arc::clone(&bytes)));
        Ok(bytes)
    }

    fn read_block(&self, number: usize) -> Result<Vec<u8>, Fault> {
        let offset = self.index_at + (number * BLOCK_BYTES) as u64;
        let bytes = read_range(&*self.file, offset..offset + BLOCK_BYTES as u64)?;
        if crc32c::crc32c(&bytes[4..]) != u32_at(&bytes, 0) {
            return Err(damage(
                offset,
                BLOCK_BYTES as u64,
                "a block of the segment's index has a wrong checksum",
            ));
        }
        if count_of(&bytes) > BLOCK_ENTRIES_MAX {
            return Err(damage(
                offset,
                BLOCK_BYTES as u64,
                "a block of the segment's index says it has more than it can",
            ));
        }
        Ok(bytes)
    }

    fn block_entries(&self, number: usize) -> Result<Vec<Entry>, Fault> {
        Ok(entries_of(&self.block(number)?))
    }

    fn read_alone(&self, entry: &Entry) -> Result<Bytes, Fault> {
        self.read_record(entry, |range| Ok(Bytes::from(read_range(&*self.file, range)?)))
    }

    fn read_record(
        &self,
        entry: &Entry,
        read: impl FnOnce(Range<u64>) -> io::Result<Bytes>,
    ) -> Result<Bytes, Fault> {
        let bytes = RECORD_HEADER_BYTES as u64 + u64::from(entry.length);
        let end = entry.position.checked_add(bytes);
        let Some(end) = end.filter(|end| *end <= self.index_at) else {
            return Err(damage(
                entry.position,
                bytes,
                "a record is not within the segment",
            ));
        };
        let record = read(entry.position..end)?;
        if crc32c::crc32c(&record[4..]) != u32_at(&record, 0) {
            return Err(damage(
                entry.position,
                bytes,
                "a record of the segment has a wrong checksum",
            ));
        }
        let key = key_at(&record, 8);
        if key != entry.key || u32_at(&record, 4) != entry.length {
            return Err(damage(
                entry.position,
                bytes,
                "a record is another than the segment's index says",
            ));
        }
        Ok(record.slice(RECORD_HEADER_BYTES..))
    }
}

/// Returns how many entries a block has that was checked.
fn count_of(block: &[u8]) -> usize {
    u32_at(block, 4) as usize
}

/// Returns the entries of a block that was checked.
fn entries_of(block: &[u8]) -> Vec<Entry> {
    (0..count_of(block))
        .map(|place| Entry::parse(block, place))
        .collect()
}

fn parse_header(bytes: &[u8; HEADER_BYTES]) -> Result<SegmentName, Fault> {
    if bytes[..8] != MAGIC {
        return Err(damage(0, HEADER_BYTES as u64, "not a segment of this version"));
    }
    let kind = SegmentKind::parse(bytes[8]);
    let name = kind.map(|kind| SegmentName {
        group: GroupId(bytes[9]),
        made_at: LogIndex(u64_at(bytes, 16)),
        kind,
    });
    name.filter(|name| encode_header(name) == *bytes).ok_or_else(|| {
        damage(
            0,
            HEADER_BYTES as u64,
            "the segment's header has a wrong checksum",
        )
    })
}

fn encode_header(name: &SegmentName) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = name.kind.encode();
    bytes[9] = name.group.0;
    put_u64(&mut bytes, 16, name.made_at.0);
    let crc = crc32c::crc32c(&bytes);
    put_u32(&mut bytes, 12, crc);
    bytes
}

fn parse_trailer(bytes: &[u8]) -> Option<Trailer> {
    let streams = u32_at(bytes, 0) as usize;
    let blocks = u32_at(bytes, 4) as usize;
    let streams_end = streams
        .checked_mul(STREAM_BYTES)?
        .checked_add(TRAILER_HEADER_BYTES)?;
    let end = blocks.checked_mul(KEY_BYTES)?.checked_add(streams_end)?;
    if bytes.len() != end {
        return None;
    }
    let streams = bytes[TRAILER_HEADER_BYTES..streams_end]
        .chunks_exact(STREAM_BYTES)
        .map(|chunk| StreamSummary {
            stream: Incarnation(u64_at(chunk, 0)),
            first: Sequence(u64_at(chunk, 8)),
            last: Sequence(u64_at(chunk, 16)),
            count: u64_at(chunk, 24),
            bytes: u64_at(chunk, 32),
        })
        .collect();
    let blocks = bytes[streams_end..]
        .chunks_exact(KEY_BYTES)
        .map(|chunk| key_at(chunk, 0))
        .collect();
    Some(Trailer { streams, blocks })
}

fn key_at(bytes: &[u8], at: usize) -> BodyKey {
    BodyKey {
        stream: Incarnation(u64_at(bytes, at)),
        sequence: Sequence(u64_at(bytes, at + 8)),
    }
}

fn put_key(bytes: &mut [u8], at: usize, key: BodyKey) {
    put_u64(bytes, at, key.stream.0);
    put_u64(bytes, at + 8, key.sequence.0);
}

// === impl Entry ===

impl Entry {
    /// Returns where the record is in the file.
    pub(crate) fn range(&self) -> Range<u64> {
        let bytes = RECORD_HEADER_BYTES as u64 + u64::from(self.length);
        self.position..self.position.saturating_add(bytes)
    }

    fn parse(block: &[u8], place: usize) -> Entry {
        let at = BLOCK_HEADER_BYTES + place * ENTRY_BYTES;
        Entry {
            key: key_at(block, at),
            position: u64_at(block, at + 16),
            length: u32_at(block, at + 24),
            time: Time::from_millis(u64_at(block, at + 28)),
        }
    }

    fn encode(&self, block: &mut [u8], place: usize) {
        let at = BLOCK_HEADER_BYTES + place * ENTRY_BYTES;
        put_key(block, at, self.key);
        put_u64(block, at + 16, self.position);
        put_u32(block, at + 24, self.length);
        put_u64(block, at + 28, self.time.millis());
    }
}

// === impl Lookup ===

impl Lookup<'_> {
    /// Returns where the record of a key is, if it is here.
    pub(crate) fn find(&mut self, key: BodyKey) -> Result<Option<Entry>, StoreFault> {
        if let Some(last) = &mut self.last
            && last.place + 1 < count_of(&last.block)
        {
            let next = Entry::parse(&last.block, last.place + 1);
            if next.key == key {
                last.place += 1;
                return Ok(Some(next));
            }
        }
        let found = self
            .segment
            .find(key)
            .map_err(|fault| self.segment.noted(fault))?;
        let entry = found
            .as_ref()
            .map(|found| Entry::parse(&found.block, found.place));
        if found.is_some() {
            self.last = found;
        }
        Ok(entry)
    }
}

// === impl Tail ===

impl Tail {
    fn parse(bytes: &[u8; TAIL_BYTES], at: u64) -> Result<Tail, Fault> {
        if bytes[40..] != MAGIC || crc32c::crc32c(&bytes[..36]) != u32_at(bytes, 36) {
            return Err(damage(
                at,
                TAIL_BYTES as u64,
                "the segment's tail has a wrong checksum",
            ));
        }
        let tail = Tail {
            index_at: u64_at(bytes, 0),
            trailer_at: u64_at(bytes, 8),
            trailer_bytes: u64_at(bytes, 16),
            entries: u64_at(bytes, 24),
            trailer_crc: u32_at(bytes, 32),
        };
        let is_in_order = tail.index_at >= HEADER_BYTES as u64
            && tail.index_at <= tail.trailer_at
            && tail.trailer_at.checked_add(tail.trailer_bytes) == Some(at);
        if !is_in_order {
            return Err(damage(
                at,
                TAIL_BYTES as u64,
                "the segment's tail does not add up",
            ));
        }
        Ok(tail)
    }

    fn encode(&self) -> [u8; TAIL_BYTES] {
        let mut bytes = [0; TAIL_BYTES];
        put_u64(&mut bytes, 0, self.index_at);
        put_u64(&mut bytes, 8, self.trailer_at);
        put_u64(&mut bytes, 16, self.trailer_bytes);
        put_u64(&mut bytes, 24, self.entries);
        put_u32(&mut bytes, 32, self.trailer_crc);
        let crc = crc32c::crc32c(&bytes[..36]);
        put_u32(&mut bytes, 36, crc);
        bytes[40..].copy_from_slice(&MAGIC);
        bytes
    }
}

// === impl SegmentWriter ===

impl SegmentWriter {
    /// Creates the file, under a name that nobody looks for.
    pub(crate) fn create(
        disk: &dyn Disk,
        directory: &Path,
        name: SegmentName,
    ) -> Result<SegmentWriter, StoreFault> {
        let mut file = SequentialWriter::create(disk, directory.join(name.partial_name()))?;
        file.put(&encode_header(&name))?;
        Ok(SegmentWriter {
            name,
            file,
            entries: Vec::new(),
        })
    }

    /// Appends a record.
    pub(crate) fn put(&mut self, key: BodyKey, time: Time, bytes: &[u8]) -> Result<(), StoreFault> {
        let length = u32::try_from(bytes.len()).map_err(|_| StoreFault::TooLarge {
            what: "a record",
            bytes: bytes.len(),
            limit: u32::MAX as usize,
        })?;
        let mut header = [0; RECORD_HEADER_BYTES];
        put_u32(&mut header, 4, length);
        put_key(&mut header, 8, key);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), bytes);
        put_u32(&mut header, 0, crc);
        self.entries.push(Entry {
            key,
            time,
            position: self.file.position(),
            length,
        });
        self.file.put(&header)?;
        self.file.put(bytes)
    }

    /// Writes index, trailer and tail, makes all of it durable, gives it its name and opens it to be read. The name
    /// is left to be made durable with others.
    pub(crate) fn finish(
        mut self,
        disk: &dyn Disk,
        directory: &Path,
        point: SyncPoint,
    ) -> Result<Segment, StoreFault> {
        self.entries.sort_unstable_by_key(|entry| entry.key);
        let entries = std::mem::take(&mut self.entries);
        let index_at = self.file.position();
        for chunk in entries.chunks(BLOCK_ENTRIES_MAX) {
            let mut block = vec![0; BLOCK_BYTES];
            put_u32(&mut block, 4, chunk.len() as u32);
            for (place, entry) in chunk.iter().enumerate() {
                entry.encode(&mut block, place);
            }
            let crc = crc32c::crc32c(&block[4..]);
            put_u32(&mut block, 0, crc);
            self.file.put(&block)?;
        }
        let trailer = encode_trailer(&entries);
        let tail = Tail {
            index_at,
            trailer_at: self.file.position(),
            trailer_bytes: trailer.len() as u64,
            entries: entries.len() as u64,
            trailer_crc: crc32c::crc32c(&trailer),
        };
        self.file.put(&trailer)?;
        self.file.put(&tail.encode())?;
        let path = directory.join(self.name.file_name(tail.trailer_crc));
        self.file.finish(disk, &path, point)?;
        Segment::open_path(disk, &path, self.name)
    }
}

fn encode_trailer(entries: &[Entry]) -> Vec<u8> {
    let mut streams: Vec<StreamSummary> = Vec::new();
    for entry in entries {
        let bytes = RECORD_HEADER_BYTES as u64 + u64::from(entry.length);
        match streams
            .last_mut()
            .filter(|summary| summary.stream == entry.key.stream)
        {
            Some(summary) => {
                summary.last = entry.key.sequence;
                summary.count += 1;
                summary.bytes += bytes;
            }
            None => streams.push(StreamSummary {
                stream: entry.key.stream,
                first: entry.key.sequence,
                last: entry.key.sequence,
                count: 1,
                bytes,
            }),
        }
    }
    let blocks = entries.len().div_ceil(BLOCK_ENTRIES_MAX);
    let streams_end = TRAILER_HEADER_BYTES + streams.len() * STREAM_BYTES;
    let mut bytes = vec![0; streams_end + blocks * KEY_BYTES];
    put_u32(&mut bytes, 0, streams.len() as u32);
    put_u32(&mut bytes, 4, blocks as u32);
    for (place, summary) in streams.iter().enumerate() {
        let at = TRAILER_HEADER_BYTES + place * STREAM_BYTES;
        put_u64(&mut bytes, at, summary.stream.0);
        put_u64(&mut bytes, at + 8, summary.first.0);
        put_u64(&mut bytes, at + 16, summary.last.0);
        put_u64(&mut bytes, at + 24, summary.count);
        put_u64(&mut bytes, at + 32, summary.bytes);
    }
    for (place, chunk) in entries.chunks(BLOCK_ENTRIES_MAX).enumerate() {
        put_key(&mut bytes, streams_end + place * KEY_BYTES, chunk[0].key);
    }
    bytes
}

// === impl MemoryFile ===

impl DiskFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let bytes = into.len().min(self.0.len() - from);
        into[..bytes].copy_from_slice(&self.0[from..from + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self, _point: SyncPoint) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

// === impl Fault ===

impl Fault {
    fn of(self, path: &Path) -> StoreFault {
        match self {
            Fault::Damage(damage) => StoreFault::damage(path, &damage),
            Fault::Io(error) => StoreFault::io("read", path, &error),
        }
    }

    fn into_damage(self) -> Damage {
        match self {
            Fault::Damage(damage) => damage,
            Fault::Io(_) => Damage {
                offset: 0,
                bytes: 0,
                what: "the segment ends too early",
            },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

fn damage(offset: u64, bytes: u64, what: &'static str) -> Fault {
    Fault::Damage(Damage { offset, bytes, what })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ahead::{AHEAD_BYTES, BEHIND_BYTES};
    use super::*;
    use crate::crash::CrashDisk;
    use crate::disk::Watched;

    const KEPT: &[u8] = include_bytes!("../kept/segment-1.segment");
    const NAME: SegmentName = SegmentName {
        group: GroupId(1),
        made_at: LogIndex(9),
        kind: SegmentKind::Bodies(KeepClass::Day),
    };

    type Records = std::collections::BTreeMap<(u64, u64), (u64, Vec<u8>)>;

    fn any_records() -> impl Strategy<Value = Records> {
        let value = (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..50));
        proptest::collection::btree_map((0_u64..4, 0_u64..400), value, 0..300)
    }

    fn key(stream: u64, sequence: u64) -> BodyKey {
        BodyKey {
            stream: Incarnation(stream),
            sequence: Sequence(sequence),
        }
    }

    fn write(records: &Records) -> (Segment, Vec<u8>) {
        let disk = CrashDisk::new(1);
        let directory = Path::new("/");
        let mut writer = SegmentWriter::create(&disk, directory, NAME).expect("creates");
        for (&(stream, sequence), (time, bytes)) in records {
            let time = Time::from_millis(*time);
            writer.put(key(stream, sequence), time, bytes).expect("writes");
        }
        let segment = writer
            .finish(&disk, directory, SyncPoint::SegmentFile)
            .expect("finishes");
        let bytes = disk.contents(&segment.path).expect("the file");
        (segment, bytes)
    }

    #[test]
    fn the_drive_is_asked_before_records_are_read_and_what_was_read_is_let_go() {
        let records = (0..200).map(|sequence| ((0, sequence), (0, vec![b'x'; 100_000])));
        let (_, bytes) = write(&records.collect());
        let watched = Arc::new(Watched::new(Arc::new(MemoryFile(bytes))));
        let segment = Segment::read(watched.clone(), PathBuf::new(), None).map_err(Fault::into_damage);
        let segment = segment.expect("opens");
        for start in (0..segment.index_at).step_by(200_000) {
            let end = (start + 200_000).min(segment.index_at);
            segment.read_records(start..end, end - start).expect("reads");
            let asked = watched.asked.lock();
            let asked_to = asked.last().map_or(0, |range| range.end);
            // Who reads once may not go on.
            assert!(
                start == 0 || asked_to >= segment.index_at.min(end + AHEAD_BYTES / 2),
                "{end}: {asked:?}"
            );
        }
        let asked = watched.asked.lock();
        assert_eq!(asked.last().map(|range| range.end), Some(segment.index_at));
        let let_go = watched.let_go.lock();
        let let_go_to = let_go.iter().map(|range| range.end).max();
        let kept = segment.index_at - let_go_to.expect("something was let go");
        assert!(kept <= BEHIND_BYTES + 2 * AHEAD_BYTES, "{kept} are kept");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_segment_reads_back_as_written(records in any_records()) {
            let (segment, bytes) = write(&records);
            let pieces = Pieces::default();
            for stream in 0..4 {
                for sequence in (0..400).step_by(7) {
                    let found = segment.get(key(stream, sequence), &pieces).expect("reads");
                    let expected = records.get(&(stream, sequence)).map(|(_, bytes)| bytes);
                    prop_assert_eq!(found.as_deref(), expected.map(Vec::as_slice));
                }
            }
            let expected = records.iter().map(|(&(stream, sequence), (time, bytes))| SegmentRecord {
                key: key(stream, sequence),
                time: Time::from_millis(*time),
                bytes: Bytes::copy_from_slice(bytes),
            });
            prop_assert_eq!(read(&bytes), Ok(expected.collect::<Vec<_>>()));
            let counted: u64 = segment.streams.iter().map(|stream| stream.count).sum();
            prop_assert_eq!(counted, records.len() as u64);
        }

        #[test]
        fn one_look_after_the_other_finds_what_each_alone_does(
            records in any_records(),
            wanted in proptest::collection::vec((0..4_u64, 0..400_u64, 1..6_u64), 1..20),
        ) {
            let (segment, _) = write(&records);
            let mut lookup = segment.lookup();
            for (stream, first, count) in wanted {
                for sequence in first..first + count {
                    let key = key(stream, sequence);
                    let found = lookup.find(key).expect("reads");
                    prop_assert_eq!(found.map(|entry| entry.key), records.get(&(stream, sequence)).map(|_| key));
                    prop_assert_eq!(found, segment.find_record(key).expect("reads"));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_flipped_bit_is_noticed_or_does_not_matter(
            records in any_records(),
            at in any::<proptest::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let (_, whole) = write(&records);
            let mut bytes = whole.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(found) = read(&bytes) {
                prop_assert_eq!(Ok(found), read(&whole));
            }
        }
    }

    #[test]
    fn a_class_is_the_shortest_that_is_long_enough() {
        let class = |seconds| KeepClass::of(Span::from_seconds(seconds));
        assert_eq!(class(60), KeepClass::Hour);
        assert_eq!(class(3_600), KeepClass::Hour);
        assert_eq!(class(3_601), KeepClass::Day);
        assert_eq!(class(345_600), KeepClass::FourDays);
        assert_eq!(class(1_296_000), KeepClass::FifteenDays);
    }

    #[test]
    fn the_kept_segment_of_version_1_is_read() {
        let records = Records::from([((1, 1), (5, b"one".to_vec())), ((1, 3), (6, b"three".to_vec()))]);
        assert_eq!(KEPT, write(&records).1);
        assert_eq!(read(KEPT).expect("it is read for ever").len(), 2);
    }
}
