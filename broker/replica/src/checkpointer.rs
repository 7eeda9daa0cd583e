//! Has the directory's checkpoints written: each replica its own, when so much was applied or its store says so.

use std::sync::Arc;

use posthouse_store::{GroupId, Store};
use tokio::sync::{Notify, watch};
use tracing::debug;

use crate::cutter::BUDGET_CHECK;
use crate::raft::Engine;

/// Has the directory's checkpoints written.
pub(crate) struct Checkpointer {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) wanted: Arc<Notify>,
    /// Changes whenever the store has more log than it should have.
    pub(crate) over_budget: watch::Receiver<()>,
    pub(crate) stopping: watch::Receiver<bool>,
}

// === impl Checkpointer ===

impl Checkpointer {
    /// Runs until the group stops.
    pub(crate) async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                // A store that tells another does not tell this one; the look now and then is left.
                Ok(()) = self.over_budget.changed() => if !self.is_asked_for() { continue },
                () = tokio::time::sleep(BUDGET_CHECK) => if !self.is_asked_for() { continue },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            // The engine has the state write its checkpoint, and purges the log up to it.
            if let Err(error) = self.engine.trigger().snapshot().await {
                debug!(%error, "the engine no longer writes checkpoints");
                return;
            }
        }
    }

    fn is_asked_for(&self) -> bool {
        self.store.groups_to_cut().contains(&GroupId::DIRECTORY)
    }
}
