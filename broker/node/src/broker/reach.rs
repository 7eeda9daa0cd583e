//! Reaches the leader of a group, wherever it is.
//!
//! What changes a group, or has to see all that was answered before, is done by the group's leader. When that is
//! another node, the call is passed on to it and its answer back. What was not done is asked again, of whoever leads
//! by then; what may have been done is asked again under the same name ([`SessionCall`]), so that it takes effect
//! once. When the time that a call has runs out, the answer says which of both it is.
//!
//! A node without peers asks itself, once, and names nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_keyring::Entropy;
use posthouse_model::{
    DirectoryCommand, DirectoryRefusal, DirectoryReply, Incarnation, KvEntry, LogIndex, MessageId,
    PluginVersion, Refusal, ReplicaId, SessionCall, SetCommand, SetId, SetReply, TenantId, Term,
};
use posthouse_replica::{Fault, Group, Machine, Members, NetworkFault, Reason};
use posthouse_wire::Kind as WireKind;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::copying::{Page, PageAsk};
use super::history::{Stay, Trace, Visit};
use super::kv::KeptWanted;
use super::plugin_logs::{LinesOf, LinesWanted};
use super::queues::{ReceiveAsk, Received, SendAsk};
use super::reconcile::Reform;
use super::recorder::{RecordAsk, Recorded, RecordedOn};
use super::redrive::{ReadmitAsk, RedriveAsk, Redriven};
use super::report::NodeReport;
use super::topics::PublishAsk;
use super::trials::TrialReport;
use super::{Broker, BrokerError, held, names, reconcile};

/// How long a call looks for a leader that does it.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// How long a call rests before it asks a leader again that did not do it.
const REST: Duration = Duration::from_millis(50);

/// The other nodes, as far as calls are passed on to them.
pub trait Others: Send + Sync + 'static {
    /// Asks the node of a replica, which answers by [`Broker::answer`].
    fn ask(
        &self,
        to: ReplicaId,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<Bytes, NetworkFault>>;

    /// Returns the replicas of all other nodes.
    fn all(&self) -> Vec<ReplicaId>;
}

/// The others of a node without peers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

/// What one node asks another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Has a set's leader do a command.
    Set {
        set: SetId,
        call: Option<SessionCall>,
        command: SetCommand,
    },
    /// Has the directory's leader do a command.
    Directory {
        call: Option<SessionCall>,
        command: DirectoryCommand,
    },
    /// How far a group's leader has applied, which shows all that was answered before. No set is the directory.
    Index { set: Option<SetId> },
    /// Puts messages into a queue.
    Send(SendAsk),
    /// Publishes messages to a topic.
    Publish(PublishAsk),
    /// Leases messages of a queue, waiting for the first if need be.
    Receive(ReceiveAsk),
    /// A plugin's component, by its digest.
    Component { digest: [u8; 32] },
    /// How the node is.
    Report,
    /// Keeps a plugin's component.
    Keep { component: Bytes },
    /// Who the members of a group are, as its leader sees them. No set is the directory.
    Members { set: Option<SetId> },
    /// Who leads a set, as far as the node knows.
    Leader { set: SetId },
    /// What a set holds of a queue or topic, as its leader sees it.
    Excerpt { set: SetId, incarnation: Incarnation },
    /// Which of these queues of a set have a policy that names a dead letter queue.
    Sources {
        set: SetId,
        queues: Vec<Incarnation>,
        target: Incarnation,
    },
    /// What a set knows of a tenant's message.
    Trace {
        set: SetId,
        tenant: TenantId,
        message: MessageId,
    },
    /// How a message stands in a queue or topic of a set.
    Stay { set: SetId, visit: Visit },
    /// Has a group's leader change its members.
    Reform { set: Option<SetId>, reform: Reform },
    /// To read everything durable again.
    Scrub,
    /// Has a version of a plugin ready to be asked.
    Prepare { version: PluginVersion },
    /// What the node has seen of versions that are tried.
    Trials,
    /// What plugins wrote there.
    PluginLines(LinesWanted),
    /// What a plugin keeps in a set.
    Kept(KeptWanted),
    /// Some of what a queue keeps.
    Page(PageAsk),
    /// Begins a recording there, ends it, or tells it.
    Record(Recorded, RecordAsk),
    /// Sends parked messages on their way again.
    Redrive(RedriveAsk),
    /// Decides a parked message anew and takes it in.
    Readmit(Box<ReadmitAsk>),
    /// Where clients reach the node for streams.
    Door,
}

