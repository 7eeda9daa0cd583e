//! What is done with queues: send, receive, delete, rewind.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{
    Attribute, Body, BodyKey, Incarnation, Incoming, Kind, Leased, LogIndex, Message, MessageId, Name,
    Parking, ReceiptHandle, Refusal, SessionCall, Set, SetCommand, SetId, SetReply, Span, StoredMessage,
    TenantId, Term, Time, Token, bounds,
};
use posthouse_replica::{Fault, Group, Reason};
use posthouse_store::{Reading, Step, StoreFault};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::decide::{Sorted, parking_of};
use super::kv::KvUses;
use super::names::Resolved;
use super::reach::{Ask, Led, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};
use crate::waiters::{Turn, Waiter};

/// How often a send is decided again because what decides changed meanwhile.
pub(super) const DECISIONS_MAX: usize = 64;

/// Bytes of bodies after which no more is handed out by one receive: as many as CMQ's API can ask for, and few enough for one
/// answer from node to node.
const RECEPTION_BYTES_MAX: usize = bounds::BATCH_MAX * (*bounds::BODY_BYTES.end() as usize);

/// How often it is tried to give leases back, each time as long as any call is. Another leads within this time, if anybody can.
const GIVE_BACK_TRIES_MAX: usize = 5;

/// What a producer puts into a message.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The body.
    pub body: Bytes,
    /// Named values beside it.
    pub attributes: BTreeMap<String, Attribute>,
}

/// What a consumer asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wish {
    /// The most messages.
    pub max: u16,
    /// How long to wait for the first; the queue's setting when absent.
    pub wait: Option<Duration>,
    /// How long they are to stay hidden; the queue's setting when absent.
    pub visibility: Option<Span>,
}

/// What a consumer has done with leases, short of deleting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LeaseChange {
    /// They end: the messages are visible again after so long, and count as received.
    Nack(Vec<ReceiptHandle>, Span),
    /// They last so long from now on.
    Extend(Vec<ReceiptHandle>, Span),
}

/// A message that was leased to a client, opened.
#[derive(Debug, Serialize, Deserialize)]
pub struct Received {
    /// The lease.
    pub leased: Leased,
    /// What was sent.
    pub message: StoredMessage,
}

/// What a client received, given back unless it says that the client has it.
pub struct Reception {
    /// The messages, oldest first; none is "no message".
    pub messages: Vec<Received>,
    leases: Leases,
}

/// Leases that are given back when dropped.
pub struct Leases {
    broker: Broker,
    queue: Incarnation,
    set: SetId,
    handles: Vec<ReceiptHandle>,
    /// In which term they are given back, if only in one: another leader may have answered the same call with them.
    term: Option<Term>,
}

/// What a receive may have had leased, as long as it is not told what: given back when dropped before.
///
/// Whoever waits for the answer of another node may go away while it is on its way, with leases in it that nobody has then.
/// The name of the call is what tells them.
struct Untold<'a> {
    broker: &'a Broker,
    queue: Incarnation,
    set: SetId,
    /// None once it is told.
    call: Option<SessionCall>,
}

impl Broker {
    /// Puts messages at the tail of a queue, all or none.
    pub async fn send(
        &self,
        tenant: TenantId,
        name: &Name,
        delay: Span,
        contents: Vec<Content>,
        token: Option<Token>,
    ) -> Result<Vec<MessageId>, BrokerError> {
        let call = self.name_call();
        let mut found = self.find(tenant, Kind::Queue, name).await?;
        loop {
            let outcome = async {
                let ask = |_| {
                    Ask::Send(SendAsk {
                        queue: found.incarnation,
                        delay,
                        contents: contents.clone(),
                        token: token.clone(),
                        call,
                    })
                };
                match self.reach(Some(found.set), PATIENCE, ask).await? {
                    Told::Ids(ids) => Ok(ids),
                    other => Err(senseless(&other)),
                }
            };
            let outcome = outcome.await;
            if let Some(outcome) = self.unless_renewed(&mut found, Kind::Queue, name, outcome).await {
                return outcome;
            }
        }
    }

