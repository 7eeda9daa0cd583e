//! A group's checkpoints: which is the newest durable one, and who waits for the next.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{LogIndex, Term};
use posthouse_store::{Checkpoint, Export, GroupId, Import, SegmentFile, Store, StoreFault};
use tokio::sync::{oneshot, watch};

use super::log::{sender, wait};
use super::record::Position;
use super::state::Encoder;

/// The checkpoints of a group.
pub(crate) struct Checkpoints {
    store: Store,
    group: GroupId,
    newest: watch::Sender<Option<Position>>,
}

/// A group's checkpoints, and the newest one, if there is any.
pub(crate) type Opened = (Arc<Checkpoints>, Option<(Position, Bytes)>);

// === impl Checkpoints ===

impl Checkpoints {
    /// Opens a group's checkpoints, and returns where the newest one stands, with its state.
    pub(crate) fn open(store: Store, group: GroupId) -> io::Result<Opened> {
        let found = match store.checkpoint(group).map_err(io::Error::other)? {
            Some(checkpoint) => Some((Position::decode(&checkpoint.meta)?, checkpoint.state)),
            None => None,
        };
        let newest = watch::Sender::new(found.as_ref().map(|(position, _)| position.clone()));
        let checkpoints = Checkpoints { store, group, newest };
        Ok((Arc::new(checkpoints), found))
    }

    /// Returns where the newest durable checkpoint stands.
    pub(crate) fn newest(&self) -> Option<Position> {
        self.newest.borrow().clone()
    }

    /// Returns a receiver that sees each newer checkpoint.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Position>> {
        self.newest.subscribe()
    }

    /// Takes notice that a checkpoint is durable.
    pub(crate) fn is_durable(&self, position: Position) {
        self.newest.send_if_modified(|newest| {
            let newer = newest.as_ref().is_none_or(|known| known.log_id < position.log_id);
            if newer {
                *newest = Some(position);
            }
            newer
        });
    }

    /// Returns the newest checkpoint's state.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let checkpoint = self.store.checkpoint(self.group).map_err(io::Error::other)?;
        let checkpoint = checkpoint.ok_or_else(|| io::Error::other("the checkpoint is gone"))?;
        Ok(checkpoint.state)
    }

    /// Opens the newest checkpoint with its segments, to send them.
    pub(crate) fn export(&self) -> io::Result<Export> {
        let export = self.store.export(self.group).map_err(io::Error::other)?;
        export.ok_or_else(|| io::Error::other("the checkpoint is gone"))
    }

    /// Begins to take in a checkpoint with these segments.
    pub(crate) fn import(&self, files: Vec<SegmentFile>) -> Import {
        self.store.import(self.group, files)
    }

    /// Reads a piece of a segment that is here as a whole.
    pub(crate) fn read_segment(
        &self,
        file: SegmentFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, StoreFault> {
        self.store.read_segment(self.group, file, offset, bytes_max)
    }

    /// Returns a fault when there is no room for so much more.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), StoreFault> {
        self.store.admit_import(bytes)
    }

    /// Puts a checkpoint that was taken in in the place of all that the group has beside its log, and waits until it
    /// is durable.
    pub(crate) async fn install(&self, position: Position, state: Bytes, import: Import) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        let checkpoint = Checkpoint {
            at: index_of(&position),
            meta: position.encode(),
            state,
        };
        import.commit(checkpoint, sender(done));
        wait(durable).await?;
        self.is_durable(position);
        Ok(())
    }

    /// Writes a checkpoint of a state without bodies, and waits until it is durable.
    pub(crate) async fn write(self: &Arc<Self>, position: Position, encoder: Encoder) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        let meta = position.encode();
        self.store
            .write_checkpoint(self.group, index_of(&position), meta, encoder, sender(done));
        wait(durable).await?;
        self.is_durable(position);
        Ok(())
    }
}

/// Returns our index of the last entry in a state at `position`.
pub(crate) fn index_of(position: &Position) -> LogIndex {
    position
        .log_id
        .map_or(LogIndex::default(), |log_id| LogIndex(log_id.index))
}

/// Returns the term of the last entry in a state at `position`.
pub(crate) fn term_of(position: &Position) -> Term {
    position
        .log_id
        .map_or(Term::default(), |log_id| Term(log_id.leader_id.term))
}
