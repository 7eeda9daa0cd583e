//! A group's checkpoints: which is the newest durable one, and who waits for the next.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::LogIndex;
use posthouse_store::{GroupId, Store, StoreFault};
use tokio::sync::{oneshot, watch};

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

    /// Writes a checkpoint of a state without bodies, and waits until it is durable.
    pub(crate) async fn write(self: &Arc<Self>, position: Position, encoder: Encoder) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        let written = move |result: Result<(), StoreFault>| {
            // Who no longer waits needs no answer.
            drop(done.send(result));
        };
        let meta = position.encode();
        self.store
            .write_checkpoint(self.group, index_of(&position), meta, encoder, Box::new(written));
        match durable.await {
            Ok(Ok(())) => {
                self.is_durable(position);
                Ok(())
            }
            Ok(Err(fault)) => Err(io::Error::other(fault)),
            Err(_) => Err(io::Error::other(
                "the store stopped before the checkpoint was written",
            )),
        }
    }
}

/// Returns our index of the last entry in a state at `position`.
pub(crate) fn index_of(position: &Position) -> LogIndex {
    position
        .log_id
        .map_or(LogIndex::default(), |log_id| LogIndex(log_id.index))
}
