//! Lets a group's log go up to each durable checkpoint.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::debug;

use crate::GroupName;
use crate::raft::Engine;
use crate::raft::checkpoint::Checkpoints;

/// Tells the engine of checkpoints; it purges the log behind them.
pub(crate) struct Purger {
    pub(crate) group: GroupName,
    pub(crate) engine: Engine,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) stopping: watch::Receiver<bool>,
}

// === impl Purger ===

impl Purger {
    /// Runs until the group stops.
    pub(crate) async fn run(mut self) {
        let mut newest = self.checkpoints.watch();
        loop {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                _ = self.stopping.wait_for(|stopping| *stopping) => return,
            }
            // The engine asks the state for its newest snapshot, which is this checkpoint.
            if let Err(error) = self.engine.trigger().snapshot().await {
                debug!(group = %self.group, %error, "the engine no longer purges");
                return;
            }
        }
    }
}
