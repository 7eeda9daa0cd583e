//! One replicated group as its node sees it: commands go in, outcomes come out, the state can be read.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use parking_lot::Mutex;
use posthouse_model::{LogIndex, MessageId, ReplicaId, SessionCall, Set, SetId, Term, Time};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::condition::{Condition, Health};
use crate::held::Held;
use crate::leadership::{Leadership, Seat, Watcher};
use crate::proposer::{self, Intake, ProposerParts};
use crate::quiet::{self, MAJORITY_SILENCE_MAX, Quieter};
use crate::raft::Engine;
use crate::raft::checkpoint::Checkpoints;
use crate::raft::peer::{self, Answering, Peers, Reception};
use crate::ticker::Ticker;
use crate::{Fault, GroupName, Machine, Observer, PeerFault, Reason};

/// A replicated group. Clones are handles to the same one.
pub struct Group<M: Machine> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Machine> {
    name: GroupName,
    engine: Engine,
    reception: Reception,
    checkpoints: Arc<Checkpoints>,
    health: Arc<Health>,
    held: Arc<Held<M>>,
    intake: Arc<Intake<M>>,
    seat: Arc<Seat>,
    stopping: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What a group is made of.
pub(crate) struct GroupParts<M> {
    pub(crate) name: GroupName,
    pub(crate) engine: Engine,
    pub(crate) reception: Reception,
    pub(crate) peers: Peers,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) health: Arc<Health>,
    pub(crate) held: Arc<Held<M>>,
    pub(crate) observer: Arc<dyn Observer>,
}

// === impl Group ===

impl<M: Machine> Group<M> {
    /// Starts the group's tasks.
    pub(crate) fn start(parts: GroupParts<M>) -> Group<M> {
        let GroupParts {
            name,
            engine,
            reception,
            peers,
            checkpoints,
            health,
            held,
            observer,
        } = parts;
        let (stopping, stop_signal) = watch::channel(false);
        let seat = Arc::new(Seat::new(name, observer));
        let (intake, proposer) = proposer::new(ProposerParts {
            group: name,
            engine: engine.clone(),
            held: held.clone(),
            seat: seat.clone(),
            stopping: stop_signal.clone(),
        });
        let intake = Arc::new(intake);
        let watcher = Watcher {
            group: name,
            engine: engine.clone(),
            peers,
            held: held.clone(),
            seat: seat.clone(),
            stopping: stop_signal.clone(),
        };
        let ticker = Ticker {
            held: held.clone(),
            intake: intake.clone(),
            leadership: seat.watch(),
            stopping: stop_signal.clone(),
        };
        let quieter = Quieter {
            group: name,
            engine: engine.clone(),
            stopping: stop_signal,
        };
        let tasks = vec![
            tokio::spawn(proposer.run()),
            tokio::spawn(watcher.run()),
            tokio::spawn(ticker.run()),
            tokio::spawn(quieter.run()),
        ];
        Group {
            inner: Arc::new(Inner {
                name,
                engine,
                reception,
                checkpoints,
                health,
                held,
                intake,
                seat,
                stopping,
                tasks: Mutex::new(tasks),
            }),
        }
    }

    /// Returns which group this is.
    pub fn name(&self) -> GroupName {
        self.inner.name
    }

    /// Has a command done, and returns its outcome once that is durable and applied. A caller that stops waiting
    /// does not take the command back.
    pub async fn propose(&self, command: M::Command) -> Result<M::Outcome, Fault> {
        self.propose_as(None, command).await
    }

    /// Has a command done that may carry a name: sent again under the same name, it answers the first one's outcome.
    pub async fn propose_as(
        &self,
        call: Option<SessionCall>,
        command: M::Command,
    ) -> Result<M::Outcome, Fault> {
        self.propose_in(None, call, command).await
    }

    /// Has a command done that was made from what this replica saw while it led in a term: in another it is not done.
    pub async fn propose_in(
        &self,
        term: Option<Term>,
        call: Option<SessionCall>,
        command: M::Command,
    ) -> Result<M::Outcome, Fault> {
        let refusal = self.inner.seat.now().refusal();
        if let Some(reason) = refusal {
            return Err(Fault::NotDone(reason));
        }
        if !self.has_majority() {
            return Err(Fault::NotDone(Reason::NoMajority));
        }
        self.inner.intake.propose(term, call, command).await
    }

    /// Reads the applied state. The read must be short: entries wait for it.
    pub fn view<R>(&self, read: impl FnOnce(&M) -> R) -> R {
        self.inner.held.view(read)
    }

