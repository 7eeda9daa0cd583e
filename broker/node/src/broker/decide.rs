//! What plugins decide about a message on its way in and out, and what follows when they fail.
//!
//! All of this happens on the leader, before proposing or before handing out. Each decision is written into the
//! message with the plugin version that made it, so that replicas never ask again and `explain` can tell.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_host::{
    Binding, BindingIdentity, Envelope, Filtered, GuestFault, RouteSubscription, RouteTable, Sealed, ToOpen,
    ToSeal, repeats_body,
};
use posthouse_model::{
    BACKTRACE_PARKED_BYTES_MAX, BindingRecord, Body, BodyKey, Decided, Decision, FailurePolicy, Incarnation,
    Incoming, LogIndex, Message, Name, Park, Parking, Place, PluginVersion, Publication, SealContext,
    SealedBody, SetCommand, SetId, StoredMessage, SubscriptionId, TRAP_PARKED_BYTES_MAX, TenantId, Time,
    Verdict, World,
};

use super::kv::{KvUses, Lending, store_of};
use super::names::Resolved;
use super::trials::{Answer, ByTried, Question, Tried, Which};
use super::{Broker, BrokerError};

/// A topic as a publish finds it.
#[derive(Clone, Debug)]
pub(super) struct TopicContext {
    pub(super) tenant: TenantId,
    pub(super) incarnation: Incarnation,
    pub(super) set: SetId,
    pub(super) body_bytes_max: u32,
    pub(super) table: Arc<RouteTable>,
    pub(super) sealed_under: Option<Name>,
}

/// A message and the subscriptions that the router gave it.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) message: Message,
    pub(super) matched: Vec<SubscriptionId>,
    /// The fault, when the router failed and the message is put aside.
    pub(super) parked: Option<Box<Parking>>,
}

/// What became of messages that plugins decided about.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    pub(super) messages: Vec<T>,
    /// Which of them are put aside, in the entry that takes in the others.
    pub(super) parks: Vec<Park>,
}

/// A plugin that is in force at a place.
struct Bound {
    binding: Binding,
    on_failure: FailurePolicy,
    quarantined: Option<String>,
    /// What is tried beside it.
    tried: Option<Tried>,
}

// === impl Sorted ===

impl<T> Sorted<T> {
    fn with_room_for(count: usize) -> Sorted<T> {
        Sorted {
            messages: Vec::with_capacity(count),
            parks: Vec::new(),
        }
    }

    /// Puts a message aside, by its place among all.
    fn park(&mut self, place: usize, target: Incarnation, parking: Box<Parking>) {
        self.parks.push(Park {
            place: u32::try_from(place).unwrap_or(u32::MAX),
            target,
            parking,
        });
    }
}

// === impl Bound ===

impl Bound {
    /// Has nothing of a body shown where what is tried says something else.
    fn hide_bodies(&mut self) {
        if let Some(tried) = &mut self.tried {
            tried.is_sealed = true;
        }
    }

    fn version_of(&self, which: Which) -> PluginVersion {
        match (which, &self.tried) {
            (Which::Tried, Some(tried)) => tried.binding().version,
            (Which::Tried, None) | (Which::InUse, _) => self.binding.version,
        }
    }
}

// === routing ===

impl Broker {
    /// Returns a topic with the table of its subscriptions.
    pub(super) fn topic_context(&self, found: &Resolved) -> Result<TopicContext, BrokerError> {
        let known = self.tables.read().get(&found.incarnation).cloned();
        self.set(found.set)
            .view(|state| {
                let topic = state.topic(found.incarnation)?;
                let table = match known {
                    Some(table) if table.key.1 == topic.table_version() => table,
                    Some(_) | None => {
                        let targets = topic.subscriptions().map(|subscription| RouteSubscription {
                            id: subscription.id(),
                            name: subscription.name().as_str().to_owned(),
                            filter_tags: texts(&subscription.attributes().filter_tags),
                            binding_keys: texts(&subscription.attributes().binding_keys),
                        });
                        Arc::new(RouteTable {
                            key: (found.incarnation, topic.table_version()),
                            filter_type: topic.attributes().filter_type,
                            subscriptions: targets.collect(),
                        })
                    }
                };
                Some(TopicContext {
                    tenant: found.tenant,
                    incarnation: found.incarnation,
                    set: found.set,
                    body_bytes_max: topic.attributes().body_bytes_max,
                    table,
                    sealed_under: found.sealed_under.clone(),
                })
            })
            .inspect(|context| self.remember_table(context))
            .ok_or(BrokerError::NoName {
                kind: posthouse_model::Kind::Topic,
            })
    }

