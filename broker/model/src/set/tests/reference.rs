//! What a set does, said as plainly as can be: every message in a list, every rule a loop over it.

mod kv;

use std::collections::{BTreeMap, BTreeSet};

use crate::*;
use kv::RefKey;

#[derive(Clone, Debug, Default)]
pub(super) struct Reference {
    pub(super) now: Time,
    pub(super) queues: BTreeMap<Incarnation, RefQueue>,
    pub(super) topics: BTreeMap<Incarnation, RefTopic>,
    pub(super) outbox: Vec<RefParcel>,
    pub(super) handles: u64,
    pub(super) stored: Vec<(BodyKey, u32, u32)>,
    subscriptions: u64,
    directory_seen: LogIndex,
    led: Term,
    calls: BTreeMap<SessionCall, Result<SetReply, Refusal>>,
    pub(super) last_message: MessageId,
    pub(super) kv: Vec<RefKey>,
    kv_writes: u64,
    /// What was taken in again: into which, from which, and its place there.
    readmitted: Vec<(Incarnation, Incarnation, u64)>,
    /// Below which place nothing is left, where it was said.
    gone_below: BTreeMap<(Incarnation, Incarnation), u64>,
}

#[derive(Clone, Debug)]
pub(super) struct RefQueue {
    pub(super) attributes: QueueAttributes,
    generation: Generation,
    epoch: Time,
    pub(super) messages: Vec<RefMessage>,
    tokens: BTreeMap<Token, (Time, Vec<MessageId>)>,
    taken: BTreeSet<(Incarnation, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct RefMessage {
    produced: Time,
    /// The end of its delay, while its age counts from there.
    late: Option<Time>,
    count: u32,
    first: Time,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    Ready,
    Leased(ReceiptHandle, Time),
    Waiting(Time),
    Rewindable,
    Outboxed,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct RefTopic {
    attributes: TopicAttributes,
    generation: Generation,
    produced: Vec<Time>,
    pub(super) subscriptions: Vec<RefSubscription>,
    tokens: BTreeMap<Token, (Time, Vec<MessageId>)>,
}

#[derive(Clone, Debug)]
pub(super) struct RefSubscription {
    pub(super) id: SubscriptionId,
    name: Name,
    attributes: SubscriptionAttributes,
    /// By sequence; what is gone is not in it.
    pub(super) backlog: BTreeMap<u64, RefMessage>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct RefParcel {
    pub(super) source: Incarnation,
    pub(super) target: Incarnation,
    pub(super) sequence: u64,
    pub(super) count: u32,
    pub(super) cause: MoveCause,
}

type Outcome = Result<SetReply, Refusal>;

impl Reference {
    pub(super) fn apply(&mut self, batch: &Batch<SetCommand>) -> Vec<Outcome> {
        self.now = self.now.max(batch.now);
        self.stored.clear();
        for queue in self.queues.keys().copied().collect::<Vec<_>>() {
            self.catch_up_queue(queue);
        }
        for topic in self.topics.keys().copied().collect::<Vec<_>>() {
            self.catch_up_topic(topic);
        }
        let submissions = batch.submissions.iter().enumerate();
        submissions
            .map(|(position, submission)| self.submit(position, submission))
            .collect()
    }

    pub(super) fn is_kept(&self, body: BodyKey) -> bool {
        let (stream, sequence) = (body.stream, body.sequence.0);
        let in_queue = self.queues.get(&stream).is_some_and(|queue| {
            let index = sequence.checked_sub(1).map(|i| i as usize);
            index
                .and_then(|index| queue.messages.get(index))
                .is_some_and(|m| m.state != State::Gone && m.state != State::Outboxed)
        });
        let in_topic = self.topics.get(&stream).is_some_and(|topic| {
            topic
                .subscriptions
                .iter()
                .any(|s| s.backlog.contains_key(&sequence))
        });
        let is_outboxed = self
            .outbox
            .iter()
            .any(|p| p.source == stream && p.sequence == sequence);
        in_queue || in_topic || is_outboxed
    }

    /// The next time at which something changes by itself, if the set were to say so exactly.
    pub(super) fn next_change(&self) -> Option<Time> {
        let queues = self.queues.values().flat_map(|queue| {
            queue
                .messages
                .iter()
                .enumerate()
                .filter_map(|(i, m)| match m.state {
                    State::Ready => Some(queue.start(i) + queue.attributes.retention),
                    State::Leased(_, until) | State::Waiting(until) => Some(until),
                    State::Rewindable => Some(queue.effective(i) + queue.attributes.rewind),
                    State::Outboxed | State::Gone => None,
                })
        });
        let topics = self.topics.values().flat_map(|topic| {
            topic
                .subscriptions
                .iter()
                .flat_map(|s| &s.backlog)
                .filter_map(|(sequence, m)| match m.state {
                    State::Leased(_, until) | State::Waiting(until) => Some(until),
                    State::Ready => Some(topic.effective(*sequence) + topic.attributes.retention),
                    State::Rewindable | State::Outboxed | State::Gone => None,
                })
        });
        let kept = self.kv.iter().filter_map(|kept| kept.until);
        let kept = kept.filter(|until| *until > self.now);
        queues.chain(topics).chain(kept).min()
    }

    fn submit(&mut self, position: usize, submission: &Submission<SetCommand>) -> Outcome {
        let mut outcome = submission.call.and_then(|call| self.calls.get(&call)).cloned();
        if let Some(Ok(SetReply::Leased(leased))) = &mut outcome {
            leased.retain(|one| self.is_leased(one.handle));
        }
        match outcome {
            Some(Ok(SetReply::Leased(leased))) if leased.is_empty() => {}
            Some(outcome) => return outcome,
            None => {}
        }
        let outcome = self.perform(position as u32, &submission.command);
        let comes_again = match &outcome {
            Err(Refusal::DecidedTooEarly { .. } | Refusal::StaleRead) => true,
            Ok(SetReply::Leased(leased)) => leased.is_empty(),
            Ok(_) | Err(_) => false,
        };
        if let Some(call) = submission.call.filter(|_| !comes_again) {
            self.calls.insert(call, outcome.clone());
        }
        outcome
    }

    fn is_leased(&self, handle: ReceiptHandle) -> bool {
        let queued = self.queues.values().flat_map(|queue| &queue.messages);
        let subscriptions = self.topics.values().flat_map(|topic| &topic.subscriptions);
        let published = subscriptions.flat_map(|subscription| subscription.backlog.values());
        queued
            .chain(published)
            .any(|message| message.is_leased(handle, self.now))
    }

    fn perform(&mut self, position: u32, command: &SetCommand) -> Outcome {
        let now = self.now;
        match command {
            SetCommand::Define {
                incarnation,
                generation,
                definition,
                ..
            } => self.define(*incarnation, *generation, definition),
            SetCommand::Drop { incarnation } => {
                if self
                    .topics
                    .get(incarnation)
                    .is_some_and(|t| !t.subscriptions.is_empty())
                {
                    return Err(Refusal::HasSubscriptions);
                }
                self.queues.remove(incarnation);
                self.topics.remove(incarnation);
                self.outbox.retain(|parcel| parcel.source != *incarnation);
                self.readmitted.retain(|(target, ..)| target != incarnation);
                self.gone_below.retain(|(target, _), _| target != incarnation);
                self.forget_kv_of(|place| match place {
                    Place::Incarnation(at) | Place::Subscription(at, _) => at == *incarnation,
                    _ => false,
                });
                Ok(SetReply::Dropped)
            }
            SetCommand::Subscribe {
                topic,
                name,
                attributes,
            } => {
                let id = SubscriptionId(self.subscriptions + 1);
                let topic = self.topic(*topic)?;
                if topic.named(name).is_some() {
                    return Err(Refusal::SubscriptionExists);
                }
                topic.subscriptions.push(RefSubscription {
                    id,
                    name: name.clone(),
                    attributes: attributes.clone(),
                    backlog: BTreeMap::new(),
                });
                self.subscriptions += 1;
                Ok(SetReply::Subscribed(id))
            }
            SetCommand::AlterSubscription {
                topic,
                name,
                attributes,
            } => {
                let topic = self.topic(*topic)?;
                let index = topic.named(name).ok_or(Refusal::NoSubscription)?;
                if topic.subscriptions[index].attributes.endpoint != attributes.endpoint {
                    return Err(Refusal::EndpointFixed);
                }
                topic.subscriptions[index].attributes = attributes.clone();
                Ok(SetReply::Altered)
            }
            SetCommand::Unsubscribe { topic, name } => {
                let known = self.topic(*topic)?;
                let index = known.named(name).ok_or(Refusal::NoSubscription)?;
                let gone = known.subscriptions.remove(index).id;
                self.forget_kv_of(|place| place == Place::Subscription(*topic, gone));
                Ok(SetReply::Unsubscribed)
            }
            SetCommand::Send {
                queue,
                delay,
                messages,
                token,
                decided_at,
            } => {
                let ids: Vec<MessageId> = messages.iter().map(|m| m.message.id).collect();
                self.last_message = self
                    .last_message
                    .max(ids.iter().copied().max().unwrap_or_default());
                self.catch_up_queue(*queue);
                let decided = self.decided(*decided_at);
                if let Some(ids) = recall(&self.queue(*queue)?.tokens, token, now) {
                    return Ok(SetReply::Sent(ids));
                }
                decided?;
                let limit = u64::from(self.queue(*queue)?.attributes.body_bytes_max);
                for incoming in messages {
                    let bytes = incoming.message.body.len() as u64;
                    if bytes > limit {
                        return Err(Refusal::BodyTooLarge { bytes, limit });
                    }
                }
                for (ordinal, _) in messages.iter().enumerate().filter(|(_, m)| m.keep) {
                    self.append(*queue, position, ordinal, *delay);
                }
                if let Some(token) = token {
                    let until = now + Span::from_seconds(300);
                    self.queue(*queue)?
                        .tokens
                        .insert(token.clone(), (until, ids.clone()));
                }
                Ok(SetReply::Sent(ids))
            }
            SetCommand::Receive {
                queue,
                max,
                visibility,
            } => {
                self.catch_up_queue(*queue);
                self.receive(*queue, usize::from(*max), *visibility)
            }
            SetCommand::Delete { queue, handles } => {
                self.catch_up_queue(*queue);
                let queue = self.queue(*queue)?;
                Ok(SetReply::Deleted(
                    handles.iter().map(|h| queue.delete(*h, now)).collect(),
                ))
            }
            SetCommand::Release { queue, handles } => {
                self.catch_up_queue(*queue);
                for handle in handles {
                    let known = self.queue(*queue)?;
                    if let Some(index) = known.leased(*handle, now) {
                        known.messages[index].count -= 1;
                        self.surface(*queue, index);
                    }
                }
                self.queue(*queue)?;
                Ok(SetReply::Released)
            }
            SetCommand::Rewind { queue, to } => {
                self.catch_up_queue(*queue);
                self.queue(*queue)?.rewind(*to, now)
            }
            SetCommand::Publish {
                topic,
                publications,
                token,
                decided_at,
            } => self.publish(position, *topic, publications, token, *decided_at),
            SetCommand::Claim {
                topic,
                subscription,
                max,
                span,
                term,
            } => {
                self.lead(*term);
                if *term < self.led {
                    return Err(Refusal::StaleTerm);
                }
                self.claim(*topic, *subscription, usize::from(*max), *span)
            }
            SetCommand::Settle {
                topic,
                subscription,
                outcomes,
            } => {
                self.topic(*topic)?.subscription(*subscription)?;
                for settled in outcomes {
                    self.settle(*topic, *subscription, settled)?;
                }
                Ok(SetReply::Settled)
            }
            SetCommand::Deposit {
                target,
                source,
                parcels,
            } => {
                let ids = parcels.iter().map(|p| p.message.id).max().unwrap_or_default();
                self.last_message = self.last_message.max(ids);
                self.catch_up_queue(*target);
                self.queue(*target)?;
                for (ordinal, parcel) in parcels.iter().enumerate() {
                    if self.queue(*target)?.taken.insert((*source, parcel.number)) {
                        self.append(*target, position, ordinal, Span::ZERO);
                    }
                }
                Ok(SetReply::Deposited(
                    parcels.iter().map(|parcel| parcel.number).collect(),
                ))
            }
            SetCommand::Shipped { .. } => Ok(SetReply::Shipped),
            SetCommand::Tick => {
                for queue in self.queues.keys().copied().collect::<Vec<_>>() {
                    self.catch_up_queue(queue);
                }
                for topic in self.topics.keys().copied().collect::<Vec<_>>() {
                    self.catch_up_topic(topic);
                }
                Ok(SetReply::Ticked { more: false })
            }
            SetCommand::Lead { term } => {
                self.lead(*term);
                Ok(SetReply::Noted)
            }
            SetCommand::Observe { directory } => {
                self.directory_seen = self.directory_seen.max(*directory);
                Ok(SetReply::Noted)
            }
            SetCommand::Cut | SetCommand::Rewrite { .. } => Ok(SetReply::Noted),
            SetCommand::Decide { uses, command } => self.decide(position, uses, command.command()),
            SetCommand::ForgetKv {
                place,
                world,
                tenant,
                decided_at,
            } => {
                self.decided(*decided_at)?;
                self.kv.retain(|kept| {
                    let at = kept.store.place == *place && kept.store.world == *world;
                    !at || tenant.is_some_and(|tenant| tenant != kept.store.tenant)
                });
                Ok(SetReply::Noted)
            }
            SetCommand::Return {
                queue,
                handles,
                delay,
            } => {
                self.catch_up_queue(*queue);
                self.queue(*queue)?;
                let each = handles.iter().map(|handle| {
                    let known = self.queue(*queue)?;
                    let index = known.leased(*handle, now).ok_or(Refusal::BadHandle(*handle))?;
                    match delay.is_zero() {
                        true => self.surface(*queue, index),
                        false => known.messages[index].state = State::Leased(ReceiptHandle(0), now + *delay),
                    }
                    Ok(())
                });
                Ok(SetReply::Returned(each.collect()))
            }
            SetCommand::Extend {
                queue,
                handles,
                visibility,
            } => {
                self.catch_up_queue(*queue);
                let known = self.queue(*queue)?;
                let each = handles.iter().map(|handle| {
                    let index = known.leased(*handle, now).ok_or(Refusal::BadHandle(*handle))?;
                    known.messages[index].state = State::Leased(*handle, now + *visibility);
                    Ok(())
                });
                Ok(SetReply::Extended(each.collect()))
            }
            SetCommand::ReceiveThese {
                queue,
                sequences,
                visibility,
            } => {
                self.catch_up_queue(*queue);
                self.queue(*queue)?;
                self.receive_these(*queue, sequences, now + *visibility)
            }
            SetCommand::Readmit { .. } => self.readmit(position, command),
            SetCommand::Park { .. } => {
                unreachable!("no action asks for it: what is parked has tests of its own")
            }
        }
    }

    fn define(
        &mut self,
        incarnation: Incarnation,
        generation: Generation,
        definition: &Definition,
    ) -> Outcome {
        match definition {
            Definition::Queue(attributes) => {
                if self.topics.contains_key(&incarnation) {
                    return Err(Refusal::WrongKind(incarnation));
                }
                self.catch_up_queue(incarnation);
                let queue = self.queues.entry(incarnation).or_insert_with(|| RefQueue {
                    attributes: attributes.clone(),
                    generation,
                    epoch: Time::default(),
                    messages: Vec::new(),
                    tokens: BTreeMap::new(),
                    taken: BTreeSet::new(),
                });
                if generation > queue.generation {
                    queue.generation = generation;
                    queue.attributes = attributes.clone();
                    let drops = attributes.rewind.is_zero();
                    for message in &mut queue.messages {
                        if drops && message.state == State::Rewindable {
                            message.state = State::Gone;
                        }
                    }
                }
            }
            Definition::Topic(attributes) => {
                if self.queues.contains_key(&incarnation) {
                    return Err(Refusal::WrongKind(incarnation));
                }
                self.catch_up_topic(incarnation);
                let topic = self.topics.entry(incarnation).or_insert_with(|| RefTopic {
                    attributes: attributes.clone(),
                    generation,
                    produced: Vec::new(),
                    subscriptions: Vec::new(),
                    tokens: BTreeMap::new(),
                });
                if generation > topic.generation {
                    topic.generation = generation;
                    topic.attributes = attributes.clone();
                }
            }
        }
        Ok(SetReply::Defined)
    }

    fn receive(&mut self, queue: Incarnation, max: usize, visibility: Option<Span>) -> Outcome {
        let mut leased = Vec::new();
        for index in 0..self.queue(queue)?.messages.len() {
            let now = self.now;
            let known = self.queue(queue)?;
            let until = now + visibility.unwrap_or(known.attributes.visibility);
            if leased.len() == max || known.messages[index].state != State::Ready {
                continue;
            }
            if let Some(cause) = known.cause_of_death(index, now) {
                self.bury(queue, index, cause);
                continue;
            }
            self.handles += 1;
            let handle = ReceiptHandle(self.handles);
            let message = &mut self.queue(queue)?.messages[index];
            leased.push(message.lease(queue, index as u64 + 1, handle, until, now));
        }
        Ok(SetReply::Leased(leased))
    }

    fn receive_these(&mut self, queue: Incarnation, sequences: &[Sequence], until: Time) -> Outcome {
        let now = self.now;
        let mut leased = Vec::new();
        for Sequence(sequence) in sequences {
            let known = self.queue(queue)?;
            let Some(index) = sequence.checked_sub(1).map(|index| index as usize) else {
                continue;
            };
            let is_ready = known.messages.get(index).is_some_and(|m| m.state == State::Ready);
            if !is_ready || known.cause_of_death(index, now).is_some() {
                continue;
            }
            self.handles += 1;
            let handle = ReceiptHandle(self.handles);
            let message = &mut self.queue(queue)?.messages[index];
            leased.push(message.lease(queue, *sequence, handle, until, now));
        }
        Ok(SetReply::Leased(leased))
    }

    /// Takes in by a send or a publish of one, unless that was done before.
    fn readmit(&mut self, position: u32, command: &SetCommand) -> Outcome {
        let SetCommand::Readmit {
            target,
            source,
            sequence: Sequence(sequence),
            gone_below: Sequence(gone_below),
            content,
            decided_at,
        } = command
        else {
            panic!("{command:?}");
        };
        let id = content.messages().map(|message| message.id).max();
        self.last_message = self.last_message.max(id.unwrap_or_default());
        if self.was_readmitted(*target, *source, *sequence) {
            return Ok(SetReply::Readmitted { anew: false });
        }
        self.decided(*decided_at)?;
        let command = match &**content {
            Readmitted::Queue(incoming) => SetCommand::Send {
                queue: *target,
                delay: Span::ZERO,
                messages: vec![incoming.clone()],
                token: None,
                decided_at: *decided_at,
            },
            Readmitted::Topic(publication) => SetCommand::Publish {
                topic: *target,
                publications: vec![publication.clone()],
                token: None,
                decided_at: *decided_at,
            },
        };
        self.perform(position, &command)?;
        self.readmitted.push((*target, *source, *sequence));
        let gone = self.gone_below.entry((*target, *source)).or_default();
        *gone = (*gone).max(*gone_below);
        Ok(SetReply::Readmitted { anew: true })
    }

    fn was_readmitted(&self, target: Incarnation, source: Incarnation, sequence: u64) -> bool {
        let gone = self.gone_below.get(&(target, source));
        gone.is_some_and(|gone| sequence < *gone) || self.readmitted.contains(&(target, source, sequence))
    }

    fn publish(
        &mut self,
        position: u32,
        incarnation: Incarnation,
        publications: &[Publication],
        token: &Option<Token>,
        decided_at: LogIndex,
    ) -> Outcome {
        let now = self.now;
        let ids: Vec<MessageId> = publications.iter().map(|p| p.message.id).collect();
        self.last_message = self
            .last_message
            .max(ids.iter().copied().max().unwrap_or_default());
        let decided = self.decided(decided_at);
        if let Some(ids) = recall(&self.topic(incarnation)?.tokens, token, now) {
            return Ok(SetReply::Sent(ids));
        }
        decided?;
        let mut ordinal = 0;
        for publication in publications {
            let mut contents = vec![publication.matched.clone()];
            contents.extend(publication.replaced.iter().map(|(s, _)| vec![*s]));
            for matched in contents {
                let topic = self.topic(incarnation)?;
                let sequence = topic.produced.len() as u64 + 1;
                let mut is_stored = false;
                for subscription in &mut topic.subscriptions {
                    if matched.contains(&subscription.id) {
                        let message = RefMessage::new(now, None, State::Ready);
                        subscription.backlog.insert(sequence, message);
                        is_stored = true;
                    }
                }
                if is_stored {
                    topic.produced.push(now);
                    let sequence = Sequence(sequence);
                    let body = BodyKey {
                        stream: incarnation,
                        sequence,
                    };
                    self.stored.push((body, position, ordinal));
                }
                ordinal += 1;
            }
        }
        if let Some(token) = token {
            let until = now + Span::from_seconds(300);
            self.topic(incarnation)?
                .tokens
                .insert(token.clone(), (until, ids.clone()));
        }
        Ok(SetReply::Sent(ids))
    }

    fn claim(&mut self, incarnation: Incarnation, id: SubscriptionId, max: usize, span: Span) -> Outcome {
        let (now, mut handles) = (self.now, self.handles);
        let topic = self.topic(incarnation)?;
        if span.is_zero() {
            return Err(Refusal::OutOfRange {
                attribute: "span".to_owned(),
            });
        }
        let subscription = topic.subscription(id)?;
        let ready = subscription
            .backlog
            .iter_mut()
            .filter(|(_, m)| m.state == State::Ready);
        let mut leased = Vec::new();
        for (sequence, message) in ready.take(max) {
            handles += 1;
            let handle = ReceiptHandle(handles);
            leased.push(message.lease(incarnation, *sequence, handle, now + span, now));
        }
        self.handles = handles;
        Ok(SetReply::Leased(leased))
    }

    fn settle(
        &mut self,
        incarnation: Incarnation,
        id: SubscriptionId,
        settled: &Settled,
    ) -> Result<(), Refusal> {
        let now = self.now;
        let subscription = self.topic(incarnation)?.subscription(id)?;
        let claimed = subscription
            .backlog
            .iter()
            .find(|(_, m)| m.is_leased(settled.handle, now));
        let Some(sequence) = claimed.map(|(sequence, _)| *sequence) else {
            return Ok(());
        };
        let message = subscription
            .backlog
            .get_mut(&sequence)
            .expect("it was just found");
        match &settled.outcome {
            SettledOutcome::Acknowledged | SettledOutcome::Dropped => {
                subscription.backlog.remove(&sequence);
            }
            SettledOutcome::Retry(after) if after.is_zero() => message.state = State::Ready,
            SettledOutcome::Retry(after) => message.state = State::Waiting(now + *after),
            SettledOutcome::Released => {
                message.count -= 1;
                message.state = State::Ready;
            }
            SettledOutcome::Enqueue { target, cause } => {
                let parcel = RefParcel {
                    source: incarnation,
                    target: *target,
                    sequence,
                    count: message.count,
                    cause: cause.clone(),
                };
                subscription.backlog.remove(&sequence);
                self.outbox.push(parcel);
            }
        }
        Ok(())
    }

    pub(super) fn ship(&mut self, source: Incarnation, target: Incarnation, sequence: u64) {
        let is_it = |p: &RefParcel| (p.source, p.target, p.sequence) == (source, target, sequence);
        if let Some(index) = self.outbox.iter().position(is_it) {
            self.outbox.remove(index);
            if let Some(queue) = self.queues.get_mut(&source) {
                queue.messages[sequence as usize - 1].state = State::Gone;
            }
        }
    }

    fn append(&mut self, queue: Incarnation, position: u32, ordinal: usize, delay: Span) {
        let now = self.now;
        let Some(known) = self.queues.get_mut(&queue) else {
            return;
        };
        let late = (!delay.is_zero()).then_some(now + delay);
        let state = late.map_or(State::Ready, State::Waiting);
        known.messages.push(RefMessage::new(now, late, state));
        let sequence = Sequence(known.messages.len() as u64);
        self.stored.push((
            BodyKey {
                stream: queue,
                sequence,
            },
            position,
            ordinal as u32,
        ));
    }

    fn catch_up_queue(&mut self, incarnation: Incarnation) {
        let now = self.now;
        let Some(queue) = self.queues.get_mut(&incarnation) else {
            return;
        };
        let retention = queue.attributes.retention;
        let rewind = queue.attributes.rewind.min(retention);
        for index in 0..queue.messages.len() {
            let age_from = match queue.messages[index].state {
                State::Ready | State::Leased(..) | State::Waiting(_) => queue.start(index) + retention,
                State::Rewindable => queue.effective(index) + rewind,
                State::Outboxed | State::Gone => continue,
            };
            if age_from <= now {
                queue.messages[index].state = State::Gone;
            }
        }
        for index in 0..queue.messages.len() {
            let queue = &self.queues[&incarnation];
            match queue.messages[index].state {
                State::Leased(_, until) | State::Waiting(until) if until <= now => {
                    self.surface(incarnation, index);
                }
                State::Ready => {
                    let cause = queue.cause_of_death(index, now);
                    if cause == Some(MoveCause::WaitedTooLong) {
                        self.bury(incarnation, index, MoveCause::WaitedTooLong);
                    }
                }
                _ => {}
            }
        }
    }

    fn surface(&mut self, incarnation: Incarnation, index: usize) {
        let now = self.now;
        let Some(queue) = self.queues.get_mut(&incarnation) else {
            return;
        };
        match queue.cause_of_death(index, now) {
            Some(cause) => self.bury(incarnation, index, cause),
            None => queue.messages[index].state = State::Ready,
        }
    }

    fn bury(&mut self, incarnation: Incarnation, index: usize, cause: MoveCause) {
        let Some(queue) = self.queues.get_mut(&incarnation) else {
            return;
        };
        let policy = queue
            .attributes
            .dead_letter
            .as_ref()
            .expect("a policy gave the cause");
        self.outbox.push(RefParcel {
            source: incarnation,
            target: policy.target,
            sequence: index as u64 + 1,
            count: queue.messages[index].count,
            cause,
        });
        queue.messages[index].state = State::Outboxed;
    }

    fn catch_up_topic(&mut self, incarnation: Incarnation) {
        let now = self.now;
        let Some(topic) = self.topics.get_mut(&incarnation) else {
            return;
        };
        let retention = topic.attributes.retention;
        let old: Vec<bool> = (1..=topic.produced.len() as u64)
            .map(|sequence| topic.effective(sequence) + retention <= now)
            .collect();
        for subscription in &mut topic.subscriptions {
            subscription
                .backlog
                .retain(|sequence, _| !old[*sequence as usize - 1]);
            for message in subscription.backlog.values_mut() {
                match message.state {
                    State::Leased(_, until) | State::Waiting(until) if until <= now => {
                        message.state = State::Ready;
                    }
                    _ => {}
                }
            }
        }
    }

    fn lead(&mut self, term: Term) {
        if term <= self.led {
            return;
        }
        self.led = term;
        let subscriptions = self.topics.values_mut().flat_map(|t| &mut t.subscriptions);
        for message in subscriptions.flat_map(|s| s.backlog.values_mut()) {
            if matches!(message.state, State::Leased(..)) {
                message.state = State::Ready;
            }
        }
    }

    fn decided(&mut self, decided_at: LogIndex) -> Result<(), Refusal> {
        if decided_at.0 != 0 && decided_at < self.directory_seen {
            return Err(Refusal::DecidedTooEarly {
                decided_at,
                seen: self.directory_seen,
            });
        }
        self.directory_seen = self.directory_seen.max(decided_at);
        Ok(())
    }

    fn queue(&mut self, queue: Incarnation) -> Result<&mut RefQueue, Refusal> {
        let is_topic = self.topics.contains_key(&queue);
        let other = if is_topic {
            Refusal::WrongKind(queue)
        } else {
            Refusal::NoIncarnation(queue)
        };
        self.queues.get_mut(&queue).ok_or(other)
    }

    fn topic(&mut self, topic: Incarnation) -> Result<&mut RefTopic, Refusal> {
        self.catch_up_topic(topic);
        let is_queue = self.queues.contains_key(&topic);
        let other = if is_queue {
            Refusal::WrongKind(topic)
        } else {
            Refusal::NoIncarnation(topic)
        };
        self.topics.get_mut(&topic).ok_or(other)
    }
}

impl RefQueue {
    pub(super) fn count(&self, is_it: impl Fn(&State) -> bool) -> u64 {
        self.messages
            .iter()
            .filter(|message| is_it(&message.state))
            .count() as u64
    }

    pub(super) fn oldest(&self) -> Option<Time> {
        let is_waiting =
            |m: &RefMessage| matches!(m.state, State::Ready | State::Leased(..) | State::Waiting(_));
        let index = self.messages.iter().position(is_waiting)?;
        Some(self.effective(index))
    }

    /// When a message counts as produced: with the last of its second.
    fn effective(&self, index: usize) -> Time {
        let second = self.messages[index].produced.seconds();
        let of_second = self.messages.iter().filter(|m| m.produced.seconds() == second);
        of_second
            .map(|m| m.produced)
            .max()
            .expect("the message is of its own second")
    }

    fn start(&self, index: usize) -> Time {
        self.messages[index].late.unwrap_or_else(|| self.effective(index))
    }

    fn cause_of_death(&self, index: usize, now: Time) -> Option<MoveCause> {
        match self.attributes.dead_letter.as_ref()?.rule {
            DeadLetterRule::ReceiveCount { max } => {
                (self.messages[index].count >= max).then_some(MoveCause::ReceivedTooOften)
            }
            DeadLetterRule::Age { max } => {
                (self.start(index).max(self.epoch) + max <= now).then_some(MoveCause::WaitedTooLong)
            }
        }
    }

    fn leased(&self, handle: ReceiptHandle, now: Time) -> Option<usize> {
        self.messages.iter().position(|m| m.is_leased(handle, now))
    }

    fn delete(&mut self, handle: ReceiptHandle, now: Time) -> Result<(), Refusal> {
        let index = self.leased(handle, now).ok_or(Refusal::BadHandle(handle))?;
        let stays = self.effective(index) + self.attributes.rewind > now;
        self.messages[index].state = if stays { State::Rewindable } else { State::Gone };
        self.messages[index].late = None;
        Ok(())
    }

    fn rewind(&mut self, to: Time, now: Time) -> Outcome {
        if self.attributes.rewind.is_zero() {
            return Err(Refusal::NotRewindable);
        }
        if to > now || to.seconds() < now.before(self.attributes.rewind).seconds() {
            return Err(Refusal::RewindOutOfRange);
        }
        self.epoch = now;
        for message in &mut self.messages {
            match message.state {
                State::Ready | State::Leased(..) => {
                    message.state = State::Ready;
                    message.count = 0;
                }
                State::Rewindable if message.produced.seconds() >= to.seconds() => {
                    message.state = State::Ready;
                    message.count = 0;
                }
                State::Rewindable | State::Waiting(_) | State::Outboxed | State::Gone => {}
            }
        }
        Ok(SetReply::Rewound)
    }
}

impl RefTopic {
    fn named(&self, name: &Name) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|s| s.name.folded() == name.folded())
    }

    fn subscription(&mut self, id: SubscriptionId) -> Result<&mut RefSubscription, Refusal> {
        self.subscriptions
            .iter_mut()
            .find(|s| s.id == id)
            .ok_or(Refusal::NoSubscription)
    }

    fn effective(&self, sequence: u64) -> Time {
        let second = self.produced[sequence as usize - 1].seconds();
        let of_second = self
            .produced
            .iter()
            .filter(|produced| produced.seconds() == second);
        *of_second.max().expect("the message is of its own second")
    }
}

impl RefMessage {
    fn new(produced: Time, late: Option<Time>, state: State) -> RefMessage {
        RefMessage {
            produced,
            late,
            count: 0,
            first: Time::default(),
            state,
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    fn is_leased(&self, handle: ReceiptHandle, now: Time) -> bool {
        // With a handle of zero it is leased to nobody.
        handle != ReceiptHandle(0)
            && matches!(self.state, State::Leased(held, until) if held == handle && until > now)
    }

    fn lease(
        &mut self,
        stream: Incarnation,
        sequence: u64,
        handle: ReceiptHandle,
        until: Time,
        now: Time,
    ) -> Leased {
        if self.count == 0 {
            self.first = now;
        }
        self.count += 1;
        self.state = State::Leased(handle, until);
        Leased {
            body: BodyKey {
                stream,
                sequence: Sequence(sequence),
            },
            handle,
            receive_count: self.count,
            first_received: self.first,
            visible_again: until,
        }
    }
}

fn recall(
    tokens: &BTreeMap<Token, (Time, Vec<MessageId>)>,
    token: &Option<Token>,
    now: Time,
) -> Option<Vec<MessageId>> {
    let (until, ids) = tokens.get(token.as_ref()?)?;
    (*until > now).then(|| ids.clone())
}
