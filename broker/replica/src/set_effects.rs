//! What follows from applying an entry of a set: its bodies are kept, its observer is told, and at a cut what is
//! live goes to a segment.

use std::sync::Arc;

use posthouse_model::{
    Applied, Batch, BodyKey, Happening, Incarnation, LogIndex, Queue, Sequences, Set, SetCommand, SetId,
    Topic,
};
use posthouse_store::{Bodies, CutPlan, Decisions, Live, StoreFault};
use tracing::error;

use crate::bugs::Bug;
use crate::cutter::Budget;
use crate::held::{Effects, FollowedEntry};
use crate::raft::checkpoint::{Checkpoints, index_of};
use crate::{Machine, Observer};

/// The effects of a set's entries.
pub(crate) struct SetEffects {
    set: SetId,
    bodies: Bodies,
    decisions: Decisions,
    observer: Arc<dyn Observer>,
    checkpoints: Arc<Checkpoints>,
    budget: Arc<Budget>,
}

/// What is live in a state that no longer changes.
struct LiveIn(Set);

// === impl SetEffects ===

impl SetEffects {
    pub(crate) fn new(
        set: SetId,
        bodies: Bodies,
        decisions: Decisions,
        observer: Arc<dyn Observer>,
        checkpoints: Arc<Checkpoints>,
        budget: Arc<Budget>,
    ) -> SetEffects {
        SetEffects {
            set,
            bodies,
            decisions,
            observer,
            checkpoints,
            budget,
        }
    }

    /// Has what is live written to segments and then a checkpoint that names them, in the background; of the
    /// segments in `rewrite`, what is live goes to the new ones.
    fn cut(&self, entry: &FollowedEntry<'_, Set>, rewrite: Vec<LogIndex>) {
        let (set, at) = (self.set, index_of(entry.position));
        let live = LiveIn(entry.held.view(Set::clone));
        let state = live.0.clone();
        let plan = CutPlan {
            at,
            rewrite,
            live: Box::new(live),
            state: Box::new(move || state.encode_state().into()),
            meta: entry.position.encode(),
        };
        let (checkpoints, budget) = (self.checkpoints.clone(), self.budget.clone());
        let position = entry.position.clone();
        self.budget.begin_cut(at);
        if Bug::PurgedTooEarly.is_loose() {
            checkpoints.is_durable(position.clone());
        }
        let done = move |result: Result<(), StoreFault>| {
            match result {
                // The log may go up to here now.
                Ok(()) => checkpoints.is_durable(position),
                Err(fault) => error!(%set, %at, %fault, "a cut failed"),
            }
            budget.end_cut(at);
        };
        self.bodies.cut(plan, Box::new(done));
    }

    /// Notes what `explain` is to tell of the entry's messages.
    fn note(&self, entry: &FollowedEntry<'_, Set>) {
        let tenant_of = |place: Incarnation| {
            entry.held.view(|set| {
                let queue = set.queue(place).map(Queue::tenant);
                queue.or_else(|| set.topic(place).map(Topic::tenant))
            })
        };
        for (message, happening) in Happening::of_entry(entry.batch, entry.applied, &tenant_of) {
            let record = posthouse_wire::encode_happening(&happening);
            if record.len() <= Decisions::RECORD_BYTES_MAX {
                self.decisions.note(message, record);
                continue;
            }
            for short in happening.into_short() {
                self.decisions
                    .note(message, posthouse_wire::encode_happening(&short));
            }
        }
    }
}

// === impl LiveIn ===

impl Live for LiveIn {
    fn is_live(&self, key: BodyKey) -> bool {
        self.0.is_kept(key)
    }

    fn live_in(&self, stream: Incarnation, sequences: Sequences) -> u64 {
        self.0.kept_in(stream, sequences)
    }
}

impl Effects<Set> for SetEffects {
    fn keep(&mut self, index: LogIndex, batch: &Arc<Batch<SetCommand>>, bytes: usize, applied: &Applied) {
        self.bodies.insert(index, batch, bytes, &applied.stored);
    }

    fn follow(&mut self, entry: FollowedEntry<'_, Set>) {
        self.note(&entry);
        let index = index_of(entry.position);
        self.observer
            .applied_entry(self.set, index, entry.batch, entry.applied);
        self.budget.add(entry.bytes);
        let mut rewrite: Option<Vec<LogIndex>> = None;
        for submission in &entry.batch.submissions {
            match &submission.command {
                SetCommand::Cut => {
                    rewrite.get_or_insert_default();
                }
                SetCommand::Rewrite { inputs } => rewrite.get_or_insert_default().extend(inputs),
                _ => {}
            }
        }
        if let Some(rewrite) = rewrite {
            self.cut(&entry, rewrite);
        }
    }

    fn replaced(&mut self, index: LogIndex) {
        self.budget.replaced(index);
    }

    fn is_all_in_state(&self) -> bool {
        false
    }
}