    fn remember_table(&self, context: &TopicContext) {
        let fresh = self
            .tables
            .read()
            .get(&context.incarnation)
            .is_none_or(|known| known.key != context.table.key);
        if fresh {
            self.tables
                .write()
                .insert(context.incarnation, Arc::clone(&context.table));
        }
    }

    /// Asks the topic's router.
    pub(super) async fn route(
        &self,
        topic: &TopicContext,
        decided_at: LogIndex,
        messages: Vec<Message>,
        uses: &mut KvUses,
    ) -> Result<Vec<Routed>, BrokerError> {
        let places = [
            Place::Incarnation(topic.incarnation),
            Place::Tenant(topic.tenant),
            Place::Platform,
        ];
        let bound = self.bound(topic.tenant, &places, World::Route)?;
        let answers = self.ask_routers(topic, &bound, &messages, uses).await?;
        let has_failed = answers.iter().any(|(_, answer)| answer.is_err());
        if has_failed && bound.quarantined.is_none() && topic.sealed_under.is_none() {
            let fault = answers.iter().map(|(_, answer)| answer.as_ref().err().cloned());
            let asked: Vec<_> = messages.iter().map(envelope).zip(fault).collect();
            let found = uses.found_at_first(store_of(&bound.binding, World::Route));
            self.record_route(&bound.binding, &topic.table, &asked, found);
        }
        let mut routed = Vec::with_capacity(messages.len());
        for (message, answer) in messages.into_iter().zip(answers) {
            routed.push(
                self.follow_router(topic, &bound, decided_at, message, answer, uses)
                    .await?,
            );
        }
        Ok(routed)
    }

    /// Asks the topic's router, or about its share of messages the version of it that is tried, and has both compared.
    async fn ask_routers(
        &self,
        topic: &TopicContext,
        bound: &Bound,
        messages: &[Message],
        uses: &mut KvUses,
    ) -> Result<Vec<(PluginVersion, Result<Vec<SubscriptionId>, GuestFault>)>, BrokerError> {
        let version = bound.binding.version;
        let Some(tried) = &bound.tried else {
            let answers = self.ask_router(topic, bound, messages, uses).await?;
            return Ok(answers.into_iter().map(|answer| (version, answer)).collect());
        };
        let envelopes: Vec<Envelope> = messages.iter().map(envelope).collect();
        let by_tried = self.route_by_tried(tried, &topic.table, &envelopes).await;
        let undecided: Vec<Message> = messages
            .iter()
            .zip(&by_tried)
            .filter(|(_, by_tried)| !matches!(by_tried, ByTried::Decided(_)))
            .map(|(message, _)| message.clone())
            .collect();
        let mut in_use = self.ask_router(topic, bound, &undecided, uses).await?.into_iter();
        let mut answers = Vec::with_capacity(messages.len());
        for (envelope, by_tried) in envelopes.into_iter().zip(by_tried) {
            let (by, answer) = match by_tried {
                ByTried::Decided(matched) => (Which::Tried, Ok(matched)),
                ByTried::Failed => {
                    answers.push((version, in_use.next().unwrap_or(Err(GuestFault::Stopped))));
                    continue;
                }
                ByTried::NotAsked => (Which::InUse, in_use.next().unwrap_or(Err(GuestFault::Stopped))),
            };
            let question = Question::Route(Arc::clone(&topic.table), envelope);
            let said = answer.clone().map(Answer::routed);
            self.compare(tried, &bound.binding, by, question, said, None);
            answers.push((bound.version_of(by), answer));
        }
        Ok(answers)
    }

