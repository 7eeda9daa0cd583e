//! How a node with an empty disk is taken in by a cluster that is there.
//!
//! It asks any node, which has the directory give it replicas and tells it who it is. Asked again with the same disk,
//! the answer is the same: nothing comes of an answer that got lost.

use posthouse_model::{DiskId, NodeId, ReplicaId, SetId};
use serde::{Deserialize, Serialize};

/// What a node with an empty disk says of itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Application {
    pub(super) node: NodeId,
    /// Where it listens to the others.
    pub(super) address: String,
    pub(super) disk: DiskId,
    /// How many sets it takes the cluster to have.
    pub(super) sets: u8,
}

/// What it is told: who it is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Admission {
    pub(super) cluster: [u8; 16],
    /// The cluster's root key, unless each node has it in a file of its own.
    pub(super) root_key: Option<String>,
    /// The replicas that it is to hold; no set is the directory.
    pub(super) replicas: Vec<(Option<SetId>, ReplicaId)>,
}

/// What is known of replicas that a disk holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// Nothing speaks against them.
    Fine,
    /// This one was taken out of its group, and must never vote again.
    Discarded(ReplicaId),
}
