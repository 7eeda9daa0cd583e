//! What each command does to a set.

use std::sync::Arc;

use crate::attributes::out_of_range;
use crate::bounds::TICK_EXPIRIES_MAX;
use crate::queue::Queue;
use crate::set::Set;
use crate::set::alarm::Place;
use crate::step::Effects;
use crate::topic::Topic;
use crate::{
    Definition, Generation, Incarnation, LogIndex, MessageId, Name, Refusal, SetCommand, SetReply,
    SubscriptionAttributes, SubscriptionId, TenantId, Term, Token,
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
            SetCommand::Send { .. } => self.send(effects, position, command),
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
            SetCommand::Publish { .. } => self.publish(effects, position, command),
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
            SetCommand::Settle {
                topic,
                subscription,
                outcomes,
            } => self
                .with_topic(effects, position, *topic, |topic, step| {
                    topic.settle(step, *subscription, outcomes)
                })
                .map(|()| SetReply::Settled),
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
        Ok(SetReply::Unsubscribed)
    }

    fn send(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
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
        self.with_queue(effects, position, *queue, |queue, step| {
            let token = token.as_ref().map(Token::checked).transpose()?;
            if let Some(ids) = token.and_then(|token| queue.recall(token, step.now)) {
                return Ok(ids);
            }
            decided?;
            queue.send(step, *delay, messages, token)
        })
        .map(SetReply::Sent)
    }

    fn publish(
        &mut self,
        effects: &mut Effects,
        position: u32,
        command: &SetCommand,
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
        self.with_topic(effects, position, *topic, |topic, step| {
            let token = token.as_ref().map(Token::checked).transpose()?;
            if let Some(ids) = token.and_then(|token| topic.recall(token, step.now)) {
                return Ok(ids);
            }
            decided?;
            topic.publish(step, publications, token)
        })
        .map(SetReply::Sent)
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
