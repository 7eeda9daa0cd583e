//! What the world did to a command: whether it was not done, or may have been.

use posthouse_model::ReplicaId;
use serde::{Deserialize, Serialize};

/// Why a command has no outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum Fault {
    /// It was not done, and will not be: it can be sent again, here or elsewhere.
    #[error("not done: {0}")]
    NotDone(Reason),
    /// It may have been done, or may be yet.
    #[error("may have been done: {0}")]
    MayBeDone(Reason),
}

/// What came between.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum Reason {
    /// Another replica leads, if it is known which.
    #[error("this replica does not lead the group{}", leader_text(.leader))]
    NotLeading {
        /// Who leads.
        leader: Option<ReplicaId>,
    },
    /// This replica led when it took the command, and then no longer.
    #[error("leadership was lost")]
    LeadershipLost,
    /// No majority of the replicas answers.
    #[error("no majority of the group's replicas answers")]
    NoMajority,
    /// The group stops.
    #[error("the group is stopping")]
    Stopping,
    /// The group stopped because its store failed.
    #[error("the store failed")]
    StoreFailed,
    /// More is waiting than there is room for.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The members of the group are others than this takes, or are being changed.
    #[error("the group's members are others, or are being changed")]
    OtherMembers,
    /// It was not done in the time given.
    #[error("the time given ran out")]
    TimedOut,
    /// The leader's disk is nearly full; another is to lead, whose disk is not.
    #[error("the leader's disk is nearly full, and another is to lead")]
    NoRoom,
}

// === impl Fault ===

impl Fault {
    /// Returns what came between.
    pub fn reason(&self) -> Reason {
        match self {
            Fault::NotDone(reason) | Fault::MayBeDone(reason) => *reason,
        }
    }
}

fn leader_text(leader: &Option<ReplicaId>) -> String {
    match leader {
        Some(replica) => format!("; replica {replica} does"),
        None => String::new(),
    }
}
