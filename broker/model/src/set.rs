//! A set: the queues and topics of one Raft group, as the function of its log that they are.
//!
//! [`Set::apply`] is the only way in. Equal sets given equal entries stay equal, on every replica and at every
//! replay: the set has no clock but the entries' times, and no chance at all. Each entry first does what has
//! fallen due at its time, up to a bound, and then its commands in order.
//!
//! Queues, topics, subscriptions and sessions are shared by clones until one changes them, so that a clone to make
//! a checkpoint from is cheap.

mod alarm;
mod command;
mod readmissions;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bounds::{COMMAND_EXPIRIES_MAX, ENTRY_EXPIRIES_MAX};
use crate::kv::KvStores;
use crate::outbox::Outboxes;
use crate::queue::{Queue, not_here};
use crate::step::{Effects, Step};
use crate::topic::Topic;
use crate::{
    Applied, Batch, BodyKey, Incarnation, KvId, KvRoom, KvStore, Leased, LogIndex, MessageId, Outgoing,
    ReceiptHandle, Refusal, Sequences, SetCommand, SetId, SetReply, Submission, SubscriptionId, Term, Time,
};
use alarm::{Alarms, Place};
use readmissions::Readmissions;
use session::Sessions;

/// The latest time that a set believes, in the year 9999: sums of times and spans stay exact.
const LATEST: Time = Time::from_seconds(253_402_300_799);
/// The most subscriptions that [`Set::subscriptions_claimable`] names.
const CLAIMABLE_MAX: usize = 10_000;

/// The replicated state of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Set {
    id: SetId,
    applied: LogIndex,
    now: Time,
    directory_seen: LogIndex,
    last_message: MessageId,
    last_handle: ReceiptHandle,
    last_subscription: SubscriptionId,
    /// The latest term that led: no claim is of an earlier one.
    led: Term,
    queues: BTreeMap<Incarnation, Arc<Queue>>,
    topics: BTreeMap<Incarnation, Arc<Topic>>,
    outboxes: Arc<Outboxes>,
    alarms: Alarms,
    sessions: Sessions,
    /// Last but one: states that were kept before there were any end before them.
    kv: KvStores,
    /// Last: states that were kept before there were any end here.
    readmissions: Readmissions,
}

// === impl Set ===

impl Set {
    /// Returns a set that holds nothing.
    pub fn new(id: SetId) -> Set {
        Set {
            id,
            applied: LogIndex::default(),
            now: Time::default(),
            directory_seen: LogIndex::default(),
            last_message: MessageId::default(),
            last_handle: ReceiptHandle::default(),
            last_subscription: SubscriptionId::default(),
            led: Term::default(),
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            outboxes: Arc::default(),
            alarms: Alarms::default(),
            sessions: Sessions::default(),
            kv: KvStores::default(),
            readmissions: Readmissions::default(),
        }
    }

    /// Applies one agreed entry. Entries come in order, each once; between them may be entries that are not for
    /// the set.
    pub fn apply(&mut self, index: LogIndex, batch: &Batch<SetCommand>) -> Applied {
        assert!(index > self.applied, "entries apply in order, each once");
        self.applied = index;
        self.now = self.now.max(batch.now.min(LATEST));
        let mut effects = Effects::default();
        self.catch_up(&mut effects, ENTRY_EXPIRIES_MAX);
        let mut outcomes = Vec::with_capacity(batch.submissions.len());
        for (position, submission) in batch.submissions.iter().enumerate() {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            outcomes.push(self.submit(&mut effects, position, submission));
        }
        Applied {
            outcomes,
            stored: effects.stored,
            awake: effects.awake.into_iter().collect(),
            outgoing: effects.outgoing,
        }
    }

    /// Returns what the set holds of one queue or topic: what is read of that can be read of the excerpt.
    pub fn excerpt(&self, incarnation: Incarnation) -> Set {
        let mut excerpt = Set {
            applied: self.applied,
            now: self.now,
            ..Set::new(self.id)
        };
        excerpt.add(self, incarnation);
        excerpt
    }

    /// Puts what an excerpt of the same set tells in the place of what was told before of the same queue or topic.
    pub fn take_in(&mut self, excerpt: &Set, incarnation: Incarnation) {
        self.applied = self.applied.max(excerpt.applied);
        self.now = self.now.max(excerpt.now);
        self.queues.remove(&incarnation);
        self.topics.remove(&incarnation);
        self.add(excerpt, incarnation);
    }

    fn add(&mut self, from: &Set, incarnation: Incarnation) {
        let queue = from.queues.get(&incarnation);
        self.queues
            .extend(queue.map(|queue| (incarnation, Arc::clone(queue))));
        let topic = from.topics.get(&incarnation);
        self.topics
            .extend(topic.map(|topic| (incarnation, Arc::clone(topic))));
    }

    /// Returns which set it is.
    pub fn id(&self) -> SetId {
        self.id
    }

    /// Returns the time of the latest entry.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Returns the index of the latest entry.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Returns when a `Tick` is next needed; not after now when one is needed at once.
    pub fn deadline(&self) -> Option<Time> {
        self.alarms.next()
    }