/// What a node decided that leads a set, and the term in which it does.
pub(super) struct Led<T> {
    pub(super) decided: T,
    /// None while a node alone is about to lead.
    pub(super) term: Option<Term>,
}

/// What the other answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Set(Result<SetReply, Refusal>),
    Directory(Result<DirectoryReply, DirectoryRefusal>),
    Index(LogIndex),
    Ids(Vec<MessageId>),
    Received(Vec<Received>),
    Component(Option<Bytes>),
    Report(NodeReport),
    Kept,
    Members(Members),
    /// Whether the members were those that the change takes.
    Reformed(bool),
    Scrubs,
    /// The one that leads says in which term.
    Leader(Option<(Option<Term>, ReplicaId)>),
    /// The state of a set that holds nothing else.
    Excerpt(Bytes),
    Sources(Vec<Incarnation>),
    Trace(Trace),
    Stay(Stay),
    Prepared,
    Trials(Vec<TrialReport>),
    PluginLines(LinesOf),
    KeptEntries(Vec<(String, KvEntry)>),
    Page(Page),
    Recorded(RecordedOn),
    Redriven(Redriven),
    Readmitted,
    Door(Option<String>),
}

/// What names the calls that this node passes on.
#[derive(Debug)]
pub(super) struct Session {
    origin: ReplicaId,
    number: u64,
    calls: AtomicU64,
    own: AtomicU64,
}

/// What came of one attempt.
enum Attempt {
    Answered(Told),
    /// Not done: can be asked again.
    NotDone(Reason),
    /// May have been done: can be asked again under the same name.
    MayBeDone,
    /// Will not be done whoever is asked.
    Refused(BrokerError),
}

// === impl Nobody ===

impl Others for Nobody {
    fn ask(&self, to: ReplicaId, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        futures::future::ready(Err(NetworkFault::Unreachable(to))).boxed()
    }

    fn all(&self) -> Vec<ReplicaId> {
        Vec::new()
    }
}

// === impl Session ===

impl Session {
    /// Begins a session: another for each start of a process.
    pub(super) fn begin(origin: ReplicaId, entropy: &dyn Entropy) -> Session {
        let mut number = [0; 8];
        entropy.fill(&mut number);
        Session {
            origin,
            number: u64::from_le_bytes(number),
            calls: AtomicU64::new(0),
            own: AtomicU64::new(0),
        }
    }

