//! Receives a checkpoint with its segments from a leader, piece by piece, and has it installed once it is whole.
//!
//! What comes is checked before anything is replaced: sizes and offsets as they are said, each segment when its last
//! piece is here, the state before the engine sees it. What was fetched is kept when an attempt is broken off; it goes
//! once a later offer does not want it, or the group has come past it by its log.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use openraft::storage::{Snapshot, SnapshotMeta};
use parking_lot::Mutex;
use posthouse_model::LogIndex;
use posthouse_store::{Import, SegmentFile};
use posthouse_wire::DecodeError;

use super::frame::{Answer, Offer, Part, Wanted};
use super::{PIECE_BYTES_MAX, PeerFault};
use crate::blocking::blocking;
use crate::raft::checkpoint::{Checkpoints, index_of};
use crate::raft::record::{LogIdRecord, Position, VoteRecord};
use crate::raft::state::StateBytes;
use crate::raft::{Engine, LeaderTerm, LogId, Vote};

/// The bytes of a state, at most. They are asked for as they come.
const STATE_BYTES_MAX: u64 = 4 << 30;
/// The segments of a checkpoint, at most.
const FILES_MAX: usize = 16_384;

/// What a group receives of another replica's checkpoint.
pub(crate) struct Reception {
    desk: Arc<Mutex<Desk>>,
}

/// A checkpoint that was received in full. Another is received once this is gone.
pub(crate) struct Received {
    pub(crate) state: Bytes,
    pub(crate) import: Import,
    _installing: Arc<()>,
}

/// Reads a state, and returns which entry it knows last.
type ReadState = fn(&[u8]) -> Result<LogIndex, DecodeError>;

/// What is worked on with the disk at hand, away from tasks that must not wait.
struct Desk {
    checkpoints: Arc<Checkpoints>,
    read_state: ReadState,
    incoming: Option<Incoming>,
    installing: Weak<()>,
}

/// A checkpoint on its way in.
struct Incoming {
    contents: Contents,
    state: Vec<u8>,
    import: Import,
}

/// What an offer says that can be.
#[derive(Clone)]
struct Contents {
    snapshot: LogId,
    position: Position,
    state_bytes: u64,
    state_digest: u32,
    files: Vec<SegmentFile>,
}

/// Where the group's engine stands.
struct Standing {
    vote: Vote,
    committed: Option<LogId>,
}

// === impl Reception ===

impl Reception {
    pub(crate) fn new(checkpoints: Arc<Checkpoints>, read_state: ReadState) -> Reception {
        let desk = Desk {
            checkpoints,
            read_state,
            incoming: None,
            installing: Weak::new(),
        };
        Reception {
            desk: Arc::new(Mutex::new(desk)),
        }
    }

    /// Answers an offer with what is not here.
    pub(super) async fn take_offer(&self, engine: &Engine, offer: Offer) -> Result<Answer, PeerFault> {
        let standing = Standing::of(engine).await?;
        if let Some(refusal) = standing.outvotes(offer.vote)? {
            return Ok(refusal);
        }
        let vote = offer.vote;
        let contents = Contents::try_from(offer)?;
        let has_it = standing.has(&contents)?;
        self.work(move |desk| {
            if desk.installing.strong_count() > 0 {
                return Ok(Answer::Busy);
            }
            if has_it {
                desk.incoming = None;
                return Ok(Answer::Installed { vote });
            }
            desk.open(contents).map(Answer::Wanted)
        })
        .await
    }

