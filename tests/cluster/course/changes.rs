//! Changes of a course's members: replicas are moved, nodes join and leave, disks are lost.
//!
//! One change is under way at a time, and the next one begins when all is as it is to be: two disks that are lost at once
//! may be all that had what was acknowledged. What else happens to nodes goes on meanwhile.

use std::time::{Duration, Instant};

use posthouse_tests::Cluster;
use serde_json::Value;

use super::{Chance, NODES};
use crate::membership::{holders, node};
use crate::slow::empty_disk;
use crate::{LOOK_AGAIN, tried, until};

/// How long a change may take once nothing else happens, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// How many replicas a set has.
const REPLICAS: usize = 3;

/// What is changed.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A replica of a set goes to the node that has none: of those that have one, the one at this place.
    Move { set: u64, place: usize },
    /// A node gives all that it holds to the others, and is taken out.
    Leave { node: usize },
    /// The node that is out comes in with an empty disk.
    Join { node: usize },
    /// A node's disk is lost, and it comes back with an empty one.
    Replace { node: usize },
}

/// The members of a course, and what becomes of them.
pub(super) struct Members {
    sets: u64,
    /// The node that is not a member, or that is to be none.
    out: Option<usize>,
    /// Whether that one is still to be taken out.
    is_leaving: bool,
    began: u32,
}

// === impl Members ===

impl Members {
    /// Returns the members of a cluster whose last node has not joined yet.
    pub(super) fn without_the_last(sets: u8) -> Members {
        Members {
            sets: u64::from(sets),
            out: Some(NODES),
            is_leaving: false,
            began: 0,
        }
    }

    /// Returns how many changes were begun.
    pub(super) fn began(&self) -> u32 {
        self.began
    }

    /// Returns this node, or the next one if this one is out.
    pub(super) fn or_next(&self, node: usize) -> usize {
        match self.out == Some(node) {
            true => node % NODES + 1,
            false => node,
        }
    }

    /// Begins the change that chance says, once the one before has come to its end.
    pub(super) fn begin(&mut self, cluster: &mut Cluster, chance: &mut Chance) {
        let kind = chance.below(4);
        let set = chance.below(self.sets);
        let place = usize::try_from(chance.below(REPLICAS as u64)).unwrap();
        let node = self.or_next(1 + usize::try_from(chance.below(NODES as u64)).unwrap());
        let change = match (kind, self.out) {
            (0, _) => Change::Replace { node },
            (_, Some(node)) => Change::Join { node },
            (1, None) => Change::Leave { node },
            (_, None) => Change::Move { set, place },
        };
        let status = self.wait_settled(cluster);
        println!("  {change:?}");
        self.began += 1;
        match change {
            Change::Move { set, place } => move_replica(cluster, &status, set, place),
            Change::Leave { node } => {
                self.out = Some(node);
                self.is_leaving = true;
                let asked = self.or_next(1);
                order(cluster, asked, &["drain", &node.to_string()]);
            }
            Change::Join { node } => {
                self.out = None;
                start_empty(cluster, node);
            }
            Change::Replace { node } => {
                cluster.node_mut(node).kill();
                start_empty(cluster, node);
            }
        }
    }

    /// Takes a node out that has given all that it held to the others. Nothing else happens meanwhile.
    pub(super) fn go_on(&mut self, cluster: &mut Cluster) {
        if let Some(leaving) = self.out.filter(|_| self.is_leaving)
            && self
                .shown(cluster)
                .is_some_and(|status| holds_no_set(&status, leaving))
        {
            println!("  node {leaving} has nothing left");
            order(cluster, self.or_next(1), &["remove", &leaving.to_string()]);
            let ended = cluster.node_mut(leaving).wait_ended().unwrap();
            assert_eq!(ended, Some(1), "it is told to go");
            self.is_leaving = false;
        }
    }

    /// Waits until all is as it is to be, and returns how that is.
    pub(super) fn wait_settled(&mut self, cluster: &mut Cluster) -> Value {
        let began = Instant::now();
        loop {
            self.go_on(cluster);
            let status = self.shown(cluster);
            if let Some(status) = status.as_ref().filter(|status| self.is_settled(status)) {
                return status.clone();
            }
            assert!(began.elapsed() < PATIENCE, "it does not settle: {status:#?}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn is_settled(&self, status: &Value) -> bool {
        let (nodes, groups) = (list(status, "nodes"), list(status, "groups"));
        let members = NODES - usize::from(self.out.is_some());
        !self.is_leaving
            && status["healthy"] == true
            && nodes.len() == members
            && nodes.iter().all(|node| node["state"] == "active")
            && groups.iter().all(|group| {
                let expected = if group["set"].is_null() { members } else { REPLICAS };
                group["changing"] == false && holders(group).len() == expected
            })
    }

    /// Returns how the cluster is, if anybody can tell.
    fn shown(&self, cluster: &Cluster) -> Option<Value> {
        tried(cluster.node(self.or_next(1)), &["cluster", "status"]).ok()
    }
}

fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().map_or(&[], Vec::as_slice)
}

fn holds_no_set(status: &Value, leaving: usize) -> bool {
    let sets = list(status, "groups")
        .iter()
        .filter(|group| !group["set"].is_null());
    node(status, leaving as u64)["state"] == "draining"
        && sets
            .clone()
            .all(|set| set["changing"] == false && !holders(set).contains(&(leaving as u64)))
        && sets.count() > 0
}

fn move_replica(cluster: &Cluster, status: &Value, set: u64, place: usize) {
    let group = list(status, "groups").iter().find(|group| group["set"] == set);
    let holders = holders(group.unwrap());
    let from = *holders.iter().nth(place).unwrap();
    let to = (1..=NODES as u64).find(|node| !holders.contains(node)).unwrap();
    println!("  set {set} from node {from} to node {to}");
    let (set, from, to) = (set.to_string(), from.to_string(), to.to_string());
    let arguments = ["move", "--set", &set, "--from", &from, "--to", &to];
    order(cluster, 1, &arguments);
}

/// Has a change be made, which may have to wait until somebody leads the directory.
fn order(cluster: &Cluster, asked: usize, arguments: &[&str]) {
    let arguments = [&["cluster"], arguments].concat();
    until("the change is taken", || {
        tried(cluster.node(asked), &arguments).is_ok()
    });
}

/// Starts a node with nothing on its disk.
fn start_empty(cluster: &mut Cluster, number: usize) {
    empty_disk(cluster, number);
    cluster.node_mut(number).launch().unwrap();
}