    /// Does what [`Self::send`] asks, if this node leads the queue's set.
    pub(super) async fn send_here(&self, ask: SendAsk) -> Result<Vec<MessageId>, BrokerError> {
        let set = self.find_incarnation(ask.queue, Kind::Queue).await?.set;
        self.check_room(set)?;
        let mut wanted = BTreeSet::new();
        for _ in 0..DECISIONS_MAX {
            // Whether the queue is sealed, and what is bound to it, is looked up after the index that says so: a set that
            // has seen a later one refuses, and all is decided again.
            let decided_at = self.decided_at();
            let found = self.find_incarnation(ask.queue, Kind::Queue).await?;
            let mut uses = self.kv_uses(found.set, &wanted).await?;
            let deciding = self.decide_incoming(&found, decided_at, &ask.contents, &mut uses);
            let led = self.as_leader(found.set, deciding).await;
            if let Some(more) = uses.wanted() {
                wanted = more;
                continue;
            }
            let Led {
                decided: Sorted { messages, parks },
                term,
            } = led?;
            if self.is_late(decided_at) {
                self.metrics.decided_again();
                continue;
            }
            let command = SetCommand::Send {
                queue: found.incarnation,
                delay: ask.delay,
                messages,
                token: ask.token.clone(),
                decided_at,
            };
            let group = self.member(found.set)?;
            let command = parking_of(uses.with(command), parks);
            let sending = group.propose_in(term, ask.call, command);
            match self.send_into_line(&found, &ask, sending).await? {
                Ok(SetReply::Sent(ids)) => return Ok(ids),
                Ok(other) => return Err(senseless(&other)),
                Err(Refusal::DecidedTooEarly { seen, .. }) => self.see_what_decides(seen).await?,
                Err(Refusal::StaleRead) => self.metrics.decided_again(),
                Err(refusal) => return Err(BrokerError::queue(refusal)),
            }
        }
        Err(BrokerError::Unsettled)
    }

    /// Leases the oldest visible messages, waiting for the first if need be. How long it waited is added to `waited`,
    /// whatever comes of it.
    pub async fn receive(
        &self,
        tenant: TenantId,
        name: &Name,
        wish: Wish,
        waited: &mut Duration,
    ) -> Result<Reception, BrokerError> {
        let began = Instant::now();
        let mut found = self.find(tenant, Kind::Queue, name).await?;
        loop {
            let outcome = async {
                let wait = match wish.wait {
                    Some(wait) => wait,
                    None => self.usual_wait(&found).await?,
                };
                if self.is_alone() {
                    let ask = ReceiveAsk::new(&found, wish, wait, None, false);
                    return self.receive_here(ask, waited).await;
                }
                let call = match wait.is_zero() {
                    true => self.name_call(),
                    false => self.name_waiting_call(),
                };
                let untold = Untold::new(self, &found, call);
                let ask = |doubt| {
                    let left = wait.saturating_sub(began.elapsed());
                    Ask::Receive(ReceiveAsk::new(&found, wish, left, call, doubt))
                };
                let told = self.reach(Some(found.set), wait + PATIENCE, ask).await;
                *waited = began.elapsed().min(wait);
                untold.heard(&told);
                match told? {
                    Told::Received(messages) => Ok(Reception::new(self, &found, messages)),
                    other => Err(senseless(&other)),
                }
            };
            let outcome = outcome.await;
            if let Some(outcome) = self.unless_renewed(&mut found, Kind::Queue, name, outcome).await {
                return outcome;
            }
        }
    }

    /// Does what [`Self::receive`] asks, if this node leads the queue's set.
    pub(super) async fn receive_here(
        &self,
        ask: ReceiveAsk,
        waited: &mut Duration,
    ) -> Result<Reception, BrokerError> {
        let deadline = Instant::now() + ask.wait;
        let found = self.find_incarnation(ask.queue, Kind::Queue).await?;
        let group = self.member(found.set)?;
        if !self.is_alone() {
            // What this replica sees is the set's state only while it leads.
            group.confirm().await?;
        }
        let any = group
            .view(|state| Some(state.queue(ask.queue)?.has_visible()))
            .ok_or(BrokerError::NoName { kind: Kind::Queue })?;
        let in_line = self.waiters.any(ask.queue) && !ask.wait.is_zero();
        let (mut leased, mut leases) = (Vec::new(), Leases::of_call(self, &group, ask.queue, ask.call));
        // What may have been leased before is answered again under the same name.
        if ask.again || (any && !in_line) {
            let command = SetCommand::Receive {
                queue: ask.queue,
                max: ask.max,
                visibility: ask.visibility,
            };
            (leased, leases) = self.lease(&group, ask.queue, ask.call, command).await?;
        }
        if leased.is_empty() && ask.wait.is_zero() && !any {
            // "No message" is an answer, and as such agreed on.
            group.confirm().await?;
        }
        if leased.is_empty() && !ask.wait.is_zero() {
            let begun = Instant::now();
            let turn = self.wait_in_line(&found, &ask, deadline).await;
            *waited += begun.elapsed();
            leased = turn?;
            leases.hold(&leased);
        }
        self.open_leased(&found, leased, leases).await
    }

