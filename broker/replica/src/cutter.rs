//! Decides, on a set's leader, when it is cut and which segments are rewritten. What happens then happens on every
//! replica, at the same entries.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use posthouse_model::{LogIndex, Set, SetCommand, SetId};
use posthouse_store::{Bodies, GroupId, SegmentSummary, Store};
use tokio::sync::{Notify, watch};
use tracing::{debug, info};

use crate::held::Held;
use crate::leadership::Leadership;
use crate::proposer::Intake;

/// Segments that one rewrite takes in, at most.
const REWRITE_INPUTS_MAX: usize = 8;
/// How often the store is asked who is to be cut, though it did not say that it has too much log: bodies that wait for a
/// cut count as well, and what was asked for may have failed.
pub(crate) const BUDGET_CHECK: Duration = Duration::from_secs(5);

/// What was applied since the last cut, and what is being written.
pub(crate) struct Budget {
    cut_bytes: u64,
    spent: Mutex<Spent>,
    changed: Notify,
}

#[derive(Default)]
struct Spent {
    applied_bytes: u64,
    /// The last entry at which the set was cut.
    last_cut: LogIndex,
    /// Whether that cut is still being written.
    cutting: bool,
}

/// Proposes cuts and rewrites.
pub(crate) struct Cutter {
    pub(crate) set: SetId,
    pub(crate) intake: Arc<Intake<Set>>,
    pub(crate) held: Arc<Held<Set>>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) store: Store,
    /// Changes whenever the store has more log than it should have.
    pub(crate) over_budget: watch::Receiver<()>,
    pub(crate) bodies: Bodies,
    pub(crate) budget: Arc<Budget>,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(cut_bytes: u64) -> Budget {
        Budget {
            cut_bytes,
            spent: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Counts an applied entry.
    pub(crate) fn add(&self, bytes: usize) {
        let mut spent = self.spent.lock();
        let before = spent.applied_bytes;
        spent.applied_bytes += bytes as u64;
        if before < self.cut_bytes && spent.applied_bytes >= self.cut_bytes {
            self.changed.notify_one();
        }
    }

    pub(crate) fn begin_cut(&self, at: LogIndex) {
        let mut spent = self.spent.lock();
        spent.applied_bytes = 0;
        spent.last_cut = at;
        spent.cutting = true;
    }

    /// Takes notice that the state was replaced by one that was cut at `at`.
    pub(crate) fn replaced(&self, at: LogIndex) {
        *self.spent.lock() = Spent {
            last_cut: at,
            ..Spent::default()
        };
    }

    pub(crate) fn end_cut(&self, at: LogIndex) {
        let mut spent = self.spent.lock();
        if spent.last_cut == at {
            spent.cutting = false;
            self.changed.notify_one();
        }
    }
}

// === impl Cutter ===

impl Cutter {
    /// Runs until the group stops.
    pub(crate) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            () = self.cut_for_ever() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn cut_for_ever(&mut self) {
        loop {
            if matches!(*self.leadership.borrow_and_update(), Leadership::Leading { .. }) {
                self.cut_if_due().await;
                self.rewrite_if_due().await;
            }
            tokio::select! {
                () = self.budget.changed.notified() => {}
                changed = self.leadership.changed() => if changed.is_err() { return },
                // A store that tells another does not tell this one; the look now and then is left.
                Ok(()) = self.over_budget.changed() => {}
                () = tokio::time::sleep(BUDGET_CHECK) => {}
            }
        }
    }

    async fn cut_if_due(&self) {
        let applied = *self.held.applied().borrow();
        let is_due = {
            let spent = self.budget.spent.lock();
            let is_spent = spent.applied_bytes >= self.budget.cut_bytes;
            !spent.cutting
                && applied > spent.last_cut
                && (is_spent || self.store.groups_to_cut().contains(&GroupId::of(self.set)))
        };
        if !is_due {
            return;
        }
        info!(set = %self.set, "cuts");
        if let Err(fault) = self.intake.propose(None, None, SetCommand::Cut).await {
            debug!(set = %self.set, %fault, "not cut");
        }
    }

    async fn rewrite_if_due(&self) {
        if self.budget.spent.lock().cutting {
            return;
        }
        let state = self.held.view(Set::clone);
        let inputs = half_dead(&state, self.bodies.segments());
        if inputs.is_empty() {
            return;
        }
        info!(set = %self.set, segments = inputs.len(), "rewrites");
        if let Err(fault) = self
            .intake
            .propose(None, None, SetCommand::Rewrite { inputs })
            .await
        {
            debug!(set = %self.set, %fault, "not rewritten");
        }
    }
}

/// Returns segments of one class in which less than half is live, the oldest ones.
fn half_dead(set: &Set, segments: Vec<SegmentSummary>) -> Vec<LogIndex> {
    let mut class = None;
    let mut inputs = Vec::new();
    for segment in segments {
        if class.is_some_and(|class| class != segment.class) {
            continue;
        }
        // Bodies of other classes within the same ranges are counted too: a segment is never thought too dead.
        let kept: u64 = segment
            .streams
            .iter()
            .map(|stream| set.kept_in(stream.stream, stream.first..=stream.last))
            .sum();
        // What is wholly dead goes at any cut.
        if kept > 0 && kept < segment.bodies.div_ceil(2) {
            class = Some(segment.class);
            inputs.push(segment.made_at);
        }
        if inputs.len() == REWRITE_INPUTS_MAX {
            break;
        }
    }
    inputs
}
