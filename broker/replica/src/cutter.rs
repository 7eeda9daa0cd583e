//! Decides, on a set's leader, when it is cut and which segments are rewritten. What happens then happens on every
//! replica, at the same entries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use posthouse_model::{LogIndex, Set, SetCommand, SetId};
use posthouse_store::{Bodies, GroupId, KeepClass, SegmentSummary, Store};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::held::Held;
use crate::leadership::Leadership;
use crate::proposer::Intake;

/// Segments that one rewrite takes in, at most.
const REWRITE_INPUTS_MAX: usize = 8;
/// How often the store is asked who is to be cut, though it did not say that it has too much log: bodies that wait for a
/// cut count as well, and what was asked for may have failed. So often it is looked for segments to be rewritten, too.
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

/// What was kept of half dead segments when it was looked last.
#[derive(Default)]
struct Look {
    at: Option<Instant>,
    kept: BTreeMap<(LogIndex, KeepClass), u64>,
}

/// A segment of which less than half is live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct HalfDead {
    made_at: LogIndex,
    class: KeepClass,
    kept: u64,
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
        let mut look = Look::default();
        loop {
            if matches!(*self.leadership.borrow_and_update(), Leadership::Leading { .. }) {
                self.cut_if_due().await;
                self.rewrite_if_due(&mut look).await;
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

    async fn rewrite_if_due(&self, look: &mut Look) {
        let is_early = look.at.is_some_and(|at| at.elapsed() < BUDGET_CHECK);
        if is_early || self.budget.spent.lock().cutting {
            return;
        }
        look.at = Some(Instant::now());
        let state = self.held.view(Set::clone);
        let inputs = look.inputs(half_dead(&state, self.bodies.segments()));
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

// === impl Look ===

impl Look {
    /// Returns which segments are to be rewritten: of one class, the oldest ones. One that is being received will be wholly dead
    /// soon, and goes without that anything of it is written again: so only those of which nine tenths were kept that were
    /// when it was looked last.
    fn inputs(&mut self, half_dead: Vec<HalfDead>) -> Vec<LogIndex> {
        let kept = half_dead
            .iter()
            .map(|segment| ((segment.made_at, segment.class), segment.kept));
        let before = std::mem::replace(&mut self.kept, kept.collect());
        let mut stays = half_dead.into_iter().filter(|segment| {
            let before = before.get(&(segment.made_at, segment.class));
            before.is_some_and(|before| segment.kept >= before - before / 10)
        });
        let Some(first) = stays.next() else {
            return Vec::new();
        };
        let alike = stays.filter(|segment| segment.class == first.class);
        let made_at = std::iter::once(first).chain(alike).map(|segment| segment.made_at);
        made_at.take(REWRITE_INPUTS_MAX).collect()
    }
}

/// Returns the segments in which less than half is live, oldest first.
fn half_dead(set: &Set, segments: Vec<SegmentSummary>) -> Vec<HalfDead> {
    let looked_at = segments.into_iter().filter_map(|segment| {
        // Bodies of other classes within the same ranges are counted too: a segment is never thought too dead.
        let kept: u64 = segment
            .streams
            .iter()
            .map(|stream| set.kept_in(stream.stream, stream.first..=stream.last))
            .sum();
        // What is wholly dead goes at any cut.
        (kept > 0 && kept < segment.bodies.div_ceil(2)).then_some(HalfDead {
            made_at: segment.made_at,
            class: segment.class,
            kept,
        })
    });
    looked_at.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_dead(made_at: u64, class: KeepClass, kept: u64) -> HalfDead {
        HalfDead {
            made_at: LogIndex(made_at),
            class,
            kept,
        }
    }

    #[test]
    fn what_stays_half_dead_is_rewritten_and_what_is_received_goes_by_itself() {
        let mut look = Look::default();
        let day = |made_at, kept| half_dead(made_at, KeepClass::Day, kept);
        assert_eq!(look.inputs(vec![day(1, 100), day(2, 100), day(3, 100)]), []);
        let next = look.inputs(vec![day(1, 90), day(2, 89), day(3, 100), day(4, 1)]);
        assert_eq!(next, [LogIndex(1), LogIndex(3)]);
        let slower = look.inputs(vec![day(2, 85), day(4, 1)]);
        assert_eq!(slower, [LogIndex(2), LogIndex(4)], "by what it was the last time");
        assert_eq!(look.inputs(Vec::new()), []);
    }

    #[test]
    fn one_rewrite_takes_the_oldest_of_one_class_and_not_too_many() {
        let mut look = Look::default();
        let class = |number| match number {
            2 | 4 => KeepClass::Hour,
            _ => KeepClass::Day,
        };
        let all = || {
            (1..=12)
                .map(|number| half_dead(number, class(number), 10))
                .collect()
        };
        assert_eq!(look.inputs(all()), []);
        let expected = [1, 3, 5, 6, 7, 8, 9, 10].map(LogIndex);
        assert_eq!(look.inputs(all()), expected);
    }

    #[test]
    fn segments_of_one_cut_and_several_classes_are_told_apart() {
        let mut look = Look::default();
        let both = |hour, day| {
            vec![
                half_dead(1, KeepClass::Hour, hour),
                half_dead(1, KeepClass::Day, day),
            ]
        };
        assert_eq!(look.inputs(both(100, 10)), []);
        assert_eq!(look.inputs(both(50, 5)), []);
        assert_eq!(look.inputs(both(50, 1)), [LogIndex(1)]);
    }
}
