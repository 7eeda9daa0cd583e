//! The frames in which replicas of a group speak: our own bytes for openraft's requests and answers.
//!
//! A request names the replica that it asks. A node can come to hold another replica of a group than it did, and that one
//! must not answer for the one before.

use std::io;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesResponse, TransferLeaderError, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use posthouse_model::{LogIndex, ReplicaId, Time};
use posthouse_store::{KeepClass, SegmentFile};
use posthouse_wire::{DecodeError, Kind};
use serde::{Deserialize, Serialize};

use crate::outage::Lag;
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
    Offer(Offer),
    Piece {
        snapshot: Option<LogIdRecord>,
        part: Part,
        offset: u64,
        bytes: Bytes,
    },
    Install {
        vote: VoteRecord,
        snapshot: Option<LogIdRecord>,
    },
    TransferLeader {
        from: VoteRecord,
        to: u64,
        last: Option<LogIdRecord>,
    },
    /// What time it is for the group, to one that was not there to count.
    Time,
    /// A piece of a segment, to one whose own is damaged.
    Segment {
        file: FileRecord,
        offset: u64,
    },
    /// To make a newer checkpoint, to one that needs it.
    Cut,
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
    /// What of a snapshot is still to be sent.
    Wanted(Wanted),
    /// How much of a part is here now.
    Taken {
        have: u64,
    },
    /// The snapshot is installed; or else it is not, and the vote is a later one.
    Installed {
        vote: VoteRecord,
    },
    /// Another snapshot is being installed.
    Busy,
    Transferred(Transferred),
    Time(Clocks),
    /// None: there is no such segment here, or it is damaged here too.
    Segment(Option<Bytes>),
    /// Whether it is made: by who leads alone.
    Cut(bool),
}

/// What a replica knows of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clocks {
    /// What time it is for the group; none when it was not there to count.
    pub(crate) counted: Option<Counted>,
    /// How far that was behind its wall clock when it saw the last stamp.
    pub(crate) lag: Option<Lag>,
    /// What its wall clock shows.
    pub(crate) wall: Time,
}

/// What time it is for the group, as a replica counted it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// The last stamped entry that it has applied: it counted from that one's stamp.
    pub(crate) since: LogIndex,
    /// What time it is.
    pub(crate) now: Time,
}

/// A checkpoint with its segments, as a leader offers it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) vote: VoteRecord,
    pub(super) position: PositionRecord,
    pub(super) state_bytes: u64,
    pub(super) state_digest: u32,
    pub(super) files: Vec<FileRecord>,
}

/// A segment of an offer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileRecord {
    made_at: u64,
    /// Its place among all classes.
    class: u8,
    bytes: u64,
    digest: u32,
}

/// What a piece belongs to: the state, or a segment by its place in the offer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Part {
    State,
    File(u32),
}

/// What is still to be sent of an offer: the state, and segments by their place, each from an offset on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) state: Option<u64>,
    pub(super) files: Vec<(u32, u64)>,
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
    Normal(#[serde(deserialize_with = "posthouse_model::shared::deserialize")] Bytes),
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

/// Returns the frame that asks a replica.
pub(super) fn encode_request(to: ReplicaId, request: &Request) -> Bytes {
    posthouse_wire::encode(Kind::Peer, &(to, request))
}

/// Reads a frame: whom it asks, and what. The entries in it are parts of the frame.
pub(super) fn decode_request(frame: &Bytes) -> Result<(ReplicaId, Request), DecodeError> {
    posthouse_wire::decode_shared(Kind::Peer, frame)
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

// === impl FileRecord ===

impl From<&SegmentFile> for FileRecord {
    fn from(file: &SegmentFile) -> Self {
        let class = KeepClass::ALL.iter().position(|class| *class == file.class);
        Self {
            made_at: file.made_at.0,
            class: class.map_or(u8::MAX, |place| place as u8),
            bytes: file.bytes,
            digest: file.digest,
        }
    }
}

impl TryFrom<FileRecord> for SegmentFile {
    type Error = io::Error;

    fn try_from(record: FileRecord) -> io::Result<Self> {
        let class = KeepClass::ALL.get(usize::from(record.class)).copied();
        let class = class.ok_or_else(|| io::Error::other("a segment of an unknown class"))?;
        if record.bytes == 0 {
            return Err(io::Error::other("a segment without bytes"));
        }
        Ok(SegmentFile {
            made_at: LogIndex(record.made_at),
            class,
            bytes: record.bytes,
            digest: record.digest,
        })
    }
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.state.is_none() && self.files.is_empty()
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
