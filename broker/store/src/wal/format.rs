//! The bytes of a log file. Pure: bytes in, records or damage out.
//!
//! ```text
//! file    header (one block), then batches, each starting on a block
//! header  magic 8 | block bytes 4 | 0 4 | epoch 8 | salt 8 | crc 4
//! batch   crc 4 | length 4 | salt 8 | epoch 8 | offset 8 | durable 8 | count 4 | second 4 | records | zeros
//! record  crc 4 | length 4 | mark 1 | group 1 | 0 6 | term 8 | leader 8 | index 8 | payload
//! ```
//!
//! Numbers are little-endian. A crc covers what follows it in its header, and the payload. The salt is drawn for
//! each use of a file, so that neither what an earlier use left nor what a client sent can pass for a batch.
//!
//! `crc` is CRC-32C. `second` is CRC-32 (IEEE 802.3) of all that `crc` covers but itself, or, in files of version 1, a constant:
//! a change that leaves a batch's CRC-32C right leaves that of the record it is in right too, and says nothing new.

use crate::Damage;
use crate::aligned::Aligned;
use crate::bytes_at::{put_u32, put_u64, u32_at, u64_at};

/// What a file begins with, before its version.
const MAGIC: [u8; 7] = *b"PHWAL\0\0";
/// The version that new files have.
pub(crate) const VERSION: u8 = 2;
/// What batches of version 1 have for a second checksum.
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"PHWB");
/// Where a batch's header has its second checksum.
const SECOND_AT: usize = 44;
pub(crate) const FILE_HEADER_BYTES: usize = 36;
pub(crate) const BATCH_HEADER_BYTES: usize = 48;
pub(crate) const RECORD_HEADER_BYTES: usize = 40;
/// The smallest and largest block that a file may say it has.
const BLOCK_BYTES: std::ops::RangeInclusive<u32> = 64..=1 << 20;

/// What a log file says, as far as it can be believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileReading<'a> {
    /// What the file is, by its header.
    pub header: FileHeader,
    /// The records of every batch up to `end`, in order.
    pub records: Vec<RawRecord<'a>>,
    /// Where the file's batches end.
    pub end: FileEnd,
}

/// A log file's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileHeader {
    /// How its batches are written: 1, or 2 with a second checksum.
    pub version: u8,
    /// What batches are padded to.
    pub block_bytes: u32,
    /// Which use of a file this is: files are read in order of it.
    pub epoch: u64,
    /// A number that nobody could guess.
    pub salt: u64,
}

/// Where a log file's batches end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileEnd {
    /// Where the next batch would be.
    pub offset: u64,
    /// Where the last batch is, if there is one.
    pub last_batch: Option<u64>,
    /// What is there instead of a next batch.
    pub tail: Tail,
}

/// What follows the last good batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// Nothing of this use of the file.
    Clean,
    /// A batch that was not written in full.
    Torn {
        /// How long it is, as far as it says.
        bytes: u64,
    },
    /// A batch that was durable once: a good one follows, at this offset, that was written after it was.
    Damaged {
        /// The one that follows.
        followed_by: u64,
    },
}

/// A record of the log, still in its file's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RawRecord<'a> {
    /// What it says.
    pub mark: Mark,
    /// Of which group.
    pub group: u8,
    /// The term, where it has one.
    pub term: u64,
    /// The replica that led it, where it has one.
    pub leader: u64,
    /// The index, where it has one.
    pub index: u64,
    /// The rest.
    pub payload: &'a [u8],
    /// Where in the file the record begins.
    pub offset: u64,
}

/// What a record says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mark {
    /// An entry without content.
    Blank,
    /// An entry that changes who the members are.
    Membership,
    /// An entry of commands.
    Normal,
    /// The group's vote is the payload.
    Vote,
    /// Entries after the index are gone.
    TruncateAfter,
    /// All entries are gone.
    TruncateAll,
    /// Entries up to the index are gone, for a checkpoint has them.
    Purge,
    /// Entries up to the index were known to be agreed on.
    Committed,
    /// All that was said of the group before is forgotten.
    Clear,
    /// The file before this one has the epoch `term` and ends at offset `index`.
    Preceded,
    /// What the group noted beside its entries is the payload.
    Note,
    /// All that was said of the group before offset `index` of the file of epoch `term` is forgotten.
    ClearedAt,
}

