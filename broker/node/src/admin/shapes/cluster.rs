//! What is known of all nodes of the cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DiskStatus;

/// The cluster as the answering node finds it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterStatus {
    /// Whether every node is there and serves everything, and nothing is damaged.
    pub healthy: bool,
    /// The nodes, the answering one first.
    pub nodes: Vec<ClusterNode>,
    /// The groups: the directory, then the sets in order.
    pub groups: Vec<ClusterGroup>,
}

/// One node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterNode {
    /// Its number; absent as long as the cluster does not know which nodes it has.
    pub node: Option<u16>,
    /// The replica that it is of the directory.
    pub replica: u64,
    /// How far it has come or gone; absent like its number.
    pub state: Option<NodeStateView>,
    /// Where it listens to the other nodes; absent like its number.
    pub address: Option<String>,
    /// Whether it answered. What follows is what it said.
    pub reachable: bool,
    /// Its label.
    pub label: Option<String>,
    /// The program's version.
    pub version: Option<String>,
    /// How long the process has run.
    pub uptime_seconds: Option<u64>,
    /// Why it does not serve everything; absent when it does.
    pub unready: Option<String>,
    /// The disk under its data directory.
    pub disk: Option<DiskStatus>,
    /// How many groups it leads.
    pub leads: Option<u64>,
    /// What of its files is damaged and not mended yet, some of it if there is much.
    #[serde(default)]
    pub damage: Vec<ClusterDamage>,
    /// How long ago everything durable on it had been read again; absent if it has not been since its start.
    pub scrubbed_seconds: Option<u64>,
}

/// A part of a file that is not what was written.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterDamage {
    /// The set's number; absent for the directory.
    pub set: Option<u8>,
    /// The file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many bytes from there on cannot be used, as far as that is known.
    pub bytes: u64,
    /// What is wrong there.
    pub what: String,
}

/// Which nodes read everything durable again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterScrub {
    /// The nodes, the answering one first.
    pub nodes: Vec<NodeScrub>,
}

/// Whether a node reads everything durable again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeScrub {
    /// The replica that it is.
    pub replica: u64,
    /// Whether it said that it begins.
    pub begun: bool,
}

/// What moves a set's replica.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMove {
    /// The number of the node that has one.
    pub from: u16,
    /// The number of the node that is to have one.
    pub to: u16,
}

/// How far a node has come or gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeStateView {
    /// It was taken in, and has not caught up yet.
    Joining,
    /// It holds replicas, and can be given more.
    Active,
    /// Its replicas of sets go to other nodes.
    Draining,
    /// It is none of the cluster's any more.
    Gone,
}

/// One group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterGroup {
    /// The set's number; absent for the directory.
    pub set: Option<u8>,
    /// The replica that says that it leads; the one of the highest term.
    pub leader: Option<u64>,
    /// Its term.
    pub term: Option<u64>,
    /// Whether its members are not yet what they are to be.
    pub changing: bool,
    /// Its replicas, in the order of the nodes that answered.
    pub replicas: Vec<ClusterReplica>,
}

/// One replica of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterReplica {
    /// What it is called in its group.
    pub replica: u64,
    /// The number of its node; absent as long as the cluster does not know which nodes it has.
    pub node: Option<u16>,
    /// Whether it votes; a learner only follows.
    pub votes: bool,
    /// The last index that is applied there.
    pub applied: u64,
    /// How many entries it is behind the one that has applied the most.
    pub lag: u64,
    /// Whether all is there that it needs to vote and to lead.
    pub whole: bool,
}
