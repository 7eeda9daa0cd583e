//! Deliberate bugs, so that the simulation can show that it would find them.
//!
//! There is none in a node: without the feature `bugs` there is nothing here that could let one loose, and with it
//! (where a whole workspace is built for tests, it is on for everybody) each waits for [`Bug::let_loose`], which only
//! the simulation calls.

use posthouse_model::{Batch, ReceiptHandle, Set, SetCommand, Submission};

/// Handles that a new leader's first entry ends, if leases are forgotten.
const HANDLES_MAX: u64 = 20_000;

/// A mistake that could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
#[cfg_attr(
    not(feature = "bugs"),
    expect(unreachable_pub, reason = "only with the feature is it seen from outside")
)]
pub enum Bug {
    /// Entries are said to be durable when they are queued to be written.
    AckBeforeSync = 1,
    /// A vote is given before it is durable.
    VoteUnsynced,
    /// Leases end when another replica begins to lead.
    LeasesForgotten,
    /// A replica that starts again keeps no results of the sessions' calls that it replays.
    SessionsForgotten,
    /// The log is let go when a checkpoint is begun, not when it is durable.
    PurgedTooEarly,
    /// A stamp is the wall clock's time, if that is later.
    TimeStepped,
    /// A leader that nobody can tell the time goes by its own wall clock.
    OwnWallClockBelieved,
    /// After an outage of all replicas, a group takes its time for what wall clocks show.
    LagsForgotten,
}

#[cfg(feature = "bugs")]
static LOOSE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

impl Bug {
    /// All of them.
    #[cfg(feature = "bugs")]
    pub const ALL: [Bug; 8] = [
        Bug::AckBeforeSync,
        Bug::VoteUnsynced,
        Bug::LeasesForgotten,
        Bug::SessionsForgotten,
        Bug::PurgedTooEarly,
        Bug::TimeStepped,
        Bug::OwnWallClockBelieved,
        Bug::LagsForgotten,
    ];

    /// Has every group of this process have the bug, and no other.
    #[cfg(feature = "bugs")]
    pub fn let_loose(self) {
        LOOSE.store(self as u8, std::sync::atomic::Ordering::Relaxed);
    }

    /// Returns whether it was let loose.
    #[cfg(feature = "bugs")]
    pub(crate) fn is_loose(self) -> bool {
        LOOSE.load(std::sync::atomic::Ordering::Relaxed) == self as u8
    }

    /// Returns that it was not.
    #[cfg(not(feature = "bugs"))]
    pub(crate) const fn is_loose(self) -> bool {
        false
    }
}

/// Returns an entry that ends all leases beside what it does, if it is a new leader's first one.
pub(crate) fn without_leases(set: &Set, batch: &Batch<SetCommand>) -> Batch<SetCommand> {
    let mut batch = batch.clone();
    let is_first = |submission: &Submission<_>| matches!(submission.command, SetCommand::Lead { .. });
    if batch.submissions.iter().any(is_first) {
        batch.submissions.extend(set.queues().map(|queue| Submission {
            call: None,
            command: SetCommand::Release {
                queue,
                handles: (1..=HANDLES_MAX).map(ReceiptHandle).collect(),
            },
        }));
    }
    batch
}
