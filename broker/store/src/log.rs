//! One group's log: its entries, its vote, and how far it was truncated, purged and agreed on.
//!
//! What callers see changes at once; what is durable follows in the same order, for all groups of the node in one
//! queue. An entry is read from memory while it is there and from its log file after, checked either way.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{LogIndex, ReplicaId, Term};

use crate::damage::Wrong;
use crate::disk::read_range;
use crate::wal::{Location, Mark, Operation, RECORD_HEADER_BYTES, RawRecord, Wal, WalFile, check_record};
use crate::{Done, GroupId, StoreFault};

/// What an entry in memory costs beside its payload, for bounds.
const RECENT_OVERHEAD_BYTES: usize = 128;

/// An entry of a group's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogRecord {
    /// Its place in the log.
    pub index: LogIndex,
    /// The term in which it was proposed.
    pub term: Term,
    /// The replica that proposed it.
    pub leader: ReplicaId,
    /// What it is.
    pub kind: RecordKind,
    /// What it says; for a set's `Normal` entry, exactly what `posthouse_wire::encode_set_batch` made, because
    /// bodies are read back from here.
    pub payload: Bytes,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordKind {
    /// Nothing but its place.
    Blank,
    /// A change of members.
    Membership,
    /// Commands.
    Normal,
}

/// Names an entry of a log.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct LogPoint {
    /// The term in which it was proposed.
    pub term: Term,
    /// The replica that proposed it.
    pub leader: ReplicaId,
    /// Its place in the log.
    pub index: LogIndex,
}

/// What is known of a group's log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogState {
    /// The newest entry that a checkpoint has replaced.
    pub purged: Option<LogPoint>,
    /// The newest entry, or what was purged if there is none.
    pub last: Option<LogPoint>,
    /// The newest vote.
    pub vote: Option<Bytes>,
    /// The newest entry known to be agreed on, as far as that was saved.
    pub committed: Option<LogPoint>,
    /// What was noted last.
    pub note: Option<Bytes>,
}

/// One group's log. Cheap to clone.
#[derive(Clone)]
pub struct GroupLog {
    pub(crate) wal: Arc<Wal>,
    pub(crate) group: GroupId,
}

/// What is in memory of a group's log.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) state: LogState,
    /// From which index on entries have which term and leader.
    runs: VecDeque<LogPoint>,
    /// The log's tail, in memory.
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// Where entries are, in the order in which the writer wrote: may still lack the newest, may still hold some
    /// whose truncation or purge is queued.
    located: VecDeque<Location>,
    located_first: LogIndex,
    located_bytes: u64,
    serial: u64,
    /// What is wrong with the entries in files, if something is.
    wrong: Option<LogWrong>,
    /// What recovery has not been able to exclude yet.
    doubt: Doubt,
    /// From which epoch and offset on what was found counts, if the group was cleared.
    cleared_at: Option<(u32, u32)>,
}

/// What a group may have lost, as long as its log is read back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Doubt {
    /// A vote, newer than the one that is known.
    vote: bool,
    /// Entries or truncations behind the last one that is known.
    entries: bool,
    /// The last entry that was lost for certain.
    lost: Option<LogIndex>,
}

/// Entries that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct LogWrong {
    /// The oldest file in which something of them is: it is kept, to be found again at the next start.
    pub(crate) epoch: u32,
    /// The last of them: once a checkpoint has replaced it, nothing is wrong any more.
    pub(crate) until: LogIndex,
    pub(crate) wrong: Wrong,
}

#[derive(Debug)]
struct Recent {
    record: LogRecord,
    /// Tells an entry from another that had its index before a truncation.
    serial: u64,
}

enum Found {
    InMemory(LogRecord),
    InFile(Arc<WalFile>, Location),
}

// === impl LogRecord ===

impl LogRecord {
    /// Returns the entry's name.
    pub fn point(&self) -> LogPoint {
        LogPoint {
            term: self.term,
            leader: self.leader,
            index: self.index,
        }
    }

