//! A store with a workload and a memory of what it promised, on a disk that forgets.
//!
//! Every operation on the log goes through one queue, so what is there after a crash must be what the first so many
//! operations make, for some number that is at least how many were acknowledged. Bodies, decisions and checkpoints
//! are then checked against what those entries say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use posthouse_model::{
    Batch, BodyKey, Incarnation, Incoming, LogIndex, Message, MessageId, ReceiptHandle, ReplicaId, Sequence,
    Sequences, SetCommand, SetId, Span, Stored, StoredMessage, Submission, Term, Time,
};
use posthouse_store::crash::{Chance, CrashDisk};
use posthouse_store::{
    ClusterId, Config, CutPlan, Done, Driving, GroupId, Identity, Live, LogPoint, LogRecord, LogState,
    ProjectionKind, RecordKind, Store, SyncPoint,
};

const DIR: &str = "/data";
const GROUPS: u8 = 3;
const LIVES: u64 = 3;
const ACTIONS_PER_LIFE: u64 = 45;
/// Operations of the disk after which the machine stops, at most.
const OPERATIONS_PER_LIFE: u64 = 220;

/// What went wrong, in words.
type Answer<T> = Result<T, String>;

/// A store and what is known of it.
pub(crate) struct World {
    chance: Chance,
    disk: CrashDisk,
    store: Store,
    groups: Vec<Group>,
    /// Log operations of this life, in the order of the queue.
    issued: Vec<(usize, Issued)>,
    /// How many of them were acknowledged.
    acknowledged: Arc<AtomicU64>,
    identity: u128,
    messages: u64,
    /// Rises with each truncation, so that no entry looks like one that was taken away.
    term: u64,
    notes: u64,
}

/// What is known of one group.
#[derive(Default)]
struct Group {
    /// As of the last recovery.
    base: Log,
    /// With everything issued since.
    log: Log,
    applied: Applied,
    /// The states that cuts were asked to write.
    cuts: BTreeMap<LogIndex, Vec<u8>>,
    /// The newest cut that was acknowledged.
    cut: Arc<AtomicU64>,
    /// The newest note that an acknowledged entry came with.
    noted: Arc<AtomicU64>,
    /// What was there before a clearing that was not acknowledged.
    uncleared: Option<Box<Group>>,
}

/// A log as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Log {
    purged: Option<LogPoint>,
    entries: BTreeMap<LogIndex, LogRecord>,
    vote: Option<Bytes>,
}

#[derive(Clone, Debug)]
enum Issued {
    Append(Vec<LogRecord>),
    Vote(Bytes),
    Truncate(Option<LogIndex>),
    Purge(LogPoint),
    Clear,
}

/// A set's state, as far as the store needs one.
#[derive(Clone, Debug, Default)]
struct Applied {
    index: LogIndex,
    next: BTreeMap<u64, u64>,
    live: BTreeSet<BodyKey>,
    bodies: BTreeMap<BodyKey, StoredMessage>,
    noted: BTreeMap<MessageId, u64>,
}

macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

// === impl World ===

impl World {
    /// Runs a workload through some lives, without one kind of sync if one is given.
    pub(crate) fn run(seed: u64, without: Option<SyncPoint>) -> Answer<()> {
        let mut chance = Chance::new(seed);
        let disk = CrashDisk::new(chance.any());
        if let Some(point) = without {
            disk.ignore(point);
        }
        let store = open(&disk)?;
        let mut groups = Vec::new();
        groups.resize_with(usize::from(GROUPS), Group::default);
        let mut world = World {
            chance,
            disk,
            store,
            groups,
            issued: Vec::new(),
            acknowledged: Arc::default(),
            identity: 0,
            messages: 0,
            term: 1,
            notes: 0,
        };
        for _ in 0..LIVES {
            world.live()?;
        }
        Ok(())
    }

