//! Since when the directory says of decisions about messages what it says now.
//!
//! A decision carries the index of the directory's log that it was made at, and a set refuses one from before an index
//! that it has seen. Were that the index of the directory's last entry, every queue that somebody makes would have all
//! sends under way decided again. So it is the index of the last entry that such decisions depend on.

use std::sync::atomic::{AtomicU64, Ordering};

use posthouse_model::{DirectoryChange, LogIndex};

use super::{Broker, BrokerError};

/// The directory's last entry that decisions depend on, as far as this node knows.
///
/// What it says is never ahead of what this node sees of the directory: who reads it first and then the directory
/// decides by that entry or a later one.
pub(super) struct Deciding(AtomicU64);

// === impl Deciding ===

impl Deciding {
    /// Begins with what the directory has applied. Zero would say that nothing was decided.
    pub(super) fn since(applied: LogIndex) -> Deciding {
        Deciding(AtomicU64::new(applied.0.max(1)))
    }

    /// Follows an entry of the directory that was applied here.
    pub(super) fn follow(&self, index: LogIndex, changes: &[DirectoryChange]) {
        let decides = |change: &DirectoryChange| match change {
            // A disabled key seals no more.
            DirectoryChange::Deciding | DirectoryChange::MasterKey { .. } => true,
            DirectoryChange::Tenant { .. }
            | DirectoryChange::Name { .. }
            | DirectoryChange::Plugin { .. }
            | DirectoryChange::SigningKey { .. } => false,
        };
        if changes.iter().any(decides) {
            self.reach(index);
        }
    }

    /// Takes in that the directory was applied here up to an index that others decide at, or that a binding says.
    pub(super) fn reach(&self, index: LogIndex) {
        self.0.fetch_max(index.0, Ordering::AcqRel);
    }

    fn index(&self) -> LogIndex {
        LogIndex(self.0.load(Ordering::Acquire))
    }
}

impl Broker {
    /// Returns the index that decisions are made at. To be looked up before what they are made by.
    pub(super) fn decided_at(&self) -> LogIndex {
        self.deciding.index()
    }

    /// Returns whether what was decided at an index is out of date already. Who was told the index read what decides
    /// after it, and may have read what is newer: that must not stand in the log under the older index, behind which
    /// something that was decided by the former binding could still come.
    pub(super) fn is_late(&self, decided_at: LogIndex) -> bool {
        self.deciding.index() > decided_at
    }

    /// Waits until this node sees of the directory what a set has seen, so that all can be decided again.
    pub(super) async fn see_what_decides(&self, seen: LogIndex) -> Result<(), BrokerError> {
        self.directory.wait_applied(seen).await?;
        self.deciding.reach(seen);
        self.metrics.decided_again();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use posthouse_model::{Kind, Name, TenantId};

    use super::*;

    #[test]
    fn only_what_decisions_depend_on_makes_them_out_of_date() {
        let deciding = Deciding::since(LogIndex(7));
        let name = Name::parse("q").expect("a name");
        let made = DirectoryChange::Name {
            tenant: TenantId(1),
            kind: Kind::Queue,
            name: name.clone(),
        };
        deciding.follow(LogIndex(8), std::slice::from_ref(&made));
        deciding.follow(LogIndex(9), &[]);
        assert_eq!(deciding.index(), LogIndex(7));
        deciding.follow(LogIndex(10), &[made, DirectoryChange::Deciding]);
        assert_eq!(deciding.index(), LogIndex(10));
        let key = DirectoryChange::MasterKey {
            tenant: TenantId(1),
            name,
        };
        deciding.follow(LogIndex(11), &[key]);
        assert_eq!(deciding.index(), LogIndex(11));
        deciding.reach(LogIndex(5));
        assert_eq!(deciding.index(), LogIndex(11), "it never goes back");
    }

    #[test]
    fn a_decision_made_in_an_empty_cluster_is_one() {
        assert!(Deciding::since(LogIndex(0)).index() > LogIndex(0));
    }
}