    async fn ask_router(
        &self,
        topic: &TopicContext,
        bound: &Bound,
        messages: &[Message],
        uses: &mut KvUses,
    ) -> Result<Vec<Result<Vec<SubscriptionId>, GuestFault>>, BrokerError> {
        if let Some(reason) = &bound.quarantined {
            let fault = GuestFault::Said(format!("quarantined: {reason}"));
            return Ok(messages.iter().map(|_| Err(fault.clone())).collect());
        }
        self.load(bound.binding.version).await?;
        let mut lending = Lending {
            world: World::Route,
            is_sealed: topic.sealed_under.is_some(),
            uses,
        };
        let binding = self.lend_kv(&bound.binding, &mut lending).await?;
        let envelopes = messages.iter().map(envelope).collect();
        Ok(self.guests.route(&binding, &topic.table, envelopes).await)
    }

    async fn follow_router(
        &self,
        topic: &TopicContext,
        bound: &Bound,
        decided_at: LogIndex,
        mut message: Message,
        (version, answer): (PluginVersion, Result<Vec<SubscriptionId>, GuestFault>),
        uses: &mut KvUses,
    ) -> Result<Routed, BrokerError> {
        let fault = match answer {
            Ok(matched) => {
                let verdict = Verdict::Routed(matched.clone());
                message.decisions.push(Decision {
                    version,
                    directory: decided_at,
                    verdict,
                });
                return Ok(Routed {
                    message,
                    matched,
                    parked: None,
                });
            }
            Err(fault) => fault,
        };
        check_guilty(World::Route, &fault)?;
        self.plugin_failed(&bound.binding, World::Route, &fault);
        let text = fault.to_string();
        let verdict = Verdict::Failed(text.clone());
        message.decisions.push(Decision {
            version,
            directory: decided_at,
            verdict,
        });
        match bound.on_failure {
            FailurePolicy::Reject => Err(BrokerError::PluginFailed {
                world: World::Route,
                fault: text,
            }),
            FailurePolicy::Park => Ok(Routed {
                message,
                matched: Vec::new(),
                parked: Some(self.parking(&bound.binding, World::Route, None, 1, &fault, text)),
            }),
            FailurePolicy::Fallback => {
                let builtin = self.bound(topic.tenant, &[Place::Platform], World::Route)?;
                let answer = self
                    .ask_router(topic, &builtin, std::slice::from_ref(&message), uses)
                    .await?
                    .pop();
                match answer {
                    Some(Ok(matched)) => {
                        let verdict = Verdict::Routed(matched.clone());
                        let version = builtin.binding.version;
                        message.decisions.push(Decision {
                            version,
                            directory: decided_at,
                            verdict,
                        });
                        Ok(Routed {
                            message,
                            matched,
                            parked: None,
                        })
                    }
                    Some(Err(fault)) => Err(BrokerError::PluginFailed {
                        world: World::Route,
                        fault: fault.to_string(),
                    }),
                    None => Err(BrokerError::PluginFailed {
                        world: World::Route,
                        fault: text,
                    }),
                }
            }
        }
    }
}

// === filtering ===

impl Broker {
    /// Asks the filters of a queue, if one is bound.
    pub(super) async fn filter_incoming(
        &self,
        found: &Resolved,
        decided_at: LogIndex,
        messages: Vec<Message>,
        uses: &mut KvUses,
    ) -> Result<Sorted<Incoming>, BrokerError> {
        let mut sorted = Sorted::with_room_for(messages.len());
        let places = [Place::Incarnation(found.incarnation), Place::Tenant(found.tenant)];
        let Some(mut bound) = self.bound_if_any(found.tenant, &places, World::Filter) else {
            let incoming = messages
                .into_iter()
                .map(|message| Incoming { message, keep: true });
            sorted.messages.extend(incoming);
            return Ok(sorted);
        };
        if found.sealed_under.is_some() {
            bound.hide_bodies();
        }
        for message in messages {
            let mut lending = Lending {
                world: World::Filter,
                is_sealed: found.sealed_under.is_some(),
                uses: &mut *uses,
            };
            let judged = self
                .filter(&bound, decided_at, None, message, &mut lending)
                .await?;
            let (message, keep) = match judged {
                Judged::Pass(message) => (message, true),
                Judged::Drop(message) => (message, false),
                Judged::Parked(message, parking) => {
                    let target = self.parked_queue(found.tenant).await?.incarnation;
                    sorted.park(sorted.messages.len(), target, parking);
                    (message, false)
                }
            };
            sorted.messages.push(Incoming { message, keep });
        }
        Ok(sorted)
    }

