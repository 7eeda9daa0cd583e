//! What one group has on the disk beside its log: a checkpoint, segments, decisions; and what is yet to get there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use posthouse_model::{BodyKey, Incarnation, LogIndex, MessageId, Sequence, StoredMessage, Time};

use crate::bodies::{BodyMemory, Place, Table};
use crate::checkpoint::{self, Checkpoint, Named};
use crate::damage::{Alarm, Wrong};
use crate::disk::{Disk, SyncPoint};
use crate::jobs::Jobs;
use crate::log::GroupLog;
use crate::segment::{Entry, Segment, SegmentKind, SegmentName};
use crate::{Damaged, DamagedPart, Done, GroupId, OnDamage, SegmentFile, SegmentSummary, StoreFault};

/// What one group has on the disk beside its log.
pub(crate) struct Shelf {
    pub(crate) group: GroupId,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) log: GroupLog,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) memory: Arc<BodyMemory>,
    /// Decisions that found no room.
    pub(crate) unnoted: AtomicU64,
    /// Files that are being fetched from another node.
    pub(crate) importing: Mutex<BTreeSet<String>>,
    alarm: Alarm,
    contents: RwLock<Contents>,
}

/// What is there at one time.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) checkpoint: Option<LogIndex>,
    /// What is wrong with the checkpoint's file, if something is.
    checkpoint_wrong: Option<Wrong>,
    /// The newest checkpoint, if it could not be opened, and no other in its place. It stays, to be found again at the next
    /// start, until another's takes its place.
    pub(crate) lost_checkpoint: Option<LogIndex>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) decisions: Arc<Vec<Arc<Segment>>>,
    pub(crate) active: Table,
    /// What was set aside for a cut, by its index.
    frozen: Vec<(LogIndex, Arc<Table>)>,
    pub(crate) notes: Notes,
    frozen_notes: Vec<(LogIndex, Arc<Notes>)>,
}

/// Segments with bodies, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    list: Vec<Arc<Segment>>,
    /// Those that the checkpoint names and that could not be opened.
    lost: Vec<Lost>,
    /// Where the last body was found: the next is likely to be there too.
    hint: AtomicUsize,
}

/// A segment that could not be opened.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) named: Named,
    pub(crate) wrong: Wrong,
}

/// Decisions that are not yet in a file, by message.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    by_message: BTreeMap<MessageId, Vec<Bytes>>,
    bytes: usize,
}

/// What a decision costs in memory beside its bytes.
const NOTE_OVERHEAD_BYTES: usize = 96;

// === impl Shelf ===