    /// Returns how long receives wait that do not say.
    async fn usual_wait(&self, found: &Resolved) -> Result<Duration, BrokerError> {
        let known = || {
            let set = self.set(found.set);
            set.view(|state| Some(state.queue(found.incarnation)?.attributes().polling_wait.into()))
        };
        if let Some(wait) = known() {
            return Ok(wait);
        }
        self.see_incarnation(found).await?;
        known().ok_or(BrokerError::NoName { kind: Kind::Queue })
    }

    /// Deletes messages by their handles; each is answered for itself.
    pub async fn delete(
        &self,
        tenant: TenantId,
        name: &Name,
        handles: Vec<ReceiptHandle>,
    ) -> Result<Vec<Result<(), Refusal>>, BrokerError> {
        let mut found = self.find(tenant, Kind::Queue, name).await?;
        loop {
            let outcome = async {
                let command = SetCommand::Delete {
                    queue: found.incarnation,
                    handles: handles.clone(),
                };
                match self.command(found.set, command).await? {
                    Ok(SetReply::Deleted(results)) if results.len() == handles.len() => Ok(results),
                    Ok(other) => Err(senseless(&other)),
                    Err(refusal) => Err(BrokerError::queue(refusal)),
                }
            };
            let outcome = outcome.await;
            if let Some(outcome) = self.unless_renewed(&mut found, Kind::Queue, name, outcome).await {
                return outcome;
            }
        }
    }

    /// Gives messages back or has their leases last longer, by their handles; each is answered for itself.
    pub async fn change_leases(
        &self,
        tenant: TenantId,
        name: &Name,
        change: LeaseChange,
    ) -> Result<Vec<Result<(), Refusal>>, BrokerError> {
        let mut found = self.find(tenant, Kind::Queue, name).await?;
        loop {
            let outcome = async {
                let command = change.command(found.incarnation);
                match self.command(found.set, command).await? {
                    Ok(SetReply::Returned(results) | SetReply::Extended(results))
                        if results.len() == change.handles().len() =>
                    {
                        Ok(results)
                    }
                    Ok(other) => Err(senseless(&other)),
                    Err(refusal) => Err(BrokerError::queue(refusal)),
                }
            };
            let outcome = outcome.await;
            if let Some(outcome) = self.unless_renewed(&mut found, Kind::Queue, name, outcome).await {
                return outcome;
            }
        }
    }

    /// Makes everything visible again that is kept and was produced at a time or later.
    pub async fn rewind(&self, tenant: TenantId, name: &Name, to: Time) -> Result<(), BrokerError> {
        let mut found = self.find(tenant, Kind::Queue, name).await?;
        loop {
            let outcome = async {
                let command = SetCommand::Rewind {
                    queue: found.incarnation,
                    to,
                };
                match self.command(found.set, command).await? {
                    Ok(_) => Ok(()),
                    Err(refusal) => Err(BrokerError::queue(refusal)),
                }
            };
            let outcome = outcome.await;
            if let Some(outcome) = self.unless_renewed(&mut found, Kind::Queue, name, outcome).await {
                return outcome;
            }
        }
    }

    /// Serves those who wait for a queue, as many as there are messages. Called when messages become visible.
    pub fn wake(&self, set: SetId, queue: Incarnation) {
        let visible = self
            .set(set)
            .view(|state| state.queue(queue).map(|queue| queue.counts().active));
        let Some(visible) = visible else {
            return self.waiters.send_away(queue);
        };
        let mut any_gone = false;
        for waiter in self.waiters.take(queue, visible) {
            if waiter.is_gone() {
                any_gone = true;
                continue;
            }
            self.tasks.spawn(self.clone().serve(set, queue, waiter));
        }
        // Whoever went away in this moment was taken out of the line in the place of one who waits on.
        if any_gone {
            self.tend_line(set, queue);
        }
    }

