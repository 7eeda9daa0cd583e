//! A group's state in memory, as its tasks share it: written by the task that applies entries, read by everybody.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use posthouse_model::{Batch, LogIndex, MessageId, SetId, Term, Time};
use tokio::sync::watch;

use crate::bugs::Bug;
use crate::outage::LagKeeper;
use crate::raft::checkpoint::{index_of, term_of};
use crate::raft::peer::{Clocks, Counted};
use crate::raft::record::Position;
use crate::raft::state::{Applier, Encoder};
use crate::raft::{Answer, Proposal};
use crate::set_time::SetTime;
use crate::{Clock, Machine};

/// What a group's tasks share.
pub(crate) struct Held<M> {
    state: RwLock<M>,
    time: Mutex<SetTime>,
    clock: Arc<dyn Clock>,
    lags: Arc<LagKeeper>,
    deadline: watch::Sender<Option<Time>>,
    applied: watch::Sender<LogIndex>,
    last_message_id: Mutex<MessageId>,
}

/// What follows from applying an entry beside the state's change.
pub(crate) trait Effects<M: Machine>: Send + Sync + 'static {
    /// Keeps what the entry brought, so many bytes, before the state that names it can be read.
    fn keep(&mut self, index: LogIndex, batch: &Arc<Batch<M::Command>>, bytes: usize, applied: &M::Applied);

    /// Follows up, once the state can be read.
    fn follow(&mut self, entry: FollowedEntry<'_, M>);

    /// Takes notice that the state was replaced by one that stands at `index`.
    fn replaced(&mut self, index: LogIndex);

    /// Returns whether a checkpoint needs nothing beside the state.
    fn is_all_in_state(&self) -> bool;
}

/// An entry that was applied.
pub(crate) struct FollowedEntry<'a, M: Machine> {
    /// Where the state stands now.
    pub(crate) position: &'a Position,
    /// The state.
    pub(crate) held: &'a Held<M>,
    /// The entry.
    pub(crate) batch: &'a Batch<M::Command>,
    /// Its bytes.
    pub(crate) bytes: usize,
    /// What it did.
    pub(crate) applied: &'a M::Applied,
}

/// Applies entries to what is held.
pub(crate) struct HeldApplier<M: Machine> {
    held: Arc<Held<M>>,
    effects: Box<dyn Effects<M>>,
    /// The last entry that was in the log when it was opened.
    replayed_to: LogIndex,
}

// === impl Held ===

impl<M: Machine> Held<M> {
    /// Returns what is held of a group whose state was read from its checkpoint.
    pub(crate) fn new(state: M, clock: Arc<dyn Clock>, lags: Arc<LagKeeper>) -> Held<M> {
        Held {
            time: Mutex::new(SetTime::since_before(state.now())),
            deadline: watch::Sender::new(state.deadline()),
            applied: watch::Sender::new(state.applied()),
            last_message_id: Mutex::new(state.last_message_id()),
            state: RwLock::new(state),
            clock,
            lags,
        }
    }

    /// Reads the applied state.
    pub(crate) fn view<R>(&self, read: impl FnOnce(&M) -> R) -> R {
        read(&self.state.read())
    }

    /// Returns what time it is for the group.
    pub(crate) fn now(&self) -> Time {
        self.time.lock().now(self.clock.monotonic())
    }

    /// Returns what this replica knows of time.
    pub(crate) fn clocks(&self) -> Clocks {
        Clocks {
            counted: self.counted(),
            lag: self.lags.lag(),
            wall: self.clock.wall(),
        }
    }

    /// Returns what time it is for the group, if this replica was there to count since the last stamp.
    fn counted(&self) -> Option<Counted> {
        // Read in this order, time is never that of an earlier entry, which a new leader's may be behind.
        let since = self.last_stamped();
        let now = self.time.lock().counted(self.clock.monotonic())?;
        Some(Counted { since, now })
    }

    /// Returns the term of the last stamp that was applied here.
    pub(crate) fn last_stamped_in(&self) -> Term {
        self.time.lock().term()
    }

    /// Returns the last entry with a stamp that was applied here.
    pub(crate) fn last_stamped(&self) -> LogIndex {
        self.state.read().applied()
    }

    /// Takes notice of what time it is for the group, as another replica counted it from the same last stamp.
    pub(crate) fn believe(&self, time: Time) {
        self.time.lock().believe(time, self.clock.monotonic());
    }

    /// Returns the stamp for an entry that is proposed now.
    pub(crate) fn stamp(&self) -> Time {
        let (wall, monotonic) = (self.clock.wall(), self.clock.monotonic());
        let mut time = self.time.lock();
        if Bug::TimeStepped.is_loose() {
            time.believe(wall, monotonic);
        }
        time.stamp(wall, monotonic)
    }

