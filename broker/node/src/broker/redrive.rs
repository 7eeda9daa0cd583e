//! Sends parked messages on their way again, each once, through the plugin's version in force or another one.
//!
//! The leader of the set that they are parked in leases some, has the leader of the set where each belongs decide it anew and
//! take it in, and lets go of it. That set remembers by the message's place among the parked what it has taken in. So whatever stops
//! between two of these steps, a message that is sent again is there once, and one that could not be decided stays parked,
//! as it was.

use std::collections::BTreeSet;
use std::time::Duration;

use posthouse_host::{Binding, Filtered};
use posthouse_model::{
    Body, BodyKey, Decision, Incarnation, Incoming, Kind, LogIndex, Message, MessageId, MoveCause, Name,
    Origin, Parking, Place, PluginVersion, Publication, Readmitted, Refusal, Sequence, SessionCall, Set,
    SetCommand, SetReply, Span, StoredMessage, SubscriptionId, TenantId, Verdict, World,
};
use posthouse_replica::Group;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::decide::{TopicContext, clear, envelope, identity};
use super::kv::{KvUses, Lending};
use super::names::Resolved;
use super::queues::Leases;
use super::reach::{Ask, Led, Told, senseless};
use super::{Broker, BrokerError, PARKED_QUEUE};

/// The most messages that are sent again by one call.
pub const REDRIVE_MAX: usize = 100;
/// How many parked messages one call looks at, at most.
const LOOKED_AT_MAX: usize = 1_000;
/// How long messages are leased that are sent again.
const LEASE: Span = Span::from_seconds(120);
/// How long after they were leased the last one is begun with: what is sent must be let go of within the lease.
const BEGIN_WITHIN: Duration = Duration::from_secs(60);
/// How long a call looks for a leader that does it.
const WITHIN: Duration = Duration::from_secs(90);
/// How often a message is decided again because what decides changed meanwhile.
const DECISIONS_MAX: usize = 8;

/// Which parked messages are to be sent on their way again, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RedriveWish {
    /// Those that one of these versions failed on.
    pub versions: Vec<PluginVersion>,
    /// Of these, those that come from there.
    pub from: Option<Place>,
    /// The version that is to decide; the one in force when absent.
    pub through: Option<PluginVersion>,
    /// Those after this one among the parked.
    pub after: Sequence,
    /// How many, at most.
    pub max: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Redriven {
    /// How many were sent on their way.
    pub sent: u64,
    /// Those that stay parked, and why.
    pub stayed: Vec<(MessageId, String)>,
    /// Where to go on from; none when all were looked at.
    pub next: Option<Sequence>,
    /// How many messages are parked now, whoever failed on them.
    pub parked: u64,
    /// How many of these are leased: by a receive, or by another redrive.
    pub leased: u64,
    /// Whether an earlier attempt of this call, of which nothing was heard, may have sent some that are not counted.
    pub is_uncertain: bool,
}

/// A redrive as one node asks it of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RedriveAsk {
    tenant: TenantId,
    queue: Incarnation,
    wish: RedriveWish,
    /// What it is leased under: whoever does it after the first who may have begun goes on with the same messages.
    call: Option<SessionCall>,
    /// It may have been begun already.
    again: bool,
}

/// A message that was parked, as one node has another decide it anew and take it in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReadmitAsk {
    target: Incarnation,
    source: Incarnation,
    sequence: Sequence,
    gone_below: Sequence,
    parking: Parking,
    through: Option<PluginVersion>,
    /// In clear.
    message: Message,
}

/// What was found among the parked.
struct Found {
    sequences: Vec<Sequence>,
    /// The last one looked at, if there may be more.
    next: Option<Sequence>,
}

/// How one message is decided anew.
struct Anew<'a> {
    decided_at: LogIndex,
    /// The version that is asked instead of the one in force.
    through: Option<PluginVersion>,
    lending: Lending<'a>,
}

impl Broker {
    /// Sends some of a tenant's parked messages on their way again.
    pub async fn redrive(&self, tenant: TenantId, wish: RedriveWish) -> Result<Redriven, BrokerError> {
        let name = Name::parse(PARKED_QUEUE).expect("the constant is a name");
        let found = match self.find(tenant, Kind::Queue, &name).await {
            Ok(found) => found,
            // Nothing was ever parked.
            Err(BrokerError::NoName { .. }) => return Ok(Redriven::default()),
            Err(error) => return Err(error),
        };
        let call = self.name_waiting_call();
        let ask = |again| {
            Ask::Redrive(RedriveAsk {
                tenant,
                queue: found.incarnation,
                wish: wish.clone(),
                call,
                again,
            })
        };
        let told = self.reach(Some(found.set), WITHIN, ask);
        match told.await? {
            Told::Redriven(redriven) => Ok(redriven),
            other => Err(senseless(&other)),
        }
    }

