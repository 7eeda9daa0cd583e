//! Sends a follower what it lacks of a checkpoint and its segments.
//!
//! ```text
//! offer: position, state's size, segments ─► what is missing, and from where ─┐
//!    ┌────────────────────────────────────────────────────────────────────────┘
//!    └─► pieces, one after the other ─► install ─► installed, or what is missing still
//! ```
//!
//! The follower keeps what it has of an attempt that was broken off, so the next offer goes on from there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use posthouse_store::{Export, SegmentFile};

use super::frame::{Answer, FileRecord, Offer, Part, Request, Wanted};
use super::{CallResult, PIECE_BYTES_MAX, Peer, PeerFault, unexpected};
use crate::raft::record::{LogIdRecord, Position};
use crate::raft::state::StateBytes;
use crate::raft::{LeaderTerm, Types, Vote};

/// How long the answer to an offer is waited for: the follower looks for what it has.
const OFFER_WITHIN: Duration = Duration::from_secs(30);
/// How long the answer to a piece is waited for: after a segment's last one, the follower checks and syncs it.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// How long the answer to an install is waited for: the follower reads the state and writes the checkpoint.
const INSTALL_WITHIN: Duration = Duration::from_secs(180);
/// How often a follower may lack something after everything was sent.
const ROUNDS_MAX: usize = 4;

/// A checkpoint on its way to a follower.
pub(super) struct Sending<'a> {
    peer: &'a Peer,
    vote: Vote,
    position: Position,
    export: Arc<Export>,
    files: Vec<SegmentFile>,
}

type SendResult<T> = Result<T, StreamingError<Types>>;

// === impl Sending ===

impl<'a> Sending<'a> {
    /// Opens the checkpoint that a snapshot stands for.
    pub(super) async fn open(
        peer: &'a Peer,
        vote: Vote,
        snapshot: Snapshot<LeaderTerm, u64, (), StateBytes>,
    ) -> SendResult<Sending<'a>> {
        let StateBytes::Stored(checkpoints) = snapshot.snapshot else {
            return Err(broken("a snapshot that is not in this replica's store"));
        };
        let export = blocking(move || checkpoints.export()).await?;
        let position = Position::decode(&export.checkpoint().meta).map_err(|error| unreadable(&error))?;
        if position.log_id != snapshot.meta.last_log_id {
            // The engine counts on the one that it asked for; it asks again.
            return Err(broken("a newer checkpoint took the place of the snapshot"));
        }
        Ok(Sending {
            peer,
            vote,
            position,
            files: export.files(),
            export: Arc::new(export),
        })
    }

    /// Sends all that the follower lacks, and has it install the checkpoint.
    pub(super) async fn send(self) -> SendResult<SnapshotResponse<Types>> {
        let mut answer = self.peer.ask(&Request::Offer(self.offer()), OFFER_WITHIN).await?;
        for _ in 0..ROUNDS_MAX {
            match answer {
                Answer::Wanted(wanted) => self.send_wanted(wanted).await?,
                Answer::Installed { vote } => return Ok(SnapshotResponse::new(vote.into())),
                Answer::Busy => {
                    return Err(StreamingError::Unreachable(Unreachable::new(&PeerFault::Busy)));
                }
                other => return Err(unexpected(&other).into()),
            }
            let install = Request::Install {
                vote: (&self.vote).into(),
                snapshot: self.snapshot(),
            };
            answer = self.peer.ask(&install, INSTALL_WITHIN).await?;
        }
        Err(broken("the replica lacks something whatever is sent"))
    }

    fn offer(&self) -> Offer {
        let state = &self.export.checkpoint().state;
        Offer {
            vote: (&self.vote).into(),
            position: (&self.position).into(),
            state_bytes: state.len() as u64,
            state_digest: crc32c::crc32c(state),
            files: self.files.iter().map(FileRecord::from).collect(),
        }
    }

    fn snapshot(&self) -> Option<LogIdRecord> {
        self.position.log_id.as_ref().map(LogIdRecord::from)
    }

    async fn send_wanted(&self, wanted: Wanted) -> SendResult<()> {
        if wanted.files.len() > self.files.len() {
            return Err(broken("the replica lacks more than was offered"));
        }
        if let Some(from) = wanted.state {
            self.send_part(Part::State, from).await?;
        }
        for (place, from) in wanted.files {
            self.send_part(Part::File(place), from).await?;
        }
        Ok(())
    }

    /// Sends a part from an offset on. The next piece is read while one is on its way.
    async fn send_part(&self, part: Part, from: u64) -> SendResult<()> {
        let mut offset = from;
        let mut piece = self.read(part, offset).await?;
        while !piece.is_empty() {
            let end = offset + piece.len() as u64;
            let put = async { self.put(part, offset, piece).await.map_err(StreamingError::from) };
            let (have, next) = futures::try_join!(put, self.read(part, end))?;
            if have != end {
                return Err(broken(
                    "the replica has another part of the snapshot than was sent",
                ));
            }
            offset = end;
            piece = next;
        }
        Ok(())
    }

    async fn put(&self, part: Part, offset: u64, bytes: Bytes) -> CallResult<u64> {
        let request = Request::Piece {
            snapshot: self.snapshot(),
            part,
            offset,
            bytes,
        };
        match self.peer.ask(&request, PIECE_WITHIN).await? {
            Answer::Taken { have } => Ok(have),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a piece; none at the end, nor of what was not offered.
    async fn read(&self, part: Part, offset: u64) -> SendResult<Bytes> {
        match part {
            Part::State => {
                let state = &self.export.checkpoint().state;
                let from = usize::try_from(offset).map_or(state.len(), |from| from.min(state.len()));
                Ok(state.slice(from..state.len().min(from + PIECE_BYTES_MAX)))
            }
            Part::File(place) => {
                let Some(file) = self.files.get(place as usize).copied() else {
                    return Ok(Bytes::new());
                };
                let export = self.export.clone();
                blocking(move || {
                    let read = export.read(file, offset, PIECE_BYTES_MAX);
                    read.map_err(io::Error::other)
                })
                .await
            }
        }
    }
}

/// Reads files away from the tasks that must not wait.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> SendResult<T> {
    match crate::blocking::blocking(read).await {
        Ok(answer) => answer.map_err(|error| unreadable(&error)),
        Err(error) => Err(unreadable(&io::Error::other(error))),
    }
}

/// Says that this attempt failed by what this replica cannot read: another has time.
fn unreadable(error: &io::Error) -> StreamingError<Types> {
    StreamingError::Unreachable(Unreachable::new(error))
}

/// Says that this attempt failed, and another may not.
fn broken(what: &str) -> StreamingError<Types> {
    RPCError::Network(NetworkError::new(&io::Error::other(what))).into()
}