    fn next(&self) -> SessionCall {
        SessionCall {
            origin: self.origin,
            session: self.number,
            number: self.calls.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Returns a name in a session of its own: a call that waits must not be forgotten for those that overtake it.
    fn next_of_its_own(&self) -> SessionCall {
        let own = self.own.fetch_add(1, Ordering::Relaxed);
        SessionCall {
            origin: self.origin,
            session: self.number.wrapping_add(own).wrapping_add(1),
            number: 0,
        }
    }
}

// === asking ===

impl Broker {
    /// Returns whether this node has no peers: then it leads whatever it has.
    pub(super) fn is_alone(&self) -> bool {
        self.others.all().is_empty()
    }

    /// Returns a name for a call; none on a node without peers.
    pub(super) fn name_call(&self) -> Option<SessionCall> {
        (!self.is_alone()).then(|| self.session.next())
    }

    /// Returns a name for a call that waits; none on a node without peers.
    pub(super) fn name_waiting_call(&self) -> Option<SessionCall> {
        (!self.is_alone()).then(|| self.session.next_of_its_own())
    }

    /// Has a set do a command.
    pub(crate) async fn command(
        &self,
        set: SetId,
        command: SetCommand,
    ) -> Result<Result<SetReply, Refusal>, BrokerError> {
        let call = self.name_call();
        self.command_as(set, call, command).await
    }

    /// Has a set do a command under a name.
    pub(super) async fn command_as(
        &self,
        set: SetId,
        call: Option<SessionCall>,
        command: SetCommand,
    ) -> Result<Result<SetReply, Refusal>, BrokerError> {
        if self.is_alone() {
            return Ok(self.member(set)?.propose_as(call, command).await?);
        }
        let ask = Ask::Set { set, call, command };
        match self.reach_with(Some(set), ask).await? {
            Told::Set(Err(Refusal::SessionForgotten)) => Err(Fault::MayBeDone(Reason::TimedOut).into()),
            Told::Set(outcome) => Ok(outcome),
            other => Err(senseless(&other)),
        }
    }

    /// Has the directory do a command.
    pub(super) async fn directory_command(
        &self,
        command: DirectoryCommand,
    ) -> Result<Result<DirectoryReply, DirectoryRefusal>, BrokerError> {
        if self.is_alone() {
            return Ok(self.directory.propose(command).await?);
        }
        let call = self.name_call();
        let outcome = match self.reach_with(None, Ask::Directory { call, command }).await? {
            Told::Directory(outcome) => outcome,
            other => return Err(senseless(&other)),
        };
        self.see_done(None).await;
        Ok(outcome)
    }

    /// Has a set do a command that what this node shows next is to show.
    pub(super) async fn command_seen(
        &self,
        set: SetId,
        command: SetCommand,
    ) -> Result<Result<SetReply, Refusal>, BrokerError> {
        let outcome = self.command(set, command).await?;
        self.see_done(Some(set)).await;
        Ok(outcome)
    }

    /// Has this node see what another just did, so that who asked it is shown so. It was done, whether that succeeds
    /// or not.
    async fn see_done(&self, set: Option<SetId>) {
        let leads = match set {
            Some(set) => self.set(set).is_leader(),
            None => self.directory.is_leader(),
        };
        if !leads && let Err(error) = self.refresh(set).await {
            tracing::debug!(?set, %error, "what was done is not seen here yet");
        }
    }

    /// Has a group's leader do what is the same at each attempt. Boxed, because what a leader does may ask another.
    pub(super) fn reach_with(
        &self,
        set: Option<SetId>,
        ask: Ask,
    ) -> BoxFuture<'_, Result<Told, BrokerError>> {
        self.reach(set, PATIENCE, move |_| ask.clone()).boxed()
    }

    /// Waits until what is seen here of a set, or (none) of the directory, shows all that was answered before.
    pub(crate) fn refresh(&self, set: Option<SetId>) -> BoxFuture<'_, Result<(), BrokerError>> {
        // Boxed, because what is asked of a leader may begin with this very call.
        self.catch_up(set).boxed()
    }

