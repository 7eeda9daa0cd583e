//! What each command does to a set.

use std::sync::Arc;

use crate::Place as KvPlace;
use crate::attributes::out_of_range;
use crate::bounds::TICK_EXPIRIES_MAX;
use crate::queue::Queue;
use crate::set::Set;
use crate::set::alarm::Place;
use crate::step::Effects;
use crate::topic::Topic;
use crate::{
    Definition, Generation, Incarnation, KvId, KvUse, LogIndex, MessageId, Name, Park, Readmitted, Refusal,
    SetCommand, SetReply, Span, SubscriptionAttributes, SubscriptionId, TenantId, Term, Token,
};

// === impl Set ===

impl Set {
    /// Does one command, or refuses it and changes nothing that it names.
    pub(super) fn perform(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
    ) -> Result<SetReply, Refusal> {
        match command {
            SetCommand::Define {
                incarnation,
                generation,
                tenant,
                name,
                definition,
            } => self.define(effects, *incarnation, *generation, *tenant, name, definition),
            SetCommand::Drop { incarnation } => self.drop_stream(*incarnation),
            SetCommand::Subscribe {
                topic,
                name,
                attributes,
            } => self.subscribe(effects, *topic, name, attributes),
            SetCommand::AlterSubscription {
                topic,
                name,
                attributes,
            } => self
                .with_topic(effects, position, *topic, |topic, step| {
                    topic.alter(name, attributes, step.now)
                })
                .map(|()| SetReply::Altered),
            SetCommand::Unsubscribe { topic, name } => self.unsubscribe(effects, *topic, name),
            SetCommand::Send { .. } => self.send(effects, position, command, &[], &[]),
            SetCommand::Receive {
                queue,
                max,
                visibility,
            } => self
                .with_queue(effects, position, *queue, |queue, step| {
                    queue.receive(step, *max, *visibility)
                })
                .map(SetReply::Leased),
            SetCommand::Delete { queue, handles } => self
                .with_queue(effects, position, *queue, |queue, step| {
                    Ok(handles.iter().map(|handle| queue.delete(step, *handle)).collect())
                })
                .map(SetReply::Deleted),
            SetCommand::Release { queue, handles } => {
                self.with_queue(effects, position, *queue, |queue, step| {
                    handles.iter().for_each(|handle| queue.release(step, *handle));
                    Ok(SetReply::Released)
                })
            }
            SetCommand::Rewind { queue, to } => self
                .with_queue(effects, position, *queue, |queue, step| queue.rewind(step, *to))
                .map(|()| SetReply::Rewound),
            SetCommand::Publish { .. } => self.publish(effects, position, command, &[], &[]),
            SetCommand::Claim {
                topic,
                subscription,
                max,
                span,
                term,
            } => {
                self.lead(effects, *term);
                if *term < self.led {
                    return Err(Refusal::StaleTerm);
                }
                self.with_topic(effects, position, *topic, |topic, step| {
                    topic.claim(step, *subscription, *max, *span)
                })
                .map(SetReply::Leased)
            }
            SetCommand::Settle { .. } => self.settle(effects, position, command, &[]),
            SetCommand::Deposit {
                target,
                source,
                parcels,
            } => {
                self.see_messages(parcels.iter().map(|parcel| parcel.message.id));
                self.with_queue(effects, position, *target, |queue, step| {
                    queue.deposit(step, *source, parcels)
                })
                .map(SetReply::Deposited)
            }
            SetCommand::Shipped {
                source,
                target,
                numbers,
            } => self.shipped(effects, *source, *target, numbers),
            SetCommand::Tick => Ok(SetReply::Ticked {
                more: self.catch_up(effects, TICK_EXPIRIES_MAX),
            }),
            SetCommand::Lead { term } => {
                self.lead(effects, *term);
                Ok(SetReply::Noted)
            }
            SetCommand::Observe { directory } => {
                self.directory_seen = self.directory_seen.max(*directory);
                Ok(SetReply::Noted)
            }
            SetCommand::Cut | SetCommand::Rewrite { .. } => Ok(SetReply::Noted),
            SetCommand::Decide { uses, command } => {
                self.decide(effects, position, command.command(), uses, &[])
            }
            SetCommand::Park { uses, command, parks } => {
                self.decide(effects, position, command.command(), uses, parks)
            }
            SetCommand::ForgetKv {
                place,
                world,
                tenant,
                decided_at,
            } => {
                self.decided(*decided_at)?;
                let stores = self.kv.ids_of(*place, *world, *tenant);
                stores.into_iter().for_each(|store| self.forget_kv(store));
                Ok(SetReply::Noted)
            }
            SetCommand::ReceiveThese {
                queue,
                sequences,
                visibility,
            } => self
                .with_queue(effects, position, *queue, |queue, step| {
                    queue.receive_these(step, sequences, *visibility)
                })
                .map(SetReply::Leased),
            SetCommand::Readmit { .. } => self.readmit(effects, position, command, &[]),
            SetCommand::Return {
                queue,
                handles,
                delay,
            } => self
                .with_queue(effects, position, *queue, |queue, step| {
                    queue.give_back(step, handles, *delay)
                })
                .map(SetReply::Returned),
            SetCommand::Extend {
                queue,
                handles,
                visibility,
            } => self
                .with_queue(effects, position, *queue, |queue, step| {
                    queue.extend(step, handles, *visibility)
                })
                .map(SetReply::Extended),
        }
    }

