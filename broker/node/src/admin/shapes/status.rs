//! What the answering node says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the answering node says of itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// The program's version.
    pub version: String,
    /// The node's label.
    pub label: String,
    /// The cluster's id, in hexadecimal.
    pub cluster: String,
    /// How long the process has run.
    pub uptime_seconds: u64,
    /// Whether it serves: what `/readyz` says.
    pub ready: bool,
    /// The directory.
    pub directory: GroupStatus,
    /// The sets.
    pub sets: Vec<SetStatus>,
    /// The disk under the data directory.
    pub disk: DiskStatus,
    /// The built-in plugins that are loaded.
    pub built_ins: Vec<String>,
}

/// A Raft group as the answering node sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupStatus {
    /// Whether this node leads it.
    pub leading: bool,
    /// The term.
    pub term: u64,
    /// The last log index applied here.
    pub applied: u64,
}

/// A set as the answering node sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetStatus {
    /// Its number.
    pub set: u8,
    /// The group.
    pub group: GroupStatus,
    /// Queues it holds.
    pub queues: u64,
    /// Topics it holds.
    pub topics: u64,
}

/// The disk under the data directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskStatus {
    /// Bytes that the broker uses.
    pub used_bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Whether sends are refused because it is nearly full.
    pub nearly_full: bool,
    /// Whether a write failed, after which nothing more is written until a restart.
    pub failed: bool,
}