    pub(crate) fn raw(&self, group: GroupId) -> RawRecord<'_> {
        RawRecord {
            mark: match self.kind {
                RecordKind::Blank => Mark::Blank,
                RecordKind::Membership => Mark::Membership,
                RecordKind::Normal => Mark::Normal,
            },
            group: group.0,
            term: self.term.0,
            leader: self.leader.0,
            index: self.index.0,
            payload: &self.payload,
            offset: 0,
        }
    }

    fn weight(&self) -> usize {
        self.payload.len() + RECENT_OVERHEAD_BYTES
    }
}

impl RecordKind {
    pub(crate) fn of(mark: Mark) -> Option<RecordKind> {
        match mark {
            Mark::Blank => Some(RecordKind::Blank),
            Mark::Membership => Some(RecordKind::Membership),
            Mark::Normal => Some(RecordKind::Normal),
            Mark::Vote
            | Mark::TruncateAfter
            | Mark::TruncateAll
            | Mark::Purge
            | Mark::Clear
            | Mark::Committed
            | Mark::Preceded
            | Mark::Note
            | Mark::ClearedAt => None,
        }
    }
}

// === impl GroupLog ===

impl GroupLog {
    /// Appends entries that follow the last one. They are readable when this returns, and durable when `done` is
    /// told so. Waits while too much is queued.
    ///
    /// # Panics
    ///
    /// When an entry does not follow the one before it.
    pub fn append(&self, records: Vec<LogRecord>, done: Done) {
        self.wal.wait_for_room();
        let mut group = self.wal.group(self.group);
        let bytes = records.iter().map(LogRecord::weight).sum();
        let records = group.append(records);
        self.wal.remember(bytes);
        self.wal
            .push(group, self.group, Operation::Entries(records), bytes, done);
    }

    /// Saves the group's vote.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.wal.wait_for_room();
        let mut group = self.wal.group(self.group);
        group.state.vote = Some(vote.clone());
        let bytes = vote.len();
        self.wal
            .push(group, self.group, Operation::Vote(vote), bytes, done);
    }

    /// Remembers what is known to be agreed on; written with the next batch that is written anyway.
    pub fn save_committed(&self, committed: LogPoint) {
        self.wal.group(self.group).state.committed = Some(committed);
        self.wal.note_committed(self.group, committed);
    }

    /// Remembers a note, in the place of the last one. It is written with the next batch that is written anyway: what is
    /// appended after this call is durable only when the note is, or a later one.
    pub fn note(&self, note: Bytes) {
        self.wal.group(self.group).state.note = Some(note.clone());
        self.wal.note_aside(self.group, note);
    }

    /// Takes away the entries after an index, or all of them.
    pub fn truncate_after(&self, index: Option<LogIndex>, done: Done) {
        self.wal.wait_for_room();
        let mut group = self.wal.group(self.group);
        self.wal.forget(group.truncate_after(index));
        self.wal
            .push(group, self.group, Operation::TruncateAfter(index), 0, done);
    }

    /// Takes away the entries up to a point, which a durable checkpoint has replaced.
    pub fn purge(&self, point: LogPoint, done: Done) {
        self.wal.wait_for_room();
        let mut group = self.wal.group(self.group);
        self.wal.forget(group.purge(point));
        self.wal.push(group, self.group, Operation::Purge(point), 0, done);
    }

    /// Forgets all that the log says, its vote with it: it is one that was never written to.
    pub fn clear(&self, done: Done) {
        self.wal.wait_for_room();
        let mut group = self.wal.group(self.group);
        self.wal.forget(group.clear());
        self.wal.forget_asides(self.group);
        self.wal.push(group, self.group, Operation::Clear, 0, done);
    }

    /// Returns what is known of the log.
    pub fn state(&self) -> LogState {
        self.wal.group(self.group).state.clone()
    }

    /// Gives up all entries: the state is lost that they follow, as it was at an index. Called before anything is read.
    pub(crate) fn give_up_state(&self, at: LogIndex, wrong: Wrong) {
        self.wal.alarm.raise(self.group, &wrong);
        self.wal.group(self.group).give_up_state(at, wrong);
    }

    /// Returns how many bytes of log files the group's entries take.
    pub fn retained_bytes(&self) -> u64 {
        self.wal.group(self.group).located_bytes
    }

    /// Reads the entries of a range that are there, in order, until they have `bytes_max` bytes of payload; at
    /// least one, if any is there.
    pub fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>, StoreFault> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut index = range.start.max(self.first());
        while index < range.end {
            let Some(record) = self.read_one(index)? else {
                break;
            };
            bytes += record.payload.len();
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(record);
            index = index.next();
        }
        Ok(records)
    }

    /// Reads one entry, if it is there.
    pub fn read_one(&self, index: LogIndex) -> Result<Option<LogRecord>, StoreFault> {
        // The file is held from here on, so that it is not written over while it is read.
        let found = self.wal.group(self.group).find(index, &self.wal);
        match found? {
            None => Ok(None),
            Some(Found::InMemory(record)) => Ok(Some(record)),
            Some(Found::InFile(file, location)) => self.read_from(&file, location, index).map(Some),
        }
    }

    fn first(&self) -> LogIndex {
        self.wal.group(self.group).first()
    }

    fn read_from(
        &self,
        file: &WalFile,
        location: Location,
        index: LogIndex,
    ) -> Result<LogRecord, StoreFault> {
        let read = self.read_checked(file, location, index);
        if let Err(fault) = &read
            && let Some(wrong) = Wrong::of(fault)
        {
            self.wal.note_wrong(self.group, location.epoch, index, &wrong);
        }
        read
    }

    fn read_checked(
        &self,
        file: &WalFile,
        location: Location,
        index: LogIndex,
    ) -> Result<LogRecord, StoreFault> {
        let offset = u64::from(location.offset);
        let bytes = read_range(&*file.file, offset..offset + u64::from(location.bytes))
            .map_err(|error| StoreFault::io("read", &file.path, &error))?;
        let record = check_record(&bytes, offset, self.group.0, index.0)
            .map_err(|damage| StoreFault::damage(&file.path, &damage))?;
        let (term, leader) = (Term(record.term), ReplicaId(record.leader));
        let kind = RecordKind::of(record.mark).ok_or_else(|| {
            let bytes = bytes.len() as u64;
            StoreFault::corrupt(&file.path, offset, bytes, "not an entry where one was written")
        })?;
        let payload = Bytes::from(bytes).slice(RECORD_HEADER_BYTES..);
        Ok(LogRecord {
            index,
            term,
            leader,
            kind,
            payload,
        })
    }
}