    fn live(&mut self) -> Answer<()> {
        match self.chance.below(4) {
            0 => {}
            1 => self.disk.stop_after(self.chance.below(OPERATIONS_PER_LIFE)),
            // The moments before a sync are the ones that matter.
            _ => {
                let point = self.chance.below(SyncPoint::ALL.len() as u64) as usize;
                self.disk.stop_before(SyncPoint::ALL[point]);
            }
        }
        for _ in 0..ACTIONS_PER_LIFE {
            if self.disk.has_stopped() {
                break;
            }
            self.act()?;
        }
        if self.chance.one_in(3) {
            self.disk.kill();
            self.reopen()?;
            // What was found after a kill counts, so it must not be the page cache alone that has it.
            if self.chance.one_in(2) {
                return Ok(());
            }
        }
        self.disk.cut_power();
        self.reopen()
    }

    fn reopen(&mut self) -> Answer<()> {
        // The machine may stop while it comes back, too.
        if self.chance.one_in(4) {
            self.disk.stop_after(self.chance.below(40));
            match open(&self.disk) {
                Ok(store) => drop(store),
                Err(_) if self.disk.has_stopped() => {}
                Err(text) => return Err(text),
            }
            if self.chance.one_in(2) {
                self.disk.kill()
            } else {
                self.disk.cut_power()
            }
        }
        self.store = open(&self.disk)?;
        self.check_logs()?;
        self.check_identity()?;
        for group in 0..self.groups.len() {
            self.check_note(group)?;
            self.check_checkpoint(group)?;
            self.check_bodies(group)?;
        }
        Ok(())
    }

    // --- what is done ---

    fn act(&mut self) -> Answer<()> {
        let group = self.chance.below(u64::from(GROUPS)) as usize;
        match self.chance.below(21) {
            0..=3 => {
                self.append(group);
                if self.chance.one_in(2) {
                    self.store.step_log();
                }
            }
            4 => {
                let vote = Bytes::from(self.chance.any().to_le_bytes().to_vec());
                self.issue(group, Issued::Vote(vote));
            }
            5 => self.truncate(group),
            6..=7 => self.purge(group),
            8..=10 => self.apply_some(group),
            11..=13 => {
                self.cut(group);
                for _ in 0..self.chance.below(4) {
                    self.store.step_job();
                }
            }
            14..=15 => {
                self.store.step_log();
            }
            16..=17 => {
                self.store.step_job();
            }
            18 => match self.chance.below(3) {
                0 => self.store.settle(),
                1 => self.set_identity(),
                _ => {
                    let last = self.groups[group].log.last();
                    if let Some(last) = last {
                        self.log(group).save_committed(last);
                    }
                }
            },
            19 => self.read_some(group)?,
            _ => self.clear(group)?,
        }
        Ok(())
    }

    fn issue(&mut self, group: usize, issued: Issued) {
        self.groups[group].log.take_in(&issued);
        self.issued.push((group, issued.clone()));
        let number = self.issued.len() as u64;
        let acknowledged = Arc::clone(&self.acknowledged);
        let done = Box::new(move |answer: Result<(), _>| {
            if answer.is_ok() {
                acknowledged.fetch_max(number, Ordering::Relaxed);
            }
        });
        let log = self.log(group);
        match issued {
            Issued::Append(records) => self.append_noted(group, records, done),
            Issued::Vote(vote) => log.save_vote(vote, done),
            Issued::Truncate(index) => log.truncate_after(index, done),
            Issued::Purge(point) => log.purge(point, done),
            Issued::Clear => self.store.clear(GroupId(group as u8), done),
        }
    }

    /// Appends with a note, or as often without.
    fn append_noted(&mut self, group: usize, records: Vec<LogRecord>, done: Done) {
        let log = self.log(group);
        if self.chance.one_in(2) {
            return log.append(records, done);
        }
        self.notes += 1;
        let (note, noted) = (self.notes, Arc::clone(&self.groups[group].noted));
        log.note(Bytes::from(note.to_le_bytes().to_vec()));
        let done = move |answer: Result<(), _>| {
            if answer.is_ok() {
                noted.fetch_max(note, Ordering::Relaxed);
            }
            done(answer);
        };
        log.append(records, Box::new(done));
    }

