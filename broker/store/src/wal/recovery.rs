//! Reading the log back after a stop: what is whole is taken, a torn tail is cut, damage before it is refused.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{LogIndex, ReplicaId, Term};

use super::format::{FileEnd, FileHeader, Mark, RawRecord, Tail, scan};
use super::writer::{
    Current, Location, Spare, WalFile, WalParts, Writer, file_name, parse_file_name, parse_spare_name,
};
use crate::disk::{Disk, Opening, SyncPoint, read_whole};
use crate::log::{Group, LogPoint};
use crate::{Config, Damage, GroupId, StoreFault, TornTail};

/// What is found while files are read one after the other.
struct Recovery {
    groups: Vec<Group>,
    files: BTreeMap<u32, Arc<WalFile>>,
    /// The file read last.
    last: Option<Last>,
    /// Epoch and end of the file before, as the file being read says.
    preceded: Option<(u64, u64)>,
    /// Files up to this epoch must not be needed, for one after them is missing.
    released: Option<u32>,
}

/// The file read last.
struct Last {
    epoch: u32,
    header: FileHeader,
    end: FileEnd,
    file: Arc<WalFile>,
    /// The bytes of its last batch, to be written again.
    last_batch: Vec<u8>,
}

/// Reads the log in a directory; returns it ready to be written on, and the torn tail that was cut, if any.
pub(crate) fn recover(
    disk: &dyn Disk,
    directory: &Path,
    config: &Config,
) -> Result<(WalParts, Option<TornTail>), StoreFault> {
    let (epochs, spares) = list(disk, directory)?;
    let groups = (0..GroupId::COUNT).map(|_| Group::default()).collect();
    let mut recovery = Recovery {
        groups,
        files: BTreeMap::new(),
        last: None,
        preceded: None,
        released: None,
    };
    for epoch in epochs {
        recovery.read_file(disk, directory, epoch)?;
    }
    let torn = recovery.check_tail()?;
    recovery.make_durable(disk, directory)?;
    recovery.check_groups()?;
    let (spares, spare_number) = open_spares(disk, directory, config, spares)?;
    Ok((recovery.into_parts(spares, spare_number), torn))
}

fn list(disk: &dyn Disk, directory: &Path) -> Result<(Vec<u32>, Vec<String>), StoreFault> {
    let mut epochs = Vec::new();
    let mut spares = Vec::new();
    let names = disk
        .list(directory)
        .map_err(|error| StoreFault::io("list", directory, &error))?;
    for name in names {
        if let Some(epoch) = parse_file_name(&name) {
            epochs.push(epoch);
        } else if parse_spare_name(Path::new(&name)).is_some() {
            spares.push(name);
        }
    }
    epochs.sort_unstable();
    Ok((epochs, spares))
}

fn open_spares(
    disk: &dyn Disk,
    directory: &Path,
    config: &Config,
    names: Vec<String>,
) -> Result<(Vec<Spare>, u64), StoreFault> {
    let mut spares = Vec::new();
    let mut number = 0;
    for name in names {
        let path = directory.join(&name);
        number = number.max(parse_spare_name(Path::new(&name)).map_or(0, |number| number + 1));
        let open = || -> io::Result<Option<Spare>> {
            let file = disk.open(&path, Opening::Write)?;
            if file.bytes()? == config.wal_file_bytes && spares.len() < config.wal_spares_max {
                return Ok(Some(Spare {
                    file,
                    path: path.clone(),
                }));
            }
            disk.remove(&path)?;
            Ok(None)
        };
        spares.extend(open().map_err(|error| StoreFault::io("open", &path, &error))?);
    }
    Ok((spares, number))
}

// === impl Recovery ===

impl Recovery {
    fn read_file(&mut self, disk: &dyn Disk, directory: &Path, epoch: u32) -> Result<(), StoreFault> {
        let path = directory.join(file_name(epoch));
        let read = || -> io::Result<_> {
            let file = disk.open(&path, Opening::Write)?;
            let bytes = read_whole(&*file)?;
            Ok((file, bytes))
        };
        let (file, bytes) = read().map_err(|error| StoreFault::io("read", &path, &error))?;
        let damage = |damage: Damage| StoreFault::damage(&path, &damage);
        let header = FileHeader::parse(&bytes).map_err(damage)?;
        if header.epoch != u64::from(epoch) {
            return Err(StoreFault::corrupt(
                &path,
                16,
                "the file holds another epoch than its name says",
            ));
        }
        let mut fault = None;
        let end = scan(&bytes, header, |record| {
            if fault.is_none() {
                fault = self.take(epoch, record).err();
            }
        })
        .map_err(damage)?;
        if let Some((offset, what)) = fault {
            return Err(StoreFault::corrupt(&path, offset, what));
        }
        if end.last_batch.is_none() {
            let offset = u64::from(header.block_bytes);
            return Err(StoreFault::corrupt(
                &path,
                offset,
                "the file's first batch is damaged",
            ));
        }
        self.check_end()?;
        let file = Arc::new(WalFile {
            file,
            path,
            bytes: bytes.len() as u64,
        });
        self.files.insert(epoch, Arc::clone(&file));
        let last_batch = end.last_batch.map_or(Vec::new(), |start| {
            bytes[start as usize..(end.offset as usize).min(bytes.len())].to_vec()
        });
        self.last = Some(Last {
            epoch,
            header,
            end,
            file,
            last_batch,
        });
        Ok(())
    }

