//! The numbers that name things. Each is a type of its own, so that none is taken for another.
//!
//! An id is given out by a replicated state machine (or, for messages, stamped by a set's leader) and
//! never reused.

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
        )]
        pub struct $name(pub $raw);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A tenant: an account with its own names, keys, quotas and plugins.
    TenantId(u32)
);
number!(
    /// The number a queue or topic got when it was created; a re-created one has another. Also names
    /// the stream of message bodies that belongs to it.
    Incarnation(u64)
);
number!(
    /// Counts the definitions of one incarnation: attributes changed later carry a higher one.
    Generation(u64)
);
number!(
    /// A set: one Raft group that holds queues and topics. At most 128 in a cluster, because a message
    /// id has seven bits for it.
    SetId(u8)
);
number!(
    /// A subscription, numbered by the set that holds its topic.
    SubscriptionId(u64)
);
number!(
    /// Names a replica of a Raft group. Allocated from the directory's log, never reused.
    ReplicaId(u64)
);
number!(
    /// A node's number: a label that people give it, and no identity.
    NodeId(u16)
);
number!(
    /// A place in a Raft log, from 1. Zero is before the first.
    LogIndex(u64)
);
number!(
    /// A Raft term.
    Term(u64)
);
number!(
    /// A message's place in its stream, given at apply, from 1.
    Sequence(u64)
);
number!(
    /// One receive of one message: what clients call a receipt handle. Counted per set.
    ReceiptHandle(u64)
);
number!(
    /// A version of a plugin: the directory's number for (name, digest).
    PluginVersion(u64)
);

number!(
    /// A message's name for clients: 42 bits of milliseconds since 1970, 7 of set, 15 of count. Stamped by the
    /// set's leader before sealing, rising within a set.
    MessageId(u64)
);

/// Tells one disk of a node from another: drawn when a node with an empty disk asks to be taken in. Founders' disks
/// have the default one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct DiskId(pub [u8; 16]);

impl MessageId {
    /// How many ids a set can stamp in one millisecond before it borrows from the next.
    pub const PER_MILLISECOND_MAX: u64 = 1 << 15;

    /// Returns the id that follows `last` in `set` at `now`.
    pub fn after(last: MessageId, set: SetId, now: crate::Time) -> MessageId {
        let fresh = MessageId((now.millis() << 22) | (u64::from(set.0 & 0x7f) << 15));
        if fresh > last {
            return fresh;
        }
        let count = last.0 & (Self::PER_MILLISECOND_MAX - 1);
        if count + 1 < Self::PER_MILLISECOND_MAX {
            return MessageId(last.0 + 1);
        }
        let next_millisecond = (last.0 >> 22) + 1;
        MessageId((next_millisecond << 22) | (u64::from(set.0 & 0x7f) << 15))
    }

    /// Returns the set that stamped this id.
    pub fn set(self) -> SetId {
        SetId(((self.0 >> 15) & 0x7f) as u8)
    }

    /// Returns when this id was stamped, at the earliest.
    pub fn stamped(self) -> crate::Time {
        crate::Time::from_millis(self.0 >> 22)
    }
}

impl LogIndex {
    /// Returns the index that follows.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
}

impl Sequence {
    /// Returns the sequence number that follows.
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

/// Where a body is kept: which stream, and where in it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct BodyKey {
    /// The queue or topic that the body was stored under.
    pub stream: Incarnation,
    /// Its place there.
    pub sequence: Sequence,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;

    #[test]
    fn message_ids_rise_and_keep_their_set() {
        let set = SetId(5);
        let mut last = MessageId::default();
        for _ in 0..MessageId::PER_MILLISECOND_MAX + 10 {
            let next = MessageId::after(last, set, Time::from_millis(1_700_000_000_000));
            assert!(next > last);
            assert_eq!(next.set(), set);
            last = next;
        }
        assert_eq!(last.stamped(), Time::from_millis(1_700_000_000_001));
    }
}
