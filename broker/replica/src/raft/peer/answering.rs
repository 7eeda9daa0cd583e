//! Answers the frames of other replicas, by the group's engine and what it receives of a snapshot.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest};
use posthouse_model::ReplicaId;
use posthouse_wire::Kind;

use super::frame::{Answer, Clocks, Request, decode_request};
use super::{PIECE_BYTES_MAX, PeerFault, Reception};
use crate::condition::{Condition, Health};
use crate::raft::checkpoint::Checkpoints;
use crate::raft::{Engine, LogId, RaftEntry, Types, Vote};

/// What of a group answers the frames of other replicas.
pub(crate) struct Answering<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) reception: &'a Reception,
    pub(crate) checkpoints: &'a Arc<Checkpoints>,
    pub(crate) health: &'a Health,
}

/// Answers a frame. What time it is for the group, and having it cut, are none of the engine's.
pub(crate) async fn answer(
    by: Answering<'_>,
    clocks: impl FnOnce() -> Clocks,
    cut: impl AsyncFnOnce() -> bool,
    frame: &Bytes,
) -> Result<Bytes, PeerFault> {
    let Answering {
        engine,
        reception,
        checkpoints,
        health,
    } = by;
    let (asked, request) = decode_request(frame)?;
    let here = ReplicaId(*engine.node_id());
    if asked != here {
        return Err(PeerFault::OtherReplica { asked, here });
    }
    if !is_answered(&request, health.now()) {
        if let Request::Append { vote, .. } = &request {
            health.refuses(ReplicaId(Vote::from(*vote).leader_id.voted_for));
        }
        return Err(PeerFault::Damaged);
    }
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
            let previous = rpc.prev_log_id;
            let response = engine
                .append_entries(rpc)
                .await
                .map_err(|error| stopped(&error))?;
            if let AppendEntriesResponse::Success = response {
                reception.is_past(previous);
            }
            Answer::Appended(response.into())
        }
        Request::Vote(ballot) => {
            let response = engine
                .vote(ballot.into())
                .await
                .map_err(|error| stopped(&error))?;
            response.into()
        }
        Request::PreVote(ballot) => {
            let response = engine
                .pre_vote(ballot.into())
                .await
                .map_err(|error| stopped(&error))?;
            response.into()
        }
        Request::Offer(offer) => reception.take_offer(engine, offer).await?,
        Request::Piece {
            snapshot,
            part,
            offset,
            bytes,
        } => reception.take_piece(snapshot, part, offset, bytes).await?,
        Request::Install { vote, snapshot } => reception.install(engine, vote, snapshot).await?,
        Request::Time => Answer::Time(clocks()),
        Request::Segment { file, offset } => {
            let (checkpoints, file) = (checkpoints.clone(), file.try_into()?);
            let read = move || checkpoints.read_segment(file, offset, PIECE_BYTES_MAX);
            let read = tokio::task::spawn_blocking(read).await;
            Answer::Segment(read.map_err(|error| stopped(&error))??)
        }
        Request::Cut => Answer::Cut(cut().await),
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

/// Returns whether a replica in a condition answers a request.
fn is_answered(request: &Request, condition: Condition) -> bool {
    match request {
        Request::Append { .. } => condition.may_append(),
        Request::Vote(_) | Request::PreVote(_) | Request::TransferLeader { .. } => condition.may_vote(),
        // By these it is mended, or helps others to be.
        Request::Offer(_) | Request::Piece { .. } | Request::Install { .. } => true,
        Request::Time | Request::Segment { .. } | Request::Cut => true,
    }
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
