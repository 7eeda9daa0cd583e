//! Nodes and their replicas: who holds what after each command.

use std::collections::BTreeSet;

use super::*;

/// The sets of the cluster.
const SETS: u8 = 3;

impl Log {
    /// A cluster of three sets on so many nodes.
    fn of_nodes(nodes: u16) -> Log {
        let mut log = Log::founded();
        log.done(enroll(nodes));
        log
    }

    fn admit(&mut self, node: u16, disk: u8) -> Vec<ReplicaRecord> {
        match self.apply(admit(node, disk)) {
            Ok(DirectoryReply::Admitted(replicas)) => replicas,
            other => panic!("node {node} was not taken in: {other:?}"),
        }
    }

    /// Takes in a node that is new, and has it catch up.
    fn join(&mut self, node: u16, disk: u8) {
        self.admit(node, disk);
        self.done(DirectoryCommand::Ready { node: NodeId(node) });
    }

    fn replaced(&mut self, command: DirectoryCommand) -> ReplicaId {
        match self.apply(command) {
            Ok(DirectoryReply::Replica(replica)) => replica,
            other => panic!("no replica was given: {other:?}"),
        }
    }

    /// Returns the nodes that are to hold replicas of a set.
    fn nodes_of(&self, set: Option<u8>) -> BTreeSet<u16> {
        let wanted = self.directory.replicas_wanted(set.map(SetId));
        wanted.map(|record| record.node.0).collect()
    }

    /// Discards what is leaving, as when the memberships follow.
    fn settle(&mut self) {
        let leaving: Vec<ReplicaRecord> = self.directory.replicas().copied().collect();
        for record in leaving {
            if record.state == ReplicaState::Leaving {
                self.done(DirectoryCommand::Discard {
                    set: record.set,
                    replica: record.replica,
                });
            }
        }
    }
}

fn admit(node: u16, disk: u8) -> DirectoryCommand {
    DirectoryCommand::Admit {
        node: NodeId(node),
        address: format!("host:{node}"),
        disk: DiskId([disk; 16]),
    }
}

fn relocate(set: u8, from: u16, to: u16) -> DirectoryCommand {
    DirectoryCommand::Relocate {
        set: SetId(set),
        from: NodeId(from),
        to: NodeId(to),
    }
}

#[test]
fn founders_are_said_once_and_hold_everything_by_their_own_ids() {
    let mut log = Log::founded();
    assert_eq!(log.directory.nodes().count(), 0);
    assert_eq!(log.apply(admit(4, 4)), Err(DirectoryRefusal::NotFounded));
    log.done(enroll(3));
    assert_eq!(log.apply(enroll(3)), Err(DirectoryRefusal::NodesKnown));
    for set in [None, Some(SetId(0)), Some(SetId(2))] {
        let ids: Vec<u64> = log
            .directory
            .replicas_wanted(set)
            .map(|record| record.replica.0)
            .collect();
        assert_eq!(ids, [1, 2, 3]);
    }
}

#[test]
fn a_founder_s_id_is_below_all_that_are_given() {
    let mut log = Log::founded();
    let founder = |node, replica| Founder {
        node: NodeId(node),
        replica: ReplicaId(replica),
        address: "host:1".to_owned(),
    };
    for founders in [
        vec![],
        vec![founder(1, 65_536)],
        vec![founder(1, 1), founder(1, 2)],
        vec![founder(1, 1), founder(2, 1)],
    ] {
        assert!(is_malformed(&log.apply(DirectoryCommand::Enroll { founders })));
    }
    log.done(DirectoryCommand::Enroll {
        founders: vec![founder(7, 1)],
    });
    assert_eq!(log.admit(8, 8)[0].replica, ReplicaId(65_536));
}

#[test]
fn a_node_with_another_disk_gets_other_ids_and_its_old_ones_leave() {
    let mut log = Log::of_nodes(3);
    let given = log.admit(2, 9);
    let ids: Vec<u64> = given.iter().map(|record| record.replica.0).collect();
    assert_eq!(ids, [65_536, 65_537, 65_538, 65_539]);
    let groups: Vec<Option<SetId>> = given.iter().map(|record| record.set).collect();
    assert_eq!(groups, [None, Some(SetId(0)), Some(SetId(1)), Some(SetId(2))]);
    assert_eq!(log.admit(2, 9), given, "asked again, it is the same");
    let old = log.directory.replica(Some(SetId(1)), ReplicaId(2));
    assert_eq!(old.map(|record| record.state), Some(ReplicaState::Leaving));
    assert_eq!(
        log.directory.node(NodeId(2)).map(|node| node.state),
        Some(NodeState::Joining)
    );
    let again = log.admit(2, 10);
    assert!(
        again.iter().all(|record| record.replica.0 > 65_539),
        "never the same id"
    );
    assert!(is_malformed(&log.apply(admit(2, 9))), "that disk was given up");
}

