//! What carries frames between replicas: a trait, which [`crate::PeerNetwork`] implements over TCP.
//!
//! A frame is opaque to its carrier: bytes for one group, answered by bytes. The carrier may lose it, and says so;
//! it must not change it.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_model::ReplicaId;

use crate::GroupName;

/// Carries frames to other replicas.
pub trait Network: Send + Sync + 'static {
    /// Brings a frame to a group of another replica, where [`crate::Groups::answer`] takes it, and brings the answer
    /// back. Frames of one lane to one group arrive in the order they were given.
    fn call(&self, frame: Outbound) -> BoxFuture<'static, Result<Bytes, NetworkFault>>;
}

/// A frame on its way out.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The replica it goes to.
    pub to: ReplicaId,
    /// The group there.
    pub group: GroupName,
    /// What must not wait for what.
    pub lane: Lane,
    /// The frame.
    pub frame: Bytes,
    /// How long an answer is waited for.
    pub within: Duration,
}

/// What must not wait for what: each lane wants a connection of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lane {
    /// Entries and votes.
    Log,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
}

/// Why a frame had no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NetworkFault {
    /// It did not get there, and others will not for a while.
    #[error("replica {0} cannot be reached")]
    Unreachable(ReplicaId),
    /// It may have got there.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// The network of a node without peers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lone;

// === impl Lone ===

impl Network for Lone {
    fn call(&self, frame: Outbound) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        futures::future::ready(Err(NetworkFault::Unreachable(frame.to))).boxed()
    }
}
