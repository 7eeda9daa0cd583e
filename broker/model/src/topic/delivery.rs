//! How messages leave a topic: claimed by the leader for a subscription, and settled.

use crate::attributes::out_of_range;
use crate::bounds::{COMMAND_EXPIRIES_MAX, MESSAGES_PER_COMMAND_MAX, OUTBOX_RETRY_SECONDS};
use crate::step::Step;
use crate::topic::Topic;
use crate::{
    Incarnation, Leased, MoveCause, ReceiptHandle, Refusal, Settled, SettledOutcome, Span, SubscriptionId,
    Time,
};

// === impl Topic ===

impl Topic {
    /// Leases up to `max` of a subscription's oldest messages that are due.
    pub(crate) fn claim(
        &mut self,
        step: &mut Step<'_>,
        subscription: SubscriptionId,
        max: u16,
        span: Span,
    ) -> Result<Vec<Leased>, Refusal> {
        let max = usize::from(max);
        if max > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("max"));
        }
        if span.is_zero() {
            return Err(out_of_range("span"));
        }
        let subscription = self
            .subscription_mut(subscription)
            .ok_or(Refusal::NoSubscription)?;
        subscription.catch_up(step, COMMAND_EXPIRIES_MAX);
        Ok(subscription.claim(step, max, span))
    }

    /// Returns whether a handle claims a message of one of the subscriptions.
    pub(crate) fn is_claimed(&self, handle: ReceiptHandle, now: Time) -> bool {
        let mut subscriptions = self.subscriptions.values();
        subscriptions.any(|subscription| subscription.claimed_by(handle, now).is_some())
    }

    /// Returns whether a handle claims a message of one subscription.
    pub(crate) fn claims(&self, subscription: SubscriptionId, handle: ReceiptHandle, now: Time) -> bool {
        let subscription = self.subscription(subscription);
        subscription.is_some_and(|subscription| subscription.claimed_by(handle, now).is_some())
    }

    /// Does what follows from attempts to deliver. A handle that claims nothing is passed over.
    pub(crate) fn settle(
        &mut self,
        step: &mut Step<'_>,
        subscription: SubscriptionId,
        outcomes: &[Settled],
    ) -> Result<(), Refusal> {
        self.subscription(subscription).ok_or(Refusal::NoSubscription)?;
        for settled in outcomes {
            let claims = self.subscription(subscription);
            if let Some(sequence) = claims.and_then(|s| s.claimed_by(settled.handle, step.now)) {
                self.settle_one(step, subscription, sequence, &settled.outcome);
            }
        }
        Ok(())
    }

    /// Ends all claims of all subscriptions.
    pub(crate) fn void_claims(&mut self, step: &mut Step<'_>) {
        for subscription in self.subscriptions.values_mut() {
            if subscription.claimed() > 0 {
                std::sync::Arc::make_mut(subscription).void_claims(step);
            }
        }
    }

    /// Ends claims and waits for retries of one subscription that are over, up to a bound, and returns how many,
    /// at the least one.
    pub(crate) fn catch_up(
        &mut self,
        step: &mut Step<'_>,
        subscription: SubscriptionId,
        bound: usize,
    ) -> usize {
        self.subscription_mut(subscription)
            .map_or(1, |s| s.catch_up(step, bound))
    }

    fn settle_one(
        &mut self,
        step: &mut Step<'_>,
        id: SubscriptionId,
        sequence: u64,
        outcome: &SettledOutcome,
    ) {
        let Some(subscription) = self.subscription_mut(id) else {
            return;
        };
        match outcome {
            SettledOutcome::Acknowledged | SettledOutcome::Dropped => {
                subscription.remove(sequence);
                self.let_go(sequence, id);
            }
            SettledOutcome::Retry(after) => subscription.retry(step, sequence, *after),
            SettledOutcome::Released => subscription.release(step, sequence),
            SettledOutcome::Enqueue { target, cause } => {
                self.enqueue(step, id, sequence, *target, cause);
            }
        }
    }

    /// Moves a message into the outbox for a queue; waits a little when that is full.
    fn enqueue(
        &mut self,
        step: &mut Step<'_>,
        id: SubscriptionId,
        sequence: u64,
        target: Incarnation,
        cause: &MoveCause,
    ) {
        let Some(subscription) = self.subscription_mut(id) else {
            return;
        };
        let attempts = subscription.attempts(crate::Sequence(sequence));
        if step.post(target, sequence, attempts, cause.clone()) {
            subscription.remove(sequence);
            self.outboxed.add(sequence);
        } else {
            subscription.retry(step, sequence, Span::from_seconds(OUTBOX_RETRY_SECONDS));
        }
    }
}