// === impl Group ===

impl Group {
    fn append(&mut self, records: Vec<LogRecord>) -> Vec<(LogRecord, u64)> {
        let mut numbered = Vec::with_capacity(records.len());
        for record in records {
            self.note_entry(record.point());
            self.serial += 1;
            self.recent_bytes += record.weight();
            numbered.push((record.clone(), self.serial));
            self.recent.push_back(Recent {
                record,
                serial: self.serial,
            });
        }
        numbered
    }

    /// Takes an entry's name into account.
    fn note_entry(&mut self, point: LogPoint) {
        match self.state.last {
            Some(last) => assert_eq!(point.index, last.index.next(), "entries follow each other"),
            None => assert!(point.index.0 <= 1, "a log begins with its first entry"),
        }
        let is_same_run = self
            .runs
            .back()
            .is_some_and(|run| run.term == point.term && run.leader == point.leader);
        if !is_same_run {
            self.runs.push_back(point);
        }
        self.state.last = Some(point);
    }

    /// Returns how many bytes of memory are free now.
    fn truncate_after(&mut self, index: Option<LogIndex>) -> usize {
        let keeps = |at: LogIndex| index.is_some_and(|index| at <= index);
        let mut freed = 0;
        while self
            .recent
            .back()
            .is_some_and(|recent| !keeps(recent.record.index))
        {
            freed += self.recent.pop_back().map_or(0, |recent| recent.record.weight());
        }
        while self.runs.back().is_some_and(|run| !keeps(run.index)) {
            self.runs.pop_back();
        }
        if self.state.last.is_some_and(|last| !keeps(last.index)) {
            self.state.last = match (self.runs.back(), index) {
                (Some(run), Some(index)) => Some(LogPoint { index, ..*run }),
                _ => None,
            };
            self.state.last = self.state.last.max(self.state.purged);
        }
        self.recent_bytes -= freed;
        freed
    }