    /// Has a group forgotten, and waits until it is, or until the machine stops.
    fn clear(&mut self, group: usize) -> Answer<()> {
        if self.disk.has_stopped() {
            return Ok(());
        }
        self.term += 1;
        let known = std::mem::take(&mut self.groups[group]);
        // It goes on from its log, with nothing in it.
        self.groups[group].base = known.base.clone();
        self.groups[group].log = known.log.clone();
        self.groups[group].uncleared = Some(Box::new(known));
        self.issue(group, Issued::Clear);
        let number = self.issued.len() as u64;
        while self.store.step_log() || self.store.step_job() {}
        let is_done = self.acknowledged.load(Ordering::Relaxed) >= number;
        check!(
            is_done || self.disk.has_stopped(),
            "group {group} was not cleared"
        );
        if is_done {
            self.groups[group].uncleared = None;
            check!(
                self.store.is_empty(GroupId(group as u8)),
                "group {group} is not empty"
            );
        }
        Ok(())
    }

    fn append(&mut self, group: usize) {
        let count = 1 + self.chance.below(3);
        let mut next = self.groups[group]
            .log
            .last()
            .map_or(LogIndex(1), |last| last.index.next());
        let mut records = Vec::new();
        for _ in 0..count {
            let (kind, payload) = match (group, self.chance.below(6)) {
                (_, 0) => (RecordKind::Blank, Bytes::new()),
                (_, 1) => (RecordKind::Membership, Bytes::from_static(b"members")),
                (0, _) => (
                    RecordKind::Normal,
                    Bytes::from(vec![7; self.chance.below(400) as usize]),
                ),
                _ => (RecordKind::Normal, self.batch()),
            };
            let term = Term(self.term);
            let leader = ReplicaId(term.0 % 3);
            records.push(LogRecord {
                index: next,
                term,
                leader,
                kind,
                payload,
            });
            next = next.next();
        }
        self.issue(group, Issued::Append(records));
    }

    /// Returns an entry that sends some messages and deletes some.
    fn batch(&mut self) -> Bytes {
        let now = Time::from_seconds(1_000_000 + self.messages);
        let mut submissions = Vec::new();
        for _ in 0..1 + self.chance.below(2) {
            let queue = Incarnation(1 + self.chance.below(2));
            let command = if self.chance.one_in(3) {
                let handles = (0..3).map(|_| ReceiptHandle(1 + self.chance.below(20))).collect();
                SetCommand::Delete { queue, handles }
            } else {
                let count = 1 + self.chance.below(2);
                let messages = (0..count).map(|_| self.message()).collect();
                let delay = Span::ZERO;
                SetCommand::Send {
                    queue,
                    delay,
                    messages,
                    token: None,
                    decided_at: LogIndex(0),
                }
            };
            submissions.push(Submission { call: None, command });
        }
        posthouse_wire::encode_set_batch(&Batch { now, submissions })
    }

    fn message(&mut self) -> Incoming {
        self.messages += 1;
        let body = vec![self.messages as u8; self.chance.below(60) as usize];
        let message = Message::plain(MessageId(self.messages << 22), Bytes::from(body));
        Incoming { message, keep: true }
    }

    fn truncate(&mut self, group: usize) {
        let group_state = &self.groups[group];
        let Some(last) = group_state.log.last() else {
            return;
        };
        // What was applied is agreed on and stays.
        let purged = group_state.log.purged.map_or(0, |purged| purged.index.0);
        let lowest = group_state.applied.index.0.max(purged);
        let index = lowest + self.chance.below(last.index.0 - lowest + 1);
        let after = (index > 0).then_some(LogIndex(index));
        self.term += 1;
        self.issue(group, Issued::Truncate(after));
    }

