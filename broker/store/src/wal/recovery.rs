//! Reading the log back after a stop: what is whole is taken, a torn tail is cut, damage before it is refused, or told.
//!
//! Where others have what is lost ([`OnDamage::Tell`]), reading goes on behind the damage, with what can be salvaged of
//! it. Each group is then judged by itself: one that certainly lost nothing goes on as if nothing had happened. One that
//! lost an entry, or may have lost one or a vote, gives up its entries and says so; its vote stays, as far as it is known.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use posthouse_model::{LogIndex, ReplicaId, Term};

use super::flipped::put_right;
use super::format::{FileEnd, FileHeader, Mark, RawRecord, Tail, first_records, scan, scan_from};
use super::salvage::{Claim, Found, Salvage};
use super::writer::{
    Current, Location, Spare, WalFile, WalParts, Writer, file_name, parse_file_name, parse_spare_name,
};
use crate::aligned::Aligned;
use crate::damage::Wrong;
use crate::disk::{Disk, Opening, SyncPoint, read_exact_at, read_whole};
use crate::log::{Group, LogPoint};
use crate::{Config, GroupId, OnDamage, StoreFault, TornTail};

/// What is read of a file's beginning for its first batch, which has a few records of each group.
const CARRY_BYTES_MAX: usize = 1 << 20;

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
    on_damage: OnDamage,
    /// What was damaged, oldest first, with the file's epoch.
    damage: Vec<(u32, Wrong)>,
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
        on_damage: config.on_damage,
        damage: Vec::new(),
    };
    for (place, epoch) in epochs.iter().enumerate() {
        let next = epochs.get(place + 1).copied();
        recovery.read_file(disk, directory, config, *epoch, next)?;
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

/// Puts the last batch of the last file right, if one byte of it is wrong. It is written again with all of it.
fn put_tail_right(path: &Path, bytes: &mut [u8], header: FileHeader) -> Result<(), StoreFault> {
    let end = scan(bytes, header, |_| {}).map_err(|damage| StoreFault::damage(path, &damage))?;
    let Tail::Torn { .. } = end.tail else {
        return Ok(());
    };
    if let Some(offset) = put_right(bytes, header, end.offset) {
        tracing::error!(file = %path.display(), offset, "a byte of the log's last batch was damaged, and is put right");
    }
    Ok(())
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

/// Returns where a file ended, as the one after it says; none when that cannot be read, or follows another.
fn said_end(disk: &dyn Disk, directory: &Path, config: &Config, epoch: u32, next: u32) -> Option<u64> {
    let file = disk.open(&directory.join(file_name(next)), Opening::Read).ok()?;
    let mut bytes = vec![0; CARRY_BYTES_MAX.min(usize::try_from(file.bytes().ok()?).ok()?)];
    read_exact_at(&*file, &mut bytes, 0).ok()?;
    let header = FileHeader::parse(&bytes).ok();
    let header =
        header.or_else(|| FileHeader::by_first_batch(&bytes, config.wal_block_bytes, u64::from(next)))?;
    let preceded = first_records(&bytes, header)
        .into_iter()
        .find(|record| record.mark == Mark::Preceded)?;
    (preceded.term == u64::from(epoch)).then_some(preceded.index)
}

// === impl Recovery ===

impl Recovery {
    fn read_file(
        &mut self,
        disk: &dyn Disk,
        directory: &Path,
        config: &Config,
        epoch: u32,
        next: Option<u32>,
    ) -> Result<(), StoreFault> {
        let path = directory.join(file_name(epoch));
        let read = || -> io::Result<_> {
            let file = disk.open(&path, Opening::Write)?;
            let bytes = read_whole(&*file)?;
            Ok((file, bytes))
        };
        let (file, mut bytes) = read().map_err(|error| StoreFault::io("read", &path, &error))?;
        let header = self.read_header(&path, &bytes, config, epoch)?;
        if next.is_none() {
            put_tail_right(&path, &mut bytes, header)?;
        }
        // Where this one ended, as the next one says: what is damaged at the end of a file shows by nothing else.
        let said_end = match (self.on_damage, next) {
            (OnDamage::Tell, Some(next)) => said_end(disk, directory, config, epoch, next),
            (OnDamage::Tell, None) | (OnDamage::Refuse, _) => None,
        };
        let end = self.read_batches(&path, &bytes, header, said_end)?;
        self.check_end()?;
        let file = Arc::new(WalFile {
            file,
            path,
            bytes: bytes.len() as u64,
            end: AtomicU64::new(end.offset),
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

    fn read_header(
        &mut self,
        path: &Path,
        bytes: &[u8],
        config: &Config,
        epoch: u32,
    ) -> Result<FileHeader, StoreFault> {
        let header = match (FileHeader::parse(bytes), self.on_damage) {
            (Ok(header), _) => header,
            (Err(damage), OnDamage::Refuse) => return Err(StoreFault::damage(path, &damage)),
            (Err(damage), OnDamage::Tell) => {
                let by_batch = FileHeader::by_first_batch(bytes, config.wal_block_bytes, u64::from(epoch));
                let header = by_batch.ok_or_else(|| StoreFault::damage(path, &damage))?;
                // It says nothing that its first batch does not.
                tracing::error!(file = %path.display(), %damage, "the header of a log file is damaged");
                header
            }
        };
        if header.epoch != u64::from(epoch) {
            return Err(StoreFault::corrupt(
                path,
                16,
                8,
                "the file holds another epoch than its name says",
            ));
        }
        Ok(header)
    }

    /// Takes in the batches of a file, and what can be salvaged of damaged ones.
    fn read_batches(
        &mut self,
        path: &Path,
        bytes: &[u8],
        header: FileHeader,
        said_end: Option<u64>,
    ) -> Result<FileEnd, StoreFault> {
        let epoch = u32::try_from(header.epoch).unwrap_or(u32::MAX);
        let mut from = u64::from(header.block_bytes);
        let mut last_batch = None;
        loop {
            let mut fault = None;
            let scanned = scan_from(bytes, header, from, |record| {
                if fault.is_none() {
                    fault = self.take(epoch, record).err();
                }
            });
            let mut end = scanned.map_err(|damage| StoreFault::damage(path, &damage))?;
            if let Some((offset, what)) = fault {
                return Err(StoreFault::corrupt(path, offset, 0, what));
            }
            last_batch = end.last_batch.or(last_batch);
            end.last_batch = last_batch;
            let until = match (self.on_damage, end.tail) {
                (OnDamage::Refuse, _) => None,
                (OnDamage::Tell, Tail::Damaged { followed_by }) => Some(followed_by),
                (OnDamage::Tell, Tail::Clean | Tail::Torn { .. }) => {
                    said_end.filter(|said| *said > end.offset)
                }
            };
            let Some(until) = until else {
                if last_batch.is_none() {
                    let offset = u64::from(header.block_bytes);
                    return Err(StoreFault::corrupt(
                        path,
                        offset,
                        0,
                        "the file's first batch is damaged",
                    ));
                }
                return Ok(end);
            };
            self.salvage(path, bytes, header, end.offset..until);
            if Some(until) == said_end {
                return Ok(FileEnd {
                    offset: until,
                    last_batch: None,
                    tail: Tail::Clean,
                });
            }
            from = until;
        }
    }

    /// Takes in what can be read of damaged batches, and has the groups doubt what may have been lost.
    fn salvage(&mut self, path: &Path, bytes: &[u8], header: FileHeader, range: Range<u64>) {
        let epoch = u32::try_from(header.epoch).unwrap_or(u32::MAX);
        let wrong = Wrong {
            file: path.to_owned(),
            offset: range.start,
            bytes: range.end - range.start,
            what: "a batch is damaged that was durable".to_owned(),
        };
        tracing::error!(file = %path.display(), offset = wrong.offset, bytes = wrong.bytes, "the log is damaged");
        self.damage.push((epoch, wrong));
        let Salvage { found, mut is_all } = Salvage::of(bytes, header, range);
        for found in found {
            match found {
                Found::Whole(record) => is_all &= self.take(epoch, record).is_ok(),
                Found::Lost(claim) => is_all &= self.lose(claim),
            }
        }
        if !is_all {
            for group in &mut self.groups {
                group.doubt();
            }
        }
    }

    /// Takes notice that a record was lost; returns whether it is certain which.
    fn lose(&mut self, claim: Claim) -> bool {
        let is_entry = match claim.mark {
            Some(Mark::Blank | Mark::Membership | Mark::Normal) => true,
            Some(
                Mark::Vote
                | Mark::TruncateAfter
                | Mark::TruncateAll
                | Mark::Purge
                | Mark::Clear
                | Mark::Committed
                | Mark::Preceded
                | Mark::Note
                | Mark::ClearedAt,
            )
            | None => false,
        };
        let group = self.groups.get_mut(usize::from(claim.group));
        // The entry that it says it is must be the one that its group lacks.
        is_entry && group.is_some_and(|group| group.recover_lost(LogIndex(claim.index)))
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
                end.saturating_sub(last.end.offset),
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
        let offset = || {
            let offset = u32::try_from(record.offset);
            offset.map_err(|_| (record.offset, "a record beyond what a log file can be"))
        };
        match record.mark {
            Mark::Blank | Mark::Membership | Mark::Normal => {
                let offset = offset()?;
                let bytes = (super::RECORD_HEADER_BYTES + record.payload.len()) as u32;
                group.recover_entry(point, Location { epoch, offset, bytes });
            }
            Mark::Vote => group.recover_vote(Bytes::copy_from_slice(record.payload)),
            Mark::TruncateAfter => group.recover_truncation(Some(point.index)),
            Mark::TruncateAll => group.recover_truncation(None),
            Mark::Purge => group.recover_purge(point),
            Mark::Clear => group.recover_clear((epoch, offset()?)),
            Mark::ClearedAt => {
                let place = u32::try_from(record.term)
                    .ok()
                    .zip(u32::try_from(record.index).ok());
                let place = place.ok_or((record.offset, "a place beyond what a log file can be"))?;
                group.recover_cleared_at(place);
            }
            Mark::Committed => group.state.committed = Some(point),
            Mark::Note => group.state.note = Some(Bytes::copy_from_slice(record.payload)),
            Mark::Preceded => {
                self.preceded = Some((record.term, record.index));
                // What follows is the newest vote of each group that has one.
                for group in &mut self.groups {
                    group.recover_carried();
                }
            }
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
                followed_by - offset,
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
        for number in 0..self.groups.len() {
            let group = &mut self.groups[number];
            let missing = group.recovered();
            let oldest = group.oldest_epoch();
            let file = oldest.and_then(|oldest| self.files.get(&oldest));
            let path = file.map_or_else(PathBuf::new, |file| file.path.clone());
            let mut what = None;
            if let Some(missing) = missing {
                what = Some(format!(
                    "entries of group {number} are missing from index {missing} on"
                ));
            } else if self
                .released
                .is_some_and(|released| oldest.is_some_and(|oldest| oldest <= released))
            {
                what = Some(format!(
                    "the log file after this one is missing, and group {number} needs it"
                ));
            }
            let is_doubted = group.has_lost();
            match (what, self.on_damage) {
                (Some(what), OnDamage::Refuse) => return Err(StoreFault::corrupt(&path, 0, 0, what)),
                (None, _) if !is_doubted => {}
                (what, _) => {
                    let known = self.damage.first().cloned();
                    let (epoch, wrong) = known.unwrap_or_else(|| {
                        let what = what.unwrap_or_default();
                        let (offset, bytes) = (0, 0);
                        let wrong = Wrong {
                            file: path,
                            offset,
                            bytes,
                            what,
                        };
                        (oldest.unwrap_or_default(), wrong)
                    });
                    tracing::error!(group = number, "gives up its entries: some are lost, or may be");
                    group.give_up(epoch, wrong);
                }
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
                    note: group.state.note.clone(),
                    cleared_at: group.cleared_at(),
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
            buffer: Aligned::default(),
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