// === impl FileReading ===

/// Reads a whole log file.
pub fn read_file(bytes: &[u8]) -> Result<FileReading<'_>, Damage> {
    let header = FileHeader::parse(bytes)?;
    let mut records = Vec::new();
    let end = scan(bytes, header, |record| records.push(record))?;
    Ok(FileReading { header, records, end })
}

/// Hands over the records of a file in order, and returns where they end.
pub(crate) fn scan<'a>(
    bytes: &'a [u8],
    header: FileHeader,
    each: impl FnMut(RawRecord<'a>),
) -> Result<FileEnd, Damage> {
    scan_from(bytes, header, u64::from(header.block_bytes), each)
}

/// Hands over the records of the batches from an offset on, and returns where they end.
pub(crate) fn scan_from<'a>(
    bytes: &'a [u8],
    header: FileHeader,
    from: u64,
    mut each: impl FnMut(RawRecord<'a>),
) -> Result<FileEnd, Damage> {
    let mut offset = from;
    let mut last_batch = None;
    while let Some(batch) = Batch::parse(bytes, header, offset) {
        batch.records(&mut each)?;
        last_batch = Some(offset);
        offset = batch.end(header);
    }
    Ok(FileEnd {
        offset,
        last_batch,
        tail: tail_at(bytes, header, offset),
    })
}

/// Returns the records of a file's first batch; none when it is damaged.
pub(crate) fn first_records(bytes: &[u8], header: FileHeader) -> Vec<RawRecord<'_>> {
    let mut records = Vec::new();
    if let Some(first) = Batch::parse(bytes, header, u64::from(header.block_bytes))
        && first.records(&mut |record| records.push(record)).is_err()
    {
        records.clear();
    }
    records
}

/// Says what is at the place where a next batch would be.
fn tail_at(bytes: &[u8], header: FileHeader, offset: u64) -> Tail {
    let block = u64::from(header.block_bytes);
    let mut later = offset + block;
    while later < bytes.len() as u64 {
        if Batch::parse(bytes, header, later).is_some_and(|batch| batch.durable > offset) {
            return Tail::Damaged { followed_by: later };
        }
        later += block;
    }
    let Some(found) = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)) else {
        return Tail::Clean;
    };
    let is_ours =
        u64_at(found, 8) == header.salt || (u64_at(found, 16) == header.epoch && u64_at(found, 24) == offset);
    if found.len() < BATCH_HEADER_BYTES || !is_ours {
        return Tail::Clean;
    }
    let said = BATCH_HEADER_BYTES as u64 + u64::from(u32_at(found, 4));
    Tail::Torn {
        bytes: said.min(found.len() as u64),
    }
}

// === impl FileHeader ===