    /// Does what [`Self::redrive`] asks, if this node leads the set that the messages are parked in.
    pub(super) async fn redrive_here(&self, ask: RedriveAsk) -> Result<Redriven, BrokerError> {
        let parked = self.find_incarnation(ask.queue, Kind::Queue).await?;
        let group = self.member(parked.set)?;
        group.confirm().await?;
        let found = self.parked_by(&group, &ask).await?;
        // Whoever asked may go away, and this with it: what is leased is then not to stay so.
        let (leased, mut leases) = match found.sequences.is_empty() && !ask.again {
            true => (Vec::new(), Leases::none(self, parked.set, ask.queue)),
            false => {
                let command = SetCommand::ReceiveThese {
                    queue: ask.queue,
                    sequences: found.sequences.clone(),
                    visibility: LEASE,
                };
                self.lease(&group, ask.queue, ask.call, command).await?
            }
        };
        let is_of_before = leased
            .iter()
            .any(|one| !found.sequences.contains(&one.body.sequence));
        let mut next = match leased.last() {
            // What was found is to be looked at by the next call.
            Some(last) if is_of_before => Some(last.body.sequence),
            Some(_) | None => found.next,
        };
        let begun = Instant::now();
        let mut redriven = Redriven {
            is_uncertain: ask.again && !is_of_before,
            ..Redriven::default()
        };
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for one in leased {
            if begun.elapsed() > BEGIN_WITHIN {
                // Those that are not begun with are the next.
                let before = Sequence(one.body.sequence.0.saturating_sub(1));
                next = Some(next.map_or(before, |next| next.min(before)));
                left.push(one.handle);
                continue;
            }
            match self.send_again(&parked, &ask, one.body).await {
                Ok(message) => {
                    redriven.sent += 1;
                    done.push((message, one.handle));
                }
                Err((message, error)) => {
                    redriven.stayed.push((message, error.to_string()));
                    left.push(one.handle);
                }
            }
        }
        let (set, queue) = (parked.set, ask.queue);
        if !done.is_empty() {
            // Whatever comes of this: what has arrived is not taken in again.
            let handles = done.iter().map(|(_, handle)| *handle).collect();
            let delete = SetCommand::Delete { queue, handles };
            let deleted = match self.command(set, delete).await?.map_err(BrokerError::queue)? {
                SetReply::Deleted(results) => results,
                other => return Err(senseless(&other)),
            };
            let not_let_go = done.iter().zip(&deleted).filter(|(_, result)| result.is_err());
            redriven.stayed.extend(not_let_go.map(|((message, _), _)| {
                let reason = "it was sent, but its lease among the parked had ended: send it again, which will not send it twice";
                (*message, reason.to_owned())
            }));
        }
        if !left.is_empty() {
            let release = SetCommand::Release { queue, handles: left };
            self.command(set, release).await?.map_err(BrokerError::queue)?;
        }
        leases.keep();
        redriven.next = next;
        let counts = group.view(|state| state.queue(queue).map(|queue| queue.counts()));
        redriven.parked = counts.map_or(0, |counts| counts.active + counts.leased);
        redriven.leased = counts.map_or(0, |counts| counts.leased);
        Ok(redriven)
    }

