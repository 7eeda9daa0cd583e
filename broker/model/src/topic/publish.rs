//! How messages come into a topic.

use std::collections::BTreeMap;

use crate::attributes::{bounds, out_of_range};
use crate::bounds::{BACKLOG_MAX, MESSAGES_PER_COMMAND_MAX};
use crate::queue::check_body;
use crate::step::Step;
use crate::topic::Topic;
use crate::{MessageId, Park, Publication, Refusal, Span, SubscriptionId, Time, Token};

/// The largest body that a filter may make of another.
const REPLACED_BYTES_MAX: u32 = *bounds::BODY_BYTES.end() as u32;

// === impl Topic ===

impl Topic {
    /// Returns what an earlier call with this token was answered.
    pub(crate) fn recall(&self, token: &Token, now: Time) -> Option<Vec<MessageId>> {
        self.tokens.recall(token, now).map(<[MessageId]>::to_vec)
    }

    /// Stores messages for the subscriptions they matched, all or none, and returns their ids. A subscription
    /// that is no longer there is passed over; what no subscription gets is not stored.
    pub(crate) fn publish(
        &mut self,
        step: &mut Step<'_>,
        publications: &[Publication],
        token: Option<&Token>,
        parks: &[Park],
    ) -> Result<Vec<MessageId>, Refusal> {
        self.check_publish(publications)?;
        step.check_parks(parks, publications.len())?;
        let mut ordinal = 0;
        for (place, publication) in (0..).zip(publications) {
            let parks = parks.iter().filter(|park| park.place == place);
            self.append(step, ordinal, &publication.matched, parks);
            for (position, (subscription, _)) in publication.replaced.iter().enumerate() {
                self.append(step, ordinal + 1 + position, &[*subscription], std::iter::empty());
            }
            ordinal += 1 + publication.replaced.len();
        }
        let ids: Vec<MessageId> = publications.iter().map(|p| p.message.id).collect();
        if let Some(token) = token {
            self.tokens.remember(token, &ids, step.now);
        }
        Ok(ids)
    }

    fn check_publish(&self, publications: &[Publication]) -> Result<(), Refusal> {
        if publications.len() > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("numOfMsg"));
        }
        let mut more = BTreeMap::<SubscriptionId, u64>::new();
        for publication in publications {
            check_body(&publication.message.body, self.attributes.body_bytes_max)?;
            for (_, message) in &publication.replaced {
                check_body(&message.body, REPLACED_BYTES_MAX)?;
            }
            let replaced = publication.replaced.iter().map(|(subscription, _)| subscription);
            for subscription in publication.matched.iter().chain(replaced) {
                *more.entry(*subscription).or_default() += 1;
            }
        }
        for (id, more) in more {
            let backlog = self
                .subscription(id)
                .map_or(0, |subscription| subscription.backlog());
            if backlog.saturating_add(more) > BACKLOG_MAX {
                return Err(Refusal::Full { limit: BACKLOG_MAX });
            }
        }
        Ok(())
    }

    /// Stores one content, if any of the subscriptions is there or it is to be parked.
    fn append<'a>(
        &mut self,
        step: &mut Step<'_>,
        ordinal: usize,
        matched: &[SubscriptionId],
        parks: impl Iterator<Item = &'a Park>,
    ) {
        let mut parks = parks.peekable();
        let is_matched = matched.iter().any(|id| self.subscriptions.contains_key(id));
        if !is_matched && parks.peek().is_none() {
            return;
        }
        let sequence = self.next;
        self.next += 1;
        self.ages.note(sequence, step.now);
        self.kept.insert(sequence);
        for id in matched {
            if let Some(subscription) = self.subscription_mut(*id) {
                subscription.add(step, sequence);
            }
        }
        for park in parks {
            step.park(sequence, park);
            self.outboxed.add(sequence);
        }
        // The age may be counted up to a second later than the message came (see `ages`).
        step.store(
            sequence,
            ordinal,
            step.now + self.attributes.retention + Span::from_seconds(1),
        );
    }
}