impl FileHeader {
    /// Reads the header at the beginning of a file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<FileHeader, Damage> {
        let damage = |what| {
            Err(Damage {
                offset: 0,
                bytes: FILE_HEADER_BYTES as u64,
                what,
            })
        };
        if bytes.len() < FILE_HEADER_BYTES {
            return damage("the file is too short for its header");
        }
        let version = bytes[7];
        if bytes[..7] != MAGIC || !(1..=VERSION).contains(&version) {
            return damage("not a log file of this version");
        }
        if crc32c::crc32c(&bytes[..32]) != u32_at(bytes, 32) {
            return damage("the file header's checksum is wrong");
        }
        let header = FileHeader {
            version,
            block_bytes: u32_at(bytes, 8),
            epoch: u64_at(bytes, 16),
            salt: u64_at(bytes, 24),
        };
        if !BLOCK_BYTES.contains(&header.block_bytes) {
            return damage("the block size is out of range");
        }
        Ok(header)
    }

    /// Returns the header of a file whose own is damaged, by its first batch, which repeats most of it.
    pub(crate) fn by_first_batch(bytes: &[u8], block_bytes: u32, epoch: u64) -> Option<FileHeader> {
        let first = bytes.get(block_bytes as usize..)?;
        let of_version = |version| FileHeader {
            version,
            block_bytes,
            epoch,
            salt: u64_at(first, 8),
        };
        (1..=VERSION)
            .map(of_version)
            .find(|header| is_batch(first, *header, u64::from(block_bytes)))
    }

    /// Writes the header as one block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.block_bytes as usize];
        bytes[..7].copy_from_slice(&MAGIC);
        bytes[7] = self.version;
        put_u32(&mut bytes, 8, self.block_bytes);
        put_u64(&mut bytes, 16, self.epoch);
        put_u64(&mut bytes, 24, self.salt);
        let crc = crc32c::crc32c(&bytes[..32]);
        put_u32(&mut bytes, 32, crc);
        bytes
    }

    fn pad(self, bytes: u64) -> u64 {
        bytes.next_multiple_of(u64::from(self.block_bytes))
    }
}

/// A batch whose checksum holds.
struct Batch<'a> {
    offset: u64,
    durable: u64,
    count: u32,
    payload: &'a [u8],
}

// === impl Batch ===

/// Returns how many bytes a batch takes, by its first bytes, if they are those of one at an offset of this use of the
/// file.
pub(crate) fn batch_bytes(bytes: &[u8], header: FileHeader, offset: u64) -> Option<u64> {
    let is_one = bytes.len() >= BATCH_HEADER_BYTES
        && (header.version > 1 || u32_at(bytes, SECOND_AT) == BATCH_MAGIC)
        && u64_at(bytes, 8) == header.salt
        && u64_at(bytes, 16) == header.epoch
        && u64_at(bytes, 24) == offset;
    is_one.then(|| header.pad(BATCH_HEADER_BYTES as u64 + u64::from(u32_at(bytes, 4))))
}

/// Returns whether some bytes are a good batch at an offset of this use of the file.
pub(crate) fn is_batch(bytes: &[u8], header: FileHeader, offset: u64) -> bool {
    Batch::read(bytes, header, offset).is_some()
}

/// Returns whether some bytes are a good batch at an offset of this use of the file, with good records.
pub(crate) fn is_whole_batch(bytes: &[u8], header: FileHeader, offset: u64) -> bool {
    Batch::read(bytes, header, offset).is_some_and(|batch| batch.records(&mut |_| {}).is_ok())
}

