//! Bounds on the bytes in flight: a call takes room for its bytes before it is written, and gives it back when it
//! ends.
//!
//! Each channel has room of its own, so that none takes another's: calls that are stuck on one hold up nobody else.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::FRAME_BYTES_MAX;
use super::message::Channel;

/// What a call costs beside its bytes; so calls are bounded in number too.
const CALL_BYTES: usize = 1_024;
/// What heartbeats to one peer have.
const PEER_HEARTBEAT_BYTES_MAX: usize = 1_048_576;
/// What any other channel to one peer has: the longest frame goes through.
const PEER_BYTES_MAX: usize = FRAME_BYTES_MAX + CALL_BYTES;
/// What heartbeats to all peers have.
const NODE_HEARTBEAT_BYTES_MAX: usize = 16 * PEER_HEARTBEAT_BYTES_MAX;
/// What any other channel to all peers has.
const NODE_BYTES_MAX: usize = 2 * PEER_BYTES_MAX;

/// The room of a node, over all its peers.
pub(super) struct NodeRoom {
    channels: [Arc<Semaphore>; Channel::ALL.len()],
}

/// The room of a channel to or from one peer.
pub(super) struct Room {
    peer: Arc<Semaphore>,
    peer_bytes: usize,
    /// What the node has for all its peers; none for what they ask, which each of them bounds.
    node: Option<Arc<Semaphore>>,
}

/// Room that a call has. Dropped, it is given back.
pub(super) struct Taken {
    _peer: OwnedSemaphorePermit,
    _node: Option<OwnedSemaphorePermit>,
}

// === impl NodeRoom ===

impl NodeRoom {
    pub(super) fn new() -> NodeRoom {
        NodeRoom {
            channels: Channel::ALL.map(|channel| Arc::new(Semaphore::new(node_bytes(channel)))),
        }
    }

    /// Returns room for what is asked of one peer.
    pub(super) fn for_peer(&self, channel: Channel) -> Room {
        Room {
            node: Some(self.channels[channel as usize].clone()),
            ..Room::of_asker(channel)
        }
    }
}

// === impl Room ===

impl Room {
    /// Returns room for what one peer asks.
    pub(super) fn of_asker(channel: Channel) -> Room {
        let peer_bytes = peer_bytes(channel);
        Room {
            peer: Arc::new(Semaphore::new(peer_bytes)),
            peer_bytes,
            node: None,
        }
    }

    /// Takes room for a call of so many bytes, if there is any now.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Taken> {
        let weight = self.weight(bytes);
        let peer = self.peer.clone().try_acquire_many_owned(weight).ok()?;
        let node = match &self.node {
            Some(node) => Some(node.clone().try_acquire_many_owned(weight).ok()?),
            None => None,
        };
        Some(Taken {
            _peer: peer,
            _node: node,
        })
    }

    /// Waits for room for a call of so many bytes.
    pub(super) async fn take(&self, bytes: usize) -> Taken {
        let weight = self.weight(bytes);
        let peer = acquire(&self.peer, weight).await;
        let node = match &self.node {
            Some(node) => Some(acquire(node, weight).await),
            None => None,
        };
        Taken {
            _peer: peer,
            _node: node,
        }
    }

    fn weight(&self, bytes: usize) -> u32 {
        let weight = (bytes + CALL_BYTES).min(self.peer_bytes);
        u32::try_from(weight).expect("the room of a peer is far below 4 GiB")
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, weight: u32) -> OwnedSemaphorePermit {
    let acquired = semaphore.clone().acquire_many_owned(weight).await;
    acquired.expect("the semaphore is never closed")
}

fn peer_bytes(channel: Channel) -> usize {
    match channel {
        Channel::Heartbeat => PEER_HEARTBEAT_BYTES_MAX,
        Channel::Log | Channel::Snapshot | Channel::Requests => PEER_BYTES_MAX,
    }
}

fn node_bytes(channel: Channel) -> usize {
    match channel {
        Channel::Heartbeat => NODE_HEARTBEAT_BYTES_MAX,
        Channel::Log | Channel::Snapshot | Channel::Requests => NODE_BYTES_MAX,
    }
}
