//! How much of what a replica promised to know is still there, and what it therefore takes part in.
//!
//! ```text
//! Whole ──a segment or the checkpoint is damaged──► Mends ──replaced──► Whole
//!   └──entries of the log are lost──► Lacks ──another's checkpoint took their place──► Whole
//! ```
//!
//! Who **mends** has all of its log: it goes on to acknowledge entries, but gives no vote and does not lead, because
//! it could not hand out every message. Who **lacks** part of its log may have forgotten what it acknowledged, or a vote:
//! it answers nothing and takes nothing but a checkpoint. The one it waits for was made by a leader that had an entry
//! agreed on after this replica began to refuse, so a majority without this replica stands behind that leader. In a
//! set of three that is all the others: whatever this replica had acknowledged and was agreed on is known there, and
//! whoever it voted for follows that leader by now.
//!
//! Who cannot read its checkpoint at the start has no state that its log could follow: it lacks all of it, and does not
//! know who the members are. It knows who leads by the entries that it refuses.

use std::sync::atomic::{AtomicU64, Ordering};

use posthouse_model::ReplicaId;
use posthouse_store::{Damaged, DamagedPart};
use tokio::sync::watch;

/// How much of what a replica promised to know is still there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Condition {
    /// All of it.
    #[default]
    Whole,
    /// Its log is whole, but something else is damaged: it neither votes nor leads until that is replaced.
    Mends,
    /// Its log is not whole: it takes nothing but another replica's checkpoint.
    Lacks,
}

/// A replica's condition, as its tasks share it.
pub(crate) struct Health {
    condition: watch::Sender<Condition>,
    /// Who led when its entries were last refused; nobody has the number nothing.
    led_by: AtomicU64,
}

// === impl Condition ===

impl Condition {
    /// Returns the condition of a replica of which this is damaged.
    pub(crate) fn of(damage: &[Damaged]) -> Condition {
        let of_part = |damaged: &Damaged| match damaged.part {
            DamagedPart::Segment(_) | DamagedPart::Checkpoint => Condition::Mends,
            DamagedPart::Log => Condition::Lacks,
        };
        let mut worst = Condition::Whole;
        for condition in damage.iter().map(of_part) {
            if worst != Condition::Lacks {
                worst = condition;
            }
        }
        worst
    }

    /// Returns whether the replica may give its vote, and lead.
    pub fn may_vote(self) -> bool {
        match self {
            Condition::Whole => true,
            Condition::Mends | Condition::Lacks => false,
        }
    }

    /// Returns whether the replica may take entries and acknowledge them.
    pub fn may_append(self) -> bool {
        match self {
            Condition::Whole | Condition::Mends => true,
            Condition::Lacks => false,
        }
    }
}

// === impl Health ===

impl Health {
    pub(crate) fn new(condition: Condition) -> Health {
        Health {
            condition: watch::Sender::new(condition),
            led_by: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> Condition {
        *self.condition.borrow()
    }

    /// Takes notice of who leads, whose entries are refused.
    pub(crate) fn refuses(&self, leader: ReplicaId) {
        self.led_by.store(leader.0, Ordering::Relaxed);
    }

    /// Returns who led when its entries were last refused.
    pub(crate) fn led_by(&self) -> Option<ReplicaId> {
        let leader = self.led_by.load(Ordering::Relaxed);
        (leader != 0).then_some(ReplicaId(leader))
    }

    /// Sets the condition; returns whether it was another.
    pub(crate) fn set(&self, condition: Condition) -> bool {
        self.condition.send_if_modified(|known| {
            let changed = *known != condition;
            *known = condition;
            changed
        })
    }
}