    fn purge(&mut self, group: usize) {
        let cut = self.groups[group].cut.load(Ordering::Relaxed);
        let index = LogIndex(cut.saturating_sub(self.chance.below(3)));
        let Some(record) = self.groups[group].log.entries.get(&index) else {
            return;
        };
        let point = record.point();
        self.issue(group, Issued::Purge(point));
    }

    /// Applies entries that are durable.
    fn apply_some(&mut self, group: usize) {
        let mut durable = self.groups[group].base.clone();
        let acknowledged = self.acknowledged.load(Ordering::Relaxed) as usize;
        for (of, issued) in &self.issued[..acknowledged] {
            if *of == group {
                durable.take_in(issued);
            }
        }
        let last = durable.last().map_or(0, |last| last.index.0);
        let goal = last.saturating_sub(self.chance.below(3));
        while self.groups[group].applied.index.0 < goal {
            let index = self.groups[group].applied.index.next();
            let record = durable.entries.get(&index).cloned();
            // A truncation that is queued takes away only what is not applied, so it must not be applied now.
            if record.is_none() || self.groups[group].log.entries.get(&index) != record.as_ref() {
                return;
            }
            self.apply(group, index, record.as_ref());
        }
    }

    fn apply(&mut self, group: usize, index: LogIndex, record: Option<&LogRecord>) {
        let applied = &mut self.groups[group].applied;
        applied.index = index;
        let Some(record) = record.filter(|record| record.kind == RecordKind::Normal && group > 0) else {
            return;
        };
        let set = SetId(group as u8 - 1);
        let (bodies, decisions) = (self.store.bodies(set), self.store.decisions(set));
        let batch = posthouse_wire::decode_set_batch(&record.payload).expect("it was encoded");
        let batch = Arc::new(batch);
        let mut all = Vec::new();
        for (stored, message) in applied.apply(&batch) {
            decisions.note(message.message.id, Bytes::from(index.0.to_le_bytes().to_vec()));
            applied.noted.insert(message.message.id, index.0);
            all.push(stored);
        }
        bodies.insert(index, &batch, record.payload.len(), &all);
    }

    fn cut(&mut self, group: usize) {
        let applied = &self.groups[group].applied;
        let at = applied.index;
        let state = applied.encode();
        let meta = Bytes::from(format!("meta {at}"));
        let cut = Arc::clone(&self.groups[group].cut);
        let newest = self.groups[group]
            .cuts
            .last_key_value()
            .map_or(LogIndex(0), |(at, _)| *at);
        if at <= newest {
            return;
        }
        let done = Box::new(move |answer: Result<(), _>| {
            if answer.is_ok() {
                cut.fetch_max(at.0, Ordering::Relaxed);
            }
        });
        let live = Box::new(Needed(applied.live.clone()));
        let made = state.clone();
        self.groups[group].cuts.insert(at, state);
        let state = Box::new(move || made);
        if group == 0 {
            self.store
                .write_checkpoint(GroupId::DIRECTORY, at, meta, state, done);
            return;
        }
        let bodies = self.store.bodies(SetId(group as u8 - 1));
        let mut rewrite = Vec::new();
        if self.chance.one_in(3) {
            rewrite.extend(bodies.segments().iter().map(|segment| segment.made_at));
        }
        bodies.cut(
            CutPlan {
                at,
                rewrite,
                live,
                state,
                meta,
            },
            done,
        );
    }

    fn set_identity(&mut self) {
        let next = self.identity + 1;
        let identity = Identity {
            cluster: ClusterId(next),
            node: 1,
            replicas: vec![(GroupId(1), ReplicaId(9))],
        };
        if self.store.set_identity(identity).is_ok() {
            self.identity = next;
        }
    }