    /// Returns the highest message id seen.
    pub fn last_message_id(&self) -> MessageId {
        self.last_message
    }

    /// Returns how far the directory's log had got when the latest decision was made.
    pub fn directory_seen(&self) -> LogIndex {
        self.directory_seen
    }

    /// Returns the latest term that is known to have led.
    pub fn led(&self) -> Term {
        self.led
    }

    /// Returns a queue.
    pub fn queue(&self, queue: Incarnation) -> Option<&Queue> {
        self.queues.get(&queue).map(Arc::as_ref)
    }

    /// Returns a topic.
    pub fn topic(&self, topic: Incarnation) -> Option<&Topic> {
        self.topics.get(&topic).map(Arc::as_ref)
    }

    /// Returns a kv store; none when nothing is in it.
    pub fn kv(&self, store: KvId) -> Option<&KvStore> {
        self.kv.get(store)
    }

    /// Returns a kv store as it is, to be looked at later: until then whatever is written to it first copies it.
    pub fn kv_as_it_is(&self, store: KvId) -> Option<Arc<KvStore>> {
        self.kv.shared(store).map(Arc::clone)
    }

    /// Returns how much more a kv store takes.
    pub fn kv_room(&self, store: KvId) -> KvRoom {
        self.kv.room(store)
    }

