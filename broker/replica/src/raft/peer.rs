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
use openraft::storage::Snapshot;
use posthouse_model::ReplicaId;
use posthouse_store::{SegmentFile, StoreFault};
use posthouse_wire::{DecodeError, Kind};

use super::record::LogIdRecord;
use super::state::StateBytes;
use super::{LeaderTerm, LogId, Types, Vote};
use crate::network::{Lane, NetworkFault, Outbound};
use crate::{GroupName, Network};

mod answering;
mod frame;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;

pub(crate) use answering::{Answering, answer};
pub(crate) use frame::{Clocks, Counted};
pub(crate) use receiving::{Received, Reception};

use frame::{Answer, Appended, EntryRecord, Request, Transferred};
use sending::Sending;

/// The bytes of a piece of a snapshot, at most.
const PIECE_BYTES_MAX: usize = 1_048_576;

/// Why a frame of another replica had no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerFault {
    /// There is no such group here.
    #[error("no {0} here")]
    NoGroup(GroupName),
    /// Another replica of the group is here than was asked. What is said to one must not be heard by another.
    #[error("replica {asked} was asked, and replica {here} is here")]
    OtherReplica {
        /// Whom the frame was for.
        asked: ReplicaId,
        /// Who is here.
        here: ReplicaId,
    },
    /// The frame says nothing.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The frame says what cannot be.
    #[error("impossible: {0}")]
    Impossible(#[from] io::Error),
    /// Another snapshot is being installed.
    #[error("another snapshot is being installed")]
    Busy,
    /// The store did not take a part of a snapshot.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(String),
    /// Files of this replica are damaged, so that it does not take part.
    #[error("this replica is damaged, and mends")]
    Damaged,
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

    /// Asks a replica what it knows of time; none when it does not answer.
    pub(crate) async fn time(&self, of: ReplicaId, within: Duration) -> Option<Clocks> {
        let peer = self.peer(of.0, Lane::Heartbeat);
        match peer.ask(&Request::Time, within).await {
            Ok(Answer::Time(clocks)) => Some(clocks),
            Ok(_) | Err(_) => None,
        }
    }

    /// Asks a replica for a piece of a segment: none when it does not answer, and nothing of what it does not have.
    pub(crate) async fn segment(
        &self,
        of: ReplicaId,
        file: SegmentFile,
        offset: u64,
        within: Duration,
    ) -> Option<Option<Bytes>> {
        let peer = self.peer(of.0, Lane::Snapshot);
        let file = (&file).into();
        match peer.ask(&Request::Segment { file, offset }, within).await {
            Ok(Answer::Segment(piece)) => Some(piece),
            Ok(_) | Err(_) => None,
        }
    }

    /// Asks a replica to make a newer checkpoint; returns whether it does, which only a leader can.
    pub(crate) async fn cut(&self, by: ReplicaId, within: Duration) -> bool {
        let peer = self.peer(by.0, Lane::Snapshot);
        matches!(peer.ask(&Request::Cut, within).await, Ok(Answer::Cut(true)))
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
        let frame = frame::encode_request(self.to, request);
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
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sent = async { Sending::open(self, vote, snapshot).await?.send().await };
        // Given up half-way, it is gone on with from what the other side has by then.
        tokio::select! {
            sent = sent => sent,
            closed = cancel => Err(StreamingError::Closed(closed)),
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

fn unexpected(answer: &Answer) -> RPCError<Types> {
    let error = io::Error::other(format!("another answer than was asked for: {answer:?}"));
    RPCError::Network(NetworkError::new(&error))
}