    fn define(
        &mut self,
        effects: &mut Effects,
        incarnation: Incarnation,
        generation: Generation,
        tenant: TenantId,
        name: &Name,
        definition: &Definition,
    ) -> Result<SetReply, Refusal> {
        match definition {
            Definition::Queue(attributes) => {
                if self.topics.contains_key(&incarnation) {
                    return Err(Refusal::WrongKind(incarnation));
                }
                if attributes
                    .dead_letter
                    .as_ref()
                    .is_some_and(|p| p.target == incarnation)
                {
                    return Err(out_of_range("deadLetterPolicy"));
                }
                if !self.queues.contains_key(&incarnation) {
                    attributes.check()?;
                    let attributes = attributes.clone();
                    let queue = Queue::new(tenant, name.clone(), generation, attributes, self.now);
                    self.queues.insert(incarnation, Arc::new(queue));
                    return Ok(SetReply::Defined);
                }
                self.with_queue(effects, 0, incarnation, |queue, step| {
                    queue.redefine(name, generation, attributes, step.now)
                })?;
            }
            Definition::Topic(attributes) => {
                if self.queues.contains_key(&incarnation) {
                    return Err(Refusal::WrongKind(incarnation));
                }
                if !self.topics.contains_key(&incarnation) {
                    attributes.check()?;
                    let attributes = attributes.clone();
                    let topic = Topic::new(tenant, name.clone(), generation, attributes, self.now);
                    self.topics.insert(incarnation, Arc::new(topic));
                    return Ok(SetReply::Defined);
                }
                self.with_topic(effects, 0, incarnation, |topic, step| {
                    topic.redefine(name, generation, attributes, step.now)
                })?;
            }
        }
        Ok(SetReply::Defined)
    }

    fn drop_stream(&mut self, incarnation: Incarnation) -> Result<SetReply, Refusal> {
        if self
            .topic(incarnation)
            .is_some_and(|topic| topic.subscriptions().len() > 0)
        {
            return Err(Refusal::HasSubscriptions);
        }
        let queue_alarm = self.queues.remove(&incarnation).and_then(|queue| queue.alarm);
        let topic_alarm = self.topics.remove(&incarnation).and_then(|topic| topic.alarm);
        self.alarms
            .set(Place::Stream(incarnation), &mut queue_alarm.or(topic_alarm), None);
        Arc::make_mut(&mut self.outboxes).drop_source(incarnation);
        self.forget_kv_of(|place| match place {
            KvPlace::Incarnation(at) | KvPlace::Subscription(at, _) => at == incarnation,
            KvPlace::Platform | KvPlace::Tenant(_) | KvPlace::HttpEndpoints | KvPlace::QueueEndpoints => {
                false
            }
        });
        self.readmissions.drop_target(incarnation);
        Ok(SetReply::Dropped)
    }

