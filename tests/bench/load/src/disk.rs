//! What is written to the disk on which all keep their data.
//!
//! The kernel's count for each process (`write_bytes` of `/proc/PID/io`) is no use for it: where a file's pages are kept in
//! large pieces, it counts a piece of 2 MiB for each small write into a part of the file that is there already, as logs do
//! that are laid out in advance. The disk's own count has no such fault, but counts what others write as well.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What `/sys` calls a sector, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// A disk that counts what is written to it.
#[derive(Debug)]
pub struct Disk {
    statistics: PathBuf,
}

// === impl Disk ===

impl Disk {
    /// Returns the disk of a folder; none if its file system is not on one that counts.
    pub fn of(folder: &Path) -> anyhow::Result<Option<Disk>> {
        let device = fs::metadata(folder)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let statistics = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        Ok(statistics.is_file().then_some(Disk { statistics }))
    }

    /// Returns how many bytes were written to it until now, everything that waits for that too.
    pub fn written_bytes(&self) -> anyhow::Result<u64> {
        rustix::fs::sync();
        let statistics = fs::read_to_string(&self.statistics)?;
        written_of(&statistics)
            .ok_or_else(|| anyhow::anyhow!("{} does not say what was written", self.statistics.display()))
    }
}

fn written_of(statistics: &str) -> Option<u64> {
    let sectors: u64 = statistics.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * SECTOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_written_are_the_seventh_figure() {
        let statistics = "  100  2  3000  4  500  6  7000  8  0  9  10  0 0 0 0 11 12\n";
        assert_eq!(written_of(statistics), Some(7_000 * 512));
        assert_eq!(written_of("1 2 3"), None);
    }
}
