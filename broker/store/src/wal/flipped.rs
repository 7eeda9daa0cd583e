//! Puts right one byte of a batch that was changed since it was written. Pure.
//!
//! The last batch of a log has nothing behind it that says whether it was durable: damaged, it looks like one that was not
//! written in full, and is cut. But one that lacks nothing and has one wrong byte can be told from all others, and what it
//! was is known: the batch's checksum says which bytes it can have been, of which there is about one in sixteen megabytes, and
//! its second checksum says whether it was. Of a torn batch whole sectors are missing. Where the one that
//! is missing held a single byte of the batch, that is put right as well, to what was to be written: such a batch may be there.

use super::format::{BATCH_HEADER_BYTES, FileHeader, RECORD_HEADER_BYTES, batch_bytes, is_whole_batch};
use crate::bytes_at::{put_u32, u32_at};

/// The polynomial of the checksum, its lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Where a batch's header says how long the batch is, and how many records it has.
const LENGTH_AT: usize = 4;
const COUNT_AT: usize = 40;

/// What a byte does to a checksum, and which byte does so by the highest eight bits of that.
struct Table {
    of_byte: [u32; 256],
    byte_of: [u8; 256],
}

/// Puts right the batch at an offset of a file if one byte of it is wrong; returns where that was. Else nothing is changed.
/// Nor is it in files of version 1, which have no second checksum.
pub(crate) fn put_right(bytes: &mut [u8], header: FileHeader, offset: u64) -> Option<u64> {
    if header.version == 1 {
        return None;
    }
    let start = usize::try_from(offset).ok()?;
    let batch = bytes.get_mut(start..)?;
    if batch.len() < BATCH_HEADER_BYTES {
        return None;
    }
    let at = put_length_right(batch, header, offset)
        .or_else(|| put_covered_right(batch, header, offset))
        .or_else(|| put_checksum_right(batch, header, offset))?;
    Some(offset + at as u64)
}

/// The length itself may be wrong: records say where they end.
fn put_length_right(batch: &mut [u8], header: FileHeader, offset: u64) -> Option<usize> {
    let said = u32_at(batch, LENGTH_AT);
    let mut end = BATCH_HEADER_BYTES;
    for _ in 0..u32_at(batch, COUNT_AT) {
        let record = batch
            .get(end..)
            .filter(|rest| rest.len() >= RECORD_HEADER_BYTES)?;
        end = end.checked_add(RECORD_HEADER_BYTES + u32_at(record, 4) as usize)?;
    }
    let length = u32::try_from(end - BATCH_HEADER_BYTES).ok()?;
    let place = only_byte(said ^ length)?;
    put_u32(batch, LENGTH_AT, length);
    if is_whole_batch(batch, header, offset) {
        return Some(LENGTH_AT + place);
    }
    put_u32(batch, LENGTH_AT, said);
    None
}

/// What the checksum covers may be wrong.
fn put_covered_right(batch: &mut [u8], header: FileHeader, offset: u64) -> Option<usize> {
    let end = BATCH_HEADER_BYTES.checked_add(u32_at(batch, LENGTH_AT) as usize)?;
    let covered = batch.get(LENGTH_AT..end)?;
    let table = Table::new();
    // What changed in the checksum, as it was before the bytes behind the wrong one went into it.
    let mut change = crc32c::crc32c(covered) ^ u32_at(batch, 0);
    for at in (LENGTH_AT..end).rev() {
        let byte = table.byte_of[(change >> 24) as usize];
        let of_byte = table.of_byte[usize::from(byte)];
        if of_byte == change {
            batch[at] ^= byte;
            if is_whole_batch(batch, header, offset) {
                return Some(at);
            }
            batch[at] ^= byte;
        }
        change = ((change ^ of_byte) << 8) | u32::from(byte);
    }
    None
}

/// The checksum itself may be wrong: then all else is as it was.
fn put_checksum_right(batch: &mut [u8], header: FileHeader, offset: u64) -> Option<usize> {
    batch_bytes(batch, header, offset)?;
    let end = BATCH_HEADER_BYTES.checked_add(u32_at(batch, LENGTH_AT) as usize)?;
    let said = u32_at(batch, 0);
    let checksum = crc32c::crc32c(batch.get(LENGTH_AT..end)?);
    let place = only_byte(said ^ checksum)?;
    put_u32(batch, 0, checksum);
    if is_whole_batch(batch, header, offset) {
        return Some(place);
    }
    put_u32(batch, 0, said);
    None
}

/// Returns which byte of a number is not nothing, if that is one.
fn only_byte(number: u32) -> Option<usize> {
    let mut places = (0..4).filter(|place| number.to_le_bytes()[*place] != 0);
    places.next().filter(|_| places.next().is_none())
}

// === impl Table ===