    /// Begins to lead at a term: from now on this replica stamps. If nobody counted, it is `after_outage`.
    pub(crate) fn lead(&self, term: Term, after_outage: Time) {
        self.time.lock().lead(term, after_outage, self.clock.monotonic());
        let last_applied = self.state.read().last_message_id();
        let mut last = self.last_message_id.lock();
        *last = last_applied.max(*last);
    }

    /// Returns ids for so many messages: rising, and above all that the group has seen.
    pub(crate) fn next_message_ids(&self, set: SetId, count: usize) -> Vec<MessageId> {
        let now = self.now();
        let mut last = self.last_message_id.lock();
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            *last = MessageId::after(*last, set, now);
            ids.push(*last);
        }
        ids
    }

    /// Returns a receiver that sees each change of the deadline.
    pub(crate) fn deadlines(&self) -> watch::Receiver<Option<Time>> {
        self.deadline.subscribe()
    }

    /// Returns a receiver that sees what was applied.
    pub(crate) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    /// Waits until it is `deadline` for the group.
    pub(crate) async fn reach(&self, deadline: Time) {
        let at: Duration = self.time.lock().reached_at(deadline, self.clock.monotonic());
        self.clock.reach(at).await;
    }

    fn set_deadline(&self, deadline: Option<Time>) {
        self.deadline.send_if_modified(|known| {
            let changed = *known != deadline;
            *known = deadline;
            changed
        });
    }
}

// === impl HeldApplier ===

impl<M: Machine> HeldApplier<M> {
    pub(crate) fn new(
        held: Arc<Held<M>>,
        effects: Box<dyn Effects<M>>,
        replayed_to: LogIndex,
    ) -> HeldApplier<M> {
        HeldApplier {
            held,
            effects,
            replayed_to,
        }
    }

    fn take_stamp(&self, position: &Position, stamp: Time) {
        let term = term_of(position);
        let mut time = self.held.time.lock();
        let monotonic = self.held.clock.monotonic();
        match self.held.lags.is_late(index_of(position)) {
            true => time.observe_late(term, stamp, monotonic),
            false => time.observe(term, stamp, monotonic),
        }
    }
}

impl<M: Machine> Applier for HeldApplier<M> {
    fn apply(&mut self, position: &Position, proposal: &Proposal) -> io::Result<Answer> {
        let index = index_of(position);
        let mut batch = batch_of::<M>(proposal)?;
        if Bug::SessionsForgotten.is_loose() && index <= self.replayed_to {
            batch = without_calls(&batch);
        }
        self.take_stamp(position, batch.now);
        let applied;
        let deadline;
        {
            let mut state = self.held.state.write();
            applied = state.apply(index, &batch);
            self.effects.keep(index, &batch, proposal.encoded.len(), &applied);
            deadline = state.deadline();
        }
        self.held.set_deadline(deadline);
        self.held.applied.send_replace(index);
        self.effects.follow(FollowedEntry {
            position,
            held: &self.held,
            batch: &batch,
            bytes: proposal.encoded.len(),
            applied: &applied,
        });
        Ok(Answer(Some(Box::new(M::outcomes(applied)))))
    }

    fn pass(&mut self, position: &Position) {
        self.held.applied.send_replace(index_of(position));
    }

    fn replace(&mut self, position: &Position, bytes: Bytes) -> io::Result<()> {
        let state = M::decode_state(&bytes).map_err(io::Error::other)?;
        self.held
            .time
            .lock()
            .observe_late(term_of(position), state.now(), self.held.clock.monotonic());
        self.held.set_deadline(state.deadline());
        *self.held.state.write() = state;
        let index = index_of(position);
        self.held.applied.send_replace(index);
        self.effects.replaced(index);
        Ok(())
    }

    fn encoder(&self) -> Option<Encoder> {
        if !self.effects.is_all_in_state() {
            return None;
        }
        // A clone is cheap, encoding is not.
        let state = self.held.view(M::clone);
        Some(Box::new(move || state.encode_state().into()))
    }
}

/// Returns an entry of which nobody knows who passed it on.
fn without_calls<C: Clone>(batch: &Batch<C>) -> Arc<Batch<C>> {
    let mut batch = batch.clone();
    for submission in &mut batch.submissions {
        submission.call = None;
    }
    Arc::new(batch)
}

/// Returns the batch that a proposal was made from, or else what its bytes say.
fn batch_of<M: Machine>(proposal: &Proposal) -> io::Result<Arc<Batch<M::Command>>> {
    if let Some(decoded) = &proposal.decoded
        && let Ok(batch) = Arc::downcast::<Batch<M::Command>>(decoded.clone() as Arc<dyn Any + Send + Sync>)
    {
        return Ok(batch);
    }
    let batch = M::decode_batch(&proposal.encoded).map_err(io::Error::other)?;
    Ok(Arc::new(batch))
}
