//! The nodes of the cluster, and the replicas that they are to hold.
//!
//! ```text
//!          Admit             Ready             Drain              RemoveNode
//! (none) ─────────► Joining ───────► Active ─────────► Draining ─────────────► Gone
//!                    ▲    ▲             │                                        │
//!                    │    └─── Admit ───┘ (with another disk)                    │
//!                    └─────────────────────────────── Admit ─────────────────────┘
//! ```
//!
//! A node's number is a label. What tells one disk from another are the replicas on it: those of founders are called by
//! the founder's own id in every group, all others by ids that are given once, above all founders'. So a node that
//! comes back with another disk holds other replicas. Every node that is not gone holds a replica of the directory,
//! whose id is what the others know the node by.
//!
//! A replica is *wanted* until something takes its place, and *leaving* from then on. The directory says what is to
//! be; who the members of a group are, its own log says. Once a leaving replica is a member no longer it is discarded,
//! and its id never names anything again. Until then it can have its place back, where that is still on the same disk.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::limit;
use crate::{
    DirectoryRefusal, DirectoryReply, DiskId, Founder, LogIndex, NodeId, NodeRecord, NodeState, ReplicaId,
    ReplicaRecord, ReplicaState, SetId,
};

/// The most nodes that are not gone.
pub const NODES_MAX: usize = 128;
/// The most replicas, with those that are leaving.
pub const REPLICAS_MAX: usize = 4_096;
/// How many replicas a set is to have, where there are nodes for them.
pub const REPLICAS_PER_SET: usize = 3;
/// The longest address of a node, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// The highest id that a founder can have. All that are given are above.
pub const FOUNDER_REPLICA_MAX: ReplicaId = ReplicaId(u16::MAX as u64);

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Nodes {
    nodes: BTreeMap<NodeId, NodeRecord>,
    /// By group and id: founders are called alike in all groups.
    replicas: BTreeMap<(Option<SetId>, ReplicaId), ReplicaRecord>,
    /// How many ids were given.
    given: u64,
    /// The entry that last changed anything here.
    changed: LogIndex,
    /// The nodes that said themselves where they are. Last: states that were kept before there was this end here.
    located: BTreeSet<NodeId>,
}

type Outcome = Result<DirectoryReply, DirectoryRefusal>;

// === impl Nodes ===