    /// Finds what is to be sent again, by what the parked messages say of themselves. Reads files.
    async fn parked_by(&self, group: &Group<Set>, ask: &RedriveAsk) -> Result<Found, BrokerError> {
        let visible = group.view(|state| {
            let queue = state.queue(ask.queue);
            queue.map(|queue| queue.visible_after(ask.wish.after, LOOKED_AT_MAX))
        });
        let visible = visible.ok_or(BrokerError::NoName { kind: Kind::Queue })?;
        let (broker, set, ask) = (self.clone(), group.set(), ask.clone());
        let looking = move || {
            let mut sequences = Vec::new();
            let is_all = visible.len() < LOOKED_AT_MAX;
            let mut looked_at = None;
            for sequence in visible {
                if sequences.len() == ask.wish.max {
                    return Ok(Found {
                        sequences,
                        next: looked_at,
                    });
                }
                looked_at = Some(sequence);
                let body = BodyKey {
                    stream: ask.queue,
                    sequence,
                };
                let stored = broker.read(set, body)?;
                let origin = stored.as_ref().and_then(|stored| stored.message.origin.as_ref());
                if origin.is_some_and(|origin| ask.wish.wants(origin)) {
                    sequences.push(sequence);
                }
            }
            let next = looked_at.filter(|_| !is_all);
            Ok(Found { sequences, next })
        };
        tokio::task::spawn_blocking(looking)
            .await
            .map_err(BrokerError::unreadable)?
    }

    /// Has one message decided anew and taken in where it belongs; returns its id.
    async fn send_again(
        &self,
        parked: &Resolved,
        ask: &RedriveAsk,
        body: BodyKey,
    ) -> Result<MessageId, (MessageId, BrokerError)> {
        let nobody = MessageId::default();
        let stored = match self.read_open(parked.set, body).await {
            Ok(Some(stored)) => stored,
            Ok(None) => {
                let gone = BrokerError::Argument("its time was over in this moment".to_owned());
                return Err((nobody, gone));
            }
            Err(error) => return Err((nobody, error)),
        };
        let id = stored.message.id;
        let readmitted = self.readmit(parked, ask, body.sequence, stored).await;
        match readmitted {
            Ok(()) => Ok(id),
            Err(error) => Err((id, error)),
        }
    }

    async fn readmit(
        &self,
        parked: &Resolved,
        ask: &RedriveAsk,
        sequence: Sequence,
        stored: StoredMessage,
    ) -> Result<(), BrokerError> {
        let origin = stored.message.origin.as_ref();
        let (from, parking) = origin
            .and_then(|origin| Some((origin.incarnation, origin.cause.parking()?.clone())))
            .ok_or_else(|| BrokerError::Argument("it does not say which plugin failed on it".to_owned()))?;
        let target = self
            .resolve_incarnation(from)
            .ok_or_else(|| BrokerError::Argument("where it was parked from is gone".to_owned()))?;
        let origin = Origin {
            incarnation: ask.queue,
            produced: stored.produced,
            receive_count: 0,
            cause: MoveCause::Redriven,
        };
        let gone_below = self
            .set(parked.set)
            .view(|state| state.queue(ask.queue).map(|queue| queue.first_kept()));
        let readmit = ReadmitAsk {
            target: target.incarnation,
            source: ask.queue,
            sequence,
            gone_below: gone_below.unwrap_or_default().min(sequence),
            parking,
            through: ask.wish.through,
            message: Message {
                origin: Some(origin),
                decisions: Vec::new(),
                ..stored.message
            },
        };
        match self
            .reach_with(Some(target.set), Ask::Readmit(Box::new(readmit)))
            .await?
        {
            Told::Readmitted => Ok(()),
            other => Err(senseless(&other)),
        }
    }

    /// Has one message decided anew and takes it in, if this node leads the set where it belongs. Plugins are lent there what
    /// they keep.
    pub(super) async fn readmit_here(&self, ask: &ReadmitAsk) -> Result<(), BrokerError> {
        let set = self.find_incarnation(ask.target, ask.kind()).await?.set;
        self.check_room(set)?;
        let mut wanted = BTreeSet::new();
        for _ in 0..DECISIONS_MAX {
            // Looked up before what decides.
            let decided_at = self.decided_at();
            let target = self.find_incarnation(ask.target, ask.kind()).await?;
            let mut uses = self.kv_uses(target.set, &wanted).await?;
            let deciding = self.decide_again(&target, ask, decided_at, &mut uses);
            let led = self.as_leader(target.set, deciding).await;
            if let Some(more) = uses.wanted() {
                wanted = more;
                continue;
            }
            let Led {
                decided: content,
                term,
            } = led?;
            if self.is_late(decided_at) {
                self.metrics.decided_again();
                continue;
            }
            let command = SetCommand::Readmit {
                target: ask.target,
                source: ask.source,
                sequence: ask.sequence,
                gone_below: ask.gone_below,
                content: Box::new(content),
                decided_at,
            };
            let group = self.member(target.set)?;
            match group.propose_in(term, None, uses.with(command)).await? {
                Ok(SetReply::Readmitted { .. }) => return Ok(()),
                Ok(other) => return Err(senseless(&other)),
                Err(Refusal::DecidedTooEarly { seen, .. }) => self.see_what_decides(seen).await?,
                Err(Refusal::StaleRead) => self.metrics.decided_again(),
                Err(refusal) => return Err(BrokerError::queue(refusal)),
            }
        }
        Err(BrokerError::Unsettled)
    }

