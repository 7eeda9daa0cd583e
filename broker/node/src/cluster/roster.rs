//! Who the other nodes are and where, as the directory says: what connections are made by.
//!
//! A node that is told itself where another is believes that, and the directory of the others: what one reaches at an
//! address another may not. But of one that has said where it is, what this node was told may be from before: it is
//! looked for where it said first.

use std::collections::{BTreeMap, HashMap};

use posthouse_model::{Directory, NodeId, NodeState, ReplicaId};

/// The nodes that are not gone, by what the others know them by: their replicas of the directory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Roster {
    /// Where each may listen, the likeliest first.
    pub(super) addresses: BTreeMap<ReplicaId, Vec<String>>,
    /// The node of each replica of a group, as far as it is called otherwise than its node and its disk is there.
    pub(super) hosts: HashMap<ReplicaId, ReplicaId>,
}

// === impl Roster ===

impl Roster {
    /// Returns who is there; none as long as nobody said which nodes there are. `told` is where some are, by their
    /// numbers.
    pub(super) fn of(directory: &Directory, told: &BTreeMap<u16, String>) -> Option<Roster> {
        directory.nodes().next()?;
        let mut roster = Roster::default();
        let mut by_node: BTreeMap<NodeId, ReplicaId> = BTreeMap::new();
        for node in directory.nodes().filter(|node| node.state != NodeState::Gone) {
            if let Some(known_by) = directory.replica_wanted_on(node.node, None) {
                by_node.insert(node.node, known_by.replica);
                let told = told.get(&node.node.0).filter(|told| **told != node.address);
                let addresses = match told {
                    Some(told) if directory.is_located(node.node) => vec![node.address.clone(), told.clone()],
                    Some(told) => vec![told.clone()],
                    None => vec![node.address.clone()],
                };
                roster.addresses.insert(known_by.replica, addresses);
            }
        }
        for record in directory.replicas() {
            let disk = directory.node(record.node).map(|node| node.disk);
            let host = by_node.get(&record.node);
            // What was on another disk than the node has now is nowhere.
            if let Some(host) = host.filter(|host| **host != record.replica && disk == Some(record.disk)) {
                roster.hosts.insert(record.replica, *host);
            }
        }
        Some(roster)
    }
}

#[cfg(test)]
mod tests {
    use posthouse_model::{DirectoryCommand, DiskId, SetId};

    use super::*;
    use crate::founded::directory;

    fn admit(node: u16) -> DirectoryCommand {
        DirectoryCommand::Admit {
            node: NodeId(node),
            address: format!("new:{node}"),
            disk: DiskId([9; 16]),
        }
    }

    #[test]
    fn founders_are_called_alike_everywhere() {
        assert_eq!(Roster::of(&Directory::new(), &BTreeMap::new()), None);
        let roster = Roster::of(&directory(1, Vec::new()), &BTreeMap::new()).expect("they were said");
        assert_eq!(roster.addresses.len(), 3);
        assert!(roster.hosts.is_empty());
    }

    #[test]
    fn what_was_on_a_lost_disk_is_nowhere() {
        let told = BTreeMap::from([(3, "there:3".to_owned())]);
        let roster = Roster::of(&directory(1, vec![admit(2)]), &told).expect("they were said");
        assert_eq!(
            roster.addresses[&ReplicaId(3)],
            ["there:3"],
            "as this node was told"
        );
        let known: Vec<u64> = roster.addresses.keys().map(|replica| replica.0).collect();
        assert_eq!(known, [1, 3, 65_536]);
        assert_eq!(roster.addresses[&ReplicaId(65_536)], ["new:2"]);
        assert_eq!(
            roster.hosts,
            HashMap::from([(ReplicaId(65_537), ReplicaId(65_536))]),
            "its replica of the set, and not the one before"
        );
    }

    #[test]
    fn one_that_said_where_it_is_is_looked_for_there_first() {
        let told = BTreeMap::from([(2, "told:2".to_owned()), (3, "said:3".to_owned())]);
        let said = |node: u16| DirectoryCommand::Locate {
            node: NodeId(node),
            address: format!("said:{node}"),
        };
        let roster = Roster::of(&directory(1, vec![said(2), said(3)]), &told).expect("they were said");
        assert_eq!(roster.addresses[&ReplicaId(2)], ["said:2", "told:2"]);
        assert_eq!(roster.addresses[&ReplicaId(3)], ["said:3"]);
    }

    #[test]
    fn what_is_leaving_is_still_where_it_is() {
        let renew = DirectoryCommand::Renew {
            set: None,
            replica: ReplicaId(2),
        };
        let relocate = DirectoryCommand::Relocate {
            set: SetId(0),
            from: NodeId(1),
            to: NodeId(4),
        };
        let ready = DirectoryCommand::Ready { node: NodeId(4) };
        let roster = Roster::of(
            &directory(1, vec![renew, admit(4), ready, relocate]),
            &BTreeMap::new(),
        )
        .expect("said");
        assert_eq!(
            roster.hosts[&ReplicaId(2)],
            ReplicaId(65_536),
            "node 2 is called otherwise now"
        );
        assert_eq!(
            roster.hosts[&ReplicaId(65_538)],
            ReplicaId(65_537),
            "the set's on node 4"
        );
        assert!(
            roster.addresses.contains_key(&ReplicaId(1)),
            "which node 1 still has one of"
        );
    }
}