impl Shelf {
    /// Opens what the group's newest checkpoint names, and removes what it does not.
    pub(crate) fn open(
        group: GroupId,
        disk: Arc<dyn Disk>,
        directory: &Path,
        names: &[&str],
        log: GroupLog,
        jobs: Arc<Jobs>,
        memory: Arc<BodyMemory>,
    ) -> Result<Shelf, StoreFault> {
        let alarm = log.wal.alarm.clone();
        let mut contents = Contents::open(group, &*disk, directory, names, &log)?;
        for lost in &contents.segments.lost {
            alarm.raise(group, &lost.wrong);
        }
        contents.open_decisions(&*disk, directory, names);
        let shelf = Shelf {
            group,
            disk,
            directory: directory.to_owned(),
            log,
            jobs,
            memory,
            unnoted: AtomicU64::new(0),
            importing: Mutex::default(),
            alarm,
            contents: RwLock::new(contents),
        };
        shelf.remove_unnamed_of(names);
        Ok(shelf)
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&Contents) -> R) -> R {
        look(&self.contents.read())
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Contents) -> R) -> R {
        change(&mut self.contents.write())
    }

    /// Reads the newest checkpoint.
    pub(crate) fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreFault> {
        let Some(at) = self.look(|contents| contents.checkpoint) else {
            return Ok(None);
        };
        let path = self.directory.join(checkpoint::file_name(self.group, at));
        match checkpoint::read(&*self.disk, &path, self.group, at) {
            Ok((checkpoint, _)) => Ok(Some(checkpoint)),
            // A newer one may have taken its place just now.
            Err(_) if self.look(|contents| contents.checkpoint) != Some(at) => self.checkpoint(),
            Err(fault) => {
                self.note_checkpoint(at, &fault);
                Err(fault)
            }
        }
    }

    fn note_checkpoint(&self, at: LogIndex, fault: &StoreFault) {
        let Some(wrong) = Wrong::of(fault) else { return };
        let is_new = self.change(|contents| {
            let is_new = contents.checkpoint == Some(at) && contents.checkpoint_wrong.is_none();
            if is_new {
                contents.checkpoint_wrong = Some(wrong.clone());
            }
            is_new
        });
        if is_new {
            self.alarm.raise(self.group, &wrong);
        }
    }

    /// Hands on what a read said, and sees to it that damage which it found is known.
    pub(crate) fn noted<T>(&self, segment: &Segment, read: Result<T, StoreFault>) -> Result<T, StoreFault> {
        if let Err(fault) = &read
            && let Some(wrong) = Wrong::of(fault)
            && segment.note(wrong.clone())
        {
            self.alarm.raise(self.group, &wrong);
        }
        read
    }

    /// Returns whether a segment is among those that are there now.
    pub(crate) fn holds(&self, segment: &Arc<Segment>) -> bool {
        self.look(|contents| {
            let mut held = contents.segments.list.iter().chain(contents.decisions.iter());
            held.any(|held| Arc::ptr_eq(held, segment))
        })
    }

    /// Returns what is known to be damaged.
    pub(crate) fn damage(&self) -> Vec<Damaged> {
        let mut found = Vec::new();
        self.look(|contents| {
            let checkpoint = contents.checkpoint_wrong.iter();
            found.extend(checkpoint.map(|wrong| wrong.of_group(self.group, DamagedPart::Checkpoint)));
            found.extend(contents.segments.damage(self.group));
        });
        found
    }

    /// Lets go of everything, and removes the files, in the background: a cut that was queued before comes before it. Once
    /// `done` is told so, none of them comes back.
    pub(crate) fn clear(self: &Arc<Self>, done: Done) {
        let shelf = Arc::clone(self);
        let job = Box::new(move || {
            let answer = match shelf.jobs.is_closed() {
                true => Err(StoreFault::Closed),
                false => shelf.do_clear(),
            };
            done(answer);
        });
        // One that comes too late only says so.
        if let Err(late) = self.jobs.push(job) {
            late();
        }
    }

    fn do_clear(&self) -> Result<(), StoreFault> {
        let directory = &self.directory;
        let names = self.disk.list(directory);
        let names = names.map_err(|error| StoreFault::io("list", directory, &error))?;
        let prefix = self.group.file_prefix() + "-";
        let ours = names.iter().filter(|name| name.starts_with(&prefix));
        let is_checkpoint = |name: &&String| checkpoint::parse_file_name(name).is_some();
        let (checkpoints, others): (Vec<&String>, Vec<&String>) = ours.partition(is_checkpoint);
        // What earlier cuts removed is gone for good before the newest checkpoint is: an older one that came back in its
        // place would name segments that are gone.
        self.sync_cleared()?;
        // A checkpoint that came back would name what is gone.
        self.remove_all(&checkpoints)?;
        self.remove_all(&others)?;
        self.memory.forget(self.group);
        // Until here it says that something is left, for another attempt.
        self.change(|contents| *contents = Contents::default());
        Ok(())
    }

    /// Removes files for good.
    fn remove_all(&self, names: &[&String]) -> Result<(), StoreFault> {
        for name in names {
            let path = self.directory.join(name);
            let removed = self.disk.remove(&path);
            removed.map_err(|error| StoreFault::io("remove", &path, &error))?;
        }
        self.sync_cleared()
    }

    fn sync_cleared(&self) -> Result<(), StoreFault> {
        let synced = self
            .disk
            .sync_directory(&self.directory, SyncPoint::ClearedDirectory);
        synced.map_err(|error| {
            let fault = StoreFault::io("sync", &self.directory, &error);
            self.log.wal.fail(&fault)
        })
    }

    /// Removes the files that nothing names any more.
    pub(crate) fn remove_unnamed(&self) {
        match self.disk.list(&self.directory) {
            Ok(names) => {
                let prefix = self.group.file_prefix() + "-";
                let ours = names.iter().filter(|name| name.starts_with(&prefix));
                self.remove_unnamed_of(&ours.map(String::as_str).collect::<Vec<_>>());
            }
            Err(error) => tracing::warn!(%error, "could not look for files to remove"),
        }
    }

    fn remove_unnamed_of(&self, names: &[&str]) {
        for name in names {
            if self.look(|contents| contents.names(name)) || self.importing.lock().contains(*name) {
                continue;
            }
            // It is tried again at the next cut and at the next start.
            if let Err(error) = self.disk.remove(&self.directory.join(name)) {
                tracing::warn!(name, %error, "could not remove a file that is not needed");
            }
        }
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

// === impl Contents ===

impl Contents {
    /// Opens the newest checkpoint and what it names. If that is damaged, an older one that is still there takes its place,
    /// as long as the log goes on from it; else the group has lost its state.
    fn open(
        group: GroupId,
        disk: &dyn Disk,
        directory: &Path,
        names: &[&str],
        log: &GroupLog,
    ) -> Result<Contents, StoreFault> {
        let found = names.iter().filter_map(|name| checkpoint::parse_file_name(name));
        let mut all: Vec<LogIndex> = found.map(|(_, at)| at).collect();
        all.sort_unstable();
        let Some(newest) = all.pop() else {
            return Ok(Contents::default());
        };
        let on_damage = log.wal.config.on_damage;
        let fault = match Contents::open_at(group, disk, directory, newest, on_damage) {
            Ok(contents) => return Ok(contents),
            Err(fault) => fault,
        };
        let purged = log.state().purged.map(|purged| purged.index).unwrap_or_default();
        for at in all.into_iter().rev().take_while(|at| *at >= purged) {
            if let Ok(contents) = Contents::open_at(group, disk, directory, at, OnDamage::Refuse) {
                tracing::error!(%group, %newest, %at, %fault, "goes on from an older checkpoint");
                return Ok(contents);
            }
        }
        match on_damage {
            OnDamage::Refuse => Err(fault),
            OnDamage::Tell => {
                log.give_up_state(newest, Wrong::of(&fault).ok_or(fault)?);
                Ok(Contents {
                    lost_checkpoint: Some(newest),
                    ..Contents::default()
                })
            }
        }
    }

    fn open_at(
        group: GroupId,
        disk: &dyn Disk,
        directory: &Path,
        at: LogIndex,
        on_damage: OnDamage,
    ) -> Result<Contents, StoreFault> {
        let path = directory.join(checkpoint::file_name(group, at));
        let (_, named) = checkpoint::read(disk, &path, group, at)?;
        let mut contents = Contents {
            checkpoint: Some(at),
            ..Contents::default()
        };
        contents.open_segments(disk, directory, &named, on_damage)?;
        Ok(contents)
    }

    fn open_segments(
        &mut self,
        disk: &dyn Disk,
        directory: &Path,
        named: &[Named],
        on_damage: OnDamage,
    ) -> Result<(), StoreFault> {
        let mut list = Vec::with_capacity(named.len());
        let mut lost = Vec::new();
        for named in named {
            match (named.open(disk, directory), on_damage) {
                (Ok(segment), _) => list.push(Arc::new(segment)),
                (Err(fault), OnDamage::Refuse) => return Err(fault),
                (Err(fault), OnDamage::Tell) => {
                    let wrong = Wrong::of(&fault).ok_or(fault)?;
                    lost.push(Lost { named: *named, wrong });
                }
            }
        }
        self.segments = Arc::new(Segments::with_lost(list, lost));
        Ok(())
    }

    /// Puts a segment in the place of a damaged one; returns whether there was such a one.
    pub(crate) fn mend(&mut self, segment: &Arc<Segment>) -> bool {
        let mut list = self.segments.list.clone();
        let mut lost = self.segments.lost.clone();
        let is_it = |name: SegmentName, digest| name == segment.name && digest == segment.digest;
        if let Some(damaged) = list.iter_mut().find(|known| is_it(known.name, known.digest)) {
            *damaged = Arc::clone(segment);
        } else if let Some(place) = lost
            .iter()
            .position(|lost| is_it(lost.named.name, lost.named.digest))
        {
            lost.remove(place);
            list.push(Arc::clone(segment));
            list.sort_by_key(|segment| segment.name);
        } else {
            return false;
        }
        self.segments = Arc::new(Segments::with_lost(list, lost));
        true
    }

    /// Opens the decisions of the cuts up to the checkpoint. They serve `explain` alone, so a damaged file is left
    /// out and said so, and nothing else suffers.
    fn open_decisions(&mut self, disk: &dyn Disk, directory: &Path, names: &[&str]) {
        let mut list = Vec::new();
        for name in names.iter().filter_map(|name| SegmentName::parse(name)) {
            let (name, digest) = name;
            if name.kind != SegmentKind::Decisions || Some(name.made_at) > self.checkpoint {
                continue;
            }
            match Segment::open(disk, directory, name, digest) {
                Ok(segment) => list.push(Arc::new(segment)),
                Err(fault) => tracing::error!(%fault, "decisions are left out of `explain`"),
            }
        }
        list.sort_by_key(|segment| segment.name);
        self.decisions = Arc::new(list);
    }

    pub(crate) fn names(&self, file: &str) -> bool {
        if let Some((_, at)) = checkpoint::parse_file_name(file) {
            return self.checkpoint == Some(at) || self.lost_checkpoint == Some(at);
        }
        let is_named = |segment: &Arc<Segment>| segment.path.ends_with(file);
        let is_lost = |lost: &Lost| lost.named.name.file_name(lost.named.digest) == file;
        self.segments.lost.iter().any(is_lost)
            || self.segments.list.iter().any(is_named)
            || self.decisions.iter().any(is_named)
    }

    /// Returns where in the log a body is, if it is not in a segment yet.
    pub(crate) fn place(&self, key: BodyKey) -> Option<Place> {
        let frozen = self.frozen.iter().rev().find_map(|(_, table)| table.get(key));
        self.active.get(key).or(frozen)
    }

    pub(crate) fn uncut(&self) -> usize {
        let frozen: usize = self.frozen.iter().map(|(_, table)| table.bodies()).sum();
        self.active.bodies() + frozen
    }

    /// Sets aside what was inserted and noted so far, for the cut at an index.
    pub(crate) fn freeze(&mut self, at: LogIndex) {
        if self.active.bodies() > 0 {
            self.frozen.push((at, Arc::new(std::mem::take(&mut self.active))));
        }
        if !self.notes.is_empty() {
            self.frozen_notes
                .push((at, Arc::new(std::mem::take(&mut self.notes))));
        }
    }

    /// Returns what was set aside for the cuts up to an index: tables and notes.
    pub(crate) fn frozen_to(&self, at: LogIndex) -> (Vec<Arc<Table>>, Vec<Arc<Notes>>) {
        let tables = self.frozen.iter().take_while(|(of, _)| *of <= at);
        let notes = self.frozen_notes.iter().take_while(|(of, _)| *of <= at);
        (
            tables.map(|(_, table)| Arc::clone(table)).collect(),
            notes.map(|(_, notes)| Arc::clone(notes)).collect(),
        )
    }

    /// Takes in a cut that is durable.
    pub(crate) fn install(
        &mut self,
        at: LogIndex,
        segments: Segments,
        tables: usize,
        notes: usize,
        decisions: Option<Arc<Segment>>,
    ) {
        self.checkpoint = Some(at);
        self.checkpoint_wrong = None;
        self.segments = Arc::new(segments);
        self.frozen.drain(..tables);
        self.frozen_notes.drain(..notes);
        if let Some(decisions) = decisions {
            Arc::make_mut(&mut self.decisions).push(decisions);
        }
    }

    /// Takes in a checkpoint that came from elsewhere, with all that it names, and lets go of everything else.
    pub(crate) fn replace(&mut self, at: LogIndex, segments: Segments) {
        *self = Contents {
            checkpoint: Some(at),
            segments: Arc::new(segments),
            decisions: Arc::clone(&self.decisions),
            ..Contents::default()
        };
    }

    pub(crate) fn all_notes(&self) -> impl Iterator<Item = &Notes> {
        self.frozen_notes
            .iter()
            .map(|(_, notes)| &**notes)
            .chain([&self.notes])
    }
}

// === impl Segments ===

impl Segments {
    pub(crate) fn new(list: Vec<Arc<Segment>>) -> Segments {
        Segments::with_lost(list, Vec::new())
    }

    pub(crate) fn with_lost(list: Vec<Arc<Segment>>, lost: Vec<Lost>) -> Segments {
        Segments {
            list,
            lost,
            hint: AtomicUsize::new(0),
        }
    }

    /// Returns those that could not be opened.
    pub(crate) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    fn damage(&self, group: GroupId) -> Vec<Damaged> {
        let of = |named: &Named, wrong: &Wrong| {
            let file = SegmentFile::named(named)?;
            Some(wrong.of_group(group, DamagedPart::Segment(file)))
        };
        let opened = self
            .list
            .iter()
            .filter_map(|segment| of(&Named::of(segment), segment.wrong()?));
        let lost = self.lost.iter().filter_map(|lost| of(&lost.named, &lost.wrong));
        opened.chain(lost).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.list.iter()
    }

    pub(crate) fn bytes(&self) -> u64 {
        let lost: u64 = self.lost.iter().map(|lost| lost.named.bytes).sum();
        lost + self.list.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    pub(crate) fn find(&self, name: SegmentName, digest: u32) -> Option<&Arc<Segment>> {
        self.list
            .iter()
            .find(|segment| segment.name == name && segment.digest == digest)
    }

    pub(crate) fn summaries(&self) -> Vec<SegmentSummary> {
        let mut summaries = Vec::with_capacity(self.list.len());
        for segment in &self.list {
            if let SegmentKind::Bodies(class) = segment.name.kind {
                summaries.push(SegmentSummary {
                    made_at: segment.name.made_at,
                    class,
                    bytes: segment.bytes,
                    bodies: segment.entries,
                    streams: segment.streams.to_vec(),
                });
            }
        }
        summaries
    }

    /// Reads a body, if it is in one of them.
    pub(crate) fn read(&self, shelf: &Shelf, key: BodyKey) -> Result<Option<StoredMessage>, StoreFault> {
        let Some((segment, entry)) = self.find_record(shelf, key)? else {
            return Ok(None);
        };
        let record = segment.get_along(&entry, &shelf.memory.pieces);
        shelf
            .noted(segment, record)
            .and_then(|record| segment.decode(&record))
            .map(Some)
    }

    /// Finds the record of a body, if it is in one of them.
    pub(crate) fn find_record(
        &self,
        shelf: &Shelf,
        key: BodyKey,
    ) -> Result<Option<(&Arc<Segment>, Entry)>, StoreFault> {
        let hint = self.hint.load(Ordering::Relaxed);
        let others = (0..self.list.len()).rev().filter(|place| *place != hint);
        for place in std::iter::once(hint).chain(others) {
            let Some(segment) = self.list.get(place) else {
                continue;
            };
            let Some(entry) = shelf.noted(segment, segment.find_record(key))? else {
                continue;
            };
            self.hint.store(place, Ordering::Relaxed);
            return Ok(Some((segment, entry)));
        }
        // It may be in one that cannot be looked into.
        match self.lost.first() {
            Some(lost) => Err(lost.wrong.fault()),
            None => Ok(None),
        }
    }
}

// === impl Notes ===

impl Notes {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_message.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn insert(&mut self, message: MessageId, note: Bytes) {
        self.bytes += note.len() + NOTE_OVERHEAD_BYTES;
        self.by_message.entry(message).or_default().push(note);
    }

    pub(crate) fn get(&self, message: MessageId) -> &[Bytes] {
        self.by_message.get(&message).map_or(&[], Vec::as_slice)
    }

    /// Hands over what several have of each message, as one record: each note after its length in a byte.
    pub(crate) fn merge(
        all: &[Arc<Notes>],
        mut each: impl FnMut(BodyKey, Time, &[u8]) -> Result<(), StoreFault>,
    ) -> Result<(), StoreFault> {
        let mut merged: BTreeMap<MessageId, Vec<u8>> = BTreeMap::new();
        for notes in all {
            for (message, notes) in &notes.by_message {
                let record = merged.entry(*message).or_default();
                for note in notes {
                    record.push(note.len() as u8);
                    record.extend_from_slice(note);
                }
            }
        }
        for (message, record) in merged {
            each(Self::key(message), message.stamped(), &record)?;
        }
        Ok(())
    }

    /// Returns the key under which a message's decisions are filed.
    pub(crate) fn key(message: MessageId) -> BodyKey {
        BodyKey {
            stream: Incarnation(0),
            sequence: Sequence(message.0),
        }
    }
}

impl Shelf {
    /// Makes names durable that a killed process may have left in memory only.
    pub(crate) fn sync_names(disk: &dyn Disk, directory: &Path) -> Result<(), StoreFault> {
        disk.sync_directory(directory, SyncPoint::RecoveredDirectory)
            .map_err(|error| StoreFault::io("sync", directory, &error))
    }
}