    fn read_some(&mut self, group: usize) -> Answer<()> {
        let chance = &mut self.chance;
        let first = LogIndex(chance.below(30));
        let log = &self.groups[group].log;
        if let Ok(Some(record)) = self.store.log(GroupId(group as u8)).read_one(first) {
            check!(
                log.entries.get(&first) == Some(&record),
                "read another entry at {first}"
            );
        }
        let applied = &self.groups[group].applied;
        let count = applied.live.len() as u64;
        if let Some(key) = applied.live.iter().nth(chance.below(count) as usize)
            && !self.disk.has_stopped()
        {
            let read = self.store.bodies(SetId(group as u8 - 1)).read(*key);
            let is_right = read
                .as_ref()
                .is_ok_and(|read| read.as_ref() == applied.bodies.get(key));
            check!(is_right || self.disk.has_stopped(), "body {key:?}: {read:?}");
        }
        Ok(())
    }

    fn log(&self, group: usize) -> posthouse_store::GroupLog {
        self.store.log(GroupId(group as u8))
    }

    // --- what must hold after a crash ---

    /// The logs are what the first so many operations make, and those are at least the acknowledged ones.
    fn check_logs(&mut self) -> Answer<()> {
        let mut found = Vec::new();
        for group in 0..self.groups.len() {
            found.push(self.read_log(group)?);
        }
        let mut expected: Vec<Log> = self.groups.iter().map(|group| group.base.clone()).collect();
        let acknowledged = self.acknowledged.load(Ordering::Relaxed) as usize;
        for (group, issued) in &self.issued[..acknowledged] {
            expected[*group].take_in(issued);
        }
        let mut later = self.issued[acknowledged..].iter();
        let mut half_cleared = Vec::new();
        while found != expected {
            let Some((group, issued)) = later.next() else {
                return Err(format!("the logs are not what was acknowledged: {found:?}"));
            };
            expected[*group].take_in(issued);
            if let Issued::Clear = issued {
                half_cleared.push(*group);
            }
        }
        for (group, log) in self.groups.iter_mut().zip(found) {
            group.base = log.clone();
            group.log = log;
        }
        self.issued.clear();
        self.acknowledged = Arc::default();
        for group in 0..self.groups.len() {
            let Some(known) = self.groups[group].uncleared.take() else {
                continue;
            };
            if half_cleared.contains(&group) {
                self.finish_clearing(group)?;
            } else {
                // Its note went with the clearing, whether that was written or not.
                let log = self.groups[group].log.clone();
                self.groups[group] = Group {
                    base: log.clone(),
                    log,
                    noted: Arc::default(),
                    ..*known
                };
            }
        }
        Ok(())
    }

    /// Has a group forgotten whose log was cleared before the crash, and whose files may be there still.
    fn finish_clearing(&mut self, group: usize) -> Answer<()> {
        let id = GroupId(group as u8);
        if !self.store.is_empty(id) {
            let (done, told) = std::sync::mpsc::channel();
            self.store
                .clear(id, Box::new(move |answer| drop(done.send(answer))));
            while self.store.step_log() || self.store.step_job() {}
            check!(told.recv() == Ok(Ok(())), "group {group} is not cleared");
        }
        check!(self.store.is_empty(id), "group {group} is not empty");
        Ok(())
    }

    /// The last note is no older than the newest that an acknowledged entry came with.
    fn check_note(&mut self, group: usize) -> Answer<()> {
        let note = self.log(group).state().note;
        let note = note.map_or(0, |note| {
            u64::from_le_bytes(note[..].try_into().expect("eight bytes"))
        });
        let noted = &self.groups[group].noted;
        let acknowledged = noted.swap(note, Ordering::Relaxed);
        check!(
            (acknowledged..=self.notes).contains(&note),
            "note {note} of group {group}, and {acknowledged} was acknowledged"
        );
        Ok(())
    }

    fn read_log(&self, group: usize) -> Answer<Log> {
        let log = self.log(group);
        let LogState {
            purged,
            last,
            vote,
            committed: _,
            note: _,
        } = log.state();
        let end = last.map_or(LogIndex(0), |last| last.index.next());
        let mut entries = BTreeMap::new();
        let mut next = LogIndex(0);
        while next < end {
            let some = log.read(next..end, 600).map_err(|fault| fault.to_string())?;
            let Some(newest) = some.last() else {
                break;
            };
            next = newest.index.next();
            entries.extend(some.into_iter().map(|record| (record.index, record)));
        }
        let read = Log {
            purged,
            entries,
            vote,
        };
        check!(
            read.last() == last,
            "the last entry of group {group} is {last:?}: {read:?}"
        );
        Ok(read)
    }

