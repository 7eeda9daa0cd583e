//! The frames in which replicas of a group speak: our own bytes for openraft's requests and answers.

use std::io;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesResponse, TransferLeaderError, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::raft::record::{LogIdRecord, MembershipRecord, PositionRecord, VoteRecord};
use crate::raft::{LogId, Payload, Proposal, RaftEntry, Types};

/// What one replica asks another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Append {
        vote: VoteRecord,
        previous: Option<LogIdRecord>,
        entries: Vec<EntryRecord>,
        committed: Option<LogIdRecord>,
    },
    Vote(Ballot),
    PreVote(Ballot),
    Snapshot {
        vote: VoteRecord,
        position: PositionRecord,
        state: Bytes,
    },
    TransferLeader {
        from: VoteRecord,
        to: u64,
        last: Option<LogIdRecord>,
    },
}

/// What the other answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Appended(Appended),
    Voted {
        vote: VoteRecord,
        granted: bool,
        last: Option<LogIdRecord>,
    },
    Installed {
        vote: VoteRecord,
    },
    Transferred(Transferred),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ballot {
    pub(super) vote: VoteRecord,
    pub(super) last: Option<LogIdRecord>,
    pub(super) transfer: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EntryRecord {
    pub(super) log_id: LogIdRecord,
    pub(super) content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Content {
    Blank,
    Normal(Bytes),
    Membership(MembershipRecord),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Appended {
    All,
    To(Option<LogIdRecord>),
    Conflict,
    HigherVote(VoteRecord),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Transferred {
    Accepted,
    VoteChanged {
        expected: VoteRecord,
        actual: VoteRecord,
    },
    LogNotFlushed {
        expected: Option<LogIdRecord>,
        actual: Option<LogIdRecord>,
    },
}

// === impl Answer ===

impl From<VoteResponse<Types>> for Answer {
    fn from(response: VoteResponse<Types>) -> Self {
        Answer::Voted {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(LogIdRecord::from),
        }
    }
}

// === impl Ballot ===

impl From<VoteRequest<Types>> for Ballot {
    fn from(request: VoteRequest<Types>) -> Self {
        Self {
            vote: (&request.vote).into(),
            last: request.last_log_id.as_ref().map(LogIdRecord::from),
            transfer: request.leadership_transfer,
        }
    }
}

impl From<Ballot> for VoteRequest<Types> {
    fn from(ballot: Ballot) -> Self {
        let mut request = VoteRequest::new(ballot.vote.into(), ballot.last.map(LogId::from));
        request.leadership_transfer = ballot.transfer;
        request
    }
}

// === impl EntryRecord ===

impl From<RaftEntry> for EntryRecord {
    fn from(entry: RaftEntry) -> Self {
        let content = match entry.payload {
            Payload::Blank => Content::Blank,
            Payload::Normal(proposal) => Content::Normal(proposal.encoded),
            Payload::Membership(membership) => Content::Membership((&membership).into()),
        };
        Self {
            log_id: (&entry.log_id).into(),
            content,
        }
    }
}

impl TryFrom<EntryRecord> for RaftEntry {
    type Error = io::Error;

    fn try_from(record: EntryRecord) -> io::Result<Self> {
        let payload = match record.content {
            Content::Blank => Payload::Blank,
            Content::Normal(encoded) => Payload::Normal(Proposal {
                encoded,
                decoded: None,
            }),
            Content::Membership(membership) => Payload::Membership(membership.try_into()?),
        };
        Ok(RaftEntry {
            log_id: record.log_id.into(),
            payload,
        })
    }
}

// === impl Appended ===

impl From<AppendEntriesResponse<Types>> for Appended {
    fn from(response: AppendEntriesResponse<Types>) -> Self {
        match response {
            AppendEntriesResponse::Success => Appended::All,
            AppendEntriesResponse::PartialSuccess(log_id) => {
                Appended::To(log_id.as_ref().map(LogIdRecord::from))
            }
            AppendEntriesResponse::Conflict => Appended::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Appended::HigherVote((&vote).into()),
        }
    }
}

// === impl Transferred ===

impl From<TransferLeaderResponse<Types>> for Transferred {
    fn from(response: TransferLeaderResponse<Types>) -> Self {
        match response {
            Ok(()) => Transferred::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => Transferred::VoteChanged {
                expected: (&expected).into(),
                actual: (&actual).into(),
            },
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Transferred::LogNotFlushed {
                expected: expected.as_ref().map(LogIdRecord::from),
                actual: actual.as_ref().map(LogIdRecord::from),
            },
        }
    }
}