    /// Asks the filters of the subscriptions that a router matched.
    pub(super) async fn filter_publications(
        &self,
        topic: &TopicContext,
        decided_at: LogIndex,
        routed: Vec<Routed>,
        uses: &mut KvUses,
    ) -> Result<Sorted<Publication>, BrokerError> {
        let mut sorted = Sorted::with_room_for(routed.len());
        for Routed {
            message,
            matched,
            parked,
        } in routed
        {
            let (publication, failed) = self
                .filter_publication(topic, decided_at, message, matched, uses)
                .await?;
            for parking in parked.into_iter().chain(failed) {
                let target = self.parked_queue(topic.tenant).await?.incarnation;
                sorted.park(sorted.messages.len(), target, parking);
            }
            sorted.messages.push(publication);
        }
        Ok(sorted)
    }

    /// Asks the filters of the subscriptions that a message is for; returns also how those failed for which it is put aside.
    async fn filter_publication(
        &self,
        topic: &TopicContext,
        decided_at: LogIndex,
        message: Message,
        matched: Vec<SubscriptionId>,
        uses: &mut KvUses,
    ) -> Result<(Publication, Vec<Box<Parking>>), BrokerError> {
        let mut publication = Publication {
            message,
            matched: Vec::with_capacity(matched.len()),
            replaced: Vec::new(),
        };
        let mut failed = Vec::new();
        for subscription in matched {
            let places = [
                Place::Subscription(topic.incarnation, subscription),
                Place::Incarnation(topic.incarnation),
                Place::Tenant(topic.tenant),
            ];
            let Some(mut bound) = self.bound_if_any(topic.tenant, &places, World::Filter) else {
                publication.matched.push(subscription);
                continue;
            };
            if topic.sealed_under.is_some() {
                bound.hide_bodies();
            }
            let plain = Message {
                decisions: Vec::new(),
                ..publication.message.clone()
            };
            let before = plain.clone();
            let mut lending = Lending {
                world: World::Filter,
                is_sealed: topic.sealed_under.is_some(),
                uses: &mut *uses,
            };
            let judged = self
                .filter(&bound, decided_at, Some(subscription), plain, &mut lending)
                .await?;
            match judged {
                Judged::Pass(after) => {
                    let replaced = after.body != before.body || after.attributes != before.attributes;
                    if replaced {
                        publication.replaced.push((subscription, after));
                    } else {
                        publication.message.decisions.extend(after.decisions);
                        publication.matched.push(subscription);
                    }
                }
                Judged::Drop(after) => publication.message.decisions.extend(after.decisions),
                Judged::Parked(after, parking) => {
                    publication.message.decisions.extend(after.decisions);
                    failed.push(parking);
                }
            }
        }
        Ok((publication, failed))
    }