impl Nodes {
    pub(super) fn all(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&node)
    }

    pub(super) fn is_located(&self, node: NodeId) -> bool {
        self.located.contains(&node)
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = &ReplicaRecord> {
        self.replicas.values()
    }

    pub(super) fn replica(&self, set: Option<SetId>, replica: ReplicaId) -> Option<&ReplicaRecord> {
        self.replicas.get(&(set, replica))
    }

    pub(super) fn changed(&self) -> LogIndex {
        self.changed
    }

    /// Takes notice of the entry that changed something.
    pub(super) fn change(&mut self, at: LogIndex) {
        self.changed = at;
    }

    /// Returns whether an id named a replica of a group once, and never will again.
    pub(super) fn is_discarded(&self, set: Option<SetId>, replica: ReplicaId) -> bool {
        let was_given = replica <= self.last_given() && !self.nodes.is_empty();
        was_given && !self.replicas.contains_key(&(set, replica))
    }

    /// Returns the replicas of a group that are to be its members.
    pub(super) fn wanted(&self, set: Option<SetId>) -> impl Iterator<Item = &ReplicaRecord> {
        let of_group = self
            .replicas
            .range((set, ReplicaId(0))..=(set, ReplicaId(u64::MAX)));
        of_group
            .map(|(_, record)| record)
            .filter(|record| record.state == ReplicaState::Wanted)
    }

    /// Returns the replica of a group that a node is to hold.
    pub(super) fn wanted_on(&self, node: NodeId, set: Option<SetId>) -> Option<&ReplicaRecord> {
        self.wanted(set).find(|record| record.node == node)
    }

    /// Says who founded the cluster: each has a replica of the directory and of all sets.
    pub(super) fn enroll(&mut self, founders: &[Founder], sets: u8) -> Outcome {
        if !self.nodes.is_empty() {
            return Err(DirectoryRefusal::NodesKnown);
        }
        if founders.is_empty() || founders.len() > NODES_MAX {
            return Err(DirectoryRefusal::Malformed("number of founders".to_owned()));
        }
        let mut enrolled = Nodes::default();
        for founder in founders {
            check_address(&founder.address)?;
            let is_known = enrolled.nodes.contains_key(&founder.node)
                || enrolled.replicas.contains_key(&(None, founder.replica));
            if is_known || founder.replica > FOUNDER_REPLICA_MAX {
                return Err(DirectoryRefusal::Malformed("founder".to_owned()));
            }
            let record = NodeRecord {
                node: founder.node,
                address: founder.address.clone(),
                disk: DiskId::default(),
                state: NodeState::Active,
            };
            enrolled.nodes.insert(founder.node, record);
            for set in std::iter::once(None).chain((0..sets).map(|set| Some(SetId(set)))) {
                enrolled.put(founder.replica, founder.node, set);
            }
        }
        *self = enrolled;
        Ok(DirectoryReply::Done)
    }

    /// Takes a node in that has an empty disk, and gives it replicas in place of all that it had.
    pub(super) fn admit(&mut self, node: NodeId, address: &str, disk: DiskId) -> Outcome {
        if self.nodes.is_empty() {
            return Err(DirectoryRefusal::NotFounded);
        }
        check_address(address)?;
        let known = self.nodes.get(&node);
        let is_there = known.is_some_and(|known| known.state != NodeState::Gone);
        if is_there && known.is_some_and(|known| known.disk == disk) {
            return Ok(DirectoryReply::Admitted(self.wanted_of(node)));
        }
        if disk == DiskId::default() || self.replicas.values().any(|record| record.disk == disk) {
            return Err(DirectoryRefusal::Malformed("disk".to_owned()));
        }
        let nodes = self.nodes.values().filter(|known| known.state != NodeState::Gone);
        if !is_there && nodes.count() >= NODES_MAX {
            return Err(limit("nodes", NODES_MAX as u64));
        }
        let mut groups: Vec<Option<SetId>> = self.wanted_of(node).iter().map(|record| record.set).collect();
        if groups.is_empty() {
            groups.push(None);
        }
        self.check_room(groups.len())?;
        let state = match known.map(|known| known.state) {
            Some(NodeState::Draining) => NodeState::Draining,
            Some(NodeState::Joining | NodeState::Active | NodeState::Gone) | None => NodeState::Joining,
        };
        for record in self.replicas.values_mut() {
            if record.node == node {
                record.state = ReplicaState::Leaving;
            }
        }
        let address = address.to_owned();
        let record = NodeRecord {
            node,
            address,
            disk,
            state,
        };
        self.nodes.insert(node, record);
        for set in groups {
            self.give(node, set);
        }
        Ok(DirectoryReply::Admitted(self.wanted_of(node)))
    }

    /// Takes notice that a node which joins has caught up with the directory. Sets that have too few replicas get more,
    /// once there are nodes enough.
    pub(super) fn ready(&mut self, node: NodeId, sets: u8) -> Outcome {
        let record = self.there_mut(node)?;
        match record.state {
            NodeState::Joining => record.state = NodeState::Active,
            NodeState::Active | NodeState::Draining | NodeState::Gone => return Ok(DirectoryReply::Done),
        }
        let active = self
            .nodes
            .values()
            .filter(|known| known.state == NodeState::Active);
        if active.count() < REPLICAS_PER_SET {
            return Ok(DirectoryReply::Done);
        }
        for set in (0..sets).map(|set| Some(SetId(set))) {
            while self.wanted(set).count() < REPLICAS_PER_SET {
                match self.least_loaded(set) {
                    Some(node) if self.check_room(1).is_ok() => self.give(node, set),
                    Some(_) | None => break,
                };
            }
        }
        Ok(DirectoryReply::Done)
    }

    /// Takes notice of where a node says that it is.
    pub(super) fn locate(&mut self, node: NodeId, address: &str) -> Outcome {
        check_address(address)?;
        self.there_mut(node)?.address = address.to_owned();
        self.located.insert(node);
        Ok(DirectoryReply::Done)
    }

    /// Gives a set a replica on one node in place of that on another.
    pub(super) fn relocate(&mut self, set: SetId, from: NodeId, to: NodeId) -> Outcome {
        self.there_mut(from)?;
        if self.there_mut(to)?.state != NodeState::Active {
            return Err(DirectoryRefusal::NodeNotActive(to));
        }
        let set = Some(set);
        match (self.wanted_on(from, set), self.wanted_on(to, set)) {
            (Some(old), None) => {
                let old = old.replica;
                self.check_room(1)?;
                self.retire(set, old);
                Ok(DirectoryReply::Replica(self.give(to, set)))
            }
            // The same again.
            (None, Some(there)) => Ok(DirectoryReply::Replica(there.replica)),
            (Some(_), Some(_)) => Err(DirectoryRefusal::NodeHasReplica(to)),
            (None, None) => Err(DirectoryRefusal::NoReplica),
        }
    }

    /// Gives each set that has a replica on a node another elsewhere, all or none.
    pub(super) fn drain(&mut self, node: NodeId) -> Outcome {
        let mut drained = self.clone();
        drained.there_mut(node)?.state = NodeState::Draining;
        if !drained
            .nodes
            .values()
            .any(|known| known.state == NodeState::Active)
        {
            return Err(DirectoryRefusal::TooFewNodes);
        }
        for record in self.wanted_of(node).iter().filter(|record| record.set.is_some()) {
            let to = drained.least_loaded(record.set);
            let to = to.ok_or(DirectoryRefusal::TooFewNodes)?;
            drained.check_room(1)?;
            drained.retire(record.set, record.replica);
            drained.give(to, record.set);
        }
        *self = drained;
        Ok(DirectoryReply::Done)
    }

    /// Lets a node go that was drained.
    pub(super) fn remove(&mut self, node: NodeId) -> Outcome {
        let record = self.nodes.get(&node).ok_or(DirectoryRefusal::NoNode(node))?;
        let holds = |record: &ReplicaRecord| record.node == node && record.set.is_some();
        match record.state {
            NodeState::Gone => return Ok(DirectoryReply::Done),
            NodeState::Draining if !self.replicas.values().any(holds) => {}
            NodeState::Joining | NodeState::Active | NodeState::Draining => {
                return Err(DirectoryRefusal::NodeHoldsReplicas(node));
            }
        }
        if let Some(replica) = self.wanted_on(node, None).map(|record| record.replica) {
            self.retire(None, replica);
        }
        self.there_mut(node)?.state = NodeState::Gone;
        self.located.remove(&node);
        Ok(DirectoryReply::Done)
    }

    /// Gives the node of a replica another in its place.
    pub(super) fn renew(&mut self, set: Option<SetId>, replica: ReplicaId) -> Outcome {
        let record = self.replica(set, replica).ok_or(DirectoryRefusal::NoReplica)?;
        let node = record.node;
        match record.state {
            ReplicaState::Wanted => {
                self.check_room(1)?;
                self.retire(set, replica);
                Ok(DirectoryReply::Replica(self.give(node, set)))
            }
            // The same again, or something else took its place.
            ReplicaState::Leaving => {
                let wanted = self.wanted_on(node, set).ok_or(DirectoryRefusal::NoReplica)?;
                Ok(DirectoryReply::Replica(wanted.replica))
            }
        }
    }

    /// Gives a replica that is leaving its place back, from the one that was to take it on the same disk.
    pub(super) fn reinstate(&mut self, set: Option<SetId>, replica: ReplicaId) -> Outcome {
        let record = *self.replica(set, replica).ok_or(DirectoryRefusal::NoReplica)?;
        if record.state == ReplicaState::Wanted {
            return Ok(DirectoryReply::Done);
        }
        let successor = self
            .wanted_on(record.node, set)
            .filter(|wanted| wanted.disk == record.disk);
        let successor = successor.ok_or(DirectoryRefusal::NoReplica)?.replica;
        self.retire(set, successor);
        self.replicas.insert(
            (set, replica),
            ReplicaRecord {
                state: ReplicaState::Wanted,
                ..record
            },
        );
        Ok(DirectoryReply::Done)
    }

    /// Takes notice that a replica is a member of its group no longer.
    pub(super) fn discard(&mut self, set: Option<SetId>, replica: ReplicaId) -> Outcome {
        match self.replica(set, replica).map(|record| record.state) {
            Some(ReplicaState::Leaving) => {
                self.replicas.remove(&(set, replica));
                Ok(DirectoryReply::Done)
            }
            Some(ReplicaState::Wanted) => Err(DirectoryRefusal::ReplicaWanted),
            None => Ok(DirectoryReply::Done),
        }
    }

    fn wanted_of(&self, node: NodeId) -> Vec<ReplicaRecord> {
        let of_node = |record: &&ReplicaRecord| record.node == node && record.state == ReplicaState::Wanted;
        self.replicas.values().filter(of_node).copied().collect()
    }

    fn last_given(&self) -> ReplicaId {
        ReplicaId(FOUNDER_REPLICA_MAX.0.saturating_add(self.given))
    }

    /// Returns the active node without a replica of a set that has the fewest; of several, the lowest.
    fn least_loaded(&self, set: Option<SetId>) -> Option<NodeId> {
        let load = |node: NodeId| self.wanted_of(node).len();
        let free = self
            .nodes
            .values()
            .filter(|known| known.state == NodeState::Active && self.wanted_on(known.node, set).is_none());
        free.map(|known| known.node)
            .min_by_key(|node| (load(*node), *node))
    }

    fn check_room(&self, more: usize) -> Result<(), DirectoryRefusal> {
        match self.replicas.len() + more > REPLICAS_MAX {
            true => Err(limit(
                "replicas, with those that are leaving",
                REPLICAS_MAX as u64,
            )),
            false => Ok(()),
        }
    }

    fn there_mut(&mut self, node: NodeId) -> Result<&mut NodeRecord, DirectoryRefusal> {
        let record = self.nodes.get_mut(&node);
        record
            .filter(|record| record.state != NodeState::Gone)
            .ok_or(DirectoryRefusal::NoNode(node))
    }

    fn retire(&mut self, set: Option<SetId>, replica: ReplicaId) {
        if let Some(record) = self.replicas.get_mut(&(set, replica)) {
            record.state = ReplicaState::Leaving;
        }
    }

    /// Gives the next id to a replica on a node.
    fn give(&mut self, node: NodeId, set: Option<SetId>) -> ReplicaId {
        self.given = self.given.saturating_add(1);
        let replica = self.last_given();
        self.put(replica, node, set);
        replica
    }

    fn put(&mut self, replica: ReplicaId, node: NodeId, set: Option<SetId>) {
        let disk = self.nodes.get(&node).map(|known| known.disk).unwrap_or_default();
        let record = ReplicaRecord {
            replica,
            node,
            disk,
            set,
            state: ReplicaState::Wanted,
        };
        self.replicas.insert((set, replica), record);
    }
}