#[test]
fn an_id_that_was_discarded_is_known_to_be_for_ever() {
    let mut log = Log::of_nodes(3);
    let set = Some(SetId(0));
    let wanted = DirectoryCommand::Discard {
        set,
        replica: ReplicaId(2),
    };
    assert_eq!(log.apply(wanted.clone()), Err(DirectoryRefusal::ReplicaWanted));
    let new = log.admit(2, 9)[1].replica;
    assert!(
        !log.directory.is_discarded(set, ReplicaId(2)),
        "it may still be a member"
    );
    log.done(wanted.clone());
    log.done(wanted);
    assert!(log.directory.is_discarded(set, ReplicaId(2)));
    assert!(
        !log.directory.is_discarded(None, ReplicaId(2)),
        "of the directory it may be"
    );
    assert!(!log.directory.is_discarded(set, new));
    assert!(
        !log.directory.is_discarded(set, ReplicaId(new.0 + 1_000)),
        "that is yet to be given"
    );
}

#[test]
fn a_node_that_joins_holds_the_directory_alone_until_a_set_is_moved_to_it() {
    let mut log = Log::of_nodes(3);
    log.join(4, 4);
    assert_eq!(log.nodes_of(None), BTreeSet::from([1, 2, 3, 4]));
    assert_eq!(log.nodes_of(Some(1)), BTreeSet::from([1, 2, 3]));
    let new = log.replaced(relocate(1, 2, 4));
    assert_eq!(log.nodes_of(Some(1)), BTreeSet::from([1, 3, 4]));
    assert_eq!(
        log.replaced(relocate(1, 2, 4)),
        new,
        "asked again, it is the same"
    );
    assert_eq!(
        log.apply(relocate(1, 1, 3)),
        Err(DirectoryRefusal::NodeHasReplica(NodeId(3)))
    );
    assert_eq!(
        log.apply(relocate(1, 5, 4)),
        Err(DirectoryRefusal::NoNode(NodeId(5)))
    );
    log.admit(5, 5);
    assert_eq!(
        log.apply(relocate(1, 1, 5)),
        Err(DirectoryRefusal::NodeNotActive(NodeId(5)))
    );
}

#[test]
fn one_node_grows_to_three_when_the_third_is_there() {
    let mut log = Log::of_nodes(1);
    log.join(2, 2);
    for set in 0..SETS {
        assert_eq!(
            log.nodes_of(Some(set)),
            BTreeSet::from([1]),
            "of two, neither may fail"
        );
    }
    log.join(3, 3);
    for set in 0..SETS {
        assert_eq!(log.nodes_of(Some(set)), BTreeSet::from([1, 2, 3]));
    }
}

#[test]
fn a_drained_node_s_replicas_go_to_the_least_loaded_of_the_others() {
    let mut log = Log::of_nodes(3);
    assert_eq!(
        log.apply(DirectoryCommand::Drain { node: NodeId(3) }),
        Err(DirectoryRefusal::TooFewNodes)
    );
    log.join(4, 4);
    log.join(5, 5);
    log.done(DirectoryCommand::Drain { node: NodeId(3) });
    let of = |node: u16| {
        (0..SETS)
            .filter(|set| log.nodes_of(Some(*set)).contains(&node))
            .count()
    };
    assert_eq!([1, 2, 3, 4, 5].map(of), [3, 3, 0, 2, 1]);
    assert_eq!(
        log.apply(DirectoryCommand::RemoveNode { node: NodeId(3) }),
        Err(DirectoryRefusal::NodeHoldsReplicas(NodeId(3))),
        "its old replicas may still be members"
    );
    log.settle();
    log.done(DirectoryCommand::RemoveNode { node: NodeId(3) });
    assert_eq!(log.nodes_of(None), BTreeSet::from([1, 2, 4, 5]));
    assert_eq!(
        log.apply(DirectoryCommand::Drain { node: NodeId(3) }),
        Err(DirectoryRefusal::NoNode(NodeId(3)))
    );
    log.join(3, 6);
    assert_eq!(
        log.nodes_of(None),
        BTreeSet::from([1, 2, 3, 4, 5]),
        "its number can come back"
    );
}