impl Table {
    fn new() -> Table {
        let mut table = Table {
            of_byte: [0; 256],
            byte_of: [0; 256],
        };
        for byte in 0..=u8::MAX {
            let mut of_byte = u32::from(byte);
            for _ in 0..8 {
                of_byte = (of_byte >> 1) ^ if of_byte & 1 == 1 { POLYNOMIAL } else { 0 };
            }
            table.of_byte[usize::from(byte)] = of_byte;
            table.byte_of[(of_byte >> 24) as usize] = byte;
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::{Mark, RawRecord, VERSION, begin_batch, finish_batch};
    use super::*;
    use crate::aligned::Aligned;

    const HEADER: FileHeader = FileHeader {
        version: VERSION,
        block_bytes: 512,
        epoch: 3,
        salt: 0x1234_5678_9abc_def0,
    };
    const OFFSET: u64 = 1_024;

    /// Returns a file with a batch of records with these payloads, and where the batch's bytes end.
    fn file(payloads: &[Vec<u8>]) -> (Vec<u8>, usize) {
        let mut batch = Aligned::default();
        begin_batch(&mut batch);
        for payload in payloads {
            let record = RawRecord {
                mark: Mark::Normal,
                group: 1,
                term: 7,
                leader: 2,
                index: 9,
                payload,
                offset: 0,
            };
            record.encode(&mut batch);
        }
        let end = OFFSET as usize + batch.len();
        finish_batch(&mut batch, HEADER, OFFSET, OFFSET, payloads.len() as u32);
        let mut file = vec![0; OFFSET as usize];
        file.extend_from_slice(&batch);
        file.resize(16_384, 0);
        (file, end)
    }

    fn any_payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..6)
    }

    proptest! {
        #[test]
        fn any_one_byte_is_put_right(
            payloads in any_payloads(),
            place in any::<proptest::sample::Index>(),
            mask in 1..=u8::MAX,
        ) {
            let (whole, end) = file(&payloads);
            let mut bytes = whole.clone();
            let at = OFFSET as usize + place.index(end - OFFSET as usize);
            bytes[at] ^= mask;
            prop_assert_eq!(put_right(&mut bytes, HEADER, OFFSET), Some(at as u64));
            prop_assert_eq!(bytes, whole);
        }

        #[test]
        fn what_was_not_written_in_full_stays_as_it_is(
            payloads in proptest::collection::vec(proptest::collection::vec(1..=u8::MAX, 600..2_000), 1..4),
            sector in any::<proptest::sample::Index>(),
            old in any::<u8>(),
        ) {
            let (whole, end) = file(&payloads);
            // Any but the first may be missing: a batch that does not begin is none.
            let sectors = (end - OFFSET as usize).div_ceil(512);
            let missing = OFFSET as usize + 512 * (1 + sector.index(sectors - 1));
            let lost = whole[missing..end.min(missing + 512)].iter().filter(|byte| **byte != old);
            prop_assume!(lost.count() > 1);
            let mut torn = whole;
            torn[missing..missing + 512].fill(old);
            let mut bytes = torn.clone();
            prop_assert_eq!(put_right(&mut bytes, HEADER, OFFSET), None);
            prop_assert_eq!(bytes, torn);
        }
    }

    #[test]
    fn what_looks_like_one_wrong_byte_to_every_crc_32c_is_not_put_right() {
        let (whole, end) = file(&[vec![5; 9_000]]);
        let table = Table::new();
        let first = OFFSET as usize + BATCH_HEADER_BYTES + RECORD_HEADER_BYTES;
        for distance in [1, 700, 8_000] {
            // What a wrong byte does to a checksum until four bytes undo it: as if these alone were wrong, it is where that was.
            let mut sum = table.of_byte[1];
            for _ in 1..distance {
                sum = (sum >> 8) ^ table.of_byte[usize::from(sum as u8)];
            }
            let mut bytes = whole.clone();
            for (byte, change) in bytes[first + distance..].iter_mut().zip(sum.to_le_bytes()) {
                *byte ^= change;
            }
            let wrong = bytes.clone();
            assert_eq!(put_right(&mut bytes, HEADER, OFFSET), None);
            assert_eq!(bytes, wrong);

            bytes[first] ^= 1;
            let batch = &bytes[OFFSET as usize..end];
            assert_eq!(crc32c::crc32c(&batch[LENGTH_AT..]), u32_at(batch, 0));
            let record = &batch[BATCH_HEADER_BYTES..];
            assert_eq!(crc32c::crc32c(&record[4..]), u32_at(record, 0));
        }
    }

    #[test]
    fn the_last_byte_of_a_batch_alone_in_its_sector_is_put_right() {
        let (whole, end) = file(&[vec![5; 512 + 1 - BATCH_HEADER_BYTES - RECORD_HEADER_BYTES]]);
        assert_eq!(end % 512, 1);
        for old in [0, 1, u8::MAX] {
            let mut bytes = whole.clone();
            bytes[end - 1..end - 1 + 512].fill(old);
            assert_eq!(put_right(&mut bytes, HEADER, OFFSET), Some(end as u64 - 1));
            assert_eq!(bytes[..end], whole[..end]);
        }
    }

    #[test]
    fn two_wrong_bytes_are_not_put_right() {
        let (mut bytes, end) = file(&[vec![5; 300], vec![6; 300]]);
        bytes[end - 1] ^= 1;
        bytes[OFFSET as usize + BATCH_HEADER_BYTES + 60] ^= 1;
        assert_eq!(put_right(&mut bytes, HEADER, OFFSET), None);
    }
}