    /// Takes the next piece of a part.
    pub(super) async fn take_piece(
        &self,
        snapshot: Option<LogIdRecord>,
        part: Part,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Answer, PeerFault> {
        if bytes.len() > PIECE_BYTES_MAX {
            return Err(impossible("a piece is too long"));
        }
        self.work(move |desk| {
            let have = desk.offered(snapshot)?.take(part, offset, &bytes)?;
            Ok(Answer::Taken { have })
        })
        .await
    }

    /// Has the engine install what is here in full.
    pub(super) async fn install(
        &self,
        engine: &Engine,
        vote: VoteRecord,
        snapshot: Option<LogIdRecord>,
    ) -> Result<Answer, PeerFault> {
        let standing = Standing::of(engine).await?;
        if let Some(refusal) = standing.outvotes(vote)? {
            return Ok(refusal);
        }
        let received = self.work(move |desk| {
            let incoming = desk.offered(snapshot)?;
            incoming.contents.check_vote(vote)?;
            standing.has(&incoming.contents)?;
            let wanted = incoming.wanted();
            if !wanted.is_empty() {
                return Ok(Err(Answer::Wanted(wanted)));
            }
            desk.finish().map(Ok)
        });
        let snapshot = match received.await? {
            Ok(snapshot) => snapshot,
            Err(answer) => return Ok(answer),
        };
        let installed = engine.install_full_snapshot(vote.into(), snapshot).await;
        let response = installed.map_err(|error| PeerFault::Stopped(error.to_string()))?;
        Ok(Answer::Installed {
            vote: (&response.vote).into(),
        })
    }

    /// Takes notice that the log goes on behind an entry: a checkpoint before it is not needed.
    pub(super) fn is_past(&self, previous: Option<LogId>) {
        // Who is at work on it is not waited for: more entries will come.
        let Some(mut desk) = self.desk.try_lock() else {
            return;
        };
        let needed = |incoming: &mut Incoming| Some(incoming.contents.snapshot) > previous;
        desk.incoming.take_if(|incoming| !needed(incoming));
    }

    /// Lets go of what is here.
    pub(crate) async fn close(&self) {
        // Where nothing can be done any more, there is nothing to be let go of.
        let _ = self
            .work(|desk| {
                desk.incoming = None;
                Ok(())
            })
            .await;
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk) -> Result<T, PeerFault> + Send + 'static,
    ) -> Result<T, PeerFault> {
        let desk = self.desk.clone();
        let worked = blocking(move || work(&mut desk.lock())).await;
        worked.map_err(|error| PeerFault::Stopped(error.to_string()))?
    }
}

// === impl Desk ===

impl Desk {
    /// Goes on with what is here of a checkpoint, and begins with the rest; returns what that is.
    fn open(&mut self, contents: Contents) -> Result<Wanted, PeerFault> {
        let (state, import) = match self.incoming.take() {
            Some(incoming) => incoming.turn_to(&contents),
            None => (Vec::new(), self.checkpoints.import(contents.files.clone())),
        };
        let incoming = self.incoming.insert(Incoming {
            contents,
            state,
            import,
        });
        let missing = incoming.import.missing();
        let missing = missing.iter().map(|(file, have)| file.bytes - have);
        let bytes = missing.fold(0, u64::saturating_add);
        self.checkpoints.admit(bytes)?;
        Ok(incoming.wanted())
    }

    /// Returns what was offered, if it is what is spoken of.
    fn offered(&mut self, snapshot: Option<LogIdRecord>) -> Result<&mut Incoming, PeerFault> {
        let snapshot = snapshot.map(LogId::from);
        self.incoming
            .as_mut()
            .filter(|incoming| Some(incoming.contents.snapshot) == snapshot)
            .ok_or_else(|| impossible("no such snapshot was offered"))
    }

    /// Checks the state and hands over what is here in full.
    fn finish(&mut self) -> Result<Snapshot<LeaderTerm, u64, (), StateBytes>, PeerFault> {
        let incoming = self.incoming.take();
        let mut incoming = incoming.ok_or_else(|| impossible("no such snapshot was offered"))?;
        let contents = &incoming.contents;
        if crc32c::crc32c(&incoming.state) != contents.state_digest {
            // The segments are well: the state alone is to come again.
            incoming.state.clear();
            self.incoming = Some(incoming);
            return Err(impossible("the state is another than was offered"));
        }
        if !incoming.import.is_whole() {
            return Err(impossible("a segment was not checked"));
        }
        let applied = (self.read_state)(&incoming.state)?;
        if applied > index_of(&contents.position) {
            return Err(impossible("the state is from beyond its snapshot"));
        }
        let installing = Arc::new(());
        self.installing = Arc::downgrade(&installing);
        let Incoming {
            contents,
            state,
            import,
        } = incoming;
        Ok(Snapshot {
            meta: SnapshotMeta {
                last_log_id: contents.position.log_id,
                last_membership: contents.position.membership,
            },
            snapshot: StateBytes::Received(Received {
                state: state.into(),
                import,
                _installing: installing,
            }),
        })
    }
}

// === impl Incoming ===

impl Incoming {
    /// Returns what of this serves for another checkpoint.
    fn turn_to(self, contents: &Contents) -> (Vec<u8>, Import) {
        let before = &self.contents;
        let is_same_state = (before.snapshot, before.state_bytes, before.state_digest)
            == (contents.snapshot, contents.state_bytes, contents.state_digest);
        let state = if is_same_state { self.state } else { Vec::new() };
        (state, self.import.turn_to(contents.files.clone()))
    }