    /// Returns how many bytes of memory are free now.
    fn purge(&mut self, point: LogPoint) -> usize {
        let mut freed = 0;
        while self
            .recent
            .front()
            .is_some_and(|recent| recent.record.index <= point.index)
        {
            freed += self.recent.pop_front().map_or(0, |recent| recent.record.weight());
        }
        while self
            .runs
            .get(1)
            .is_some_and(|next| next.index <= point.index.next())
        {
            self.runs.pop_front();
        }
        self.state.purged = self.state.purged.max(Some(point));
        self.wrong.take_if(|wrong| wrong.until <= point.index);
        if self.state.last.is_none_or(|last| last.index <= point.index) {
            self.state.last = self.state.purged;
            self.runs.clear();
        }
        self.recent_bytes -= freed;
        freed
    }

    /// Forgets everything but where entries are, which the writer forgets in its order. Returns how many bytes of memory
    /// are free now.
    fn clear(&mut self) -> usize {
        let freed = self.recent_bytes;
        self.recent.clear();
        self.recent_bytes = 0;
        self.runs.clear();
        self.state = LogState::default();
        self.doubt = Doubt::default();
        self.wrong = None;
        freed
    }

    fn first(&self) -> LogIndex {
        match self.state.purged {
            Some(purged) => purged.index.next(),
            // A log begins at 0 or 1, as its caller likes.
            None => match (self.located.is_empty(), self.recent.front()) {
                (false, _) => self.located_first,
                (true, Some(recent)) => recent.record.index,
                (true, None) => LogIndex(0),
            },
        }
    }

    fn find(&self, index: LogIndex, wal: &Wal) -> Result<Option<Found>, StoreFault> {
        if index < self.first() || self.state.last.is_none_or(|last| index > last.index) {
            return Ok(None);
        }
        if let Some(front) = self.recent.front()
            && index >= front.record.index
        {
            let place = (index.0 - front.record.index.0) as usize;
            return Ok(self
                .recent
                .get(place)
                .map(|recent| Found::InMemory(recent.record.clone())));
        }
        let location = index
            .0
            .checked_sub(self.located_first.0)
            .and_then(|place| self.located.get(usize::try_from(place).ok()?))
            .copied()
            .expect("an entry that is not in memory was written");
        Ok(Some(Found::InFile(wal.file(location.epoch), location)))
    }

    // --- what the writer says ---

    /// Takes in where entries were written.
    pub(crate) fn place(&mut self, first: LogIndex, locations: &[Location]) {
        if self.located.is_empty() {
            self.located_first = first;
        }
        for location in locations {
            self.located_bytes += u64::from(location.bytes);
            self.located.push_back(*location);
        }
    }

    /// Takes in that a truncation was written.
    pub(crate) fn unplace_after(&mut self, index: Option<LogIndex>) {
        let keep = index.map_or(0, |index| (index.0 + 1).saturating_sub(self.located_first.0));
        while self.located.len() as u64 > keep {
            let location = self.located.pop_back();
            self.located_bytes -= location.map_or(0, |location| u64::from(location.bytes));
        }
    }

    /// Takes in that a purge was written.
    pub(crate) fn unplace_to(&mut self, index: LogIndex) {
        while self.located_first <= index
            && let Some(location) = self.located.pop_front()
        {
            self.located_bytes -= u64::from(location.bytes);
            self.located_first = self.located_first.next();
        }
    }

    /// Lets go of the oldest entry in memory, if it is the one with this serial; returns the bytes.
    pub(crate) fn evict(&mut self, serial: u64) -> usize {
        if self.recent.front().is_none_or(|recent| recent.serial != serial) {
            return 0;
        }
        let bytes = self.recent.pop_front().map_or(0, |recent| recent.record.weight());
        self.recent_bytes -= bytes;
        bytes
    }

    /// Returns whether an entry that was in memory is there no more. A truncated one may pass for present.
    pub(crate) fn is_gone(&self, serial: u64) -> bool {
        self.recent.front().is_none_or(|recent| recent.serial > serial)
    }

