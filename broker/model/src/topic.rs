//! A topic: each message stored once, and one bit of it in the backlog of each subscription that it matched.
//!
//! A body is kept while a subscription or an outbox needs it, and at most as long as the topic's retention.

mod delivery;
mod publish;
mod subscription;

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::ages::Ages;
use crate::bounds::SUBSCRIPTIONS_MAX;
use crate::outbox::Outboxed;
use crate::token::Tokens;
use crate::{
    Generation, Name, Refusal, SubscriptionAttributes, SubscriptionId, TenantId, Time, TopicAttributes,
};
pub use subscription::Subscription;

/// A topic of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    tenant: TenantId,
    name: Name,
    created: Time,
    modified: Time,
    generation: Generation,
    attributes: TopicAttributes,
    subscriptions: BTreeMap<SubscriptionId, Arc<Subscription>>,
    table_version: u64,
    /// The sequence of the next message.
    next: u64,
    /// What a subscription or an outbox needs.
    kept: RoaringTreemap,
    ages: Ages,
    outboxed: Outboxed,
    tokens: Tokens,
    pub(crate) alarm: Option<Time>,
}

// === impl Topic ===

impl Topic {
    pub(crate) fn new(
        tenant: TenantId,
        name: Name,
        generation: Generation,
        attributes: TopicAttributes,
        now: Time,
    ) -> Topic {
        Topic {
            tenant,
            name,
            created: now,
            modified: now,
            generation,
            attributes,
            subscriptions: BTreeMap::new(),
            table_version: 0,
            next: 1,
            kept: RoaringTreemap::new(),
            ages: Ages::default(),
            outboxed: Outboxed::default(),
            tokens: Tokens::default(),
            alarm: None,
        }
    }

    /// Changes the attributes, if they are newer than the known ones.
    pub(crate) fn redefine(
        &mut self,
        name: &Name,
        generation: Generation,
        attributes: &TopicAttributes,
        now: Time,
    ) -> Result<(), Refusal> {
        if generation <= self.generation {
            return Ok(());
        }
        attributes.check()?;
        self.name = name.clone();
        self.generation = generation;
        self.modified = now;
        self.attributes = attributes.clone();
        Ok(())
    }

    /// Returns what it is set to.
    pub fn attributes(&self) -> &TopicAttributes {
        &self.attributes
    }

    /// Returns whose it is.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns when it was made.
    pub fn created(&self) -> Time {
        self.created
    }

    /// Returns when its attributes were last changed.
    pub fn modified(&self) -> Time {
        self.modified
    }

    /// Returns which definition it has.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Returns how many messages are kept.
    pub fn message_count(&self) -> u64 {
        self.kept.len()
    }

    /// Returns a number that is another after every change of subscriptions.
    pub fn table_version(&self) -> u64 {
        self.table_version
    }