    fn subscribe(
        &mut self,
        effects: &mut Effects,
        topic: Incarnation,
        name: &Name,
        attributes: &SubscriptionAttributes,
    ) -> Result<SetReply, Refusal> {
        let id = SubscriptionId(self.last_subscription.0 + 1);
        self.with_topic(effects, 0, topic, |topic, step| {
            topic.subscribe(id, name, attributes, step.now)
        })?;
        self.last_subscription = id;
        Ok(SetReply::Subscribed(id))
    }

    fn unsubscribe(
        &mut self,
        effects: &mut Effects,
        topic: Incarnation,
        name: &Name,
    ) -> Result<SetReply, Refusal> {
        let gone = self.with_topic(effects, 0, topic, |topic, _| topic.unsubscribe(name))?;
        let place = Place::Subscription(topic, gone.id());
        self.alarms.set(place, &mut gone.alarm.clone(), None);
        self.forget_kv_of(|place| place == KvPlace::Subscription(topic, gone.id()));
        Ok(SetReply::Unsubscribed)
    }

    fn decide(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
        uses: &[KvUse],
        parks: &[Park],
    ) -> Result<SetReply, Refusal> {
        match command {
            SetCommand::Publish { .. } => self.publish(effects, position, command, uses, parks),
            SetCommand::Settle { .. } | SetCommand::Readmit { .. } if !parks.is_empty() => Err(
                Refusal::Malformed("what is parked is sent or published".to_owned()),
            ),
            SetCommand::Settle { .. } => self.settle(effects, position, command, uses),
            SetCommand::Readmit { .. } => self.readmit(effects, position, command, uses),
            _ => self.send(effects, position, command, uses, parks),
        }
    }

    fn send(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
        uses: &[KvUse],
        parks: &[Park],
    ) -> Result<SetReply, Refusal> {
        let SetCommand::Send {
            queue,
            delay,
            messages,
            token,
            decided_at,
        } = command
        else {
            return Err(Refusal::Malformed("not a send".to_owned()));
        };
        self.see_messages(messages.iter().map(|incoming| incoming.message.id));
        let decided = self.decided(*decided_at);
        let fresh = self.kv.check(uses, self.now);
        let mut writes = false;
        let ids = self.with_queue(effects, position, *queue, |queue, step| {
            let token = token.as_ref().map(Token::checked).transpose()?;
            if let Some(ids) = token.and_then(|token| queue.recall(token, step.now)) {
                return Ok(ids);
            }
            decided?;
            fresh?;
            let ids = queue.send(step, *delay, messages, token, parks)?;
            writes = true;
            Ok(ids)
        })?;
        if writes {
            self.write_kv(uses);
        }
        Ok(SetReply::Sent(ids))
    }

    fn publish(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
        uses: &[KvUse],
        parks: &[Park],
    ) -> Result<SetReply, Refusal> {
        let SetCommand::Publish {
            topic,
            publications,
            token,
            decided_at,
        } = command
        else {
            return Err(Refusal::Malformed("not a publish".to_owned()));
        };
        self.see_messages(publications.iter().map(|publication| publication.message.id));
        let decided = self.decided(*decided_at);
        let fresh = self.kv.check(uses, self.now);
        let mut writes = false;
        let ids = self.with_topic(effects, position, *topic, |topic, step| {
            let token = token.as_ref().map(Token::checked).transpose()?;
            if let Some(ids) = token.and_then(|token| topic.recall(token, step.now)) {
                return Ok(ids);
            }
            decided?;
            fresh?;
            let ids = topic.publish(step, publications, token, parks)?;
            writes = true;
            Ok(ids)
        })?;
        if writes {
            self.write_kv(uses);
        }
        Ok(SetReply::Sent(ids))
    }

    fn settle(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
        uses: &[KvUse],
    ) -> Result<SetReply, Refusal> {
        let SetCommand::Settle {
            topic,
            subscription,
            outcomes,
        } = command
        else {
            return Err(Refusal::Malformed("not a settlement".to_owned()));
        };
        let fresh = self.kv.check(uses, self.now);
        let mut writes = false;
        self.with_topic(effects, position, *topic, |topic, step| {
            writes = outcomes
                .iter()
                .any(|settled| topic.claims(*subscription, settled.handle, step.now));
            if writes {
                fresh?;
            }
            topic.settle(step, *subscription, outcomes)
        })?;
        if writes {
            self.write_kv(uses);
        }
        Ok(SetReply::Settled)
    }