    /// Asks the filter, or about its share of messages the version of it that is tried, and has both compared.
    async fn ask_filters(
        &self,
        bound: &Bound,
        message: &Message,
        lending: &mut Lending<'_>,
    ) -> Result<(PluginVersion, Result<Filtered, GuestFault>), BrokerError> {
        let (envelope, body) = (envelope(message), clear(&message.body));
        let mut seen = None;
        let by_tried = match &bound.tried {
            Some(tried) => {
                // One that is tried and cannot be loaded is not asked; no message is refused for that.
                if self.load(bound.binding.version).await.is_ok()
                    && self.load(tried.binding().version).await.is_ok()
                {
                    seen = self.see_kv(&bound.binding, tried.binding(), lending).await?;
                }
                self.filter_by_tried(tried, &envelope, &body, lending).await?
            }
            None => ByTried::NotAsked,
        };
        let has_failed = matches!(by_tried, ByTried::Failed);
        let (by, answer) = match by_tried {
            ByTried::Decided(filtered) => (Which::Tried, Ok(filtered)),
            ByTried::Failed | ByTried::NotAsked => {
                self.load(bound.binding.version).await?;
                let binding = self.lend_kv(&bound.binding, lending).await?;
                let asked = (envelope.clone(), body.clone());
                (Which::InUse, self.guests.filter(&binding, asked.0, asked.1).await)
            }
        };
        if let Some(tried) = bound.tried.as_ref().filter(|_| !has_failed) {
            let said = answer.clone().map(Answer::Filtered);
            let question = Question::Filter(envelope, body);
            self.compare(tried, &bound.binding, by, question, said, seen);
        }
        Ok((bound.version_of(by), answer))
    }

    async fn filter(
        &self,
        bound: &Bound,
        decided_at: LogIndex,
        subscription: Option<SubscriptionId>,
        mut message: Message,
        lending: &mut Lending<'_>,
    ) -> Result<Judged, BrokerError> {
        let (version, answer) = match &bound.quarantined {
            Some(reason) => {
                let fault = GuestFault::Said(format!("quarantined: {reason}"));
                (bound.binding.version, Err(fault))
            }
            None => self.ask_filters(bound, &message, lending).await?,
        };
        let decide = |message: &mut Message, verdict| {
            message.decisions.push(Decision {
                version,
                directory: decided_at,
                verdict,
            });
        };
        match answer {
            Ok(Filtered::Pass) => {
                decide(&mut message, Verdict::Passed(subscription));
                Ok(Judged::Pass(message))
            }
            Ok(Filtered::Drop) => {
                decide(&mut message, Verdict::Dropped(subscription));
                Ok(Judged::Drop(message))
            }
            Ok(Filtered::Replace { body, attributes }) => {
                decide(&mut message, Verdict::Replaced(subscription));
                Ok(Judged::Pass(Message {
                    body: Body::Clear(body),
                    attributes,
                    ..message
                }))
            }
            Err(fault) => {
                check_guilty(World::Filter, &fault)?;
                self.plugin_failed(&bound.binding, World::Filter, &fault);
                if bound.quarantined.is_none() && !lending.is_sealed {
                    let asked = (envelope(&message), clear(&message.body));
                    let found = lending.uses.found(store_of(&bound.binding, World::Filter));
                    self.record_filter(&bound.binding, &asked.0, &asked.1, found, &fault);
                }
                let text = kept_text(&fault, &message.body);
                decide(&mut message, Verdict::Failed(text.clone()));
                match bound.on_failure {
                    FailurePolicy::Reject => Err(BrokerError::PluginFailed {
                        world: World::Filter,
                        fault: text,
                    }),
                    // No filter is built in: without one, everything passes.
                    FailurePolicy::Fallback => Ok(Judged::Pass(message)),
                    FailurePolicy::Park => {
                        let parking =
                            self.parking(&bound.binding, World::Filter, subscription, 1, &fault, text);
                        Ok(Judged::Parked(message, parking))
                    }
                }
            }
        }
    }
}

/// Refuses what a plugin was not asked about, through no fault of its own: no failure policy is for that.
fn check_guilty(world: World, fault: &GuestFault) -> Result<(), BrokerError> {
    match fault.is_guilty() {
        true => Ok(()),
        false => Err(BrokerError::PluginUnavailable {
            world,
            fault: fault.to_string(),
        }),
    }
}

/// What a filter, or its failure policy, made of a message.
enum Judged {
    Pass(Message),
    Drop(Message),
    Parked(Message, Box<Parking>),
}

