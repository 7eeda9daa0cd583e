//! What groups are set to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use posthouse_model::{ReplicaId, SetId};

use crate::GroupName;

/// The weight of an entry at which no more commands are added to it.
pub const ENTRY_BYTES_MAX: usize = 1_048_576;
/// The commands of an entry at which no more are added to it.
pub const ENTRY_COMMANDS_MAX: usize = 1_000;
/// Entries of a group that are proposed and not yet applied.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// Commands of a group that wait to be proposed; who comes then, waits for room.
pub const COMMANDS_WAITING_MAX: usize = 4_096;

/// What groups are set to.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica, in every group that `given` does not name.
    pub replica: ReplicaId,
    /// This replica in the groups where it got an id of its own.
    pub given: BTreeMap<GroupName, ReplicaId>,
    /// How many sets there are.
    pub sets: u8,
    /// Those of them that this node has replicas of; none is all.
    pub held: Option<BTreeSet<SetId>>,
    /// The voters that an empty group begins with; none for a replica that waits to be taken in.
    pub founders: Option<BTreeSet<ReplicaId>>,
    /// How often a leader says that it is there.
    pub heartbeat: Duration,
    /// The shortest silence after which a replica wants to lead.
    pub election_min: Duration,
    /// The longest such silence.
    pub election_max: Duration,
    /// Applied bytes after which a set is cut.
    pub cut_bytes: u64,
    /// Applied bytes after which the directory writes a checkpoint.
    pub checkpoint_bytes: u64,
}

// === impl Config ===

impl Config {
    /// Returns the configuration of a node without peers.
    pub fn lone(sets: u8) -> Config {
        let replica = ReplicaId(1);
        Config {
            replica,
            given: BTreeMap::new(),
            sets,
            held: None,
            founders: Some(BTreeSet::from([replica])),
            // The engine looks at each group five times in a heartbeat, idle or not: that is most of what an idle set
            // costs. No follower wants to lead before it has heard nothing for `election_min` and `election_max`
            // together, five heartbeats.
            heartbeat: Duration::from_millis(300),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1_000),
            cut_bytes: 128 * 1_048_576,
            checkpoint_bytes: 16 * 1_048_576,
        }
    }

    /// Returns what this replica is called in a group.
    pub(crate) fn replica_in(&self, group: GroupName) -> ReplicaId {
        self.given.get(&group).copied().unwrap_or(self.replica)
    }

    /// Returns whether nobody else votes.
    pub(crate) fn is_lone(&self) -> bool {
        self.founders
            .as_ref()
            .is_some_and(|voters| voters.len() == 1 && voters.contains(&self.replica))
    }
}
