//! A subscription: its own backlog of its topic's messages, claimed by the leader that delivers them.

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::backlog::{Backlog, Standing};
use crate::bounds::LEASES_MAX;
use crate::step::Step;
use crate::{Leased, Name, ReceiptHandle, Sequence, Span, SubscriptionAttributes, SubscriptionId, Time};

/// A subscription of a topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    id: SubscriptionId,
    name: Name,
    attributes: SubscriptionAttributes,
    created: Time,
    modified: Time,
    backlog: Backlog,
    pub(crate) alarm: Option<Time>,
}

// === impl Subscription ===

impl Subscription {
    pub(super) fn new(
        id: SubscriptionId,
        name: Name,
        attributes: SubscriptionAttributes,
        now: Time,
    ) -> Subscription {
        Subscription {
            id,
            name,
            attributes,
            created: now,
            modified: now,
            backlog: Backlog::default(),
            alarm: None,
        }
    }

    pub(super) fn alter(&mut self, attributes: &SubscriptionAttributes, now: Time) {
        self.attributes = attributes.clone();
        self.modified = now;
    }

    /// Returns its number.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Returns its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns what it is set to.
    pub fn attributes(&self) -> &SubscriptionAttributes {
        &self.attributes
    }

    /// Returns when it was made.
    pub fn created(&self) -> Time {
        self.created
    }

    /// Returns when its attributes were last changed.
    pub fn modified(&self) -> Time {
        self.modified
    }

    /// Returns how many messages it has not been rid of, in whatever state.
    pub fn backlog(&self) -> u64 {
        self.backlog.len()
    }

    /// Returns how many messages are claimed.
    pub fn claimed(&self) -> u64 {
        self.backlog.leased_count()
    }

    /// Returns whether a claim would find something.
    pub fn claimable(&self) -> bool {
        self.backlog.ready_count() > 0 && self.room() > 0
    }

    /// Returns how often a message has been claimed.
    pub fn attempts(&self, sequence: Sequence) -> u32 {
        self.backlog.mark(sequence.0).map_or(0, |mark| mark.receive_count)
    }

    /// Returns how a message stands, if the subscription still has it.
    pub fn standing(&self, sequence: Sequence) -> Option<Standing> {
        self.backlog.standing(sequence.0)
    }

    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.backlog.contains(sequence)
    }

    pub(super) fn sequences(&self) -> RoaringTreemap {
        self.backlog.sequences()
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.backlog.oldest()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.backlog.next_timer()
    }

    pub(super) fn add(&mut self, step: &mut Step<'_>, sequence: u64) {
        if !self.backlog.contains(sequence) {
            self.backlog.add_ready(sequence);
            step.wake_subscription(self.id);
        }
    }

    /// Leases up to `max` of the oldest messages that are neither claimed nor waiting for their retry.
    pub(super) fn claim(&mut self, step: &mut Step<'_>, max: usize, span: Span) -> Vec<Leased> {
        let mut leased = Vec::new();
        let until = step.now + span;
        while leased.len() < max && self.room() > 0 {
            let Some(sequence) = self.backlog.oldest_ready() else {
                break;
            };
            let handle = step.next_handle();
            let mark = self.backlog.lease(sequence, handle, until, step.now);
            leased.push(Leased {
                body: step.body(sequence),
                handle,
                receive_count: mark.receive_count,
                first_received: mark.first_received,
                visible_again: until,
            });
        }
        leased
    }

    pub(super) fn claimed_by(&self, handle: ReceiptHandle, now: Time) -> Option<u64> {
        self.backlog.leased_by(handle, now)
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        self.backlog.remove(sequence);
        self.tidy();
    }

    pub(super) fn remove_below(&mut self, end: u64) {
        self.backlog.remove_range(0..end, &[]);
        self.tidy();
    }

    pub(super) fn retry(&mut self, step: &mut Step<'_>, sequence: u64, after: Span) {
        if after.is_zero() {
            self.show(step, sequence);
        } else {
            self.backlog.postpone(sequence, step.now + after);
        }
    }

    pub(super) fn release(&mut self, step: &mut Step<'_>, sequence: u64) {
        self.backlog.uncount(sequence);
        self.show(step, sequence);
    }

    /// Ends claims and waits for retries that are over, up to a bound, and returns how many, at the least one.
    pub(super) fn catch_up(&mut self, step: &mut Step<'_>, bound: usize) -> usize {
        let mut done = 0;
        while done < bound
            && let Some(sequence) = self.backlog.due(step.now)
        {
            self.show(step, sequence);
            done += 1;
        }
        done.max(1)
    }

    /// Ends all claims. That they were made still counts.
    pub(super) fn void_claims(&mut self, step: &mut Step<'_>) {
        if self.backlog.void_leases() {
            step.wake_subscription(self.id);
        }
    }

    fn show(&mut self, step: &mut Step<'_>, sequence: u64) {
        self.backlog.show(sequence);
        step.wake_subscription(self.id);
    }

    /// Returns how many more messages can be claimed or wait for a retry.
    fn room(&self) -> usize {
        LEASES_MAX.saturating_sub(self.backlog.held_count() as usize)
    }

    fn tidy(&mut self) {
        if self.backlog.is_empty() {
            self.backlog = Backlog::default();
        }
    }
}
