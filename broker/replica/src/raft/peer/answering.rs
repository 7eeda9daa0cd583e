//! Answers the frames of other replicas, by the group's engine.

use std::io;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use openraft::storage::{Snapshot, SnapshotMeta};
use posthouse_wire::Kind;

use super::PeerFault;
use super::frame::{Answer, Request};
use crate::GroupName;
use crate::raft::record::Position;
use crate::raft::state::StateBytes;
use crate::raft::{Engine, LogId, RaftEntry, Types};

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
            response.into()
        }
        Request::PreVote(ballot) => {
            let response = engine
                .pre_vote(ballot.into())
                .await
                .map_err(|error| stopped(&error))?;
            response.into()
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
