//! What time does to a queue: leases and delays end, messages expire or become dead letters.
//!
//! What is due is done at the next entry, before its commands: ages by range, whatever the number of messages;
//! the rest one by one, up to a bound. A command therefore still checks each message that it hands out.

use crate::bounds::OUTBOX_RETRY_SECONDS;
use crate::queue::Queue;
use crate::step::Step;
use crate::{DeadLetterRule, MoveCause, Span, Time};

/// How long what found the outbox full waits before it tries again.
const OUTBOX_RETRY: Span = Span::from_seconds(OUTBOX_RETRY_SECONDS);

/// What is to become of a message that would be visible.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is visible.
    Stays,
    /// It is too old.
    Expired,
    /// It goes to the dead letter queue.
    Dead(MoveCause),
}

// === impl Queue ===

impl Queue {
    /// Does what is due, up to a bound, and returns how much of it was done, at the least one.
    pub(crate) fn catch_up(&mut self, step: &mut Step<'_>, bound: usize) -> usize {
        self.expire(step.now);
        let mut done = 1;
        while done < bound && self.expire_late(step.now) {
            done += 1;
        }
        while done < bound && self.end_hold(step) {
            done += 1;
        }
        while done < bound && self.bury_aged(step) {
            done += 1;
        }
        done
    }

