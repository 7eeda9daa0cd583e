//! What follows from applying an entry of the directory: its observer is told, and after so many bytes a checkpoint
//! is wanted.

use std::sync::Arc;

use posthouse_model::{Batch, Directory, DirectoryCommand, LogIndex};
use tokio::sync::Notify;

use crate::held::{Effects, FollowedEntry};
use crate::raft::checkpoint::index_of;
use crate::{Machine, Observer};

/// The effects of the directory's entries.
pub(crate) struct DirectoryEffects {
    observer: Arc<dyn Observer>,
    /// Told when a checkpoint is wanted.
    wanted: Arc<Notify>,
    /// Applied bytes after which one is.
    checkpoint_bytes: u64,
    applied_bytes: u64,
}

// === impl DirectoryEffects ===

impl DirectoryEffects {
    pub(crate) fn new(
        observer: Arc<dyn Observer>,
        wanted: Arc<Notify>,
        checkpoint_bytes: u64,
    ) -> DirectoryEffects {
        DirectoryEffects {
            observer,
            wanted,
            checkpoint_bytes,
            applied_bytes: 0,
        }
    }
}

impl Effects<Directory> for DirectoryEffects {
    fn keep(
        &mut self,
        _index: LogIndex,
        _batch: &Arc<Batch<DirectoryCommand>>,
        _bytes: usize,
        _applied: &<Directory as Machine>::Applied,
    ) {
    }

    fn follow(&mut self, entry: FollowedEntry<'_, Directory>) {
        let index = index_of(entry.position);
        self.observer.directory_applied(index, &entry.applied.changes);
        self.applied_bytes += entry.bytes as u64;
        if self.applied_bytes >= self.checkpoint_bytes {
            self.applied_bytes = 0;
            self.wanted.notify_one();
        }
    }

    fn replaced(&mut self, _index: LogIndex) {
        self.observer.directory_replaced();
        self.applied_bytes = 0;
    }

    fn is_all_in_state(&self) -> bool {
        true
    }
}