fn check_address(address: &str) -> Result<(), DirectoryRefusal> {
    let is_one = !address.is_empty()
        && address.len() <= ADDRESS_BYTES_MAX
        && address.bytes().all(|byte| byte.is_ascii_graphic());
    match is_one {
        true => Ok(()),
        false => Err(DirectoryRefusal::Malformed("address of a node".to_owned())),
    }
}

#[cfg(test)]
impl Nodes {
    /// Checks what holds of nodes and replicas whatever was done.
    pub(super) fn check_consistent(&self) {
        for node in self.nodes.values() {
            let directory = self.wanted(None).filter(|record| record.node == node.node);
            let is_there = node.state != NodeState::Gone;
            assert_eq!(directory.count(), usize::from(is_there), "{node:?}");
        }
        for node in &self.located {
            let is_there = self
                .nodes
                .get(node)
                .is_some_and(|node| node.state != NodeState::Gone);
            assert!(is_there, "who is gone is nowhere: {node}");
        }
        let mut places = BTreeSet::new();
        for (at, record) in &self.replicas {
            assert_eq!(*at, (record.set, record.replica));
            assert!(record.replica <= self.last_given());
            let node = self.nodes.get(&record.node).expect("a replica is on a node");
            match record.state {
                ReplicaState::Wanted => {
                    assert_eq!(record.disk, node.disk, "nothing is wanted of another disk");
                    assert_ne!(node.state, NodeState::Gone);
                    assert!(
                        places.insert((record.node, record.set)),
                        "one of a group on a node"
                    );
                }
                ReplicaState::Leaving => {}
            }
        }
    }
}