    fn check_identity(&mut self) -> Answer<()> {
        let found = self.store.identity().map_or(0, |identity| identity.cluster.0);
        let is_known = found == self.identity || found == self.identity + 1;
        check!(
            is_known,
            "the identity is {found}, and {} was acknowledged",
            self.identity
        );
        self.identity = found;
        Ok(())
    }

    /// The checkpoint is one that was asked for, no older than the newest acknowledged; the state goes back to it.
    fn check_checkpoint(&mut self, number: usize) -> Answer<()> {
        let found = self.store.checkpoint(GroupId(number as u8));
        let found = found.map_err(|fault| fault.to_string())?;
        let group = &mut self.groups[number];
        let acknowledged = LogIndex(group.cut.load(Ordering::Relaxed));
        let at = found.as_ref().map_or(LogIndex(0), |found| found.at);
        check!(
            at >= acknowledged,
            "checkpoint at {at}, and {acknowledged} was acknowledged"
        );
        let state = match found {
            None => Vec::new(),
            Some(found) => {
                check!(
                    found.meta == format!("meta {at}"),
                    "meta {:?} at {at}",
                    found.meta
                );
                found.state.to_vec()
            }
        };
        let expected = group.cuts.get(&at).cloned().unwrap_or_default();
        check!(
            state == expected,
            "the state of group {number} at {at} is another"
        );
        group.cut.store(at.0, Ordering::Relaxed);
        group.cuts.retain(|cut, _| *cut <= at);

        let goal = group.applied.index;
        group.applied.go_back(at, &state);
        for index in at.0 + 1..=goal.0 {
            let index = LogIndex(index);
            let record = self.groups[number].log.entries.get(&index).cloned();
            check!(
                record.is_some(),
                "entry {index} of group {number} was applied and is gone"
            );
            self.apply(number, index, record.as_ref());
        }
        Ok(())
    }

    /// Every live body and every decision that was noted is there, once and unharmed.
    fn check_bodies(&mut self, number: usize) -> Answer<()> {
        let Some(set) = GroupId(number as u8).set() else {
            return Ok(());
        };
        let applied = &self.groups[number].applied;
        let bodies = self.store.bodies(set);
        let live: Vec<BodyKey> = applied.live.iter().copied().collect();
        for (key, of_many) in live.iter().zip(bodies.reading(&live)) {
            let read = bodies.read(*key).map_err(|fault| fault.to_string())?;
            check!(
                read.as_ref() == applied.bodies.get(key),
                "body {key:?} is {read:?}"
            );
            check!(
                of_many == Ok(read),
                "body {key:?}, read with others, is {of_many:?}"
            );
        }
        let decisions = self.store.decisions(set);
        for (message, index) in &applied.noted {
            let found = decisions.lookup(*message).map_err(|fault| fault.to_string())?;
            let expected = [Bytes::from(index.to_le_bytes().to_vec())];
            check!(found == expected, "decisions about {message}: {found:?}");
        }
        Ok(())
    }
}

fn open(disk: &CrashDisk) -> Answer<Store> {
    let config = Config {
        wal_file_bytes: 1536,
        wal_block_bytes: 64,
        wal_bytes_max: 4096,
        wal_spares_max: 2,
        batch_bytes_max: 1024,
        memtable_bytes_max: 3000,
        reserve_bytes: 0,
        quiet: None,
        driving: Driving::Caller,
        projection: ProjectionKind::Memory,
        ..Config::default()
    };
    Store::open(Path::new(DIR), Arc::new(disk.clone()), config).map_err(|error| error.to_string())
}

// === impl Log ===

impl Log {
    fn last(&self) -> Option<LogPoint> {
        self.entries
            .last_key_value()
            .map(|(_, record)| record.point())
            .or(self.purged)
    }