    async fn catch_up(&self, set: Option<SetId>) -> Result<(), BrokerError> {
        let ask = |_| Ask::Index { set };
        let index = match self.reach(set, PATIENCE, ask).await? {
            Told::Index(index) => index,
            other => return Err(senseless(&other)),
        };
        let waiting = async {
            match set {
                // What is not here cannot be behind.
                Some(set) => {
                    if let Some(group) = self.here(set) {
                        group.wait_applied(index).await?;
                    }
                }
                None => self.directory.wait_applied(index).await?,
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(waited) => waited,
            Err(_) => Err(Fault::NotDone(Reason::TimedOut).into()),
        }
    }

    /// Fetches a plugin's component from whichever node has it.
    pub(super) async fn fetch_component(&self, digest: [u8; 32]) -> Option<Bytes> {
        for other in self.others.all() {
            match self.ask_one(other, &Ask::Component { digest }, PATIENCE).await {
                Some(Told::Component(Some(component))) if posthouse_keyring::sha256(&component) == digest => {
                    return Some(component);
                }
                Some(_) | None => {}
            }
        }
        None
    }

    /// Has a group's leader do what is asked, looking for it as long as `patience` lasts. The closure is told whether
    /// an earlier attempt may have been done.
    pub(super) async fn reach(
        &self,
        set: Option<SetId>,
        patience: Duration,
        ask: impl Fn(bool) -> Ask + Send,
    ) -> Result<Told, BrokerError> {
        if self.is_alone() {
            return self.perform(ask(false)).await;
        }
        let deadline = Instant::now() + patience;
        let mut doubt = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let leader = self.find_leader(set).await;
            let attempt = match leader {
                Some(leader) => self.ask_leader(set, leader, ask(doubt), left).await,
                None => Attempt::NotDone(Reason::NotLeading { leader: None }),
            };
            let reason = match attempt {
                Attempt::Answered(told) => return Ok(told),
                Attempt::Refused(error) if doubt => {
                    tracing::debug!(%error, "refused what may have been done before");
                    return Err(Fault::MayBeDone(Reason::LeadershipLost).into());
                }
                Attempt::Refused(error) => return Err(error),
                Attempt::NotDone(reason) => reason,
                Attempt::MayBeDone => {
                    doubt = true;
                    Reason::TimedOut
                }
            };
            if let Some(set) = set {
                // Of a set that is not here, the one who does not do it is not known to lead it.
                self.excerpts.note_leader(set, None);
            }
            if self.is_stopping() || Instant::now() + REST >= deadline {
                return Err(match doubt {
                    true => Fault::MayBeDone(Reason::TimedOut).into(),
                    false => Fault::NotDone(reason).into(),
                });
            }
            let rest = tokio::time::sleep(REST);
            tokio::select! {
                () = rest => {}
                () = self.led_by_other_than(set, leader) => {}
            }
        }
    }

    async fn ask_leader(&self, set: Option<SetId>, leader: ReplicaId, ask: Ask, left: Duration) -> Attempt {
        let asking = async {
            match self.own_in(set) == Some(leader) {
                true => match self.perform(ask).await {
                    Ok(told) => Attempt::Answered(told),
                    Err(error) => Attempt::from(error),
                },
                false => self.ask_node(leader, &ask, left).await,
            }
        };
        // One who hangs is not waited for once another leads.
        tokio::select! {
            attempt = asking => attempt,
            () = tokio::time::sleep(left) => Attempt::MayBeDone,
            () = self.led_by_other_than(set, Some(leader)) => Attempt::MayBeDone,
        }
    }

    /// Asks one node, leader or not; none when it does not answer.
    pub(super) async fn ask_one(&self, to: ReplicaId, ask: &Ask, within: Duration) -> Option<Told> {
        match self.ask_node(to, ask, within).await {
            Attempt::Answered(told) => Some(told),
            Attempt::NotDone(_) | Attempt::MayBeDone | Attempt::Refused(_) => None,
        }
    }

    /// Asks one node, and returns also why it refuses; none when it does not answer.
    pub(super) async fn ask_or_hear(
        &self,
        to: ReplicaId,
        ask: &Ask,
        within: Duration,
    ) -> Result<Option<Told>, BrokerError> {
        match self.ask_node(to, ask, within).await {
            Attempt::Answered(told) => Ok(Some(told)),
            Attempt::NotDone(_) | Attempt::MayBeDone => Ok(None),
            Attempt::Refused(error) => Err(error),
        }
    }