    /// Returns the kv stores that hold something.
    pub fn kv_stores(&self) -> impl Iterator<Item = KvId> + '_ {
        self.kv.ids()
    }

    /// Returns the incarnations of all queues, rising.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = Incarnation> + '_ {
        self.queues.keys().copied()
    }

    /// Returns the incarnations of all topics, rising.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = Incarnation> + '_ {
        self.topics.keys().copied()
    }

    /// Returns subscriptions of which messages can be claimed, at most 10,000: what a new leader begins with.
    pub fn subscriptions_claimable(&self) -> Vec<(Incarnation, SubscriptionId)> {
        let all = self.topics.iter().flat_map(|(incarnation, topic)| {
            topic
                .subscriptions()
                .map(move |subscription| (*incarnation, subscription))
        });
        let claimable = all.filter(|(_, subscription)| subscription.claimable());
        let named = claimable.map(|(incarnation, subscription)| (incarnation, subscription.id()));
        named.take(CLAIMABLE_MAX).collect()
    }

    /// Returns up to `max` messages on their way to queues, those that left the longest ago first.
    pub fn outgoing(&self, max: usize) -> Vec<Outgoing> {
        self.outboxes.oldest(max)
    }

    /// Returns up to `max` messages on their way from one source to one target, with numbers above `after`.
    pub fn outgoing_to(
        &self,
        source: Incarnation,
        target: Incarnation,
        after: u64,
        max: usize,
    ) -> Vec<Outgoing> {
        self.outboxes.oldest_to(source, target, after, max)
    }

    /// Returns the source and target of each outbox that holds something: one that is stuck holds up no other.
    pub fn lanes(&self) -> impl Iterator<Item = (Incarnation, Incarnation)> + '_ {
        self.outboxes.lanes()
    }

    /// Returns how many messages are on their way to queues.
    pub fn outgoing_count(&self) -> usize {
        self.outboxes.len()
    }

    /// Returns whether a body is needed.
    pub fn is_kept(&self, body: BodyKey) -> bool {
        let (stream, sequence) = (body.stream, body.sequence.0);
        match (self.queues.get(&stream), self.topics.get(&stream)) {
            (Some(queue), _) => queue.is_kept(sequence),
            (None, Some(topic)) => topic.is_kept(sequence),
            (None, None) => false,
        }
    }

    /// Returns how many bodies of a range of a stream are needed.
    pub fn kept_in(&self, stream: Incarnation, sequences: Sequences) -> u64 {
        let range = sequences.start().0..=sequences.end().0;
        match (self.queues.get(&stream), self.topics.get(&stream)) {
            (Some(queue), _) => queue.kept_in(range),
            (None, Some(topic)) => topic.kept_in(range),
            (None, None) => 0,
        }
    }

    /// Returns until when a body is needed at the most, if it is needed.
    pub fn keep_until(&self, body: BodyKey) -> Option<Time> {
        let (stream, sequence) = (body.stream, body.sequence.0);
        match (self.queues.get(&stream), self.topics.get(&stream)) {
            (Some(queue), _) => queue.keep_until(sequence),
            (None, Some(topic)) => topic.keep_until(sequence),
            (None, None) => None,
        }
    }

    /// Answers a command that was sent before as it was answered then, and does any other. Of leases, those are answered
    /// again that last: the others' messages may be another's by now. When none is left, it is leased anew.
    fn submit(
        &mut self,
        effects: &mut Effects,
        position: u32,
        submission: &Submission<SetCommand>,
    ) -> Result<SetReply, Refusal> {
        let Some(call) = submission.call else {
            return self.perform(effects, position, &submission.command);
        };
        if let Some(result) = self.sessions.recall(call)
            && let Some(result) = self.still_true(result)
        {
            return result;
        }
        let result = self.perform(effects, position, &submission.command);
        self.sessions.remember(call, &result);
        result
    }

    /// Returns what of an answer can be given again; none when nothing can.
    fn still_true(&self, result: Result<SetReply, Refusal>) -> Option<Result<SetReply, Refusal>> {
        let Ok(SetReply::Leased(mut leased)) = result else {
            return Some(result);
        };
        leased.retain(|one| self.is_leased(one));
        (!leased.is_empty()).then_some(Ok(SetReply::Leased(leased)))
    }

    /// Returns whether a lease that was given lasts.
    fn is_leased(&self, one: &Leased) -> bool {
        let stream = one.body.stream;
        let in_queue = |queue: &Arc<Queue>| queue.is_leased(one.handle, self.now);
        let in_topic = |topic: &Arc<Topic>| topic.is_claimed(one.handle, self.now);
        self.queues.get(&stream).is_some_and(in_queue) || self.topics.get(&stream).is_some_and(in_topic)
    }

    /// Does what is due, up to a bound, and returns whether more is.
    fn catch_up(&mut self, effects: &mut Effects, bound: usize) -> bool {
        let mut done = 0;
        while let Some(place) = self.alarms.due(self.now) {
            if done >= bound {
                return true;
            }
            done += match place {
                Place::Stream(stream) => self.catch_up_stream(effects, stream, bound - done),
                Place::Subscription(topic, subscription) => {
                    let bound = bound - done;
                    let caught_up = self.with_topic(effects, 0, topic, |topic, step| {
                        Ok(topic.catch_up(step, subscription, bound))
                    });
                    caught_up.unwrap_or(1)
                }
                Place::Kv(store) => {
                    let expired = self.kv.expire(store, self.now, bound - done);
                    self.tidy_kv(store);
                    expired.max(1)
                }
            };
        }
        false
    }

    fn catch_up_stream(&mut self, effects: &mut Effects, stream: Incarnation, bound: usize) -> usize {
        let caught_up = if self.topics.contains_key(&stream) {
            // A topic catches up with what it keeps before everything that is asked of it.
            self.with_topic(effects, 0, stream, |_, _| Ok(1))
        } else {
            self.lend_queue(effects, 0, stream, |queue, step| Ok(queue.catch_up(step, bound)))
        };
        caught_up.unwrap_or(1)
    }

    /// Sets a kv store's alarm to when something in it next expires.
    fn tidy_kv(&mut self, store: KvId) {
        let alarms = &mut self.alarms;
        self.kv
            .tidy(store, |alarm, next| alarms.set(Place::Kv(store), alarm, next));
    }

    /// Has a queue do something, once it has caught up with the time.
    fn with_queue<R>(
        &mut self,
        effects: &mut Effects,
        position: u32,
        incarnation: Incarnation,
        act: impl FnOnce(&mut Queue, &mut Step<'_>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        self.lend_queue(effects, position, incarnation, |queue, step| {
            if queue.alarm.is_some_and(|alarm| alarm <= step.now) {
                queue.catch_up(step, COMMAND_EXPIRIES_MAX);
            }
            act(queue, step)
        })
    }

    fn lend_queue<R>(
        &mut self,
        effects: &mut Effects,
        position: u32,
        incarnation: Incarnation,
        act: impl FnOnce(&mut Queue, &mut Step<'_>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let Some(queue) = self.queues.get_mut(&incarnation) else {
            return Err(not_here(incarnation, self.topics.contains_key(&incarnation)));
        };
        let queue = Arc::make_mut(queue);
        let mut step = Step {
            now: self.now,
            stream: incarnation,
            submission: position,
            last_handle: &mut self.last_handle,
            outboxes: &mut self.outboxes,
            effects,
        };
        let result = act(queue, &mut step);
        queue.tidy();
        let deadline = queue.deadline();
        self.alarms
            .set(Place::Stream(incarnation), &mut queue.alarm, deadline);
        result
    }

    /// Has a topic do something, once it has caught up with the time.
    fn with_topic<R>(
        &mut self,
        effects: &mut Effects,
        position: u32,
        incarnation: Incarnation,
        act: impl FnOnce(&mut Topic, &mut Step<'_>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let Some(topic) = self.topics.get_mut(&incarnation) else {
            return Err(not_here(incarnation, self.queues.contains_key(&incarnation)));
        };
        let topic = Arc::make_mut(topic);
        let mut step = Step {
            now: self.now,
            stream: incarnation,
            submission: position,
            last_handle: &mut self.last_handle,
            outboxes: &mut self.outboxes,
            effects,
        };
        if topic.alarm.is_some_and(|alarm| alarm <= step.now) {
            topic.expire(step.now);
        }
        let result = act(topic, &mut step);
        topic.tidy();
        let deadline = topic.deadline();
        self.alarms
            .set(Place::Stream(incarnation), &mut topic.alarm, deadline);
        topic.set_alarms(|subscription, alarm, next| {
            self.alarms
                .set(Place::Subscription(incarnation, subscription), alarm, next);
        });
        result
    }
}
