//! A group's log as openraft wants it, over the store's.
//!
//! What was appended and is not yet applied is also held here, so that the leader applies what it proposed without
//! reading it from bytes again.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;
use posthouse_model::{LogIndex, ReplicaId, Term, Time};
use posthouse_store::{GroupLog, LogPoint, LogRecord, RecordKind, StoreFault};
use posthouse_wire::DecodeError;
use tokio::sync::oneshot;

use super::record::{decode_membership, decode_vote, encode_membership, encode_vote};
use super::{LogId, Payload, Proposal, RaftEntry, Types, Vote, log_id};
use crate::Clock;
use crate::bugs::Bug;
use crate::outage::{Lag, LagKeeper};

/// The bytes of entries that one answer to a follower holds.
const ANSWER_BYTES_MAX: usize = 4 * 1_048_576;
/// The bytes of entries that are held here for their application.
const RECENT_BYTES_MAX: usize = 16 * 1_048_576;

/// The log of a group.
#[derive(Clone)]
pub(crate) struct Log {
    journal: GroupLog,
    recent: Arc<Mutex<Recent>>,
    lags: Arc<LagKeeper>,
    /// The term of the newest vote: of the leader whose entries are appended.
    led: Arc<AtomicU64>,
}

/// Entries that were appended and not yet applied: consecutive, the newest last.
#[derive(Default)]
struct Recent {
    entries: VecDeque<RaftEntry>,
    bytes: usize,
}

// === impl Log ===

impl Log {
    /// Opens a group's log. Its clock and what reads an entry's stamp are for what is noted beside entries.
    pub(crate) fn open(
        journal: GroupLog,
        clock: Arc<dyn Clock>,
        stamp_of: fn(&[u8]) -> Result<Time, DecodeError>,
    ) -> io::Result<Log> {
        let state = journal.state();
        let lag = state.note.map(|note| Lag::decode(&note)).transpose()?;
        let last = state.last.unwrap_or_default().index;
        let vote = state.vote.map(|vote| decode_vote(&vote)).transpose()?;
        Ok(Log {
            journal,
            recent: Arc::default(),
            lags: Arc::new(LagKeeper::new(clock, stamp_of, last, lag)),
            led: Arc::new(AtomicU64::new(vote.map_or(0, |vote| vote.leader_id.term))),
        })
    }

    /// Returns what is noted beside entries.
    pub(crate) fn lags(&self) -> Arc<LagKeeper> {
        self.lags.clone()
    }

    /// Returns the index of the last entry that is kept.
    pub(crate) fn last_index(&self) -> LogIndex {
        self.journal.state().last.unwrap_or_default().index
    }

    /// Returns the entries from `start` to before `end` that are kept, the first ones up to so many bytes, and one
    /// at least.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        let (newest, newest_start) = self.recent.lock().get(start, end);
        let stored_end = newest_start.min(end);
        let mut entries = Vec::new();
        if start < stored_end {
            let records = self
                .journal
                .read(LogIndex(start)..LogIndex(stored_end), bytes_max)
                .map_err(fault)?;
            for record in records {
                entries.push(entry_of(record)?);
            }
        }
        let first_missing = entries
            .last()
            .map_or(stored_end.max(start), |last| last.log_id.index + 1);
        // What the byte limit cut off must not be followed by what comes after it.
        if first_missing == newest_start || entries.is_empty() {
            entries.extend(newest);
        }
        let mut bytes = 0;
        let within = entries.iter().position(|entry| {
            bytes += entry_bytes(entry);
            bytes > bytes_max
        });
        if let Some(over) = within {
            entries.truncate(over.max(1));
        }
        Ok(entries)
    }
}

impl RaftLogReader<Types> for Log {
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<RaftEntry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (start, end) = bounds_of(&range);
        stream::iter(Applying {
            log: self.clone(),
            next: start,
            end,
            read: VecDeque::new(),
        })
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (start, end) = bounds_of(&range);
        self.read(start, end, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.journal
            .state()
            .vote
            .map(|bytes| decode_vote(&bytes))
            .transpose()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        self.read(start, end, ANSWER_BYTES_MAX)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.journal.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id_of),
            last_log_id: state.last.map(log_id_of),
        })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.led.store(vote.leader_id.term, Ordering::Release);
        let (done, durable) = oneshot::channel();
        self.journal.save_vote(encode_vote(vote), sender(done));
        if Bug::VoteUnsynced.is_loose() {
            return Ok(());
        }
        wait(durable).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.journal.save_committed(point_of(committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.journal.state().committed.map(log_id_of))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        let records = entries.iter().map(record_of).collect();
        let led = Term(self.led.load(Ordering::Acquire));
        if let Some(lag) = self.lags.append(led, &entries) {
            self.journal.note(lag.encode());
        }
        self.recent.lock().push(entries);
        if Bug::AckBeforeSync.is_loose() {
            self.journal.append(records, Box::new(|_| {}));
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.journal.append(
            records,
            Box::new(move |result| callback.io_completed(result.map_err(fault))),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let first_gone = last.map_or(0, |last| last.index + 1);
        self.recent.lock().truncate(first_gone);
        let last = last.map(|last| LogIndex(last.index));
        let (done, durable) = oneshot::channel();
        self.journal.truncate_after(last, sender(done));
        wait(durable).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.recent.lock().take(upto.index);
        // Nothing waits for it to be durable: what a crash brings back is purged again.
        self.journal.purge(point_of(upto), Box::new(|_| {}));
        Ok(())
    }
}

// === impl Applying ===

/// Reads entries to be applied: what is held in memory is handed over, the rest read in pieces.
struct Applying {
    log: Log,
    next: u64,
    end: u64,
    read: VecDeque<RaftEntry>,
}

impl Iterator for Applying {
    type Item = io::Result<RaftEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        if self.read.is_empty() {
            if let Some(entry) = self.log.recent.lock().take(self.next) {
                self.next += 1;
                return Some(Ok(entry));
            }
            match self.log.read(self.next, self.end, ANSWER_BYTES_MAX) {
                Ok(entries) => self.read = entries.into(),
                Err(error) => {
                    self.next = self.end;
                    return Some(Err(error));
                }
            }
        }
        match self.read.pop_front() {
            Some(entry) => {
                self.next += 1;
                Some(Ok(entry))
            }
            None => {
                let missing = self.next;
                self.next = self.end;
                Some(Err(io::Error::other(format!(
                    "entry {missing} is not in the log"
                ))))
            }
        }
    }
}