    /// Returns what is not here.
    fn wanted(&self) -> Wanted {
        let files = self.contents.files.iter().enumerate();
        let files = files.map(|(place, file)| (place as u32, file, self.import.have(*file)));
        let state_have = self.state.len() as u64;
        Wanted {
            state: (state_have < self.contents.state_bytes).then_some(state_have),
            files: files
                .filter(|(_, file, have)| *have < file.bytes)
                .map(|(place, _, have)| (place, have))
                .collect(),
        }
    }

    /// Takes in a piece; returns how much of its part is here then. One that does not follow is passed over.
    fn take(&mut self, part: Part, offset: u64, bytes: &[u8]) -> Result<u64, PeerFault> {
        let end = offset.checked_add(bytes.len() as u64);
        let end = end.ok_or_else(|| impossible("a piece is out of range"))?;
        match part {
            Part::State => {
                if end > self.contents.state_bytes {
                    return Err(impossible("a piece is out of range"));
                }
                if offset == self.state.len() as u64 {
                    self.state.extend_from_slice(bytes);
                }
                Ok(self.state.len() as u64)
            }
            Part::File(place) => {
                let file = self.contents.files.get(place as usize).copied();
                let file = file.ok_or_else(|| impossible("no such segment was offered"))?;
                if end > file.bytes {
                    return Err(impossible("a piece is out of range"));
                }
                self.import.write(file, offset, bytes)?;
                let have = self.import.have(file);
                if have == file.bytes {
                    self.import.settle(file)?;
                }
                Ok(have)
            }
        }
    }
}

// === impl Contents ===

impl Contents {
    /// Refuses a checkpoint of a later term than the vote's: no leader has one.
    fn check_vote(&self, vote: VoteRecord) -> Result<(), PeerFault> {
        if self.snapshot.leader_id.term > Vote::from(vote).leader_id.term {
            return Err(impossible("a snapshot from beyond its leader's term"));
        }
        Ok(())
    }
}

impl TryFrom<Offer> for Contents {
    type Error = PeerFault;

    fn try_from(offer: Offer) -> Result<Self, PeerFault> {
        let position = Position::try_from(offer.position)?;
        let snapshot = position
            .log_id
            .ok_or_else(|| impossible("a snapshot of nothing"))?;
        if *position.membership.log_id() > position.log_id || position.membership.voter_ids().next().is_none()
        {
            return Err(impossible("a snapshot without its voters"));
        }
        if offer.state_bytes > STATE_BYTES_MAX || offer.files.len() > FILES_MAX {
            return Err(impossible("a snapshot is too large"));
        }
        let mut files = Vec::with_capacity(offer.files.len());
        let mut names = BTreeSet::new();
        for record in offer.files {
            let file = SegmentFile::try_from(record)?;
            if file.made_at.0 > snapshot.index || !names.insert((file.made_at, file.class)) {
                return Err(impossible("a segment that cannot be in the snapshot"));
            }
            files.push(file);
        }
        let contents = Contents {
            snapshot,
            position,
            state_bytes: offer.state_bytes,
            state_digest: offer.state_digest,
            files,
        };
        contents.check_vote(offer.vote)?;
        Ok(contents)
    }
}

// === impl Standing ===

impl Standing {
    async fn of(engine: &Engine) -> Result<Standing, PeerFault> {
        let standing = engine.with_raft_state(|state| Standing {
            vote: *state.vote_ref(),
            committed: state.local_committed().copied(),
        });
        standing
            .await
            .map_err(|error| PeerFault::Stopped(error.to_string()))
    }

    /// Returns the answer to who leads no longer.
    fn outvotes(&self, vote: VoteRecord) -> Result<Option<Answer>, PeerFault> {
        let vote = Vote::from(vote);
        if !vote.committed {
            return Err(impossible("a snapshot from who does not lead"));
        }
        let own = (&self.vote).into();
        Ok((vote < self.vote).then_some(Answer::Installed { vote: own }))
    }

    /// Returns whether all that a checkpoint says is known here as agreed on.
    fn has(&self, contents: &Contents) -> Result<bool, PeerFault> {
        let snapshot = contents.snapshot;
        if Some(snapshot) <= self.committed {
            return Ok(true);
        }
        if self
            .committed
            .is_some_and(|committed| committed.index >= snapshot.index)
        {
            return Err(impossible("a snapshot that contradicts what was agreed on"));
        }
        Ok(false)
    }
}

fn impossible(what: &str) -> PeerFault {
    PeerFault::Impossible(io::Error::other(what))
}
