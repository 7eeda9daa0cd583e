//! Reading a log file again while it is in use: batch after batch, each by its checksum.

use std::io;

use super::format::{BATCH_HEADER_BYTES, FILE_HEADER_BYTES, FileHeader, batch_bytes, is_batch};
use crate::disk::{DiskFile, read_exact_at, read_range};

/// A log file that is read again.
pub(crate) struct Checking<'a> {
    file: &'a dyn DiskFile,
    header: FileHeader,
    /// Where the next batch begins.
    pub(crate) at: u64,
}

// === impl Checking ===

impl Checking<'_> {
    /// Reads a file's header, and goes on with the batch at an offset, or the first one. Says what is wrong.
    pub(crate) fn open(file: &dyn DiskFile, from: u64) -> Result<Checking<'_>, String> {
        if from == 0
            && let Ok(bytes) = file.bytes()
        {
            file.uncache(0..bytes);
        }
        let mut header = [0; FILE_HEADER_BYTES];
        read_exact_at(file, &mut header, 0).map_err(|error| error.to_string())?;
        let header = FileHeader::parse(&header).map_err(|damage| damage.what.to_owned())?;
        let at = from.max(u64::from(header.block_bytes));
        Ok(Checking { file, header, at })
    }

    /// Reads the next batch and steps past it. When it is damaged, says how, and steps to the next good one, or to the
    /// end.
    pub(crate) fn step(&mut self, end: u64) -> Option<String> {
        let what = match self.good_batch(self.at, end) {
            Ok(Some(next)) => {
                self.at = next;
                return None;
            }
            Ok(None) => "a batch is damaged".to_owned(),
            Err(error) => error.to_string(),
        };
        let block = u64::from(self.header.block_bytes);
        self.at += block;
        while self.at < end && !matches!(self.good_batch(self.at, end), Ok(Some(_))) {
            self.at += block;
        }
        self.at = self.at.min(end);
        Some(what)
    }

    /// Returns where the batch at an offset ends, if a good one is there.
    fn good_batch(&self, at: u64, end: u64) -> io::Result<Option<u64>> {
        let mut head = [0; BATCH_HEADER_BYTES];
        read_exact_at(self.file, &mut head, at)?;
        let Some(bytes) = batch_bytes(&head, self.header, at).filter(|bytes| at + bytes <= end) else {
            return Ok(None);
        };
        let batch = read_range(self.file, at..at + bytes)?;
        Ok(is_batch(&batch, self.header, at).then_some(at + bytes))
    }
}