impl<'a> Batch<'a> {
    /// Reads the batch at an offset of a file, if a good one of this use of the file is there.
    fn parse(bytes: &'a [u8], header: FileHeader, offset: u64) -> Option<Batch<'a>> {
        Batch::read(bytes.get(usize::try_from(offset).ok()?..)?, header, offset)
    }

    /// Reads the batch at the beginning of some bytes, which stand at an offset.
    fn read(bytes: &'a [u8], header: FileHeader, offset: u64) -> Option<Batch<'a>> {
        batch_bytes(bytes, header, offset)?;
        let end = BATCH_HEADER_BYTES.checked_add(u32_at(bytes, 4) as usize)?;
        let covered = bytes.get(4..end)?;
        if crc32c::crc32c(covered) != u32_at(bytes, 0)
            || second_checksum(&bytes[..end], header) != u32_at(bytes, SECOND_AT)
        {
            return None;
        }
        Some(Batch {
            offset,
            durable: u64_at(bytes, 32),
            count: u32_at(bytes, 40),
            payload: &bytes[BATCH_HEADER_BYTES..end],
        })
    }

    fn end(&self, header: FileHeader) -> u64 {
        self.offset + header.pad((BATCH_HEADER_BYTES + self.payload.len()) as u64)
    }

    fn records(&self, each: &mut impl FnMut(RawRecord<'a>)) -> Result<(), Damage> {
        let mut at = 0;
        for _ in 0..self.count {
            let offset = self.offset + (BATCH_HEADER_BYTES + at) as u64;
            let record = RawRecord::parse(&self.payload[at..], offset)?;
            at += RECORD_HEADER_BYTES + record.payload.len();
            each(record);
        }
        if at != self.payload.len() {
            let offset = self.offset;
            return Err(Damage {
                offset,
                bytes: (BATCH_HEADER_BYTES + self.payload.len()) as u64,
                what: "the batch is longer than its records",
            });
        }
        Ok(())
    }
}

/// Returns the second checksum of a batch, without what it is padded with.
fn second_checksum(batch: &[u8], header: FileHeader) -> u32 {
    if header.version == 1 {
        return BATCH_MAGIC;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&batch[4..SECOND_AT]);
    hasher.update(&batch[BATCH_HEADER_BYTES..]);
    hasher.finalize()
}

/// Makes room for a batch's header at the beginning of a buffer.
pub(crate) fn begin_batch(buffer: &mut Aligned) {
    buffer.clear();
    buffer.resize(BATCH_HEADER_BYTES);
}

/// Fills in a batch's header, and pads the batch to whole blocks.
pub(crate) fn finish_batch(buffer: &mut Aligned, header: FileHeader, offset: u64, durable: u64, count: u32) {
    let length = u32::try_from(buffer.len() - BATCH_HEADER_BYTES)
        .expect("a batch is bounded far below four gigabytes");
    put_u32(buffer, 4, length);
    put_u64(buffer, 8, header.salt);
    put_u64(buffer, 16, header.epoch);
    put_u64(buffer, 24, offset);
    put_u64(buffer, 32, durable);
    put_u32(buffer, 40, count);
    let second = second_checksum(buffer, header);
    put_u32(buffer, SECOND_AT, second);
    let crc = crc32c::crc32c(&buffer[4..]);
    put_u32(buffer, 0, crc);
    let padded = buffer.len().next_multiple_of(header.block_bytes as usize);
    buffer.resize(padded);
}

// === impl RawRecord ===

impl<'a> RawRecord<'a> {
    /// Reads the record at the beginning of some bytes.
    pub(crate) fn parse(bytes: &'a [u8], offset: u64) -> Result<RawRecord<'a>, Damage> {
        let damage = |what| Damage {
            offset,
            bytes: bytes.len() as u64,
            what,
        };
        if bytes.len() < RECORD_HEADER_BYTES {
            return Err(damage("a record ends before its header"));
        }
        let end = RECORD_HEADER_BYTES
            .checked_add(u32_at(bytes, 4) as usize)
            .filter(|end| *end <= bytes.len())
            .ok_or(damage("a record is longer than its batch"))?;
        if crc32c::crc32c(&bytes[4..end]) != u32_at(bytes, 0) {
            return Err(Damage {
                offset,
                bytes: end as u64,
                what: "a record's checksum is wrong",
            });
        }
        let mark = Mark::parse(bytes[8]).ok_or(damage("a record of an unknown kind"))?;
        Ok(RawRecord {
            mark,
            group: bytes[9],
            term: u64_at(bytes, 16),
            leader: u64_at(bytes, 24),
            index: u64_at(bytes, 32),
            payload: &bytes[RECORD_HEADER_BYTES..end],
            offset,
        })
    }

    /// Appends the record to a batch and returns how many bytes it takes there. `offset` is not looked at.
    pub(crate) fn encode(&self, buffer: &mut Aligned) -> u32 {
        let start = buffer.len();
        buffer.resize(start + RECORD_HEADER_BYTES);
        buffer.extend_from_slice(self.payload);
        let record = &mut buffer[start..];
        let bytes = u32::try_from(record.len()).expect("an entry is bounded far below four gigabytes");
        put_u32(record, 4, bytes - RECORD_HEADER_BYTES as u32);
        record[8] = self.mark.encode();
        record[9] = self.group;
        put_u64(record, 16, self.term);
        put_u64(record, 24, self.leader);
        put_u64(record, 32, self.index);
        let crc = crc32c::crc32c(&record[4..]);
        put_u32(record, 0, crc);
        bytes
    }
}

/// Returns how long a record is, with its header, as far as it says.
pub(crate) fn claimed_length(bytes: &[u8]) -> Option<usize> {
    let is_there = bytes.len() >= RECORD_HEADER_BYTES;
    is_there.then(|| RECORD_HEADER_BYTES.saturating_add(u32_at(bytes, 4) as usize))
}

/// Returns mark, group and index of a record, as far as it says.
pub(crate) fn claimed_header(bytes: &[u8]) -> (Option<Mark>, u8, u64) {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    (Mark::parse(byte(8)), byte(9), u64_at(bytes, 32))
}

/// Reads a record that was read alone, which must be the entry of a group and index.
pub(crate) fn check_record(
    bytes: &[u8],
    offset: u64,
    group: u8,
    index: u64,
) -> Result<RawRecord<'_>, Damage> {
    let record = RawRecord::parse(bytes, offset)?;
    if record.group != group || record.index != index {
        return Err(Damage {
            offset,
            bytes: bytes.len() as u64,
            what: "another record than the one that was written",
        });
    }
    Ok(record)
}

// === impl Mark ===

impl Mark {
    fn encode(self) -> u8 {
        match self {
            Mark::Blank => 1,
            Mark::Membership => 2,
            Mark::Normal => 3,
            Mark::Vote => 4,
            Mark::TruncateAfter => 5,
            Mark::TruncateAll => 6,
            Mark::Purge => 7,
            Mark::Committed => 8,
            Mark::Preceded => 9,
            Mark::Clear => 10,
            Mark::Note => 11,
            Mark::ClearedAt => 12,
        }
    }

    fn parse(byte: u8) -> Option<Mark> {
        Some(match byte {
            1 => Mark::Blank,
            2 => Mark::Membership,
            3 => Mark::Normal,
            4 => Mark::Vote,
            5 => Mark::TruncateAfter,
            6 => Mark::TruncateAll,
            7 => Mark::Purge,
            8 => Mark::Committed,
            9 => Mark::Preceded,
            10 => Mark::Clear,
            11 => Mark::Note,
            12 => Mark::ClearedAt,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEPT: [(u8, &[u8]); 2] = [
        (1, include_bytes!("../../kept/wal-1.bin")),
        (2, include_bytes!("../../kept/wal-2.bin")),
    ];

    type Parts = (Mark, u8, u64, u64, u64, Vec<u8>);

    fn any_mark() -> impl Strategy<Value = Mark> {
        (1_u8..=9).prop_map(|byte| Mark::parse(byte).expect("one of the marks"))
    }

    fn any_record() -> impl Strategy<Value = Parts> {
        let payload = proptest::collection::vec(any::<u8>(), 0..200);
        (
            any_mark(),
            any::<u8>(),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            payload,
        )
    }

    fn raw(parts: &Parts) -> RawRecord<'_> {
        let (mark, group, term, leader, index, payload) = parts;
        RawRecord {
            mark: *mark,
            group: *group,
            term: *term,
            leader: *leader,
            index: *index,
            payload,
            offset: 0,
        }
    }

    /// Writes a file of these batches.
    fn file(version: u8, batches: &[Vec<Parts>]) -> Vec<u8> {
        let header = FileHeader {
            version,
            block_bytes: 64,
            epoch: 3,
            salt: 0x1234_5678_9abc_def0,
        };
        let mut bytes = header.encode();
        for batch in batches {
            let mut buffer = Aligned::default();
            begin_batch(&mut buffer);
            for record in batch {
                raw(record).encode(&mut buffer);
            }
            let offset = bytes.len() as u64;
            finish_batch(&mut buffer, header, offset, offset, batch.len() as u32);
            bytes.extend_from_slice(&buffer);
        }
        bytes.resize(bytes.len() + 256, 0);
        bytes
    }

    fn any_batches() -> impl Strategy<Value = Vec<Vec<Parts>>> {
        proptest::collection::vec(proptest::collection::vec(any_record(), 0..4), 1..5)
    }

    proptest! {
        #[test]
        fn a_file_reads_back_as_written(version in 1..=VERSION, batches in any_batches()) {
            let bytes = file(version, &batches);
            let reading = read_file(&bytes).expect("it is whole");
            let found = reading.records.iter().map(|record| RawRecord { offset: 0, ..*record });
            let expected: Vec<RawRecord<'_>> = batches.iter().flatten().map(raw).collect();
            prop_assert_eq!(found.collect::<Vec<_>>(), expected);
            prop_assert_eq!(reading.end.tail, Tail::Clean);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read_file(&bytes);
        }

        #[test]
        fn a_file_with_bytes_changed_is_read_or_refused(
            batches in any_batches(),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = file(VERSION, &batches);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read_file(&bytes);
        }

        #[test]
        fn a_flipped_bit_takes_nothing_but_the_end(
            batches in any_batches(),
            at in any::<proptest::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let whole = file(VERSION, &batches);
            let mut bytes = whole.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let expected = read_file(&whole).expect("it is whole").records;
            if let Ok(reading) = read_file(&bytes) {
                prop_assert!(reading.records.len() <= expected.len());
                prop_assert_eq!(&reading.records[..], &expected[..reading.records.len()]);
                // Only the last batch can go unnoticed.
                let lost = reading.records.len() < expected.len() - batches.last().map_or(0, Vec::len);
                let is_said = matches!(reading.end.tail, Tail::Damaged { .. });
                prop_assert!(!lost || is_said);
            }
        }
    }

    #[test]
    fn the_kept_file_of_each_version_is_read() {
        let marks = [
            Mark::Preceded,
            Mark::Vote,
            Mark::Purge,
            Mark::Committed,
            Mark::Blank,
        ];
        let more = [
            Mark::Membership,
            Mark::Normal,
            Mark::TruncateAfter,
            Mark::TruncateAll,
        ];
        let record = |(number, mark): (usize, &Mark)| {
            let number = number as u64;
            (
                *mark,
                number as u8,
                number + 10,
                number + 20,
                number + 30,
                vec![number as u8; 5],
            )
        };
        let first: Vec<Parts> = marks.iter().enumerate().map(record).collect();
        let second: Vec<Parts> = more.iter().enumerate().map(record).collect();
        let batches = [first, second];
        for (version, kept) in KEPT {
            assert_eq!(kept, file(version, &batches));
            let reading = read_file(kept).expect("it is read for ever");
            assert_eq!(reading.records.len(), marks.len() + more.len());
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_refused() {
        for version in [0, VERSION + 1] {
            let mut bytes = file(VERSION, &[]);
            bytes[7] = version;
            let damage = read_file(&bytes).expect_err("nobody knows how to read it");
            assert_eq!(damage.what, "not a log file of this version");
        }
    }

    #[test]
    fn the_second_checksum_refuses_what_the_first_lets_pass() {
        let record = (Mark::Normal, 1, 2, 3, 4, vec![7; 100]);
        let whole = file(VERSION, &[vec![record]]);
        assert_eq!(read_file(&whole).expect("it is whole").records.len(), 1);
        // A multiple of the polynomial added to any of the bytes leaves a CRC-32C as it is: bits are sent lowest first.
        let mut bytes = whole;
        let at = 64 + BATCH_HEADER_BYTES + RECORD_HEADER_BYTES + 30;
        let multiple = (0x82f6_3b78_u64 << 1) | 1;
        for (byte, change) in bytes[at..].iter_mut().zip(multiple.to_le_bytes()).take(5) {
            *byte ^= change;
        }
        let end = 64 + BATCH_HEADER_BYTES + RECORD_HEADER_BYTES + 100;
        assert_eq!(crc32c::crc32c(&bytes[64 + 4..end]), u32_at(&bytes, 64));
        assert_eq!(read_file(&bytes).expect("its header is whole").records, []);
    }
}
