//! A group's applied state as openraft wants it: entries go in, answers come out, checkpoints are its snapshots.
//!
//! What applying means is an [`Applier`]'s.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta};

use super::checkpoint::Checkpoints;
use super::peer::Received;
use super::record::Position;
use super::{Answer, LeaderTerm, LogId, Payload, Proposal, StoredMembership, Types};

/// Applies entries to a state.
pub(crate) trait Applier: Send + Sync + 'static {
    /// Applies an entry. `position` is where the state stands afterwards.
    fn apply(&mut self, position: &Position, proposal: &Proposal) -> io::Result<Answer>;

    /// Takes notice of an entry without content.
    fn pass(&mut self, position: &Position);

    /// Replaces the state by one from a checkpoint.
    fn replace(&mut self, position: &Position, state: Bytes) -> io::Result<()>;

    /// Returns what makes the bytes of the state as it is now, if a checkpoint needs nothing else.
    fn encoder(&self) -> Option<Encoder>;
}

/// Makes a state's bytes, away from the task that applies entries.
pub(crate) type Encoder = Box<dyn FnOnce() -> Vec<u8> + Send + Sync>;

/// A group's applied state.
pub(crate) struct AppliedState {
    position: Position,
    applier: Box<dyn Applier>,
    checkpoints: Arc<Checkpoints>,
}

/// Answers openraft with the newest checkpoint, for it to purge its log to.
pub(crate) struct Builder {
    checkpoints: Arc<Checkpoints>,
    /// The state as it is, to be written first. A state with bodies is written at cuts only.
    newer: Option<(Position, Encoder)>,
}

/// A state with what it names: the newest checkpoint in this replica's store, or what was received of another's.
pub(crate) enum StateBytes {
    Stored(Arc<Checkpoints>),
    Received(Received),
}

type RaftSnapshot = Snapshot<LeaderTerm, u64, (), StateBytes>;
type Meta = SnapshotMeta<LeaderTerm, u64, ()>;

// === impl AppliedState ===

impl AppliedState {
    /// Returns the state machine of a state that stands at `position`.
    pub(crate) fn new(
        position: Position,
        applier: Box<dyn Applier>,
        checkpoints: Arc<Checkpoints>,
    ) -> AppliedState {
        AppliedState {
            position,
            applier,
            checkpoints,
        }
    }
}

impl RaftStateMachine<Types> for AppliedState {
    type SnapshotData = StateBytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.position.log_id, self.position.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.position.log_id = Some(entry.log_id);
            let answer = match entry.payload {
                Payload::Normal(proposal) => self.applier.apply(&self.position, &proposal)?,
                Payload::Membership(membership) => {
                    self.position.membership = StoredMembership::new(Some(entry.log_id), membership);
                    self.applier.pass(&self.position);
                    Answer(None)
                }
                Payload::Blank => {
                    self.applier.pass(&self.position);
                    Answer(None)
                }
            };
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let is_newer = self
            .checkpoints
            .newest()
            .is_none_or(|newest| newest.log_id < self.position.log_id);
        let encoder = if is_newer { self.applier.encoder() } else { None };
        Builder {
            checkpoints: self.checkpoints.clone(),
            newer: encoder.map(|encoder| (self.position.clone(), encoder)),
        }
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: StateBytes) -> io::Result<()> {
        let position = Position {
            log_id: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        let (state, import) = match snapshot {
            StateBytes::Stored(checkpoints) => (checkpoints.read()?, self.checkpoints.import(Vec::new())),
            StateBytes::Received(received) => (received.state, received.import),
        };
        self.checkpoints
            .install(position.clone(), state.clone(), import)
            .await?;
        self.applier.replace(&position, state)?;
        self.position = position;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        Ok(self
            .checkpoints
            .newest()
            .map(|position| snapshot(position, self.checkpoints.clone())))
    }
}

// === impl Builder ===

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = StateBytes;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        if let Some((position, encoder)) = self.newer.take() {
            self.checkpoints.write(position, encoder).await?;
        }
        let newest = self.checkpoints.newest();
        let position = newest.ok_or_else(|| io::Error::other("no checkpoint was written yet"))?;
        Ok(snapshot(position, self.checkpoints.clone()))
    }
}

fn snapshot(position: Position, checkpoints: Arc<Checkpoints>) -> RaftSnapshot {
    Snapshot {
        meta: SnapshotMeta {
            last_log_id: position.log_id,
            last_membership: position.membership,
        },
        snapshot: StateBytes::Stored(checkpoints),
    }
}
