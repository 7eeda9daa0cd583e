//! What can still be read of batches of which something is damaged. Pure: bytes in, records and gaps out.
//!
//! Records follow each other by their lengths, and each has a checksum of its own. So one damaged record costs no
//! other, as long as its length leads to where good ones go on: then it is known what was lost. Good records are not
//! looked for anywhere else, for what a client sent may look like one.

use std::ops::Range;

use super::format::{
    BATCH_HEADER_BYTES, FileHeader, Mark, RECORD_HEADER_BYTES, RawRecord, claimed_header, claimed_length,
};

/// What can still be read of a part of a log file.
pub(crate) struct Salvage<'a> {
    /// What was found, in order.
    pub(crate) found: Vec<Found<'a>>,
    /// Whether that is all there was: else nobody knows what else was lost.
    pub(crate) is_all: bool,
}

/// A record, or where one was.
pub(crate) enum Found<'a> {
    Whole(RawRecord<'a>),
    Lost(Claim),
}

/// What a damaged record says that it is, which need not be true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claim {
    pub(crate) mark: Option<Mark>,
    pub(crate) group: u8,
    pub(crate) index: u64,
}

// === impl Salvage ===

impl<'a> Salvage<'a> {
    /// Reads the batches that begin with a range of a file and end with it.
    pub(crate) fn of(bytes: &'a [u8], header: FileHeader, range: Range<u64>) -> Salvage<'a> {
        let mut salvage = Salvage {
            found: Vec::new(),
            is_all: true,
        };
        let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(bytes.len());
        let mut start = usize::try_from(range.start).unwrap_or(usize::MAX);
        while start < end && salvage.is_all {
            let batch_end = salvage.take_batch(bytes, start, end);
            let block = header.block_bytes as usize;
            start = batch_end.next_multiple_of(block).max(start + block);
        }
        salvage
    }

    /// Takes the records of the batch at an offset; returns where they end.
    fn take_batch(&mut self, bytes: &'a [u8], start: usize, end: usize) -> usize {
        let mut at = start + BATCH_HEADER_BYTES;
        while at < end && !is_padding(&bytes[at..end]) {
            if let Ok(record) = RawRecord::parse(&bytes[at..end], at as u64) {
                self.found.push(Found::Whole(record));
                at += RECORD_HEADER_BYTES + record.payload.len();
                continue;
            }
            let after = claimed_length(&bytes[at..end])
                .and_then(|length| at.checked_add(length))
                .filter(|after| *after <= end && goes_on(&bytes[*after..end]));
            let Some(after) = after else {
                self.is_all = false;
                return end;
            };
            let (mark, group, index) = claimed_header(&bytes[at..end]);
            self.found.push(Found::Lost(Claim { mark, group, index }));
            at = after;
        }
        at
    }
}

/// Returns whether a good record is at the beginning of some bytes, or a batch's end.
fn goes_on(bytes: &[u8]) -> bool {
    is_padding(bytes) || RawRecord::parse(bytes, 0).is_ok()
}

/// Returns whether no record begins here: one begins with a checksum, a length and what it is, and nothing is no mark.
fn is_padding(bytes: &[u8]) -> bool {
    bytes.iter().take(RECORD_HEADER_BYTES).all(|byte| *byte == 0)
}