    /// Returns the subscriptions, in order of their making.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = &Subscription> + '_ {
        self.subscriptions.values().map(Arc::as_ref)
    }

    /// Returns a subscription by its number.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(&id).map(Arc::as_ref)
    }

    /// Returns a subscription by its name, whatever the case.
    pub fn subscription_named(&self, name: &Name) -> Option<&Subscription> {
        let mut subscriptions = self.subscriptions();
        subscriptions.find(|s| s.name().as_str().eq_ignore_ascii_case(name.as_str()))
    }

    pub(crate) fn subscription_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(&id).map(Arc::make_mut)
    }

    /// Adds a subscription under a number that no other ever had.
    pub(crate) fn subscribe(
        &mut self,
        id: SubscriptionId,
        name: &Name,
        attributes: &SubscriptionAttributes,
        now: Time,
    ) -> Result<(), Refusal> {
        attributes.check()?;
        if self.subscription_named(name).is_some() {
            return Err(Refusal::SubscriptionExists);
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Refusal::TooManySubscriptions {
                limit: SUBSCRIPTIONS_MAX as u64,
            });
        }
        let subscription = Subscription::new(id, name.clone(), attributes.clone(), now);
        self.subscriptions.insert(id, Arc::new(subscription));
        self.table_version += 1;
        Ok(())
    }

    /// Replaces a subscription's attributes.
    pub(crate) fn alter(
        &mut self,
        name: &Name,
        attributes: &SubscriptionAttributes,
        now: Time,
    ) -> Result<(), Refusal> {
        attributes.check()?;
        let id = self.subscription_named(name).ok_or(Refusal::NoSubscription)?.id();
        let subscription = self.subscription_mut(id).ok_or(Refusal::NoSubscription)?;
        if subscription.attributes().endpoint != attributes.endpoint {
            return Err(Refusal::EndpointFixed);
        }
        subscription.alter(attributes, now);
        self.table_version += 1;
        Ok(())
    }

    /// Removes a subscription with its backlog, and returns it.
    pub(crate) fn unsubscribe(&mut self, name: &Name) -> Result<Arc<Subscription>, Refusal> {
        let id = self.subscription_named(name).ok_or(Refusal::NoSubscription)?.id();
        let subscription = self.subscriptions.remove(&id).ok_or(Refusal::NoSubscription)?;
        self.table_version += 1;
        let mut unneeded = subscription.sequences() - self.outboxed.sequences();
        for other in self.subscriptions.values() {
            if unneeded.is_empty() {
                break;
            }
            unneeded -= other.sequences();
        }
        self.kept -= unneeded;
        Ok(subscription)
    }

    /// Returns whether a body is needed.
    pub(crate) fn is_kept(&self, sequence: u64) -> bool {
        self.kept.contains(sequence)
    }

    /// Returns how many bodies of a range are needed.
    pub(crate) fn kept_in(&self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.kept.range_cardinality(range)
    }

    /// Returns until when a body is needed at the most, if it is: all times when an outbox holds it.
    pub(crate) fn keep_until(&self, sequence: u64) -> Option<Time> {
        if self.outboxed.contains(sequence) {
            return Some(Time::MAX);
        }
        let until = self.ages.produced(sequence) + self.attributes.retention;
        self.is_kept(sequence).then_some(until)
    }

    /// Takes out of the outbox what a target has taken in.
    pub(crate) fn shipped(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            if self.outboxed.remove(*sequence) {
                self.let_go(*sequence, SubscriptionId(0));
            }
        }
    }

    /// Removes all that is too old, beside what is in an outbox, and forgets old tokens.
    pub(crate) fn expire(&mut self, now: Time) {
        self.tokens.expire(now);
        let end = self.ages.first_younger(self.attributes.retention, now, self.next);
        if self.kept.min().is_none_or(|oldest| oldest >= end) {
            return;
        }
        for subscription in self.subscriptions.values_mut() {
            if subscription.oldest().is_some_and(|oldest| oldest < end) {
                Arc::make_mut(subscription).remove_below(end);
            }
        }
        self.kept.remove_range(..end);
        let mut outboxed = self.outboxed.sequences().clone();
        outboxed.remove_range(end..);
        self.kept |= outboxed;
    }

    /// Returns when something is next due, beside what is in the backlogs.
    pub(crate) fn deadline(&self) -> Option<Time> {
        // What only an outbox holds does not expire.
        let oldest = if self.outboxed.is_empty() {
            self.kept.min()
        } else {
            self.subscriptions.values().filter_map(|s| s.oldest()).min()
        };
        let expiry = oldest.map(|s| self.ages.produced(s) + self.attributes.retention);
        [expiry, self.tokens.next_expiry()].into_iter().flatten().min()
    }

    /// Moves the alarms of subscriptions whose next deadline is another than the one they are set to.
    pub(crate) fn set_alarms(
        &mut self,
        mut set: impl FnMut(SubscriptionId, &mut Option<Time>, Option<Time>),
    ) {
        for (id, subscription) in &mut self.subscriptions {
            let next = subscription.deadline();
            if next != subscription.alarm {
                set(*id, &mut Arc::make_mut(subscription).alarm, next);
            }
        }
    }

    /// Lets go of memory that nothing needs. Called after each change.
    pub(crate) fn tidy(&mut self) {
        self.ages.forget_before(self.kept.min());
        if self.ages.wants_sweep() {
            let kept = &self.kept;
            self.ages
                .sweep(self.next, |range| kept.range_cardinality(range) > 0);
        }
    }

    /// Stops keeping a body that `subscription` or an outbox no longer needs, unless something else does. The
    /// search begins after the subscription, because leaders work subscriptions in order: the next one most
    /// probably still needs it.
    fn let_go(&mut self, sequence: u64, subscription: SubscriptionId) {
        let after = SubscriptionId(subscription.0.saturating_add(1));
        let later = self
            .subscriptions
            .range(after..)
            .chain(self.subscriptions.range(..after));
        let is_needed = later.into_iter().any(|(_, other)| other.holds(sequence));
        if !is_needed && !self.outboxed.contains(sequence) {
            self.kept.remove(sequence);
        }
    }
}