    /// Returns the file that the oldest entry is in.
    pub(crate) fn oldest_epoch(&self) -> Option<u32> {
        let located = self.located.front().map(|location| location.epoch);
        let wrong = self.wrong.as_ref().map(|wrong| wrong.epoch);
        located.into_iter().chain(wrong).min()
    }

    /// Returns the group's last entry in the log's oldest file, damaged ones as well; none if it has none there.
    pub(crate) fn last_in(&self, oldest: u32) -> Option<LogIndex> {
        let located = self.located.partition_point(|location| location.epoch <= oldest) as u64;
        let located = located
            .checked_sub(1)
            .map(|place| LogIndex(self.located_first.0 + place));
        let wrong = self.wrong.as_ref().filter(|wrong| wrong.epoch <= oldest);
        located.max(wrong.map(|wrong| wrong.until))
    }

    /// Returns what is wrong with the entries in files.
    pub(crate) fn wrong(&self) -> Option<&LogWrong> {
        self.wrong.as_ref()
    }

    /// Takes notice that the entries up to an index cannot all be read. Returns whether that is new.
    pub(crate) fn note_wrong(&mut self, wrong: LogWrong) -> bool {
        match &mut self.wrong {
            Some(known) => {
                known.epoch = known.epoch.min(wrong.epoch);
                known.until = known.until.max(wrong.until);
                false
            }
            none @ None => {
                *none = Some(wrong);
                true
            }
        }
    }

    /// Returns the last of the entries of which something is in a part of a file.
    pub(crate) fn last_within(&self, epoch: u32, range: &Range<u64>) -> Option<LogIndex> {
        let place = self.located.iter().rposition(|location| {
            let start = u64::from(location.offset);
            location.epoch == epoch && start < range.end && range.start < start + u64::from(location.bytes)
        })?;
        Some(LogIndex(self.located_first.0 + place as u64))
    }

    // --- what recovery says, record by record ---

    /// Takes in an entry found in a file. After a gap only what follows it counts, and [`Group::recovered`] says
    /// whether the gap was covered by a purge.
    pub(crate) fn recover_entry(&mut self, point: LogPoint, location: Location) {
        // In one term nothing is truncated between two entries that follow each other.
        let last = self.state.last;
        if last.is_some_and(|last| last.term == point.term && last.index.next() == point.index) {
            self.doubt.entries = false;
        }
        let expected = self.located_first.0 + self.located.len() as u64;
        if self.located.is_empty() || point.index.0 != expected {
            self.located.clear();
            self.located_bytes = 0;
            self.runs.clear();
            self.located_first = point.index;
            self.state.last = None;
        }
        let is_same_run = self
            .runs
            .back()
            .is_some_and(|run| run.term == point.term && run.leader == point.leader);
        if !is_same_run {
            self.runs.push_back(point);
        }
        self.located.push_back(location);
        self.located_bytes += u64::from(location.bytes);
        self.state.last = Some(point);
    }

    /// Takes in a vote found in a file.
    pub(crate) fn recover_vote(&mut self, vote: Bytes) {
        self.state.vote = Some(vote);
        self.doubt.vote = false;
    }

    /// Takes notice that a file begins, with the newest vote of each group.
    pub(crate) fn recover_carried(&mut self) {
        self.doubt.vote = false;
    }

    /// Takes notice that the entry at an index was lost; returns false if another would have been expected there.
    pub(crate) fn recover_lost(&mut self, index: LogIndex) -> bool {
        let after_last = self.state.last.map_or(LogIndex(1), |last| last.index.next());
        let after_lost = self.doubt.lost.map(LogIndex::next);
        let is_first = self.state.last.is_none() && index == LogIndex(0);
        let is_expected = index == after_last || Some(index) == after_lost || is_first;
        if is_expected {
            self.doubt.lost = Some(index);
        }
        is_expected
    }

    /// Takes notice that records were lost, and nobody knows which.
    pub(crate) fn doubt(&mut self) {
        self.doubt.vote = true;
        self.doubt.entries = true;
    }

