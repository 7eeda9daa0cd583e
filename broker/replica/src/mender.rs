//! Has what is damaged of a replica replaced by what its peers have.
//!
//! A segment is the same file at all replicas that cut at the same entries: it is fetched alone, checked, and put in
//! its place. What nobody else has, or what is lost of the log, comes with a newer checkpoint: the leader is asked to
//! make one, lets go of the log before it, and offers it as to any replica that is too far behind.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use posthouse_model::ReplicaId;
use posthouse_store::{DamageObserver, Damaged, DamagedPart, GroupId, SegmentFile, Store, StoreFault};
use tokio::sync::{oneshot, watch};
use tracing::{debug, info, warn};

use crate::GroupName;
use crate::condition::{Condition, Health};
use crate::leadership::{Leadership, Seat};
use crate::raft::Engine;
use crate::raft::peer::Peers;

/// How often it is looked whether something is damaged, beside being told.
const LOOK: Duration = Duration::from_secs(5);
/// How long it is waited before another attempt.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a peer has to send a piece.
const PIECE_WITHIN: Duration = Duration::from_secs(10);
/// How long another replica has to take over, of those that are asked one after the other.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);
/// How long a leader has to make a checkpoint.
const CUT_WITHIN: Duration = Duration::from_secs(10);
/// How long a newer checkpoint is waited for before it is asked for again.
const OFFERED_WITHIN: Duration = Duration::from_secs(20);

/// Counts what was found damaged, over all groups of a store.
pub(crate) struct Alarms(pub(crate) watch::Sender<u64>);

/// Has what is damaged of a group's replica replaced.
pub(crate) struct Mender {
    pub(crate) name: GroupName,
    pub(crate) group: GroupId,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) peers: Peers,
    pub(crate) health: Arc<Health>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) alarms: watch::Receiver<u64>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// What came of asking peers for a segment.
enum Fetched {
    Mended,
    /// Nobody who answered has it.
    Nowhere,
    /// Not everybody answered, or something else came between.
    NotYet,
}

// === impl Alarms ===

impl DamageObserver for Alarms {
    fn damaged(&self, _group: GroupId) {
        self.0.send_modify(|count| *count += 1);
    }
}

// === impl Mender ===