    /// Has messages leased for one who was taken out of the line.
    async fn serve(self, set: SetId, queue: Incarnation, waiter: Waiter) {
        let command = SetCommand::Receive {
            queue,
            max: waiter.max,
            visibility: waiter.visibility,
        };
        let outcome = match self.member(set) {
            Ok(group) => group.propose_as(waiter.call, command).await,
            Err(_) => return,
        };
        match outcome {
            Ok(Ok(SetReply::Leased(leased))) if leased.is_empty() => {
                self.waiters.put_back(queue, waiter);
                self.tend_line(set, queue);
            }
            Ok(Ok(SetReply::Leased(leased))) => {
                if let Err(Turn::Leased(leased)) = waiter.serve(Turn::Leased(leased)) {
                    self.release_here(set, queue, &leased);
                }
            }
            Ok(Err(Refusal::NoIncarnation(_))) => drop(waiter.serve(Turn::Gone)),
            Ok(Ok(SetReply::Released)) => {
                // Whoever asked has given it up, and not left the line yet: it had another's turn.
                drop(waiter.serve(Turn::none()));
                self.tend_line(set, queue);
            }
            // Too much is leased: "no message" ends the wait.
            Ok(_) => drop(waiter.serve(Turn::none())),
            Err(fault) => drop(waiter.serve(Turn::Failed(fault))),
        }
    }

    /// Waits for a send that is proposed here. Those who wait for its messages have their receives proposed right behind it:
    /// in the same entry, as a rule. So they have the messages as soon as the sender knows that they are kept, and nothing is
    /// written and synced for them alone.
    async fn send_into_line<T>(
        &self,
        found: &Resolved,
        ask: &SendAsk,
        sending: impl Future<Output = T>,
    ) -> T {
        let mut sending = std::pin::pin!(sending);
        if let Poll::Ready(sent) = futures::poll!(sending.as_mut()) {
            return sent;
        }
        // Where it waits for room it is not proposed yet, and they find nothing and wait on.
        if ask.delay.is_zero() {
            let waiters = self.waiters.take(ask.queue, ask.contents.len() as u64);
            for waiter in waiters.into_iter().filter(|waiter| !waiter.is_gone()) {
                let mut serving = Box::pin(self.clone().serve(found.set, ask.queue, waiter));
                if futures::poll!(serving.as_mut()).is_pending() {
                    self.tasks.spawn(serving);
                }
            }
        }
        sending.await
    }

    /// Gives leases back without waiting for it.
    pub fn release(&self, set: SetId, queue: Incarnation, handles: Vec<ReceiptHandle>) {
        self.release_in(None, set, queue, handles);
    }

    /// Gives leases back that this node gave as the leader of their set, if it still is that: when whoever asked for them
    /// asks another leader, that one answers with the same leases.
    pub fn release_here(&self, set: SetId, queue: Incarnation, leased: &[Leased]) {
        let term = self.member(set).ok().and_then(|group| group.term());
        if term.is_some() {
            self.release_in(term, set, queue, leased.iter().map(|one| one.handle).collect());
        }
    }

    /// Gives leases back, while this node leads in a term if one is named.
    fn release_in(&self, term: Option<Term>, set: SetId, queue: Incarnation, handles: Vec<ReceiptHandle>) {
        if handles.is_empty() {
            return;
        }
        let broker = self.clone();
        self.tasks.spawn(async move {
            let release = SetCommand::Release { queue, handles };
            let outcome = match (term, broker.member(set)) {
                (None, _) => broker.give_back(set, None, release).await.map(drop),
                (Some(_), Ok(group)) => group
                    .propose_in(term, None, release)
                    .await
                    .map(drop)
                    .map_err(Into::into),
                (Some(_), Err(error)) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::debug!(%set, %queue, %error, "leases were not given back");
            }
        });
    }