// === sealing ===

impl Broker {
    /// Seals messages on their way into a queue, if it is sealed.
    pub(super) async fn seal_incoming(
        &self,
        found: &Resolved,
        decided_at: LogIndex,
        mut incoming: Vec<Incoming>,
    ) -> Result<Vec<Incoming>, BrokerError> {
        let Some(key) = &found.sealed_under else {
            return Ok(incoming);
        };
        let messages = incoming.iter_mut().map(|one| &mut one.message).collect();
        self.seal(found.tenant, found.incarnation, key, decided_at, messages)
            .await?;
        Ok(incoming)
    }

    /// Seals messages on their way into a topic, if it is sealed.
    pub(super) async fn seal_publications(
        &self,
        topic: &TopicContext,
        decided_at: LogIndex,
        mut publications: Vec<Publication>,
    ) -> Result<Vec<Publication>, BrokerError> {
        let Some(key) = &topic.sealed_under else {
            return Ok(publications);
        };
        let messages = publications
            .iter_mut()
            .flat_map(|one| {
                std::iter::once(&mut one.message).chain(one.replaced.iter_mut().map(|(_, other)| other))
            })
            .collect();
        self.seal(topic.tenant, topic.incarnation, key, decided_at, messages)
            .await?;
        Ok(publications)
    }

    /// Seals messages where they are about to be kept. One that is sealed already stays as it is.
    pub(super) async fn seal(
        &self,
        tenant: TenantId,
        incarnation: Incarnation,
        key: &Name,
        decided_at: LogIndex,
        messages: Vec<&mut Message>,
    ) -> Result<(), BrokerError> {
        let places = [
            Place::Incarnation(incarnation),
            Place::Tenant(tenant),
            Place::Platform,
        ];
        let bound = self.bound(tenant, &places, World::Seal)?;
        let to_seal = |message: &Message| match &message.body {
            Body::Clear(plain) => Some(ToSeal {
                context: SealContext {
                    tenant,
                    incarnation,
                    message: message.id,
                },
                plain: plain.clone(),
            }),
            Body::Sealed(_) => None,
        };
        let mut waiting = Vec::with_capacity(messages.len());
        let mut bodies = Vec::with_capacity(messages.len());
        for message in messages {
            if let Some(body) = to_seal(message) {
                waiting.push((message, body.context));
                bodies.push(body);
            }
        }
        let answers = self.ask_to_seal(&bound, key, bodies).await?;
        for ((message, context), answer) in waiting.into_iter().zip(answers) {
            let (binding, answer) = match answer {
                Err(fault) if bound.on_failure == FailurePolicy::Fallback && fault.is_guilty() => {
                    self.plugin_failed(&bound.binding, World::Seal, &fault);
                    let builtin = self.bound(tenant, &[Place::Platform], World::Seal)?;
                    let again = to_seal(message).into_iter().collect();
                    let answer = self.ask_to_seal(&builtin, key, again).await?.pop();
                    (builtin.binding, answer.unwrap_or(Err(GuestFault::Stopped)))
                }
                answer => (bound.binding.clone(), answer),
            };
            let version = binding.version;
            let Sealed {
                header,
                ciphertext,
                key: under,
            } = match answer {
                Ok(sealed) => sealed,
                Err(fault) => {
                    check_guilty(World::Seal, &fault)?;
                    self.plugin_failed(&binding, World::Seal, &fault);
                    return Err(BrokerError::PluginFailed {
                        world: World::Seal,
                        fault: fault.to_string(),
                    });
                }
            };
            message.body = Body::Sealed(SealedBody {
                header,
                ciphertext,
                context,
                version,
            });
            let verdict = under.map_or(Verdict::Sealed, |(key, version)| Verdict::SealedUnder {
                key,
                version,
            });
            message.decisions.push(Decision {
                version,
                directory: decided_at,
                verdict,
            });
        }
        Ok(())
    }

