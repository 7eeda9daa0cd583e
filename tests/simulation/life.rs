//! A process of a node, from its start to its end: what runs in it, and who is told that it is over.

use std::sync::Arc;

use posthouse_model::ReplicaId;
use posthouse_replica::Groups;
use posthouse_store::Store;
use tokio::sync::watch;

/// Whether a process still lives. Clones are of the same one.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    is_over: Arc<watch::Sender<bool>>,
}

/// A process of a node.
pub(crate) struct Process {
    pub(crate) replica: ReplicaId,
    pub(crate) life: Life,
    pub(crate) groups: Groups,
    pub(crate) store: Store,
    /// Names the calls that it passes on: another for each process.
    pub(crate) session: u64,
    pub(crate) calls: std::sync::atomic::AtomicU64,
}

// === impl Life ===

impl Life {
    pub(crate) fn begin() -> Life {
        Life {
            is_over: Arc::new(watch::Sender::new(false)),
        }
    }

    pub(crate) fn end(&self) {
        self.is_over.send_replace(true);
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        let mut is_over = self.is_over.subscribe();
        // The sender is here, so this ends when it is over and not before.
        let _ = is_over.wait_for(|is_over| *is_over).await;
    }
}