    /// Gives back what a receive leases under its name, whoever led when it was done, or leads when it is yet to be done.
    fn forgo(&self, set: SetId, queue: Incarnation, call: SessionCall) {
        let broker = self.clone();
        self.tasks.spawn(async move {
            // To release nothing changes nothing. But it bears the receive's name: one that was done is answered again, with
            // the leases that last, and one that comes later is answered this.
            let nothing = SetCommand::Release {
                queue,
                handles: Vec::new(),
            };
            match broker.give_back(set, Some(call), nothing).await {
                Ok(Ok(SetReply::Leased(leased))) => {
                    broker.release(set, queue, leased.iter().map(|one| one.handle).collect());
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%set, %queue, %error, "what was leased is not given back"),
            }
        });
    }

    /// Has a set give leases back, and tries longer than somebody would wait for it. When this fails, they end by themselves
    /// after the visibility timeout.
    async fn give_back(
        &self,
        set: SetId,
        call: Option<SessionCall>,
        command: SetCommand,
    ) -> Result<Result<SetReply, Refusal>, BrokerError> {
        let mut tries = 1;
        loop {
            let call = call.or_else(|| self.name_call());
            let outcome = self.command_as(set, call, command.clone()).await;
            if outcome.is_ok() || tries == GIVE_BACK_TRIES_MAX || self.is_stopping() {
                return outcome;
            }
            tries += 1;
        }
    }

    /// Serves those who wait for a queue if it has messages, and sends them away if it is gone.
    pub(super) fn tend_line(&self, set: SetId, queue: Incarnation) {
        let visible = self
            .set(set)
            .view(|state| state.queue(queue).map(|queue| queue.has_visible()));
        if visible != Some(false) && self.waiters.any(queue) {
            self.wake(set, queue);
        }
    }

    /// Has messages of a queue leased. Whoever waits for them may go away before they are: they are given back then.
    pub(super) async fn lease(
        &self,
        group: &Group<Set>,
        queue: Incarnation,
        call: Option<SessionCall>,
        command: SetCommand,
    ) -> Result<(Vec<Leased>, Leases), BrokerError> {
        let mut leases = Leases::of_call(self, group, queue, call);
        let group = group.clone();
        let (tell, told) = oneshot::channel();
        self.tasks.spawn(async move {
            let outcome = match group.propose_as(call, command).await {
                Ok(Ok(SetReply::Leased(leased))) => {
                    leases.hold(&leased);
                    Ok((leased, leases))
                }
                // Whoever asked has given it up.
                Ok(Ok(SetReply::Released)) => Ok((Vec::new(), leases)),
                Ok(Ok(other)) => Err(senseless(&other)),
                Ok(Err(refusal)) => Err(BrokerError::queue(refusal)),
                Err(fault) => Err(fault.into()),
            };
            // Dropped when nobody is there any more, and the leases with it.
            drop(tell.send(outcome));
        });
        // It is lost only when the node stops.
        told.await
            .unwrap_or_else(|_| Err(Fault::MayBeDone(Reason::Stopping).into()))
    }

    async fn wait_in_line(
        &self,
        found: &Resolved,
        ask: &ReceiveAsk,
        deadline: Instant,
    ) -> Result<Vec<Leased>, BrokerError> {
        if self.is_stopping() {
            return Ok(Vec::new());
        }
        let Some(place) = self.waiters.join(ask.queue, ask.max, ask.visibility, ask.call) else {
            return Ok(Vec::new());
        };
        // A message may have come, or the queue have gone, between the look and the joining.
        self.tend_line(found.set, found.incarnation);
        match place.wait_until(deadline).await {
            Turn::Leased(leased) => Ok(leased),
            Turn::Gone => Err(BrokerError::NoName { kind: Kind::Queue }),
            Turn::Failed(fault) => Err(fault.into()),
        }
    }

