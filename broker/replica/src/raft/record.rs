//! What a replica keeps beside entries, as bytes: votes, memberships, where a checkpoint stands.
//!
//! openraft's own types have no bytes here: ours are written, so that its next release cannot change what is on
//! disk.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use posthouse_wire::Kind;
use serde::{Deserialize, Serialize};

use super::{LeaderTerm, LogId, Membership, StoredMembership, Vote};

/// The replicas in a membership, at most; one that claims more is damaged.
const REPLICAS_MAX: usize = 64;

/// How far a state has got: the last entry it knows and the last membership.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Position {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// A vote's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    term: u64,
    candidate: u64,
    committed: bool,
}

/// A log id's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    term: u64,
    index: u64,
}

/// A membership's bytes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    configs: Vec<BTreeSet<u64>>,
    replicas: BTreeSet<u64>,
}

/// A position's bytes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct PositionRecord {
    log_id: Option<LogIdRecord>,
    membership_log_id: Option<LogIdRecord>,
    membership: MembershipRecord,
}

// === impl VoteRecord ===

impl From<&Vote> for VoteRecord {
    fn from(vote: &Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            candidate: vote.leader_id.voted_for,
            committed: vote.committed,
        }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        if record.committed {
            Vote::new_committed(record.term, record.candidate)
        } else {
            Vote::new(record.term, record.candidate)
        }
    }
}

// === impl LogIdRecord ===

impl From<&LogId> for LogIdRecord {
    fn from(log_id: &LogId) -> Self {
        Self {
            term: log_id.leader_id.term,
            index: log_id.index,
        }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        LogId {
            leader_id: LeaderTerm::new(record.term),
            index: record.index,
        }
    }
}

// === impl MembershipRecord ===

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            replicas: membership.nodes().map(|(id, ())| *id).collect(),
        }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = io::Error;

    fn try_from(record: MembershipRecord) -> io::Result<Self> {
        let named: usize = record.configs.iter().map(BTreeSet::len).sum();
        if named > 2 * REPLICAS_MAX || record.replicas.len() > REPLICAS_MAX {
            return Err(io::Error::other("a membership names too many replicas"));
        }
        if record.configs.is_empty() && record.replicas.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(record.configs, record.replicas).map_err(|error| io::Error::other(error.to_string()))
    }
}

// === impl Position ===

impl Position {
    /// Returns the position's bytes.
    pub(crate) fn encode(&self) -> Bytes {
        posthouse_wire::encode(Kind::Replica, &PositionRecord::from(self))
    }

    /// Reads a position.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Position> {
        let record: PositionRecord =
            posthouse_wire::decode(Kind::Replica, bytes).map_err(io::Error::other)?;
        Position::try_from(record)
    }
}

impl From<&Position> for PositionRecord {
    fn from(position: &Position) -> Self {
        Self {
            log_id: position.log_id.as_ref().map(LogIdRecord::from),
            membership_log_id: position.membership.log_id().as_ref().map(LogIdRecord::from),
            membership: MembershipRecord::from(position.membership.membership()),
        }
    }
}

impl TryFrom<PositionRecord> for Position {
    type Error = io::Error;

    fn try_from(record: PositionRecord) -> io::Result<Self> {
        let membership = Membership::try_from(record.membership)?;
        Ok(Position {
            log_id: record.log_id.map(LogId::from),
            membership: StoredMembership::new(record.membership_log_id.map(LogId::from), membership),
        })
    }
}

/// Returns a vote's bytes.
pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    posthouse_wire::encode(Kind::Replica, &VoteRecord::from(vote))
}

/// Reads a vote.
pub(crate) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let record: VoteRecord = posthouse_wire::decode(Kind::Replica, bytes).map_err(io::Error::other)?;
    Ok(record.into())
}

/// Returns a membership's bytes, as they stand in an entry.
pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    posthouse_wire::encode(Kind::Replica, &MembershipRecord::from(membership))
}

/// Reads a membership.
pub(crate) fn decode_membership(bytes: &[u8]) -> io::Result<Membership> {
    let record: MembershipRecord = posthouse_wire::decode(Kind::Replica, bytes).map_err(io::Error::other)?;
    Membership::try_from(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_read_back_as_written() {
        for vote in [Vote::new(3, 7), Vote::new_committed(4, 1)] {
            assert_eq!(decode_vote(&encode_vote(&vote)).expect("written by us"), vote);
        }
    }

    #[test]
    fn positions_read_back_as_written() {
        let membership = Membership::new(
            vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])],
            BTreeSet::from([1, 2, 3, 4]),
        )
        .expect("every voter is named");
        let log_id = LogId {
            leader_id: LeaderTerm::new(2),
            index: 9,
        };
        let full = Position {
            log_id: Some(log_id),
            membership: StoredMembership::new(Some(log_id), membership),
        };
        for position in [Position::default(), full] {
            assert_eq!(
                Position::decode(&position.encode()).expect("written by us"),
                position
            );
        }
    }

    #[test]
    fn a_membership_that_names_an_unknown_voter_is_refused() {
        let record = MembershipRecord {
            configs: vec![BTreeSet::from([1, 2])],
            replicas: BTreeSet::from([1]),
        };
        assert!(Membership::try_from(record).is_err());
    }
}