    /// Writes what plugins wrote while they decided, which was checked before.
    fn write_kv(&mut self, uses: &[KvUse]) {
        self.kv.write(uses, self.now);
        uses.iter().for_each(|one| self.tidy_kv(one.store));
    }

    fn forget_kv_of(&mut self, gone: impl Fn(KvPlace) -> bool) {
        let stores: Vec<KvId> = self.kv.ids().filter(|store| gone(store.place)).collect();
        stores.into_iter().for_each(|store| self.forget_kv(store));
    }

    fn forget_kv(&mut self, store: KvId) {
        let mut alarm = self.kv.drop_store(store);
        self.alarms.set(Place::Kv(store), &mut alarm, None);
    }

    fn readmit(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
        uses: &[KvUse],
    ) -> Result<SetReply, Refusal> {
        let SetCommand::Readmit {
            target,
            source,
            sequence,
            gone_below,
            content,
            decided_at,
        } = command
        else {
            return Err(Refusal::Malformed("not a readmission".to_owned()));
        };
        self.see_messages(content.messages().map(|message| message.id));
        if self.readmissions.contains(*target, *source, *sequence) {
            return Ok(SetReply::Readmitted { anew: false });
        }
        self.decided(*decided_at)?;
        self.kv.check(uses, self.now)?;
        self.readmissions.check_room(*target, *source, *gone_below)?;
        match &**content {
            Readmitted::Queue(incoming) => self.with_queue(effects, position, *target, |queue, step| {
                queue.send(step, Span::ZERO, std::slice::from_ref(incoming), None, &[])
            }),
            Readmitted::Topic(publication) => self.with_topic(effects, position, *target, |topic, step| {
                topic.publish(step, std::slice::from_ref(publication), None, &[])
            }),
        }?;
        self.readmissions.add(*target, *source, *sequence, *gone_below);
        self.write_kv(uses);
        Ok(SetReply::Readmitted { anew: true })
    }

    fn shipped(
        &mut self,
        effects: &mut Effects,
        source: Incarnation,
        target: Incarnation,
        numbers: &[u64],
    ) -> Result<SetReply, Refusal> {
        let sequences = Arc::make_mut(&mut self.outboxes).ship(source, target, numbers);
        if self.queues.contains_key(&source) {
            self.with_queue(effects, 0, source, |queue, _| {
                queue.shipped(&sequences);
                Ok(())
            })?;
        } else if self.topics.contains_key(&source) {
            self.with_topic(effects, 0, source, |topic, _| {
                topic.shipped(&sequences);
                Ok(())
            })?;
        }
        Ok(SetReply::Shipped)
    }

    /// Notes that a term leads: claims of earlier ones are void.
    fn lead(&mut self, effects: &mut Effects, term: Term) {
        if term <= self.led {
            return;
        }
        self.led = term;
        let with_claims = self.topics.iter().filter(|(_, topic)| {
            topic
                .subscriptions()
                .any(|subscription| subscription.claimed() > 0)
        });
        for topic in with_claims
            .map(|(incarnation, _)| *incarnation)
            .collect::<Vec<_>>()
        {
            let voided = self.with_topic(effects, 0, topic, |topic, step| {
                topic.void_claims(step);
                Ok(())
            });
            debug_assert!(voided.is_ok(), "the topic was just found");
        }
    }

    /// Refuses a decision made before a directory change that the set has seen. Zero decided nothing.
    fn decided(&mut self, decided_at: LogIndex) -> Result<(), Refusal> {
        if decided_at == LogIndex::default() {
            return Ok(());
        }
        if decided_at < self.directory_seen {
            return Err(Refusal::DecidedTooEarly {
                decided_at,
                seen: self.directory_seen,
            });
        }
        self.directory_seen = decided_at;
        Ok(())
    }

    fn see_messages(&mut self, ids: impl Iterator<Item = MessageId>) {
        self.last_message = ids.fold(self.last_message, MessageId::max);
    }
}