    /// Returns whether something was lost, or may have been, that no checkpoint has replaced.
    pub(crate) fn has_lost(&self) -> bool {
        let purged = self.state.purged.map(|purged| purged.index);
        let is_used = self.state.vote.is_some() || self.state.last.is_some();
        (is_used && (self.doubt.vote || self.doubt.entries))
            || self.doubt.lost.is_some_and(|lost| Some(lost) > purged)
    }

    /// Gives up all entries, because some are lost, or may be. The files are kept that say so.
    pub(crate) fn give_up(&mut self, epoch: u32, wrong: Wrong) {
        let last = self.state.last.map(|last| last.index);
        let known = last.max(self.doubt.lost).unwrap_or_default();
        // What may be lost behind the last entry that is known is replaced only from beyond that one.
        let until = match self.doubt.vote || self.doubt.entries {
            true => known.next(),
            false => known,
        };
        let epoch = self.oldest_epoch().map_or(epoch, |oldest| oldest.min(epoch));
        self.wrong = Some(LogWrong { epoch, until, wrong });
        self.located.clear();
        self.located_bytes = 0;
        self.located_first = LogIndex(0);
        self.runs.clear();
        self.state.last = self.state.purged;
        self.state.committed = self.state.committed.min(self.state.purged);
    }

    /// Gives up all entries, and what is known of those before, for the state is lost that had them. The vote stays. What
    /// says so is no log file, so none is kept for it.
    pub(crate) fn give_up_state(&mut self, at: LogIndex, wrong: Wrong) {
        let known = self.wrong.as_ref().map(|known| known.until);
        let last = self.state.last.map(|last| last.index);
        let epoch = self.wrong.as_ref().map_or(u32::MAX, |known| known.epoch);
        let until = last.max(known).unwrap_or_default().max(at);
        self.wrong = Some(LogWrong { epoch, until, wrong });
        self.located.clear();
        self.located_bytes = 0;
        self.located_first = LogIndex(0);
        self.runs.clear();
        self.state.last = None;
        self.state.purged = None;
        self.state.committed = None;
    }

    /// Takes in a truncation found in a file.
    pub(crate) fn recover_truncation(&mut self, index: Option<LogIndex>) {
        self.doubt.lost = self.doubt.lost.filter(|lost| Some(*lost) <= index);
        self.unplace_after(index);
        self.truncate_after(index);
    }

    /// Takes in that everything before was forgotten, as found in a file.
    pub(crate) fn recover_clear(&mut self, at: (u32, u32)) {
        self.unplace_after(None);
        self.clear();
        self.cleared_at = Some(at);
    }

    /// Takes notice that everything before a place was forgotten, as a later file says. The file that said so first may be
    /// released, while an older one came back.
    pub(crate) fn recover_cleared_at(&mut self, at: (u32, u32)) {
        let last = self.located.back();
        let is_from_after = last.is_some_and(|last| (last.epoch, last.offset) >= at);
        if self.cleared_at == Some(at) || is_from_after {
            self.cleared_at = Some(at);
        } else {
            self.recover_clear(at);
        }
    }

    /// Returns from where on what was found counts, if the group was cleared.
    pub(crate) fn cleared_at(&self) -> Option<(u32, u32)> {
        self.cleared_at
    }

    /// Takes in a purge found in a file.
    pub(crate) fn recover_purge(&mut self, point: LogPoint) {
        // Only another's checkpoint is from beyond the log.
        if self.state.last.is_none_or(|last| last.index < point.index) {
            self.doubt.entries = false;
        }
        self.unplace_to(point.index);
        self.purge(point);
    }

    /// Ends recovery: returns the missing index, if entries are missing between what is purged and what is there.
    pub(crate) fn recovered(&mut self) -> Option<LogIndex> {
        if let Some(purged) = self.state.purged {
            self.unplace_to(purged.index);
        }
        if self.located.is_empty() {
            self.runs.clear();
            self.state.last = self.state.purged;
            return None;
        }
        match self.state.purged {
            Some(purged) if self.located_first > purged.index.next() => Some(purged.index.next()),
            None if self.located_first.0 > 1 => Some(LogIndex(1)),
            _ => None,
        }
    }
}