    async fn ask_to_seal(
        &self,
        bound: &Bound,
        key: &Name,
        bodies: Vec<ToSeal>,
    ) -> Result<Vec<Result<Sealed, GuestFault>>, BrokerError> {
        if let Some(reason) = &bound.quarantined {
            let fault = GuestFault::Said(format!("quarantined: {reason}"));
            return Ok(bodies.iter().map(|_| Err(fault.clone())).collect());
        }
        self.load(bound.binding.version).await?;
        Ok(self.guests.seal(&bound.binding, key, bodies).await)
    }

    /// Reads a message and opens it, with the version of the plugin that sealed it.
    pub(super) async fn read_open(
        &self,
        set: SetId,
        key: BodyKey,
    ) -> Result<Option<StoredMessage>, BrokerError> {
        match self.read(set, key)? {
            Some(stored) => self.opened(stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens a message, if it is sealed, with the version of the plugin that sealed it.
    pub(super) async fn opened(&self, stored: StoredMessage) -> Result<StoredMessage, BrokerError> {
        let Body::Sealed(sealed) = stored.message.body.clone() else {
            return Ok(stored);
        };
        let body = self.open(sealed).await?;
        let message = Message {
            body: Body::Clear(body),
            ..stored.message
        };
        Ok(StoredMessage {
            message,
            produced: stored.produced,
        })
    }

    /// Reads a message as it is kept.
    pub(crate) fn read(&self, set: SetId, key: BodyKey) -> Result<Option<StoredMessage>, BrokerError> {
        self.store.bodies(set).read(key).map_err(BrokerError::unreadable)
    }

    async fn open(&self, sealed: SealedBody) -> Result<Bytes, BrokerError> {
        let context = sealed.context;
        let places = [
            Place::Incarnation(context.incarnation),
            Place::Tenant(context.tenant),
            Place::Platform,
        ];
        // The configuration is the present binding's; the version is the one that sealed.
        let (configuration, identity) = match self.binding_record(&places, World::Seal) {
            Some(record) => (record.configuration.clone(), identity(&record)),
            None => (
                Bytes::new(),
                BindingIdentity {
                    changed: LogIndex::default(),
                    place: Place::Tenant(context.tenant),
                },
            ),
        };
        let binding = Binding {
            version: sealed.version,
            tenant: context.tenant,
            configuration,
            identity,
            kv: None,
        };
        self.load(sealed.version).await?;
        let body = ToOpen {
            context,
            header: sealed.header,
            ciphertext: sealed.ciphertext,
        };
        let answer = self.guests.open(&binding, vec![body]).await.pop();
        answer
            .unwrap_or(Err(GuestFault::Stopped))
            .map_err(|fault| BrokerError::PluginFailed {
                world: World::Seal,
                fault: fault.to_string(),
            })
    }
}

// === parking ===

impl Broker {
    /// Returns how a plugin failed, as what is parked carries it. `text` is what of the fault may be kept beside the body.
    pub(super) fn parking(
        &self,
        binding: &Binding,
        world: World,
        subscription: Option<SubscriptionId>,
        attempt: u32,
        fault: &GuestFault,
        mut text: String,
    ) -> Box<Parking> {
        let version = binding.version;
        let plugin = self
            .directory
            .view(|directory| directory.plugin(version).map(|plugin| plugin.digest));
        let mut backtrace = match fault {
            GuestFault::Trap { backtrace, .. } => backtrace.clone(),
            GuestFault::OutOfTime
            | GuestFault::OutOfMemory
            | GuestFault::Nonsense(_)
            | GuestFault::Said(_)
            | GuestFault::Busy(_)
            | GuestFault::NotLoaded
            | GuestFault::Stopped => String::new(),
        };
        text.truncate(text.floor_char_boundary(TRAP_PARKED_BYTES_MAX));
        backtrace.truncate(backtrace.floor_char_boundary(BACKTRACE_PARKED_BYTES_MAX));
        Box::new(Parking {
            world,
            version,
            digest: plugin,
            subscription,
            attempt,
            trap: text,
            backtrace,
        })
    }
}

// === bindings ===

impl Broker {
    /// Returns the plugin in force at the nearest of these places.
    fn bound(&self, tenant: TenantId, places: &[Place], world: World) -> Result<Bound, BrokerError> {
        self.bound_if_any(tenant, places, world)
            .ok_or(BrokerError::NoPlugin { world })
    }

    fn bound_if_any(&self, tenant: TenantId, places: &[Place], world: World) -> Option<Bound> {
        let record = self.binding_record(places, world)?;
        let tried = self.tried_beside(&record, tenant);
        Some(Bound {
            binding: Binding {
                version: record.version,
                tenant,
                identity: identity(&record),
                configuration: record.configuration,
                kv: None,
            },
            on_failure: record.on_failure,
            quarantined: record.quarantined,
            tried,
        })
    }

    /// Returns the binding in force at the nearest of these places.
    pub(super) fn binding_record(&self, places: &[Place], world: World) -> Option<BindingRecord> {
        let record = self
            .directory
            .view(|directory| directory.resolve_binding(places, world).cloned());
        // It may be seen a moment before this node is told of the entry that changed it.
        if let Some(record) = &record {
            self.deciding.reach(record.changed);
        }
        record
    }

    /// Returns what is tried beside a binding that is in use.
    fn tried_beside(&self, record: &BindingRecord, tenant: TenantId) -> Option<Tried> {
        let is_tried = matches!(record.world, World::Route | World::Filter);
        if !is_tried || record.quarantined.is_some() {
            return None;
        }
        let tried = self.directory.view(|directory| {
            let trial = directory.trial(record.place, record.world)?;
            let runs = trial.end.is_none() && trial.beside == record.version;
            runs.then(|| {
                (
                    trial.began,
                    Tried::new(trial, tenant, record.configuration.clone()),
                )
            })
        });
        let (began, tried) = tried?;
        self.deciding.reach(began);
        Some(tried)
    }

    /// Makes sure that a plugin's version can be called.
    pub(super) async fn load(&self, version: PluginVersion) -> Result<(), BrokerError> {
        match self.guests.is_loaded(version) {
            true => Ok(()),
            false => self.load_component(version).await,
        }
    }
}

/// Returns what tells one binding from another.
pub(super) fn identity(record: &BindingRecord) -> BindingIdentity {
    BindingIdentity {
        changed: record.changed,
        place: record.place,
    }
}

/// Returns what plugins are told of a message on its way in.
pub(super) fn envelope(message: &Message) -> Envelope {
    Envelope {
        id: message.id,
        produced: Time::default(),
        tags: message.tags.clone(),
        routing_key: message.routing_key.clone(),
        body_bytes: u32::try_from(message.body.len()).unwrap_or(u32::MAX),
        attributes: message.attributes.clone(),
    }
}

/// Returns what is kept of what a plugin failed with: where bodies are sealed, no text beside them may say what they do.
pub(super) fn kept_text(fault: &GuestFault, body: &Body) -> String {
    let text = fault.to_string();
    match repeats_body(text.as_bytes(), &clear(body)) {
        true => "the plugin failed, with a text that repeats the body and is not kept".to_owned(),
        false => text,
    }
}

/// Returns a body in clear. On the way in nothing is sealed before filters have spoken.
pub(super) fn clear(body: &Body) -> Bytes {
    match body {
        Body::Clear(bytes) => bytes.clone(),
        Body::Sealed(_) => Bytes::new(),
    }
}

/// Returns a command that plugins decided with what of it is put aside.
pub(super) fn parking_of(command: SetCommand, parks: Vec<Park>) -> SetCommand {
    if parks.is_empty() {
        return command;
    }
    let (uses, decided) = match command.clone() {
        SetCommand::Decide { uses, command } => (uses, Some(command)),
        plain => (Vec::new(), Decided::new(plain)),
    };
    match decided {
        Some(command) => SetCommand::Park { uses, command, parks },
        None => command,
    }
}

fn texts<T: Clone + Into<String>>(words: &[T]) -> Vec<String> {
    words.iter().cloned().map(Into::into).collect()
}