    /// Confirms that this replica leads, and that its applied state shows all that was answered before this call.
    pub async fn confirm(&self) -> Result<(), Fault> {
        match self.inner.seat.now() {
            // What it answered it has applied, and nobody else can have answered. Who votes is looked at again: others
            // may have come in this moment.
            Leadership::Leading { alone: true, .. } if self.voters().len() == 1 => return Ok(()),
            Leadership::Leading { .. } => {}
            Leadership::Elected { .. } => return Err(Fault::NotDone(Reason::NotLeading { leader: None })),
            other @ (Leadership::Following { .. } | Leadership::Stopped(_)) => {
                return Err(Fault::NotDone(other.refusal().unwrap_or(Reason::Stopping)));
            }
        }
        match self.inner.engine.ensure_linearizable(ReadPolicy::LeaseRead).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                let leader = forward.leader_id.map(ReplicaId);
                Err(Fault::NotDone(Reason::NotLeading { leader }))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(Fault::NotDone(Reason::NoMajority))
            }
            Err(RaftError::Fatal(_)) => Err(Fault::NotDone(Reason::Stopping)),
        }
    }

    /// Returns whether this replica leads the group and takes commands.
    pub fn is_leader(&self) -> bool {
        self.term().is_some()
    }

    /// Returns the term in which this replica leads; none when it does not.
    pub fn term(&self) -> Option<Term> {
        match self.inner.seat.now() {
            Leadership::Leading { term, .. } => Some(term),
            Leadership::Following { .. } | Leadership::Elected { .. } | Leadership::Stopped(_) => None,
        }
    }

    /// Returns the term in which this replica was elected, whether it takes commands yet or not; none when another
    /// leads.
    pub fn elected(&self) -> Option<Term> {
        let metrics = self.inner.engine.server_metrics();
        let metrics = metrics.borrow_watched();
        let term = Term(metrics.vote.leader_id.term);
        metrics.state.is_leader().then_some(term)
    }

    /// Returns which replica leads, as far as it is known here.
    pub fn leader(&self) -> Option<ReplicaId> {
        let own = ReplicaId(*self.inner.engine.node_id());
        self.inner.seat.now().leader(own)
    }

    /// Waits until it is known that another replica leads than `known`.
    pub async fn led_by_other_than(&self, known: Option<ReplicaId>) {
        let mut leadership = self.inner.seat.watch();
        let own = ReplicaId(*self.inner.engine.node_id());
        let other = leadership.wait_for(|leadership| {
            let leader = leadership.leader(own);
            leader.is_some() && leader != known
        });
        if other.await.is_err() {
            // The group is gone: nobody leads it here any more.
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether a majority has answered this replica lately, as far as it leads; a follower cannot tell.
    pub fn has_majority(&self) -> bool {
        match self.inner.seat.now() {
            Leadership::Elected { alone: false, .. } | Leadership::Leading { alone: false, .. } => {}
            Leadership::Elected { alone: true, .. }
            | Leadership::Leading { alone: true, .. }
            | Leadership::Following { .. }
            | Leadership::Stopped(_) => return true,
        }
        // A leader that was elected in this moment has not asked anybody yet.
        quiet::silence(&self.inner.engine).is_none_or(|silence| silence < MAJORITY_SILENCE_MAX)
    }

    /// Returns what time it is for the group.
    pub fn now(&self) -> Time {
        self.inner.held.now()
    }

    /// Returns the index of the last entry that was applied here.
    pub fn applied(&self) -> LogIndex {
        *self.inner.held.applied().borrow()
    }

    /// Returns a receiver that sees each entry that is applied here. It ends with the group.
    pub fn applied_changes(&self) -> watch::Receiver<LogIndex> {
        self.inner.held.applied()
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn wait_applied(&self, index: LogIndex) -> Result<(), Fault> {
        let mut applied = self.inner.held.applied();
        let mut stopping = self.inner.stopping.subscribe();
        tokio::select! {
            seen = applied.wait_for(|applied| *applied >= index) => {
                seen.map(|_| ()).map_err(|_| Fault::NotDone(Reason::Stopping))
            }
            _ = stopping.wait_for(|stopping| *stopping) => Err(Fault::NotDone(Reason::Stopping)),
        }
    }

    /// Waits until the group can be used: this replica leads it and takes commands, or it is known which does.
    pub async fn wait_ready(&self) -> Result<(), Fault> {
        let mut leadership = self.inner.seat.watch();
        let ready = leadership.wait_for(|leadership| match leadership {
            Leadership::Following { leader } => leader.is_some(),
            Leadership::Elected { .. } => false,
            Leadership::Leading { .. } | Leadership::Stopped(_) => true,
        });
        match ready.await.as_deref() {
            Ok(Leadership::Stopped(reason)) => Err(Fault::NotDone(*reason)),
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::NotDone(Reason::Stopping)),
        }
    }

    /// Returns the replicas that vote in the group.
    pub fn voters(&self) -> BTreeSet<ReplicaId> {
        let metrics = self.inner.engine.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().map(ReplicaId).collect()
    }

    /// Returns whether this replica votes in the group, as far as it knows.
    pub fn is_voter(&self) -> bool {
        let metrics = self.inner.engine.server_metrics();
        let metrics = metrics.borrow_watched();
        let configs = metrics.membership_config.membership().get_joint_config();
        configs.iter().any(|voters| voters.contains(&metrics.id))
    }

    /// Returns the replicas that get the group's log and do not vote.
    pub fn learners(&self) -> BTreeSet<ReplicaId> {
        let metrics = self.inner.engine.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        membership.learner_ids().map(ReplicaId).collect()
    }

    /// Asks another voter to lead in this replica's place. Returns once it was asked; whether it does is seen by
    /// [`Group::leader`].
    pub async fn hand_over(&self, to: ReplicaId) -> Result<(), Fault> {
        if !self.is_leader() {
            return Err(Fault::NotDone(Reason::NotLeading {
                leader: self.leader(),
            }));
        }
        let asked = self.inner.engine.trigger().transfer_leader(to.0).await;
        asked.map_err(|_| Fault::NotDone(Reason::Stopping))
    }

    /// Stops the group: what waits is answered, what is in flight gets some time, and no task is left.
    pub async fn stop(&self) {
        self.inner.stopping.send_replace(true);
        let tasks = std::mem::take(&mut *self.inner.tasks.lock());
        for ended in join_all(tasks).await {
            if let Err(error) = ended {
                warn!(group = %self.inner.name, %error, "a task of the group did not end well");
            }
        }
        if let Err(error) = self.inner.engine.shutdown().await {
            warn!(group = %self.inner.name, %error, "the engine did not end well");
        }
        self.inner.reception.close().await;
    }

    /// Answers a frame of another replica.
    pub(crate) async fn answer(&self, frame: &Bytes) -> Result<Bytes, PeerFault> {
        let clocks = || self.inner.held.clocks();
        let by = Answering {
            engine: &self.inner.engine,
            reception: &self.inner.reception,
            checkpoints: &self.inner.checkpoints,
            health: &self.inner.health,
        };
        peer::answer(by, clocks, async || self.cut().await, frame).await
    }

    /// Has a newer checkpoint made, which holds an entry that is agreed on from now; returns whether it is.
    async fn cut(&self) -> bool {
        match M::cut() {
            Some(command) => self.propose(command).await.is_ok(),
            None => {
                // It must be newer than what the one who asks for it has.
                self.propose(M::tick()).await.is_ok() && self.inner.engine.trigger().snapshot().await.is_ok()
            }
        }
    }

    /// Returns how much of what this replica promised to know is still here.
    pub fn condition(&self) -> Condition {
        self.inner.health.now()
    }

    /// Returns what tells the group's tasks to end.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.subscribe()
    }

    /// Adds a task that ends when it is told to.
    pub(crate) fn add_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.lock().push(tokio::spawn(task));
    }

    /// Returns a receiver that sees who leads.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.seat.watch()
    }

    /// Returns what the group's tasks know of who leads.
    pub(crate) fn seat(&self) -> Arc<Seat> {
        self.inner.seat.clone()
    }

    /// Returns where commands are handed in.
    pub(crate) fn intake(&self) -> Arc<Intake<M>> {
        self.inner.intake.clone()
    }

    /// Returns what the group's tasks share.
    pub(crate) fn held(&self) -> Arc<Held<M>> {
        self.inner.held.clone()
    }

    /// Returns the group's engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }
}

impl Group<Set> {
    /// Returns ids for so many messages, in the order in which they are to be sent: rising, and above all ids that
    /// the set has seen. Only its leader stamps them.
    pub fn next_message_ids(&self, count: usize) -> Vec<MessageId> {
        let GroupName::Set(set) = self.inner.name else {
            return Vec::new();
        };
        self.inner.held.next_message_ids(set, count)
    }

    /// Returns which set this is.
    pub fn set(&self) -> SetId {
        match self.inner.name {
            GroupName::Set(set) => set,
            GroupName::Directory => SetId::default(),
        }
    }
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Group {
            inner: self.inner.clone(),
        }
    }
}

impl<M: Machine> std::fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.inner.name)
            .field("leadership", &self.inner.seat.now())
            .field("applied", &self.applied())
            .finish()
    }
}