    /// Decides a message as it was to be decided when a plugin failed on it, and all that comes after that.
    async fn decide_again(
        &self,
        target: &Resolved,
        ask: &ReadmitAsk,
        decided_at: LogIndex,
        uses: &mut KvUses,
    ) -> Result<Readmitted, BrokerError> {
        let ReadmitAsk { parking, through, .. } = ask;
        let message = ask.message.clone();
        let mut anew = Anew {
            decided_at,
            through: *through,
            lending: Lending {
                world: parking.world,
                is_sealed: target.sealed_under.is_some(),
                uses,
            },
        };
        if ask.kind() == Kind::Queue {
            let places = [
                Place::Incarnation(target.incarnation),
                Place::Tenant(target.tenant),
            ];
            let (message, keep) = self
                .filter_again(target.tenant, &places, None, message, &mut anew)
                .await?;
            let incoming = vec![Incoming { message, keep }];
            let mut sealed = self.seal_incoming(target, decided_at, incoming).await?;
            let incoming = sealed.pop().ok_or(BrokerError::Unsettled)?;
            return Ok(Readmitted::Queue(incoming));
        }
        let topic = self.topic_context(target)?;
        let publication = match (parking.world, parking.subscription) {
            (World::Route, _) => {
                let (message, matched) = self.route_again(&topic, message, &mut anew).await?;
                // What comes after that is decided by what is in force.
                anew.through = None;
                anew.lending.world = World::Filter;
                self.filter_matched(&topic, message, matched, &mut anew).await?
            }
            (World::Filter, Some(subscription)) => {
                check_there(&topic, subscription)?;
                self.filter_matched(&topic, message, vec![subscription], &mut anew)
                    .await?
            }
            (World::Deliver, Some(subscription)) => {
                check_there(&topic, subscription)?;
                if through.is_some() {
                    return Err(BrokerError::Argument(
                        "what a deliver plugin decides is decided when the message is delivered: bind or activate the \
                         version, and send it again without naming one"
                            .to_owned(),
                    ));
                }
                Publication {
                    message,
                    matched: vec![subscription],
                    replaced: Vec::new(),
                }
            }
            (World::Filter | World::Deliver, None) | (World::Seal, _) => {
                return Err(BrokerError::Argument("no message is parked for that".to_owned()));
            }
        };
        let mut sealed = self
            .seal_publications(&topic, decided_at, vec![publication])
            .await?;
        let publication = sealed.pop().ok_or(BrokerError::Unsettled)?;
        Ok(Readmitted::Topic(publication))
    }

    async fn route_again(
        &self,
        topic: &TopicContext,
        mut message: Message,
        anew: &mut Anew<'_>,
    ) -> Result<(Message, Vec<SubscriptionId>), BrokerError> {
        let places = [
            Place::Incarnation(topic.incarnation),
            Place::Tenant(topic.tenant),
            Place::Platform,
        ];
        let binding = self
            .binding_again(topic.tenant, &places, anew)
            .await?
            .ok_or(BrokerError::NoPlugin { world: World::Route })?;
        let envelopes = vec![envelope(&message)];
        let answer = self.guests.route(&binding, &topic.table, envelopes).await.pop();
        let matched = answer
            .unwrap_or(Err(posthouse_host::GuestFault::Stopped))
            .map_err(|fault| failed(World::Route, &fault))?;
        message.decisions.push(Decision {
            version: binding.version,
            directory: anew.decided_at,
            verdict: Verdict::Routed(matched.clone()),
        });
        Ok((message, matched))
    }