    async fn ask_node(&self, to: ReplicaId, ask: &Ask, within: Duration) -> Attempt {
        let request = posthouse_wire::encode(WireKind::Peer, ask);
        let answer = match self.others.ask(to, request, within).await {
            Ok(answer) => answer,
            Err(NetworkFault::Unreachable(_)) => {
                return Attempt::NotDone(Reason::NotLeading { leader: Some(to) });
            }
            Err(NetworkFault::NoAnswer(_)) => return Attempt::MayBeDone,
        };
        match posthouse_wire::decode::<Result<Told, BrokerError>>(WireKind::Peer, &answer) {
            Ok(Ok(told)) => Attempt::Answered(told),
            Ok(Err(error)) => Attempt::from(error),
            Err(error) => {
                tracing::warn!(%to, %error, "a node's answer cannot be read");
                Attempt::MayBeDone
            }
        }
    }

    /// Returns who leads a group, as far as it can be known; nodes that hold a set are asked by one that does not.
    async fn find_leader(&self, set: Option<SetId>) -> Option<ReplicaId> {
        let Some(set) = set else {
            return self.directory.leader();
        };
        match self.here(set) {
            Some(group) => group.leader(),
            None => match self.excerpts.leader(set) {
                Some(leader) => Some(leader),
                None => self.seek_leader(set).await,
            },
        }
    }

    /// Returns what this node's replica of a group is called, if it has one.
    pub(super) fn own_in(&self, set: Option<SetId>) -> Option<ReplicaId> {
        match set {
            Some(set) => Some(self.member(set).ok()?.replica()),
            None => Some(self.directory.replica()),
        }
    }

    async fn led_by_other_than(&self, set: Option<SetId>, known: Option<ReplicaId>) {
        match set.map(|set| self.here(set)) {
            Some(Some(group)) => group.led_by_other_than(known).await,
            Some(None) => std::future::pending().await,
            None => self.directory.led_by_other_than(known).await,
        }
    }
}

// === answering ===

impl Broker {
    /// Answers what another node asks. Dropping the answer withdraws what waits.
    pub async fn answer(&self, request: Bytes) -> Bytes {
        let answer = match posthouse_wire::decode::<Ask>(WireKind::Peer, &request) {
            Ok(ask) => self.perform(ask).await,
            Err(error) => {
                tracing::warn!(%error, "what a node asks cannot be read");
                Err(BrokerError::Argument(format!("unreadable: {error}")))
            }
        };
        posthouse_wire::encode(WireKind::Peer, &answer)
    }

