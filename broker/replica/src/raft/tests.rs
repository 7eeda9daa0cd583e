//! openraft's own tests of log stores and state machines, on ours.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{ErrorSubject, ErrorVerb, StorageError};
use posthouse_model::Set;
use tempfile::TempDir;

use super::checkpoint::Checkpoints;
use super::log::Log;
use super::record::Position;
use super::state::{AppliedState, Applier, Encoder};
use super::{Answer, LogId, Payload, Proposal, RaftEntry, Types, Vote};
use crate::test_store::open_store;
use crate::{Machine, SystemClock};

/// Applies nothing: the suite looks at positions.
struct Idle;

/// Makes a log and a state machine in a directory of their own.
struct OnTempDir;

/// A log that begins where the suite likes. Ours begin at their beginning, so what is missing before the first entry
/// is filled with blanks, and never shown.
#[derive(Clone)]
struct AnyStart {
    log: Log,
    first: Arc<AtomicU64>,
}

impl AnyStart {
    async fn fill(&mut self, first: u64) -> io::Result<()> {
        if self.log.get_log_state().await?.last_log_id.is_some() || first == 0 {
            return Ok(());
        }
        self.first.store(first, Ordering::SeqCst);
        let blank = |index| RaftEntry {
            log_id: super::log_id(posthouse_model::Term(0), posthouse_model::LogIndex(index)),
            payload: Payload::Blank,
        };
        self.log
            .append((0..first).map(blank).collect::<Vec<_>>(), IOFlushed::noop())
            .await
    }

    fn shown(&self, entries: Vec<RaftEntry>) -> Vec<RaftEntry> {
        let first = self.first.load(Ordering::SeqCst);
        entries
            .into_iter()
            .filter(|entry| entry.log_id.index >= first)
            .collect()
    }
}

impl RaftLogReader<Types> for AnyStart {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let entries = self.log.try_get_log_entries(range).await?;
        Ok(self.shown(entries))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.log.read_vote().await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        let entries = self.log.limited_get_log_entries(start, end).await?;
        Ok(self.shown(entries))
    }
}

impl RaftLogStorage<Types> for AnyStart {
    type LogReader = AnyStart;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        self.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> AnyStart {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.log.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.log.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.fill(first.log_id.index).await?;
        }
        self.log.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(upto).await
    }
}

impl Applier for Idle {
    fn apply(&mut self, _position: &Position, _proposal: &Proposal) -> io::Result<Answer> {
        Ok(Answer(None))
    }

    fn pass(&mut self, _position: &Position) {}

    fn replace(&mut self, _position: &Position, _state: Bytes) -> io::Result<()> {
        Ok(())
    }

    fn encoder(&self) -> Option<Encoder> {
        Some(Box::new(Vec::new))
    }
}

impl StoreBuilder<Types, AnyStart, AppliedState, TempDir> for OnTempDir {
    async fn build(&self) -> Result<(TempDir, AnyStart, AppliedState), StorageError<Types>> {
        let failed =
            |error: io::Error| StorageError::from_io_error(ErrorSubject::Store, ErrorVerb::Read, error);
        let dir = tempfile::tempdir().map_err(failed)?;
        let store = open_store(dir.path());
        let group = posthouse_store::GroupId(0);
        let (checkpoints, found) = Checkpoints::open(store.clone(), group).map_err(failed)?;
        assert!(found.is_none(), "the directory is new");
        let applied = AppliedState::new(Position::default(), Box::new(Idle), Arc::clone(&checkpoints));
        let log = AnyStart {
            log: Log::open(store.log(group), Arc::new(SystemClock::new()), Set::stamp_of).map_err(failed)?,
            first: Arc::default(),
        };
        Ok((dir, log, applied))
    }
}

#[tokio::test]
async fn the_suite_of_openraft_passes() {
    Suite::test_all(OnTempDir).await.expect("the suite passes");
}