    fn take_in(&mut self, issued: &Issued) {
        match issued {
            Issued::Append(records) => {
                self.entries
                    .extend(records.iter().map(|record| (record.index, record.clone())));
            }
            Issued::Vote(vote) => self.vote = Some(vote.clone()),
            Issued::Truncate(None) => self.entries.clear(),
            Issued::Truncate(Some(index)) => {
                self.entries.split_off(&index.next());
            }
            Issued::Purge(point) => {
                self.entries = self.entries.split_off(&point.index.next());
                self.purged = self.purged.max(Some(*point));
            }
            Issued::Clear => *self = Log::default(),
        }
    }
}

// === impl Applied ===

impl Applied {
    fn apply(&mut self, batch: &Batch<SetCommand>) -> Vec<(Stored, StoredMessage)> {
        const KEPT_SECONDS: [u64; 4] = [1_800, 80_000, 300_000, 1_000_000];
        let mut all = Vec::new();
        for (submission, sent) in batch.submissions.iter().enumerate() {
            match &sent.command {
                SetCommand::Send { queue, messages, .. } => {
                    for (ordinal, incoming) in messages.iter().enumerate() {
                        let next = self.next.entry(queue.0).or_insert(1);
                        let key = BodyKey {
                            stream: *queue,
                            sequence: Sequence(*next),
                        };
                        *next += 1;
                        let kept = KEPT_SECONDS[(incoming.message.id.0 >> 22) as usize % 4];
                        let keep_until = batch.now + Span::from_seconds(kept);
                        let (submission, ordinal) = (submission as u32, ordinal as u32);
                        let stored = Stored {
                            body: key,
                            submission,
                            ordinal,
                            keep_until,
                        };
                        let message = incoming.message.clone();
                        let message = StoredMessage {
                            message,
                            produced: batch.now,
                        };
                        self.live.insert(key);
                        self.bodies.insert(key, message.clone());
                        all.push((stored, message));
                    }
                }
                SetCommand::Delete { queue, handles } => {
                    for handle in handles {
                        let key = BodyKey {
                            stream: *queue,
                            sequence: Sequence(handle.0),
                        };
                        self.live.remove(&key);
                    }
                }
                other => unreachable!("the workload has no {other:?}"),
            }
        }
        all
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (stream, next) in &self.next {
            bytes.extend_from_slice(&[0; 8]);
            bytes.extend_from_slice(&stream.to_le_bytes());
            bytes.extend_from_slice(&next.to_le_bytes());
        }
        for key in &self.live {
            bytes.extend_from_slice(&[1; 8]);
            bytes.extend_from_slice(&key.stream.0.to_le_bytes());
            bytes.extend_from_slice(&key.sequence.0.to_le_bytes());
        }
        bytes
    }

    /// Goes back to a state that was encoded. What bodies and decisions say is remembered, to compare.
    fn go_back(&mut self, at: LogIndex, state: &[u8]) {
        self.index = at;
        self.next.clear();
        self.live.clear();
        for chunk in state.chunks_exact(24) {
            let number = |at: usize| u64::from_le_bytes(chunk[at..at + 8].try_into().expect("eight bytes"));
            if chunk[0] == 0 {
                self.next.insert(number(8), number(16));
            } else {
                let sequence = Sequence(number(16));
                self.live.insert(BodyKey {
                    stream: Incarnation(number(8)),
                    sequence,
                });
            }
        }
    }
}

/// Bodies that are needed.
struct Needed(BTreeSet<BodyKey>);

impl Live for Needed {
    fn is_live(&self, key: BodyKey) -> bool {
        self.0.contains(&key)
    }

    fn live_in(&self, stream: Incarnation, sequences: Sequences) -> u64 {
        let (first, last) = sequences.into_inner();
        let first = BodyKey {
            stream,
            sequence: first,
        };
        self.0
            .range(
                first..=BodyKey {
                    stream,
                    sequence: last,
                },
            )
            .count() as u64
    }
}