    /// Reads and opens what was leased. What cannot be opened is given back, and fails the call only if nothing else is left;
    /// what would be more bytes than one answer holds is given back too.
    async fn open_leased(
        &self,
        found: &Resolved,
        leased: Vec<Leased>,
        mut leases: Leases,
    ) -> Result<Reception, BrokerError> {
        let mut messages = Vec::with_capacity(leased.len());
        let mut failure = None;
        let mut unread = Vec::new();
        let mut bytes = 0;
        let bodies = self.store.bodies(found.set);
        let keys: Vec<BodyKey> = leased.iter().map(|one| one.body).collect();
        let mut reading = bodies.reading(&keys);
        for one in leased {
            if bytes >= RECEPTION_BYTES_MAX {
                unread.push(one.handle);
                continue;
            }
            let read = next_body(&mut reading).await.transpose().map(Option::flatten);
            let opened = match read.map_err(BrokerError::unreadable) {
                Ok(Some(stored)) => self.opened(stored).await.map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match opened {
                Ok(Some(message)) => {
                    bytes += message.message.body.len();
                    messages.push(Received { leased: one, message });
                }
                // Expired or deleted by another in this moment: nothing to hand out, nothing to give back.
                Ok(None) => leases.handles.retain(|handle| *handle != one.handle),
                Err(error) => {
                    unread.push(one.handle);
                    failure = Some(error);
                }
            }
        }
        leases.handles.retain(|handle| !unread.contains(handle));
        self.release(found.set, found.incarnation, unread);
        match failure {
            Some(error) if messages.is_empty() => Err(error),
            Some(_) | None => Ok(Reception { messages, leases }),
        }
    }

    /// Makes messages of what is to be sent, and asks the plugins about them.
    async fn decide_incoming(
        &self,
        found: &Resolved,
        decided_at: LogIndex,
        contents: &[Content],
        uses: &mut KvUses,
    ) -> Result<Sorted<Incoming>, BrokerError> {
        self.check_sizes(found, contents)?;
        let ids = self.member(found.set)?.next_message_ids(contents.len());
        let messages: Vec<Message> = ids
            .into_iter()
            .zip(contents)
            .map(|(id, content)| content.message(id))
            .collect();
        let Sorted { messages, parks } = self.filter_incoming(found, decided_at, messages, uses).await?;
        let messages = self.seal_incoming(found, decided_at, messages).await?;
        Ok(Sorted { messages, parks })
    }

    /// Refuses bodies that the queue or topic would refuse, before plugins see them.
    fn check_sizes(&self, found: &Resolved, contents: &[Content]) -> Result<(), BrokerError> {
        let limit = self
            .set(found.set)
            .view(|state| {
                state
                    .queue(found.incarnation)
                    .map(|queue| queue.attributes().body_bytes_max)
            })
            .ok_or(BrokerError::NoName { kind: Kind::Queue })?;
        check_batch(contents, limit).map_err(BrokerError::queue)
    }
}

/// Returns the next body; the drive is waited for where that holds up nothing else.
async fn next_body(reading: &mut Reading<'_>) -> Option<Result<Option<StoredMessage>, StoreFault>> {
    loop {
        match reading.step()? {
            Step::Body(read) => return Some(read),
            Step::Fetch(fetch) => {
                let fetched = tokio::task::spawn_blocking(move || fetch.run()).await;
                reading.fetched(fetched.unwrap_or_default());
            }
        }
    }
}

/// A send as one node asks it of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendAsk {
    queue: Incarnation,
    delay: Span,
    contents: Vec<Content>,
    token: Option<Token>,
    call: Option<SessionCall>,
}

/// A receive as one node asks it of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReceiveAsk {
    queue: Incarnation,
    max: u16,
    visibility: Option<Span>,
    wait: Duration,
    pub(super) call: Option<SessionCall>,
    /// It may have been done already.
    again: bool,
}

// === impl ReceiveAsk ===

impl ReceiveAsk {
    fn new(
        found: &Resolved,
        wish: Wish,
        wait: Duration,
        call: Option<SessionCall>,
        again: bool,
    ) -> ReceiveAsk {
        ReceiveAsk {
            queue: found.incarnation,
            max: wish.max,
            visibility: wish.visibility,
            wait,
            call,
            again,
        }
    }
}

/// Refuses a body over the limit.
pub(super) fn check_batch(contents: &[Content], limit: u32) -> Result<(), Refusal> {
    debug_assert!(
        contents.len() <= bounds::MESSAGES_PER_COMMAND_MAX,
        "protocols bound batches"
    );
    let largest = contents
        .iter()
        .map(|content| content.body.len())
        .max()
        .unwrap_or(0) as u64;
    if largest > u64::from(limit) {
        return Err(Refusal::BodyTooLarge {
            bytes: largest,
            limit: u64::from(limit),
        });
    }
    Ok(())
}

