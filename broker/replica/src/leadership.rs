//! Who leads a group, as this replica knows it, and the task that keeps it known.
//!
//! ```text
//! Following ──elected, all earlier entries applied──► Elected ──first entry applied──► Leading
//!     ▲                                                  │                                │
//!     └──────────────────────another leads───────────────┴────────────────────────────────┘
//! any ──stopped or failed──► Stopped
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use parking_lot::Mutex;
use posthouse_model::{ReplicaId, Term, Time};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::bugs::Bug;
use crate::held::Held;
use crate::outage::{Witness, time_after};
use crate::raft::peer::{Clocks, Peers};
use crate::raft::{Engine, Types};
use crate::{GroupName, Machine, Observer, Reason};

/// How long a leader that finds no majority waits before it looks again.
const MAJORITY_RETRY: Duration = Duration::from_millis(50);

/// How long another replica has to say what time it is.
const TIME_WITHIN: Duration = Duration::from_millis(200);

/// Who leads a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Leadership {
    /// Another replica, or none.
    Following { leader: Option<ReplicaId> },
    /// This one, which is to propose its first entry.
    Elected { term: Term, alone: bool },
    /// This one, and it takes commands.
    Leading { term: Term, alone: bool },
    /// Nobody here any more.
    Stopped(Reason),
}

/// What a group's tasks know of who leads. Its observer is told of each change in its order.
pub(crate) struct Seat {
    group: GroupName,
    leadership: watch::Sender<Leadership>,
    observer: Arc<dyn Observer>,
    telling: Mutex<()>,
}

/// Follows the engine's elections.
pub(crate) struct Watcher<M> {
    pub(crate) group: GroupName,
    pub(crate) engine: Engine,
    pub(crate) peers: Peers,
    pub(crate) held: Arc<Held<M>>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) stopping: watch::Receiver<bool>,
}

// === impl Leadership ===

impl Leadership {
    /// Returns who leads, `own` being this replica.
    pub(crate) fn leader(self, own: ReplicaId) -> Option<ReplicaId> {
        match self {
            Leadership::Following { leader } => leader,
            Leadership::Elected { .. } | Leadership::Leading { .. } => Some(own),
            Leadership::Stopped(_) => None,
        }
    }

    /// Returns why a command that comes now is not done; none when it can be.
    pub(crate) fn refusal(self) -> Option<Reason> {
        match self {
            Leadership::Following { leader } => Some(Reason::NotLeading { leader }),
            Leadership::Elected { .. } | Leadership::Leading { .. } => None,
            Leadership::Stopped(reason) => Some(reason),
        }
    }
}

// === impl Watcher ===

