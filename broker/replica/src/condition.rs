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
pub(crate) struct Health(watch::Sender<Condition>);

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
        Health(watch::Sender::new(condition))
    }

    pub(crate) fn now(&self) -> Condition {
        *self.0.borrow()
    }

    /// Sets the condition; returns whether it was another.
    pub(crate) fn set(&self, condition: Condition) -> bool {
        self.0.send_if_modified(|known| {
            let changed = *known != condition;
            *known = condition;
            changed
        })
    }
}