impl Mender {
    /// Runs until the group stops.
    pub(crate) async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        loop {
            let rest = tokio::select! {
                rest = self.look() => rest,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            tokio::select! {
                changed = self.alarms.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(rest) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Does what can be done about what is damaged; returns how long to rest.
    async fn look(&self) -> Duration {
        let damage = self.damage();
        let others = self.others();
        // Who is alone has nobody to mend it, and nobody would lead in its place.
        let condition = match self.is_alone() {
            true => Condition::Whole,
            false => Condition::of(&damage),
        };
        if self.health.set(condition) {
            match condition {
                Condition::Whole => info!(group = %self.name, "whole again"),
                Condition::Mends | Condition::Lacks => {
                    warn!(group = %self.name, ?condition, "neither votes nor leads until it is mended");
                }
            }
        }
        self.engine.runtime_config().elect(condition.may_vote());
        if condition == Condition::Whole {
            return LOOK;
        }
        self.stand_back(&others).await;
        self.mend(&damage, &others).await;
        if self.damage().is_empty() {
            Duration::ZERO
        } else {
            AGAIN
        }
    }

    fn damage(&self) -> Vec<Damaged> {
        let mut damage = self.store.damage();
        damage.retain(|damaged| damaged.group == self.group);
        damage
    }

    /// Returns whether the group has no other replica.
    fn is_alone(&self) -> bool {
        let metrics = self.engine.server_metrics();
        let metrics = metrics.borrow_watched();
        let mut members = metrics.membership_config.nodes().map(|(id, ())| *id);
        members.next() == Some(metrics.id) && members.next().is_none()
    }

    /// Returns the other replicas of the group, voters or not: who leads, if this one does not know the members any more.
    fn others(&self) -> Vec<ReplicaId> {
        let metrics = self.engine.server_metrics();
        let metrics = metrics.borrow_watched();
        let all = metrics.membership_config.nodes().map(|(id, ())| *id);
        let others: Vec<ReplicaId> = all.filter(|id| *id != metrics.id).map(ReplicaId).collect();
        match others.is_empty() {
            true => self.health.led_by().into_iter().collect(),
            false => others,
        }
    }

    /// Has another voter lead, if this replica does.
    async fn stand_back(&self, others: &[ReplicaId]) {
        let mut leadership = self.seat.watch();
        for other in others {
            let leads =
                |now: &Leadership| matches!(now, Leadership::Elected { .. } | Leadership::Leading { .. });
            if !leads(&leadership.borrow_and_update()) {
                return;
            }
            if self.engine.trigger().transfer_leader(other.0).await.is_err() {
                return;
            }
            let taken = leadership.wait_for(|now| !leads(now));
            let _ = tokio::time::timeout(TAKEN_WITHIN, taken).await;
        }
    }

    async fn mend(&self, damage: &[Damaged], others: &[ReplicaId]) {
        let (mut needs_own, mut needs_another) = (false, false);
        for damaged in damage {
            match damaged.part {
                DamagedPart::Segment(file) => match self.fetch(file, others).await {
                    Fetched::Mended => info!(group = %self.name, file = %damaged.file.display(), "mended"),
                    Fetched::NotYet => {}
                    Fetched::Nowhere => needs_another = true,
                },
                DamagedPart::Checkpoint => needs_own = true,
                DamagedPart::Log => needs_another = true,
            }
        }
        if needs_another {
            self.take_checkpoint(others).await;
        } else if needs_own {
            self.renew_checkpoint(others).await;
        }
    }

    /// Fetches a segment from whoever has it, and puts it in its place.
    async fn fetch(&self, file: SegmentFile, others: &[ReplicaId]) -> Fetched {
        let mut outcome = Fetched::Nowhere;
        for other in others {
            match self.fetch_from(file, *other).await {
                Ok(true) => return Fetched::Mended,
                Ok(false) => {}
                Err(fault) => {
                    warn!(group = %self.name, peer = %other, %fault, "a segment was not mended from there");
                    outcome = Fetched::NotYet;
                }
            }
        }
        outcome
    }

    /// Returns whether the replica has the segment, and it was put in its place.
    async fn fetch_from(&self, file: SegmentFile, other: ReplicaId) -> Result<bool, String> {
        let import = Arc::new(self.store.import(self.group, vec![file]));
        let mut offset = 0;
        while offset < file.bytes {
            let asked = self.peers.segment(other, file, offset, PIECE_WITHIN).await;
            let piece = match asked {
                None => return Err("it does not answer".to_owned()),
                Some(None) => return Ok(false),
                Some(Some(piece)) => piece,
            };
            let end = offset + piece.len() as u64;
            if piece.is_empty() || end > file.bytes {
                return Err("it has another segment under that name".to_owned());
            }
            let writing = import.clone();
            blocking(move || writing.write(file, offset, &piece)).await?;
            offset = end;
        }
        let settling = import.clone();
        blocking(move || settling.settle(file)).await?;
        let import = Arc::into_inner(import).ok_or("the import is in use")?;
        let (done, mended) = oneshot::channel();
        import.mend(Box::new(move |answer| drop(done.send(answer))));
        match mended.await {
            Ok(answer) => answer.map(|()| true).map_err(|fault| fault.to_string()),
            Err(_) => Err("the store is closed".to_owned()),
        }
    }

    /// Has a newer checkpoint of this replica's own state written in place of a damaged one.
    async fn renew_checkpoint(&self, others: &[ReplicaId]) {
        if self.has_cut(others).await {
            // Where each replica writes its own, it is told to; where all do so at an entry, this changes nothing.
            let _ = self.engine.trigger().snapshot().await;
            self.wait_mended().await;
        }
    }

    /// Has a newer checkpoint made by whoever leads, and takes it.
    async fn take_checkpoint(&self, others: &[ReplicaId]) {
        // Who is not behind is offered none: until it is here, this replica falls behind.
        self.health.set(Condition::Lacks);
        if self.has_cut(others).await {
            self.wait_mended().await;
        }
    }

    /// Returns whether a leader that was asked makes a newer checkpoint.
    async fn has_cut(&self, others: &[ReplicaId]) -> bool {
        for other in others {
            if self.peers.cut(*other, CUT_WITHIN).await {
                return true;
            }
        }
        debug!(group = %self.name, "nobody makes a newer checkpoint yet");
        false
    }

    async fn wait_mended(&self) {
        let mut looks = tokio::time::interval(AGAIN);
        let mended = async {
            while !self.damage().is_empty() {
                looks.tick().await;
            }
        };
        if tokio::time::timeout(OFFERED_WITHIN, mended).await.is_err() {
            warn!(group = %self.name, "no newer checkpoint has come yet");
        }
    }
}

/// Works on files away from the tasks that must not wait.
async fn blocking(work: impl FnOnce() -> Result<(), StoreFault> + Send + 'static) -> Result<(), String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.map_err(|fault| fault.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
