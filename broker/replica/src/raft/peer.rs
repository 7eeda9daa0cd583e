//! What replicas of a group say to each other, as frames: openraft's requests and answers in our own bytes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{Snapshot, SnapshotMeta};
use posthouse_model::ReplicaId;
use posthouse_wire::{DecodeError, Kind};
use serde::{Deserialize, Serialize};

use super::record::{LogIdRecord, MembershipRecord, Position, PositionRecord, VoteRecord};
use super::state::StateBytes;
use super::{Engine, LeaderTerm, LogId, Payload, Proposal, RaftEntry, Types, Vote};
use crate::network::{Lane, NetworkFault, Outbound};
use crate::{GroupName, Network};

/// Why a frame of another replica had no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerFault {
    /// There is no such group here.
    #[error("no {0} here")]
    NoGroup(GroupName),
    /// The frame says nothing.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The frame says what cannot be.
    #[error("impossible: {0}")]
    Impossible(#[from] io::Error),
    /// A set's state came without its bodies; without them, it must not be taken.
    #[error("a set's snapshot without its bodies")]
    NoBodies,
    /// The group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// What one replica asks another.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
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
enum Answer {
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
struct Ballot {
    vote: VoteRecord,
    last: Option<LogIdRecord>,
    transfer: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct EntryRecord {
    log_id: LogIdRecord,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
enum Content {
    Blank,
    Normal(Bytes),
    Membership(MembershipRecord),
}

#[derive(Debug, Serialize, Deserialize)]
enum Appended {
    All,
    To(Option<LogIdRecord>),
    Conflict,
    HigherVote(VoteRecord),
}

#[derive(Debug, Serialize, Deserialize)]
enum Transferred {
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

/// Makes the connections of a group's engine to its peers.
pub(crate) struct Peers {
    group: GroupName,
    network: Arc<dyn Network>,
}

/// A group's way to one peer, on one lane.
pub(crate) struct Peer {
    to: ReplicaId,
    group: GroupName,
    lane: Lane,
    network: Arc<dyn Network>,
}

type CallResult<T> = Result<T, RPCError<Types>>;

// === impl Peers ===

impl Peers {
    pub(crate) fn new(group: GroupName, network: Arc<dyn Network>) -> Peers {
        Peers { group, network }
    }

    fn peer(&self, to: u64, lane: Lane) -> Peer {
        Peer {
            to: ReplicaId(to),
            group: self.group,
            lane,
            network: self.network.clone(),
        }
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &()) -> Peer {
        self.peer(target, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &()) -> Peer {
        self.peer(target, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &()) -> Peer {
        self.peer(target, Lane::Snapshot)
    }
}

// === impl Peer ===

impl Peer {
    async fn ask(&self, request: &Request, within: Duration) -> CallResult<Answer> {
        let frame = posthouse_wire::encode(Kind::Peer, request);
        let call = self.network.call(Outbound {
            to: self.to,
            group: self.group,
            lane: self.lane,
            frame,
            within,
        });
        let answer = match tokio::time::timeout(within, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(fault @ NetworkFault::Unreachable(_))) => {
                return Err(RPCError::Unreachable(Unreachable::new(&fault)));
            }
            Ok(Err(fault @ NetworkFault::NoAnswer(_))) => {
                return Err(RPCError::Network(NetworkError::new(&fault)));
            }
            Err(elapsed) => return Err(RPCError::Network(NetworkError::new(&elapsed))),
        };
        posthouse_wire::decode(Kind::Peer, &answer)
            .map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }

    async fn ask_vote(&self, request: Request, within: Duration) -> CallResult<VoteResponse<Types>> {
        match self.ask(&request, within).await? {
            Answer::Voted { vote, granted, last } => Ok(VoteResponse::new(
                Vote::from(vote),
                last.map(LogId::from),
                granted,
            )),
            other => Err(unexpected(&other)),
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = StateBytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> CallResult<AppendEntriesResponse<Types>> {
        let request = Request::Append {
            vote: (&rpc.vote).into(),
            previous: rpc.prev_log_id.as_ref().map(LogIdRecord::from),
            entries: rpc.entries.into_iter().map(EntryRecord::from).collect(),
            committed: rpc.leader_commit.as_ref().map(LogIdRecord::from),
        };
        match self.ask(&request, option.soft_ttl()).await? {
            Answer::Appended(Appended::All) => Ok(AppendEntriesResponse::Success),
            Answer::Appended(Appended::To(log_id)) => {
                Ok(AppendEntriesResponse::PartialSuccess(log_id.map(LogId::from)))
            }
            Answer::Appended(Appended::Conflict) => Ok(AppendEntriesResponse::Conflict),
            Answer::Appended(Appended::HigherVote(vote)) => {
                Ok(AppendEntriesResponse::HigherVote(vote.into()))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> CallResult<VoteResponse<Types>> {
        self.ask_vote(Request::Vote(rpc.into()), option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> CallResult<VoteResponse<Types>> {
        self.ask_vote(Request::PreVote(rpc.into()), option.soft_ttl())
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<LeaderTerm, u64, (), StateBytes>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let position = Position {
            log_id: snapshot.meta.last_log_id,
            membership: snapshot.meta.last_membership,
        };
        if let GroupName::Set(_) = self.group {
            // Frames carry no segments: the state alone would name bodies that are not there.
            return Err(StreamingError::Unreachable(Unreachable::new(
                &PeerFault::NoBodies,
            )));
        }
        let unreadable = |error: io::Error| StreamingError::Unreachable(Unreachable::new(&error));
        let request = Request::Snapshot {
            vote: (&vote).into(),
            position: (&position).into(),
            state: snapshot.snapshot.into_bytes().map_err(unreadable)?,
        };
        let answer = tokio::select! {
            answer = self.ask(&request, option.hard_ttl()) => answer?,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        match answer {
            Answer::Installed { vote } => Ok(SnapshotResponse::new(vote.into())),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> CallResult<TransferLeaderResponse<Types>> {
        let request = Request::TransferLeader {
            from: req.from_leader().into(),
            to: *req.to_node_id(),
            last: req.last_log_id().map(LogIdRecord::from),
        };
        match self.ask(&request, option.soft_ttl()).await? {
            Answer::Transferred(Transferred::Accepted) => Ok(Ok(())),
            Answer::Transferred(Transferred::VoteChanged { expected, actual }) => {
                Ok(Err(TransferLeaderError::VoteChanged {
                    expected: expected.into(),
                    actual: actual.into(),
                }))
            }
            Answer::Transferred(Transferred::LogNotFlushed { expected, actual }) => {
                Ok(Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(LogId::from),
                    actual: actual.map(LogId::from),
                }))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// Has a group's engine answer a frame.
pub(crate) async fn answer(group: GroupName, engine: &Engine, frame: &[u8]) -> Result<Bytes, PeerFault> {
    let request: Request = posthouse_wire::decode(Kind::Peer, frame)?;
    let stopped = |error: &dyn std::fmt::Display| PeerFault::Stopped(error.to_string());
    let answer = match request {
        Request::Append {
            vote,
            previous,
            entries,
            committed,
        } => {
            let entries: io::Result<Vec<RaftEntry>> = entries.into_iter().map(RaftEntry::try_from).collect();
            let rpc = AppendEntriesRequest {
                vote: vote.into(),
                prev_log_id: previous.map(LogId::from),
                entries: entries?,
                leader_commit: committed.map(LogId::from),
            };
            check_entries(&rpc)?;
            let response = engine
                .append_entries(rpc)
                .await
                .map_err(|error| stopped(&error))?;
            Answer::Appended(response.into())
        }
        Request::Vote(ballot) => {
            let response = engine
                .vote(ballot.into())
                .await
                .map_err(|error| stopped(&error))?;
            voted(response)
        }
        Request::PreVote(ballot) => {
            let response = engine
                .pre_vote(ballot.into())
                .await
                .map_err(|error| stopped(&error))?;
            voted(response)
        }
        Request::Snapshot {
            vote,
            position,
            state,
        } => {
            if let GroupName::Set(_) = group {
                return Err(PeerFault::NoBodies);
            }
            let position = Position::try_from(position)?;
            let snapshot = Snapshot {
                meta: SnapshotMeta {
                    last_log_id: position.log_id,
                    last_membership: position.membership,
                },
                snapshot: StateBytes::Received(state),
            };
            let response = engine
                .install_full_snapshot(vote.into(), snapshot)
                .await
                .map_err(|error| stopped(&error))?;
            Answer::Installed {
                vote: (&response.vote).into(),
            }
        }
        Request::TransferLeader { from, to, last } => {
            let rpc = TransferLeaderRequest::new(from.into(), to, last.map(LogId::from));
            let response = engine
                .handle_transfer_leader(rpc)
                .await
                .map_err(|error| stopped(&error))?;
            Answer::Transferred(response.into())
        }
    };
    Ok(posthouse_wire::encode(Kind::Peer, &answer))
}

/// Refuses entries that do not follow each other: the engine takes it for granted that they do.
fn check_entries(rpc: &AppendEntriesRequest<Types>) -> io::Result<()> {
    let mut next = rpc
        .prev_log_id
        .map_or(0, |previous| previous.index.saturating_add(1));
    for entry in &rpc.entries {
        if entry.log_id.index != next {
            return Err(io::Error::other("entries do not follow each other"));
        }
        next = next.saturating_add(1);
    }
    Ok(())
}

fn voted(response: VoteResponse<Types>) -> Answer {
    Answer::Voted {
        vote: (&response.vote).into(),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(LogIdRecord::from),
    }
}

fn unexpected(answer: &Answer) -> RPCError<Types> {
    let error = io::Error::other(format!("another answer than was asked for: {answer:?}"));
    RPCError::Network(NetworkError::new(&error))
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