// === impl Content ===

impl Content {
    /// Returns the message that it makes.
    pub(super) fn message(&self, id: MessageId) -> Message {
        Message {
            attributes: self.attributes.clone(),
            ..Message::plain(id, self.body.clone())
        }
    }
}

impl From<Bytes> for Content {
    fn from(body: Bytes) -> Content {
        Content {
            body,
            attributes: BTreeMap::new(),
        }
    }
}

// === impl LeaseChange ===

impl LeaseChange {
    /// Returns the leases.
    pub fn handles(&self) -> &[ReceiptHandle] {
        match self {
            LeaseChange::Nack(handles, _) | LeaseChange::Extend(handles, _) => handles,
        }
    }

    fn command(&self, queue: Incarnation) -> SetCommand {
        match self.clone() {
            LeaseChange::Nack(handles, delay) => SetCommand::Return {
                queue,
                handles,
                delay,
            },
            LeaseChange::Extend(handles, visibility) => SetCommand::Extend {
                queue,
                handles,
                visibility,
            },
        }
    }
}

// === impl Received ===

impl Received {
    /// Returns how a plugin failed on it, if it was parked for that.
    pub fn parking(&self) -> Option<&Parking> {
        self.message.message.origin.as_ref()?.cause.parking()
    }

    /// Returns the body, which was opened when it was read.
    pub fn body(&self) -> &Bytes {
        static NOTHING: Bytes = Bytes::new();
        match &self.message.message.body {
            Body::Clear(bytes) => bytes,
            // It was opened before it was handed out; a node that says otherwise says nothing.
            Body::Sealed(_) => &NOTHING,
        }
    }
}

// === impl Reception ===

impl Reception {
    /// Returns what another node leased, which this one is to hand out.
    fn new(broker: &Broker, found: &Resolved, messages: Vec<Received>) -> Reception {
        let mut leases = Leases::none(broker, found.set, found.incarnation);
        leases.handles = messages.iter().map(|one| one.leased.handle).collect();
        Reception { messages, leases }
    }

    /// Takes the messages, and the leases to be held until the client has its answer.
    pub fn into_parts(self) -> (Vec<Received>, Leases) {
        (self.messages, self.leases)
    }
}

// === impl Leases ===

impl Leases {
    /// Returns those of nothing yet.
    pub(super) fn none(broker: &Broker, set: SetId, queue: Incarnation) -> Leases {
        Leases {
            broker: broker.clone(),
            queue,
            set,
            handles: Vec::new(),
            term: None,
        }
    }

    /// Returns those of nothing yet, for what the leader of a set leases under a name, if there is one.
    fn of_call(broker: &Broker, group: &Group<Set>, queue: Incarnation, call: Option<SessionCall>) -> Leases {
        let mut leases = Leases::none(broker, group.set(), queue);
        leases.term = group.term().filter(|_| call.is_some());
        leases
    }

    fn hold(&mut self, leased: &[Leased]) {
        self.handles.extend(leased.iter().map(|one| one.handle));
    }

    /// Takes the first so many out of them, in the order of the messages.
    pub(crate) fn take_first(&mut self, count: usize) -> Leases {
        let count = count.min(self.handles.len());
        Leases {
            broker: self.broker.clone(),
            queue: self.queue,
            set: self.set,
            handles: self.handles.drain(..count).collect(),
            term: self.term,
        }
    }

    /// The client has its answer: the leases are its own now.
    pub fn keep(&mut self) {
        self.handles.clear();
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        let handles = std::mem::take(&mut self.handles);
        self.broker.release_in(self.term, self.set, self.queue, handles);
    }
}

// === impl Untold ===

impl Untold<'_> {
    fn new<'a>(broker: &'a Broker, found: &Resolved, call: Option<SessionCall>) -> Untold<'a> {
        Untold {
            broker,
            queue: found.incarnation,
            set: found.set,
            call,
        }
    }

    /// The call is over. What may have been done has not been told.
    fn heard(mut self, told: &Result<Told, BrokerError>) {
        match told {
            Err(BrokerError::Fault(Fault::MayBeDone(_))) => {}
            Ok(_) | Err(_) => self.call = None,
        }
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.broker.forgo(self.set, self.queue, call);
        }
    }
}