    /// Returns when something is next due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let rewindable = self.rewindable.lowest();
        let late = self.rare.as_ref().map(|rare| &rare.late);
        let deadlines = [
            self.backlog.next_timer(),
            self.next_expiry(),
            rewindable.map(|oldest| self.ages.produced(oldest) + self.attributes.rewind),
            late.and_then(|late| late.next_of_age(self.attributes.retention)),
            self.next_aged(),
            self.rare.as_ref().and_then(|rare| rare.tokens.next_expiry()),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Returns what is to become of a message of the backlog that would be visible.
    pub(super) fn fate(&self, sequence: u64, now: Time) -> Fate {
        let start = self.start(sequence);
        if start + self.attributes.retention <= now {
            return Fate::Expired;
        }
        match self.attributes.dead_letter.as_ref().map(|policy| policy.rule) {
            Some(DeadLetterRule::ReceiveCount { max }) if self.receive_count(sequence) >= max => {
                Fate::Dead(MoveCause::ReceivedTooOften)
            }
            Some(DeadLetterRule::Age { max }) if start.max(self.epoch) + max <= now => {
                Fate::Dead(MoveCause::WaitedTooLong)
            }
            Some(_) | None => Fate::Stays,
        }
    }

    /// Sends a message of the backlog where it belongs, now that nothing holds it.
    pub(super) fn surface(&mut self, step: &mut Step<'_>, sequence: u64) {
        match self.fate(sequence, step.now) {
            Fate::Expired => self.discard(sequence),
            Fate::Dead(cause) if self.bury(step, sequence, cause.clone()) => {}
            Fate::Dead(MoveCause::ReceivedTooOften) => self.stall(step, sequence),
            Fate::Dead(_) => {
                self.show(step, sequence);
                self.unage();
                self.aged_again = step.now + OUTBOX_RETRY;
            }
            Fate::Stays => self.show(step, sequence),
        }
    }

    /// Moves a message into the outbox for the dead letter queue, and returns whether there was room.
    #[must_use]
    pub(super) fn bury(&mut self, step: &mut Step<'_>, sequence: u64, cause: MoveCause) -> bool {
        let Some(target) = self.attributes.dead_letter.as_ref().map(|policy| policy.target) else {
            return false;
        };
        if !step.post(target, sequence, self.receive_count(sequence), cause) {
            return false;
        }
        self.discard(sequence);
        self.rare_mut().outboxed.add(sequence);
        true
    }

    /// Hides a message that must not be handed out again, until the outbox may have room for it.
    pub(super) fn stall(&mut self, step: &Step<'_>, sequence: u64) {
        self.backlog.stall(sequence, step.now + OUTBOX_RETRY);
    }

    fn show(&mut self, step: &mut Step<'_>, sequence: u64) {
        self.backlog.show(sequence);
        step.wake_queue();
    }

    fn receive_count(&self, sequence: u64) -> u32 {
        self.backlog.mark(sequence).map_or(0, |mark| mark.receive_count)
    }

    /// Removes all that is too old, beside what is late, and forgets old tokens.
    fn expire(&mut self, now: Time) {
        self.expire_below(self.ages.first_younger(self.attributes.retention, now, self.next));
        if !self.rewindable.is_empty() {
            let end = self.ages.first_younger(self.attributes.rewind, now, self.next);
            self.rewindable.remove_range(..end);
        }
        if let Some(rare) = &mut self.rare {
            rare.tokens.expire(now);
        }
    }

    fn expire_below(&mut self, end: u64) {
        if end <= self.expired_below {
            return;
        }
        let range = self.expired_below..end;
        let late = self.rare.as_ref().map(|rare| rare.late.in_range(range.clone()));
        self.backlog.remove_range(range, &late.unwrap_or_default());
        self.rewindable.remove_range(..end);
        self.expired_below = end;
    }

    /// Removes one late message that is too old, if there is one.
    fn expire_late(&mut self, now: Time) -> bool {
        let Some(rare) = &self.rare else {
            return false;
        };
        let Some(sequence) = rare.late.older_than(self.attributes.retention, now) else {
            return false;
        };
        self.discard(sequence);
        true
    }

    /// Ends one lease or delay, if one is over.
    fn end_hold(&mut self, step: &mut Step<'_>) -> bool {
        let Some(sequence) = self.backlog.due(step.now) else {
            return false;
        };
        self.surface(step, sequence);
        true
    }

    /// Makes one message a dead letter by its age, if one is due and the outbox has room.
    fn bury_aged(&mut self, step: &mut Step<'_>) -> bool {
        let Some(DeadLetterRule::Age { max }) = self.dead_letter_rule() else {
            return false;
        };
        if self.epoch + max > step.now || self.aged_again > step.now {
            return false;
        }
        let end = self.ages.first_younger(max, step.now, self.next);
        if let Some(sequence) = self.backlog.ready_from(self.aged_below).filter(|s| *s < end) {
            let is_late = self
                .rare
                .as_ref()
                .is_some_and(|r| r.late.start(sequence).is_some());
            if is_late || self.bury(step, sequence, MoveCause::WaitedTooLong) {
                self.aged_below = sequence + 1;
            } else {
                self.aged_again = step.now + OUTBOX_RETRY;
            }
            return true;
        }
        self.aged_below = self.aged_below.max(end);
        self.bury_late(step, max)
    }

    /// Makes one late message a dead letter by its age, likewise.
    fn bury_late(&mut self, step: &mut Step<'_>, max: Span) -> bool {
        let next = self.rare.as_ref().and_then(|rare| rare.late.next_unaged());
        let Some((start, sequence)) = next.filter(|(start, _)| *start + max <= step.now) else {
            return false;
        };
        let is_ready = self.backlog.is_ready(sequence);
        if is_ready && !self.bury(step, sequence, MoveCause::WaitedTooLong) {
            self.aged_again = step.now + OUTBOX_RETRY;
            return true;
        }
        self.rare_mut().late.aged((start, sequence));
        true
    }

    fn dead_letter_rule(&self) -> Option<DeadLetterRule> {
        self.attributes.dead_letter.as_ref().map(|policy| policy.rule)
    }

    /// Returns when the oldest message that is not late expires, or earlier.
    fn next_expiry(&self) -> Option<Time> {
        let oldest = match (self.backlog.oldest(), self.rewindable.lowest()) {
            (Some(waiting), Some(deleted)) => waiting.min(deleted),
            (one, other) => one.or(other)?,
        };
        let oldest = oldest.max(self.expired_below);
        (oldest < self.next).then(|| self.ages.produced(oldest) + self.attributes.retention)
    }

    /// Returns when a message next becomes a dead letter by its age, or earlier.
    fn next_aged(&self) -> Option<Time> {
        let DeadLetterRule::Age { max } = self.dead_letter_rule()? else {
            return None;
        };
        let ready = self
            .backlog
            .ready_from(self.aged_below)
            .map(|s| self.ages.produced(s));
        let late = self.rare.as_ref().and_then(|rare| rare.late.next_unaged());
        let next = match (ready, late.map(|(start, _)| start)) {
            (Some(ready), Some(late)) => ready.min(late),
            (one, other) => one.or(other)?,
        };
        Some((next.max(self.epoch) + max).max(self.aged_again))
    }
}