impl<M: Machine> Watcher<M> {
    /// Runs until the group stops or its engine fails.
    pub(crate) async fn run(self) {
        let mut metrics = self.engine.server_metrics();
        let mut stopping = self.stopping.clone();
        loop {
            let seen = metrics.borrow_watched().clone();
            let is_settled = self.take_notice(&seen).await;
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() {
                    self.seat.set(Leadership::Stopped(Reason::StoreFailed));
                    return;
                },
                () = tokio::time::sleep(MAJORITY_RETRY), if !is_settled => {}
                _ = stopping.wait_for(|stopping| *stopping) => {
                    self.seat.set(Leadership::Stopped(Reason::Stopping));
                    return;
                }
            }
        }
    }

    /// Returns whether all is known that there is to know until the engine says something new.
    async fn take_notice(&self, metrics: &RaftServerMetrics<Types>) -> bool {
        if !metrics.state.is_leader() {
            let leader = metrics.current_leader.map(ReplicaId);
            self.seat.set(Leadership::Following { leader });
            return true;
        }
        let term = Term(metrics.vote.leader_id.term);
        let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
        match self.seat.now() {
            Leadership::Elected { term: known, .. } | Leadership::Leading { term: known, .. }
                if known == term =>
            {
                self.seat.count(term, alone);
                return true;
            }
            _ => {}
        }
        self.become_leader(term, alone).await
    }

    /// Makes sure that this replica knows how time went on for the group. It may have just started, and not been there
    /// to count it, or have seen the last stamp late, and be behind: a majority is asked, of whom the one that is ahead
    /// is believed. None is too far ahead that counted from the last stamp of all; who has not come so far is to do so
    /// first. Only when none was there are wall clocks all there is, and one of them may be wrong: returns what time it is
    /// by those that answered, or none if they are too few.
    async fn learn_time(&self) -> Option<Time> {
        let own = ReplicaId(*self.engine.node_id());
        let voters: Vec<ReplicaId> = {
            let metrics = self.engine.server_metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.voter_ids().map(ReplicaId).collect()
        };
        let others = voters.iter().filter(|voter| **voter != own);
        let asked = others.map(|other| self.peers.time(*other, TIME_WITHIN));
        let told: Vec<Clocks> = join_all(asked).await.into_iter().flatten().collect();
        let last = self.held.last_stamped();
        let counted = || told.iter().filter_map(|clocks| clocks.counted);
        let behind = counted().filter(|counted| counted.since < last).count();
        let abreast = counted().filter(|counted| counted.since >= last);
        if let Some(now) = abreast.map(|counted| counted.now).max() {
            self.held.believe(now);
        }
        // This replica is one of the majority.
        if told.len() - behind < voters.len() / 2 {
            return None;
        }
        let here = self.held.clocks();
        if Bug::OwnWallClockBelieved.is_loose() {
            return Some(here.wall);
        }
        let all = [here].into_iter().chain(told);
        let witnesses: Vec<Witness> = all
            .map(|Clocks { wall, lag, .. }| Witness {
                wall,
                lag: lag.filter(|_| !Bug::LagsForgotten.is_loose()),
            })
            .collect();
        let term = self.held.last_stamped_in();
        Some(time_after(&witnesses, voters.len(), term, last))
    }

    /// Waits until all that earlier leaders agreed on is applied here: only then is the last stamp known, and the
    /// last message id. Returns whether this replica has become the leader; else it is to be tried again.
    async fn become_leader(&self, term: Term, alone: bool) -> bool {
        match self.engine.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => {
                let Some(after_outage) = self.learn_time().await else {
                    debug!(group = %self.group, %term, "elected, and too few say what time it is");
                    return false;
                };
                info!(group = %self.group, %term, "elected");
                self.held.lead(term, after_outage);
                self.seat.set(Leadership::Elected { term, alone });
                true
            }
            Err(error) => {
                debug!(group = %self.group, %term, %error, "elected, and finds no majority");
                false
            }
        }
    }
}

// === impl Seat ===

impl Seat {
    pub(crate) fn new(group: GroupName, observer: Arc<dyn Observer>) -> Seat {
        Seat {
            group,
            leadership: watch::Sender::new(Leadership::Following { leader: None }),
            observer,
            telling: Mutex::new(()),
        }
    }

    /// Returns who leads.
    pub(crate) fn now(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// Returns a receiver that sees each change.
    pub(crate) fn watch(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// Takes the seat: this replica's first entry was applied. Comes to nothing if another leads by now.
    pub(crate) fn take(&self, term: Term) {
        let _telling = self.telling.lock();
        let Leadership::Elected { term: elected, alone } = self.now() else {
            return;
        };
        if elected == term {
            self.leadership.send_replace(Leadership::Leading { term, alone });
            self.observer.leading(self.group, Some(term));
        }
    }

    /// Takes notice of whether this replica is the only one that votes, which changes while it leads.
    fn count(&self, of: Term, alone_now: bool) {
        let _telling = self.telling.lock();
        self.leadership.send_if_modified(|leadership| match leadership {
            Leadership::Elected { term, alone } | Leadership::Leading { term, alone } if *term == of => {
                std::mem::replace(alone, alone_now) != alone_now
            }
            Leadership::Following { .. }
            | Leadership::Elected { .. }
            | Leadership::Leading { .. }
            | Leadership::Stopped(_) => false,
        });
    }

    fn set(&self, next: Leadership) {
        let _telling = self.telling.lock();
        let before = self.now();
        if before == next {
            return;
        }
        self.leadership.send_replace(next);
        if matches!(before, Leadership::Leading { .. }) {
            info!(group = %self.group, "leads no longer");
            self.observer.leading(self.group, None);
        }
    }
}