    /// Decides by what this node sees of a set, which is the set's state only while it leads. One that does not, or that
    /// others have left behind without its knowing, refuses nothing: whoever leads is to be asked. What was decided is to
    /// be proposed in the same term.
    pub(super) async fn as_leader<T>(
        &self,
        set: SetId,
        deciding: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<Led<T>, BrokerError> {
        let group = self.member(set)?;
        let term = group.term();
        if term.is_none() && !self.is_alone() {
            let leader = group.leader();
            return Err(Fault::NotDone(Reason::NotLeading { leader }).into());
        }
        let decided = deciding.await;
        if decided.as_ref().is_err_and(BrokerError::is_of_what_is_seen) && !self.is_alone() {
            group.confirm().await?;
            if group.term() != term {
                return Err(Fault::NotDone(Reason::LeadershipLost).into());
            }
        }
        decided.map(|decided| Led { decided, term })
    }

    /// Does what is asked, if this node leads.
    async fn perform(&self, ask: Ask) -> Result<Told, BrokerError> {
        match ask {
            Ask::Set { set, call, command } => {
                Ok(Told::Set(self.member(set)?.propose_as(call, command).await?))
            }
            Ask::Directory { call, command } => {
                Ok(Told::Directory(self.directory.propose_as(call, command).await?))
            }
            Ask::Index { set: Some(set) } => confirmed(&self.member(set)?).await,
            Ask::Index { set: None } => confirmed(&self.directory).await,
            Ask::Send(ask) => self.send_here(ask).await.map(Told::Ids),
            Ask::Publish(ask) => self.publish_here(ask).await.map(Told::Ids),
            Ask::Receive(ask) => {
                let mut waited = Duration::ZERO;
                let (messages, mut leases) = self.receive_here(ask, &mut waited).await?.into_parts();
                // Whoever asked has them now, and gives them back if nobody else wants them.
                leases.keep();
                Ok(Told::Received(messages))
            }
            Ask::Component { digest } => {
                let components = self.component_files.clone();
                let read = tokio::task::spawn_blocking(move || components.get(&digest)).await;
                let component = read.map_err(BrokerError::unreadable)?;
                let component = component.map_err(BrokerError::unreadable)?;
                Ok(Told::Component(component))
            }
            Ask::Report => Ok(Told::Report(self.report().await)),
            Ask::Keep { component } => self.keep_component(component).await.map(|_| Told::Kept),
            Ask::Leader { set } => Ok(Told::Leader(held::leader_seen(&self.member(set)?))),
            Ask::Excerpt { set, incarnation } => Ok(Told::Excerpt(
                held::excerpt(&self.member(set)?, incarnation).await?,
            )),
            Ask::Sources { set, queues, target } => {
                let group = self.member(set)?;
                group.confirm().await?;
                let sources = group.view(|state| names::sources_among(state, &queues, target));
                Ok(Told::Sources(sources))
            }
            Ask::Trace { set, tenant, message } => {
                let group = self.member(set)?;
                group.confirm().await?;
                Ok(Told::Trace(self.trace_here(group, tenant, message).await?))
            }
            Ask::Stay { set, visit } => {
                let group = self.member(set)?;
                group.confirm().await?;
                Ok(Told::Stay(self.stay_here(group, visit).await?))
            }
            Ask::Members { set: Some(set) } => Ok(Told::Members(self.member(set)?.members().await?)),
            Ask::Members { set: None } => Ok(Told::Members(self.directory.members().await?)),
            Ask::Reform {
                set: Some(set),
                reform,
            } => Ok(Told::Reformed(
                reconcile::reform(&self.member(set)?, reform).await?,
            )),
            Ask::Reform { set: None, reform } => {
                Ok(Told::Reformed(reconcile::reform(&self.directory, reform).await?))
            }
            Ask::Scrub => {
                self.scrubs.begin();
                Ok(Told::Scrubs)
            }
            Ask::Trials => Ok(Told::Trials(self.trial_reports())),
            Ask::Prepare { version } => self.prepare_here(version).await.map(|()| Told::Prepared),
            Ask::Kept(wanted) => {
                let group = self.member(wanted.set)?;
                group.confirm().await?;
                let now = group.now();
                Ok(Told::KeptEntries(group.view(|state| wanted.of(state, now))))
            }
            Ask::Page(ask) => self.page_here(ask).await.map(Told::Page),
            Ask::Record(what, ask) => Ok(Told::Recorded(self.record_here(what, ask))),
            Ask::Redrive(ask) => self.redrive_here(ask).await.map(Told::Redriven),
            Ask::Readmit(ask) => self.readmit_here(&ask).await.map(|()| Told::Readmitted),
            Ask::Door => Ok(Told::Door(self.own_door())),
            Ask::PluginLines(wanted) => Ok(Told::PluginLines(self.plugin_lines_here(&wanted))),
        }
    }
}

async fn confirmed<M: Machine>(group: &Group<M>) -> Result<Told, BrokerError> {
    group.confirm().await?;
    Ok(Told::Index(group.applied()))
}

/// Returns the error for an answer to another question.
pub(super) fn senseless(told: &impl std::fmt::Debug) -> BrokerError {
    tracing::error!(?told, "a node answered another question");
    Fault::MayBeDone(Reason::LeadershipLost).into()
}

impl From<BrokerError> for Attempt {
    fn from(error: BrokerError) -> Attempt {
        match error {
            BrokerError::Fault(Fault::NotDone(reason)) => Attempt::NotDone(reason),
            BrokerError::Fault(Fault::MayBeDone(_)) => Attempt::MayBeDone,
            other => Attempt::Refused(other),
        }
    }
}
