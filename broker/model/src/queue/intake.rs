//! How messages come into a queue: from producers, and from others' outboxes.

use std::collections::BTreeSet;

use crate::attributes::{out_of_range, within_seconds};
use crate::bounds::{DELAY_SECONDS, DELAYED_MAX, MESSAGES_PER_COMMAND_MAX, ONCE_DELAYED_MAX, SOURCES_MAX};
use crate::queue::{Queue, check_body};
use crate::step::Step;
use crate::{Incarnation, Incoming, MessageId, Parcel, Park, Refusal, Span, Time, Token};

// === impl Queue ===

impl Queue {
    /// Returns what an earlier call with this token was answered.
    pub(crate) fn recall(&self, token: &Token, now: Time) -> Option<Vec<MessageId>> {
        self.rare
            .as_ref()?
            .tokens
            .recall(token, now)
            .map(<[MessageId]>::to_vec)
    }

    /// Puts messages at the tail and parks others, all or none, and returns their ids.
    pub(crate) fn send(
        &mut self,
        step: &mut Step<'_>,
        delay: Span,
        messages: &[Incoming],
        token: Option<&Token>,
        parks: &[Park],
    ) -> Result<Vec<MessageId>, Refusal> {
        self.check_send(delay, messages)?;
        check_parks(step, messages, parks)?;
        for (ordinal, incoming) in messages.iter().enumerate() {
            if incoming.keep {
                self.append(step, ordinal, delay);
            }
        }
        for park in parks {
            self.put_aside(step, park);
        }
        let ids: Vec<MessageId> = messages.iter().map(|incoming| incoming.message.id).collect();
        if let Some(token) = token {
            self.rare_mut().tokens.remember(token, &ids, step.now);
        }
        Ok(ids)
    }

    /// Takes in parcels of a source that were not taken in before, all or none, and returns the numbers that now
    /// are taken in. A number far above what is complete is left out: it is to come again later.
    pub(crate) fn deposit(
        &mut self,
        step: &mut Step<'_>,
        source: Incarnation,
        parcels: &[Parcel],
    ) -> Result<Vec<u64>, Refusal> {
        self.check_deposit(source, parcels)?;
        let mut numbers = Vec::with_capacity(parcels.len());
        for (ordinal, parcel) in parcels.iter().enumerate() {
            let taken = self.rare_mut().taken.of_mut(source);
            if taken.is_too_far(parcel.number) {
                continue;
            }
            numbers.push(parcel.number);
            if !taken.contains(parcel.number) {
                taken.add(parcel.number);
                self.append(step, ordinal, Span::ZERO);
            }
        }
        Ok(numbers)
    }

    fn check_send(&self, delay: Span, messages: &[Incoming]) -> Result<(), Refusal> {
        within_seconds("delaySeconds", delay, &DELAY_SECONDS)?;
        if messages.len() > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("numOfMsg"));
        }
        for incoming in messages {
            check_body(&incoming.message.body, self.attributes.body_bytes_max)?;
        }
        let kept = messages.iter().filter(|incoming| incoming.keep).count();
        self.check_room(kept)?;
        if delay.is_zero() || kept == 0 {
            return Ok(());
        }
        check_delayed(self.backlog.waiting_count() as usize + kept, DELAYED_MAX)?;
        let late = self.rare.as_ref().map_or(0, |rare| rare.late.len());
        check_delayed(late + kept, ONCE_DELAYED_MAX)
    }

    fn check_deposit(&self, source: Incarnation, parcels: &[Parcel]) -> Result<(), Refusal> {
        if parcels.len() > MESSAGES_PER_COMMAND_MAX {
            return Err(out_of_range("parcels"));
        }
        if parcels.iter().any(|parcel| parcel.number == 0) {
            return Err(Refusal::Malformed("parcels are numbered from 1".to_owned()));
        }
        let sources = self.rare.as_ref().map(|rare| &rare.taken);
        let taken = sources.and_then(|sources| sources.of(source));
        if taken.is_none() && sources.is_some_and(|sources| sources.len() >= SOURCES_MAX) {
            return Err(Refusal::Full {
                limit: SOURCES_MAX as u64,
            });
        }
        let is_new = |parcel: &&Parcel| taken.is_none_or(|taken| !taken.contains(parcel.number));
        self.check_room(parcels.iter().filter(is_new).count())
    }

    fn check_room(&self, more: usize) -> Result<(), Refusal> {
        let limit = self.attributes.messages_max;
        if more > 0 && self.backlog.len().saturating_add(more as u64) > limit {
            return Err(Refusal::Full { limit });
        }
        Ok(())
    }

    /// Puts a message into the outbox for the queue that it is parked in.
    fn put_aside(&mut self, step: &mut Step<'_>, park: &Park) {
        let sequence = self.next;
        self.next += 1;
        self.ages.note(sequence, step.now);
        step.park(sequence, park);
        self.rare_mut().outboxed.add(sequence);
        step.store(
            sequence,
            park.place as usize,
            step.now + self.attributes.retention + Span::from_seconds(1),
        );
    }

    fn append(&mut self, step: &mut Step<'_>, ordinal: usize, delay: Span) {
        let sequence = self.next;
        self.next += 1;
        self.ages.note(sequence, step.now);
        let start = step.now + delay;
        if delay.is_zero() {
            self.backlog.add_ready(sequence);
            step.wake_queue();
        } else {
            self.backlog.add_waiting(sequence, start);
            self.rare_mut().late.add(sequence, start);
        }
        // The age may be counted up to a second later than the message came (see `ages`).
        step.store(
            sequence,
            ordinal,
            start + self.attributes.retention + Span::from_seconds(1),
        );
    }
}

/// Refuses to park what is kept as well, and what is parked twice: a message is in one place.
fn check_parks(step: &Step<'_>, messages: &[Incoming], parks: &[Park]) -> Result<(), Refusal> {
    step.check_parks(parks, messages.len())?;
    let mut places = BTreeSet::new();
    for park in parks {
        let is_kept = messages
            .get(park.place as usize)
            .is_none_or(|incoming| incoming.keep);
        if is_kept || !places.insert(park.place) {
            return Err(Refusal::Malformed("a message would be in two places".to_owned()));
        }
    }
    Ok(())
}

fn check_delayed(delayed: usize, limit: usize) -> Result<(), Refusal> {
    if delayed > limit {
        return Err(Refusal::TooManyDelayed { limit: limit as u64 });
    }
    Ok(())
}