#[test]
fn a_node_that_is_not_drained_is_not_removed() {
    let mut log = Log::of_nodes(3);
    log.join(4, 4);
    assert_eq!(
        log.apply(DirectoryCommand::RemoveNode { node: NodeId(4) }),
        Err(DirectoryRefusal::NodeHoldsReplicas(NodeId(4)))
    );
    assert_eq!(
        log.apply(DirectoryCommand::RemoveNode { node: NodeId(9) }),
        Err(DirectoryRefusal::NoNode(NodeId(9)))
    );
}

#[test]
fn a_damaged_replica_gets_another_id_on_its_node() {
    let mut log = Log::of_nodes(3);
    let renew = DirectoryCommand::Renew {
        set: Some(SetId(2)),
        replica: ReplicaId(3),
    };
    let new = log.replaced(renew.clone());
    assert_eq!(log.replaced(renew.clone()), new, "asked again, it is the same");
    assert_eq!(log.nodes_of(Some(2)), BTreeSet::from([1, 2, 3]));
    assert_eq!(log.nodes_of(Some(1)), BTreeSet::from([1, 2, 3]));
    log.settle();
    assert_eq!(log.apply(renew), Err(DirectoryRefusal::NoReplica));
    let newer = log.replaced(DirectoryCommand::Renew {
        set: Some(SetId(2)),
        replica: new,
    });
    assert!(newer > new);
}

#[test]
fn a_replica_that_is_moved_back_before_it_has_gone_can_have_its_place_back() {
    let mut log = Log::of_nodes(3);
    log.join(4, 4);
    let reinstate = |replica| DirectoryCommand::Reinstate {
        set: Some(SetId(1)),
        replica,
    };
    let there = log.replaced(relocate(1, 2, 4));
    assert_eq!(
        log.apply(reinstate(ReplicaId(2))),
        Err(DirectoryRefusal::NoReplica),
        "its place is on another node"
    );
    let successor = log.replaced(relocate(1, 4, 2));
    log.done(reinstate(ReplicaId(2)));
    log.done(reinstate(ReplicaId(2)));
    let wanted = log.directory.replicas_wanted(Some(SetId(1)));
    let wanted: Vec<u64> = wanted.map(|record| record.replica.0).collect();
    assert_eq!(wanted, [1, 2, 3]);
    log.settle();
    for gone in [there, successor] {
        assert!(log.directory.is_discarded(Some(SetId(1)), gone));
        assert_eq!(log.apply(reinstate(gone)), Err(DirectoryRefusal::NoReplica));
    }

    // What was on a disk that is lost is lost.
    let replaced = log.admit(3, 9);
    assert!(replaced.iter().any(|record| record.set == Some(SetId(1))));
    assert_eq!(
        log.apply(reinstate(ReplicaId(3))),
        Err(DirectoryRefusal::NoReplica)
    );
}

#[test]
fn addresses_have_bounds() {
    let mut log = Log::of_nodes(3);
    let locate = |address: &str| DirectoryCommand::Locate {
        node: NodeId(1),
        address: address.to_owned(),
    };
    for address in ["", "a b", &"x".repeat(ADDRESS_BYTES_MAX + 1)] {
        assert!(is_malformed(&log.apply(locate(address))));
    }
    log.done(locate("elsewhere:1"));
    let node = log.directory.node(NodeId(1)).expect("a founder");
    assert_eq!(node.address, "elsewhere:1");
}

#[test]
fn it_is_told_when_nodes_changed_and_when_they_did_not() {
    let mut log = Log::of_nodes(3);
    let before = log.directory.nodes_changed();
    assert_eq!(before, log.directory.applied());
    log.done(DirectoryCommand::Tick);
    assert!(log.apply(enroll(3)).is_err());
    assert_eq!(log.directory.nodes_changed(), before);
    log.admit(4, 4);
    assert_eq!(log.directory.nodes_changed(), log.directory.applied());
}