    /// Checks that the file before ended where this one says it did.
    fn check_end(&mut self) -> Result<(), StoreFault> {
        let (Some(last), Some((epoch, end))) = (&self.last, self.preceded.take()) else {
            return Ok(());
        };
        if epoch != u64::from(last.epoch) {
            // The file in between was released, and so were those before it, though they came back: only their
            // names had been taken away when the node stopped.
            self.released = Some(last.epoch);
            return Ok(());
        }
        if end != last.end.offset {
            return Err(StoreFault::corrupt(
                &last.file.path,
                last.end.offset,
                format!("a batch is damaged that was durable; batches went on to offset {end}"),
            ));
        }
        Ok(())
    }

    fn take(&mut self, epoch: u32, record: RawRecord<'_>) -> Result<(), (u64, &'static str)> {
        let group = self
            .groups
            .get_mut(usize::from(record.group))
            .ok_or((record.offset, "a record of a group that cannot be"))?;
        let point = LogPoint {
            term: Term(record.term),
            leader: ReplicaId(record.leader),
            index: LogIndex(record.index),
        };
        match record.mark {
            Mark::Blank | Mark::Membership | Mark::Normal => {
                let offset = u32::try_from(record.offset)
                    .map_err(|_| (record.offset, "a record beyond what a log file can be"))?;
                let bytes = (super::RECORD_HEADER_BYTES + record.payload.len()) as u32;
                group.recover_entry(point, Location { epoch, offset, bytes });
            }
            Mark::Vote => group.state.vote = Some(Bytes::copy_from_slice(record.payload)),
            Mark::TruncateAfter => group.recover_truncation(Some(point.index)),
            Mark::TruncateAll => group.recover_truncation(None),
            Mark::Purge => group.recover_purge(point),
            Mark::Committed => group.state.committed = Some(point),
            Mark::Preceded => self.preceded = Some((record.term, record.index)),
        }
        Ok(())
    }

    /// Looks at what follows the last good batch: a torn one is cut, unless a good one says it was durable.
    fn check_tail(&self) -> Result<Option<TornTail>, StoreFault> {
        let Some(last) = &self.last else {
            return Ok(None);
        };
        let file = last.file.path.clone();
        let offset = last.end.offset;
        match last.end.tail {
            Tail::Clean => Ok(None),
            Tail::Torn { bytes } => {
                tracing::warn!(file = %file.display(), offset, bytes, "cut a torn tail of the log");
                Ok(Some(TornTail { file, offset, bytes }))
            }
            Tail::Damaged { followed_by } => Err(StoreFault::corrupt(
                &file,
                offset,
                format!("a batch is damaged that was durable; a later one is at offset {followed_by}"),
            )),
        }
    }

    /// Makes durable what was found. A process that was killed leaves batches and names in the page cache only,
    /// and a sync that failed leaves them there as if they were written: so the last batch is written again.
    fn make_durable(&self, disk: &dyn Disk, directory: &Path) -> Result<(), StoreFault> {
        if let Some(last) = &self.last {
            let write = || {
                let start = last.end.last_batch.unwrap_or(last.end.offset);
                last.file.file.write_at(&last.last_batch, start)?;
                last.file.file.sync(SyncPoint::WalRecovered)
            };
            write().map_err(|error| StoreFault::io("sync", &last.file.path, &error))?;
        }
        disk.sync_directory(directory, SyncPoint::RecoveredDirectory)
            .map_err(|error| StoreFault::io("sync", directory, &error))
    }

    fn check_groups(&mut self) -> Result<(), StoreFault> {
        for (number, group) in self.groups.iter_mut().enumerate() {
            let missing = group.recovered();
            let Some(oldest) = group.oldest_epoch() else {
                continue;
            };
            let path = self
                .files
                .get(&oldest)
                .map_or_else(PathBuf::new, |file| file.path.clone());
            if let Some(missing) = missing {
                let what = format!("entries of group {number} are missing from index {missing} on");
                return Err(StoreFault::corrupt(&path, 0, what));
            }
            if self.released.is_some_and(|released| oldest <= released) {
                let what = format!("the log file after this one is missing, and group {number} needs it");
                return Err(StoreFault::corrupt(&path, 0, what));
            }
        }
        Ok(())
    }

    fn into_parts(self, spares: Vec<Spare>, spare_number: u64) -> WalParts {
        let carried = self
            .groups
            .iter()
            .enumerate()
            .map(|(number, group)| {
                let carried = super::writer::Carried {
                    vote: group.state.vote.clone(),
                    purged: group.state.purged,
                    committed: group.state.committed,
                };
                (GroupId(number as u8), carried)
            })
            .filter(|(_, carried)| carried.says_something())
            .collect();
        let current = self.last.map(|last| Current {
            header: last.header,
            file: last.file,
            end: last.end.offset,
        });
        let writer = Writer {
            current,
            carried,
            written: VecDeque::new(),
            buffer: Vec::new(),
            is_in_doubt: false,
        };
        WalParts {
            groups: self.groups,
            writer,
            files: self.files,
            spares,
            spare_number,
        }
    }
}