    /// Asks the filter of each subscription that a message is for.
    async fn filter_matched(
        &self,
        topic: &TopicContext,
        message: Message,
        matched: Vec<SubscriptionId>,
        anew: &mut Anew<'_>,
    ) -> Result<Publication, BrokerError> {
        let mut publication = Publication {
            message,
            matched: Vec::new(),
            replaced: Vec::new(),
        };
        for subscription in matched {
            let places = [
                Place::Subscription(topic.incarnation, subscription),
                Place::Incarnation(topic.incarnation),
                Place::Tenant(topic.tenant),
            ];
            let before = Message {
                decisions: Vec::new(),
                ..publication.message.clone()
            };
            let (after, keep) = self
                .filter_again(topic.tenant, &places, Some(subscription), before.clone(), anew)
                .await?;
            let is_replaced = after.body != before.body || after.attributes != before.attributes;
            if keep && is_replaced {
                publication.replaced.push((subscription, after));
                continue;
            }
            publication.message.decisions.extend(after.decisions);
            publication.matched.extend(keep.then_some(subscription));
        }
        Ok(publication)
    }

    /// Asks a filter, if one is bound; returns the message as it goes on, and whether it does.
    async fn filter_again(
        &self,
        tenant: TenantId,
        places: &[Place],
        subscription: Option<SubscriptionId>,
        mut message: Message,
        anew: &mut Anew<'_>,
    ) -> Result<(Message, bool), BrokerError> {
        let binding = self.binding_again(tenant, places, anew).await?;
        let Some(binding) = binding else {
            return Ok((message, true));
        };
        let body = clear(&message.body);
        let answer = self.guests.filter(&binding, envelope(&message), body).await;
        let (verdict, keep) = match answer.map_err(|fault| failed(World::Filter, &fault))? {
            Filtered::Pass => (Verdict::Passed(subscription), true),
            Filtered::Drop => (Verdict::Dropped(subscription), false),
            Filtered::Replace { body, attributes } => {
                message.body = Body::Clear(body);
                message.attributes = attributes;
                (Verdict::Replaced(subscription), true)
            }
        };
        message.decisions.push(Decision {
            version: binding.version,
            directory: anew.decided_at,
            verdict,
        });
        Ok((message, keep))
    }

    /// Returns what is to decide, ready to be asked. That it fails again is told to whoever sends messages again, and breaks
    /// no binding.
    async fn binding_again(
        &self,
        tenant: TenantId,
        places: &[Place],
        anew: &mut Anew<'_>,
    ) -> Result<Option<Binding>, BrokerError> {
        let Some(record) = self.binding_record(places, anew.lending.world) else {
            return Ok(None);
        };
        if anew.through.is_none()
            && let Some(reason) = &record.quarantined
        {
            return Err(BrokerError::Argument(format!(
                "the binding is out of use ({reason}): put it back, or name a version"
            )));
        }
        let binding = Binding {
            version: anew.through.unwrap_or(record.version),
            tenant,
            identity: identity(&record),
            configuration: record.configuration,
            kv: None,
        };
        self.load(binding.version).await?;
        self.lend_kv(&binding, &mut anew.lending).await.map(Some)
    }
}

// === impl ReadmitAsk ===

impl ReadmitAsk {
    /// Returns what it was parked from.
    fn kind(&self) -> Kind {
        match (self.parking.world, self.parking.subscription) {
            (World::Filter, None) => Kind::Queue,
            (World::Filter, Some(_)) | (World::Route | World::Deliver | World::Seal, _) => Kind::Topic,
        }
    }
}

// === impl RedriveWish ===

impl RedriveWish {
    /// Returns whether a message that was parked is to be sent again.
    fn wants(&self, origin: &Origin) -> bool {
        let Some(parking) = origin.cause.parking() else {
            return false;
        };
        let comes_from_there = match self.from {
            None | Some(Place::Tenant(_)) => true,
            Some(Place::Incarnation(incarnation)) => origin.incarnation == incarnation,
            Some(Place::Subscription(topic, subscription)) => {
                origin.incarnation == topic && parking.subscription == Some(subscription)
            }
            Some(Place::Platform | Place::HttpEndpoints | Place::QueueEndpoints) => true,
        };
        comes_from_there && self.versions.contains(&parking.version)
    }
}

fn check_there(topic: &TopicContext, subscription: SubscriptionId) -> Result<(), BrokerError> {
    let mut subscriptions = topic.table.subscriptions.iter();
    match subscriptions.any(|known| known.id == subscription) {
        true => Ok(()),
        false => Err(BrokerError::Argument(
            "the subscription that it was for is gone".to_owned(),
        )),
    }
}

fn failed(world: World, fault: &posthouse_host::GuestFault) -> BrokerError {
    BrokerError::PluginFailed {
        world,
        fault: fault.to_string(),
    }
}