// === impl Recent ===

impl Recent {
    fn push(&mut self, entries: Vec<RaftEntry>) {
        for entry in entries {
            let follows = self
                .entries
                .back()
                .is_none_or(|last| last.log_id.index + 1 == entry.log_id.index);
            if !follows {
                self.clear();
            }
            self.bytes += entry_bytes(&entry);
            self.entries.push_back(entry);
        }
        while self.bytes > RECENT_BYTES_MAX {
            self.pop();
        }
    }

    /// Takes the entry at `index` out, with all before it.
    fn take(&mut self, index: u64) -> Option<RaftEntry> {
        while self.entries.front()?.log_id.index < index {
            self.pop();
        }
        if self.entries.front()?.log_id.index == index {
            self.pop()
        } else {
            None
        }
    }

    /// Returns the entries from `start` to before `end` that are held up to the last one, and where they start:
    /// at the end of what is held when there are none.
    fn get(&self, start: u64, end: u64) -> (Vec<RaftEntry>, u64) {
        let Some(first) = self.entries.front().map(|entry| entry.log_id.index) else {
            return (Vec::new(), u64::MAX);
        };
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let entries: Vec<RaftEntry> = self
            .entries
            .iter()
            .skip(skip)
            .take_while(|entry| entry.log_id.index < end)
            .cloned()
            .collect();
        let newest_start = entries.first().map_or(u64::MAX, |entry| entry.log_id.index);
        (entries, newest_start)
    }

    fn truncate(&mut self, first_gone: u64) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.log_id.index >= first_gone)
        {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= entry_bytes(&entry);
            }
        }
    }

    fn pop(&mut self) -> Option<RaftEntry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry_bytes(&entry);
        Some(entry)
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

/// Returns the store's name for an entry. The term names it fully: a term has one leader.
fn point_of(log_id: LogId) -> LogPoint {
    LogPoint {
        term: Term(log_id.leader_id.term),
        leader: ReplicaId::default(),
        index: LogIndex(log_id.index),
    }
}

fn log_id_of(point: LogPoint) -> LogId {
    log_id(point.term, point.index)
}

fn bounds_of(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX - 1,
    };
    (start, end)
}

fn entry_bytes(entry: &RaftEntry) -> usize {
    const ENTRY_OVERHEAD_BYTES: usize = 64;
    match &entry.payload {
        Payload::Normal(proposal) => ENTRY_OVERHEAD_BYTES + proposal.encoded.len(),
        Payload::Blank | Payload::Membership(_) => ENTRY_OVERHEAD_BYTES,
    }
}

fn record_of(entry: &RaftEntry) -> LogRecord {
    let (kind, payload) = match &entry.payload {
        Payload::Blank => (RecordKind::Blank, bytes::Bytes::new()),
        Payload::Normal(proposal) => (RecordKind::Normal, proposal.encoded.clone()),
        Payload::Membership(membership) => (RecordKind::Membership, encode_membership(membership)),
    };
    LogRecord {
        index: LogIndex(entry.log_id.index),
        term: Term(entry.log_id.leader_id.term),
        leader: ReplicaId::default(),
        kind,
        payload,
    }
}

fn entry_of(record: LogRecord) -> io::Result<RaftEntry> {
    let payload = match record.kind {
        RecordKind::Blank => Payload::Blank,
        RecordKind::Normal => Payload::Normal(Proposal {
            encoded: record.payload,
            decoded: None,
        }),
        RecordKind::Membership => Payload::Membership(decode_membership(&record.payload)?),
    };
    Ok(RaftEntry {
        log_id: log_id(record.term, record.index),
        payload,
    })
}

/// Returns what tells a waiter of a write.
pub(super) fn sender(
    done: oneshot::Sender<Result<(), StoreFault>>,
) -> Box<dyn FnOnce(Result<(), StoreFault>) + Send> {
    // Who no longer waits needs no answer.
    Box::new(move |result| drop(done.send(result)))
}

/// Waits until a write is durable.
pub(super) async fn wait(durable: oneshot::Receiver<Result<(), StoreFault>>) -> io::Result<()> {
    match durable.await {
        Ok(result) => result.map_err(fault),
        Err(_) => Err(io::Error::other("the store stopped before the write was durable")),
    }
}

fn fault(fault: StoreFault) -> io::Error {
    io::Error::other(fault)
}
