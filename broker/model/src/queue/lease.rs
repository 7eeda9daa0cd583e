//! How messages leave a queue: leased, deleted, given back, and brought back.

use roaring::RoaringTreemap;

use crate::attributes::{out_of_range, within_seconds};
use crate::bounds::{LEASES_MAX, MESSAGES_PER_COMMAND_MAX, VISIBILITY_SECONDS};
use crate::queue::Queue;
use crate::queue::due::Fate;
use crate::step::Step;
use crate::{Leased, ReceiptHandle, Refusal, Sequence, Span, Time};

// === impl Queue ===

impl Queue {
    /// Leases up to `max` of the oldest visible messages. Those whose time in the queue is over go where they
    /// belong instead.
    pub(crate) fn receive(
        &mut self,
        step: &mut Step<'_>,
        max: u16,
        visibility: Option<Span>,
    ) -> Result<Vec<Leased>, Refusal> {
        if let Some(visibility) = visibility {
            within_seconds("visibilityTimeout", visibility, &VISIBILITY_SECONDS)?;
        }
        let max = usize::from(max);
        if max > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("numOfMsg"));
        }
        let room = LEASES_MAX.saturating_sub(self.backlog.leased_count() as usize);
        if room == 0 && self.has_visible() {
            return Err(Refusal::TooManyLeased {
                limit: LEASES_MAX as u64,
            });
        }
        let until = step.now + visibility.unwrap_or(self.attributes.visibility);
        Ok(self.lease_oldest(step, max.min(room), until))
    }

    /// Leases these messages, those of them that are visible and whose time in the queue is not over.
    pub(crate) fn receive_these(
        &mut self,
        step: &mut Step<'_>,
        sequences: &[Sequence],
        visibility: Span,
    ) -> Result<Vec<Leased>, Refusal> {
        within_seconds("visibilityTimeout", visibility, &VISIBILITY_SECONDS)?;
        if sequences.len() > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("numOfMsg"));
        }
        if self.backlog.leased_count() as usize + sequences.len() > LEASES_MAX {
            return Err(Refusal::TooManyLeased {
                limit: LEASES_MAX as u64,
            });
        }
        let until = step.now + visibility;
        let mut leased = Vec::new();
        for Sequence(sequence) in sequences {
            if self.backlog.is_ready(*sequence) && self.fate(*sequence, step.now) == Fate::Stays {
                leased.push(self.lease(step, *sequence, until));
            }
        }
        Ok(leased)
    }

    /// Deletes a message by its latest lease, while that lasts.
    pub(crate) fn delete(&mut self, step: &Step<'_>, handle: ReceiptHandle) -> Result<(), Refusal> {
        let sequence = self
            .backlog
            .leased_by(handle, step.now)
            .ok_or(Refusal::BadHandle(handle))?;
        self.discard(sequence);
        let produced = self.ages.produced(sequence);
        if produced + self.attributes.rewind > step.now {
            self.rewindable.insert(sequence);
        }
        Ok(())
    }

    /// Returns whether a handle leases a message.
    pub(crate) fn is_leased(&self, handle: ReceiptHandle, now: Time) -> bool {
        self.backlog.leased_by(handle, now).is_some()
    }

    /// Gives a lease back as if it had not been. A handle that leases nothing is passed over.
    pub(crate) fn release(&mut self, step: &mut Step<'_>, handle: ReceiptHandle) {
        if let Some(sequence) = self.backlog.leased_by(handle, step.now) {
            self.backlog.uncount(sequence);
            self.surface(step, sequence);
        }
    }

    /// Ends leases and hides their messages for a while, each counted as received.
    pub(crate) fn give_back(
        &mut self,
        step: &mut Step<'_>,
        handles: &[ReceiptHandle],
        delay: Span,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        within_seconds("delaySeconds", delay, &(0..=*VISIBILITY_SECONDS.end()))?;
        if handles.len() > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("numOfMsg"));
        }
        let each = handles.iter().map(|handle| {
            let sequence = self
                .backlog
                .leased_by(*handle, step.now)
                .ok_or(Refusal::BadHandle(*handle))?;
            match delay.is_zero() {
                true => self.surface(step, sequence),
                false => self.backlog.stall(sequence, step.now + delay),
            }
            Ok(())
        });
        Ok(each.collect())
    }

    /// Has leases end so long from now.
    pub(crate) fn extend(
        &mut self,
        step: &Step<'_>,
        handles: &[ReceiptHandle],
        visibility: Span,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        within_seconds("visibilityTimeout", visibility, &VISIBILITY_SECONDS)?;
        if handles.len() > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("numOfMsg"));
        }
        let until = step.now + visibility;
        let each = handles.iter().map(|handle| {
            let sequence = self
                .backlog
                .leased_by(*handle, step.now)
                .ok_or(Refusal::BadHandle(*handle))?;
            self.backlog.extend(sequence, *handle, until);
            Ok(())
        });
        Ok(each.collect())
    }

    /// Starts a new epoch: all leases are void, all counts start from zero, and what was deleted is visible again
    /// if it was produced at `to` or later.
    pub(crate) fn rewind(&mut self, step: &mut Step<'_>, to: Time) -> Result<(), Refusal> {
        if self.attributes.rewind.is_zero() {
            return Err(Refusal::NotRewindable);
        }
        let earliest = step.now.before(self.attributes.rewind);
        if to > step.now || to.seconds() < earliest.seconds() {
            return Err(Refusal::RewindOutOfRange);
        }
        self.backlog.renew();
        let from = self.ages.first_since(to, self.next);
        let mut back = RoaringTreemap::clone(&self.rewindable);
        back.remove_range(..from);
        self.rewindable.remove_range(from..);
        self.backlog.add_all_ready(&back);
        self.epoch = step.now;
        self.unage();
        if self.has_visible() {
            step.wake_queue();
        }
        Ok(())
    }

    fn lease_oldest(&mut self, step: &mut Step<'_>, max: usize, until: Time) -> Vec<Leased> {
        let mut leased = Vec::new();
        // What is not handed out is moved or hidden, and only so many are looked at.
        for _ in 0..max + MESSAGES_PER_COMMAND_MAX {
            if leased.len() == max {
                return leased;
            }
            let Some(sequence) = self.backlog.oldest_ready() else {
                return leased;
            };
            match self.fate(sequence, step.now) {
                Fate::Expired => self.discard(sequence),
                Fate::Dead(cause) if self.bury(step, sequence, cause.clone()) => {}
                Fate::Dead(crate::MoveCause::ReceivedTooOften) => self.stall(step, sequence),
                Fate::Dead(_) | Fate::Stays => leased.push(self.lease(step, sequence, until)),
            }
        }
        if self.has_visible() {
            step.wake_queue();
        }
        leased
    }

    fn lease(&mut self, step: &mut Step<'_>, sequence: u64, until: Time) -> Leased {
        let handle = step.next_handle();
        let mark = self.backlog.lease(sequence, handle, until, step.now);
        Leased {
            body: step.body(sequence),
            handle,
            receive_count: mark.receive_count,
            first_received: mark.first_received,
            visible_again: until,
        }
    }
}
