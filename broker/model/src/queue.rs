//! A queue: messages in order of production, each in one place until it is gone.
//!
//! ```text
//!   send, deposit ──► backlog ──────────── delete ────────────► gone
//!                     │ ready, leased,  └─ delete, with rewind ─► rewindable ──► gone (age)
//!                     │ or delayed    ◄────────── rewind ───────────┘
//!                     └─ dead letter policy ──► outboxed ── shipped ──► gone
//!   send, parked ─────────────────────────────► outboxed
//! ```
//!
//! A ready or rewindable message costs one bit. Retention ends all but what is outboxed. The queue has no clock:
//! what is due at a time is done before any command at that time (`due`).

mod due;
mod intake;
mod late;
mod lease;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::ages::Ages;
use crate::backlog::{Backlog, Standing};
use crate::outbox::Outboxed;
use crate::sequence_set::SequenceSet;
use crate::taken::TakenIn;
use crate::token::Tokens;
use crate::{
    Generation, Incarnation, Name, QueueAttributes, QueueCounts, Refusal, Sequence, Span, TenantId, Time,
};
use late::Late;

/// A queue of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    tenant: TenantId,
    name: Name,
    created: Time,
    modified: Time,
    generation: Generation,
    attributes: QueueAttributes,
    /// The sequence of the next message.
    next: u64,
    backlog: Backlog,
    rewindable: SequenceSet,
    ages: Ages,
    /// All below this has expired, beside what is late.
    expired_below: u64,
    /// All that is ready below this has been looked at by the dead letter policy, beside what is late.
    aged_below: u64,
    /// When the dead letter policy tries again, having found the outbox full.
    aged_again: Time,
    /// When the queue was last rewound: ages count anew for the dead letter policy.
    epoch: Time,
    pub(crate) alarm: Option<Time>,
    rare: Option<Box<Rare>>,
}

/// What most queues do not have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rare {
    late: Late,
    outboxed: Outboxed,
    tokens: Tokens,
    taken: TakenIn,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(
        tenant: TenantId,
        name: Name,
        generation: Generation,
        attributes: QueueAttributes,
        now: Time,
    ) -> Queue {
        Queue {
            tenant,
            name,
            created: now,
            modified: now,
            generation,
            attributes,
            next: 1,
            backlog: Backlog::default(),
            rewindable: SequenceSet::default(),
            ages: Ages::default(),
            expired_below: 0,
            aged_below: 0,
            aged_again: Time::default(),
            epoch: Time::default(),
            alarm: None,
            rare: None,
        }
    }

    /// Changes the attributes, if they are newer than the known ones.
    pub(crate) fn redefine(
        &mut self,
        name: &Name,
        generation: Generation,
        attributes: &QueueAttributes,
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
        if attributes.rewind.is_zero() {
            self.rewindable = SequenceSet::default();
        }
        self.unage();
        Ok(())
    }

    /// Returns what it is set to.
    pub fn attributes(&self) -> &QueueAttributes {
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

    /// Returns how many messages it holds in which state.
    pub fn counts(&self) -> QueueCounts {
        QueueCounts {
            active: self.backlog.ready_count(),
            leased: self.backlog.leased_count(),
            delayed: self.backlog.waiting_count(),
            rewindable: self.rewindable.len(),
            oldest: self.backlog.oldest().map(|sequence| self.ages.produced(sequence)),
        }
    }

    /// Returns whether a receive would find something.
    pub fn has_visible(&self) -> bool {
        self.backlog.ready_count() > 0
    }

    /// Returns how a message stands, if anything of it is kept.
    pub fn standing(&self, sequence: Sequence) -> Option<Standing> {
        let sequence = sequence.0;
        if let Some(standing) = self.backlog.standing(sequence) {
            return Some(standing);
        }
        if self.rewindable.contains(sequence) {
            return Some(Standing::Rewindable);
        }
        self.is_kept(sequence).then_some(Standing::Outgoing)
    }

    /// Returns how often a message has been received, as far as that is still known.
    pub fn receives(&self, sequence: Sequence) -> u32 {
        self.backlog.mark(sequence.0).map_or(0, |mark| mark.receive_count)
    }

    /// Returns up to `max` messages that are kept, of those produced from the second of `first` to that of `last`.
    pub fn kept_between(&self, first: Time, last: Time, max: usize) -> Vec<Sequence> {
        let from = self.ages.first_since(first, self.next);
        let end = self.ages.first_since(last + Span::from_seconds(1), self.next);
        let kept = (from..end).filter(|sequence| self.is_kept(*sequence));
        kept.take(max).map(Sequence).collect()
    }

    /// Returns what is kept of what came at a time or later, by the second, after one of them if given: the first of them, up to
    /// a bound.
    pub fn kept_since(&self, since: Time, after: Option<Sequence>, max: usize) -> Vec<Sequence> {
        let next = after.map_or(0, |after| after.0.saturating_add(1));
        let from = self.ages.first_since(since, self.next).max(next);
        let kept = (from..self.next).filter(|sequence| self.is_kept(*sequence));
        kept.take(max).map(Sequence).collect()
    }

    /// Returns up to `max` messages that are visible, of those after one.
    pub fn visible_after(&self, after: Sequence, max: usize) -> Vec<Sequence> {
        let mut visible = Vec::new();
        let mut last = after.0;
        while visible.len() < max
            && let Some(next) = self.backlog.ready_from(last.saturating_add(1))
        {
            visible.push(Sequence(next));
            last = next;
        }
        visible
    }

    /// Returns below which place nothing is here any more, and nothing can be brought back.
    pub fn first_kept(&self) -> Sequence {
        let outboxed = self
            .rare
            .as_ref()
            .and_then(|rare| rare.outboxed.sequences().min());
        let kept = [self.backlog.oldest(), self.rewindable.lowest(), outboxed];
        Sequence(kept.into_iter().flatten().min().unwrap_or(self.next))
    }

    /// Returns how many messages wait in outboxes.
    pub fn outboxed(&self) -> u64 {
        self.rare
            .as_ref()
            .map_or(0, |rare| rare.outboxed.sequences().len())
    }

    /// Returns whether a body is needed.
    pub(crate) fn is_kept(&self, sequence: u64) -> bool {
        self.backlog.contains(sequence)
            || self.rewindable.contains(sequence)
            || self
                .rare
                .as_ref()
                .is_some_and(|rare| rare.outboxed.contains(sequence))
    }

    /// Returns how many bodies of a range are needed.
    pub(crate) fn kept_in(&self, range: RangeInclusive<u64>) -> u64 {
        let outboxed = self.rare.as_ref().map(|rare| rare.outboxed.sequences());
        self.backlog.count_in(range.clone())
            + self.rewindable.range_cardinality(range.clone())
            + outboxed.map_or(0, |sequences| sequences.range_cardinality(range))
    }

    /// Returns until when a body is needed at the most, if it is: all times when an outbox holds it.
    pub(crate) fn keep_until(&self, sequence: u64) -> Option<Time> {
        if self.backlog.contains(sequence) || self.rewindable.contains(sequence) {
            return Some(self.start(sequence) + self.attributes.retention);
        }
        self.is_kept(sequence).then_some(Time::MAX)
    }

    /// Takes out of the outbox what a target has taken in.
    pub(crate) fn shipped(&mut self, sequences: &[u64]) {
        let Some(rare) = &mut self.rare else {
            return;
        };
        for sequence in sequences {
            rare.outboxed.remove(*sequence);
        }
    }

    /// Lets go of memory that nothing needs. Called after each change.
    pub(crate) fn tidy(&mut self) {
        if self.backlog.is_empty() {
            self.backlog = Backlog::default();
        }
        let oldest = match (self.backlog.oldest(), self.rewindable.lowest()) {
            (Some(waiting), Some(deleted)) => Some(waiting.min(deleted)),
            (one, other) => one.or(other),
        };
        self.ages.forget_before(oldest);
        if self.ages.wants_sweep() {
            let (backlog, rewindable) = (&self.backlog, &self.rewindable);
            self.ages.sweep(self.next, |range| {
                let range = range.start..=range.end.saturating_sub(1);
                backlog.count_in(range.clone()) + rewindable.range_cardinality(range) > 0
            });
        }
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    /// Returns from when a message's age counts: its production, or the end of its delay.
    fn start(&self, sequence: u64) -> Time {
        let late = self.rare.as_ref().and_then(|rare| rare.late.start(sequence));
        late.unwrap_or_else(|| self.ages.produced(sequence))
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Removes a message from the backlog, and what is known of it.
    fn discard(&mut self, sequence: u64) {
        self.backlog.remove(sequence);
        if let Some(rare) = &mut self.rare {
            rare.late.remove(sequence);
        }
    }

    /// Has the dead letter policy look at every message again.
    fn unage(&mut self) {
        self.aged_below = 0;
        self.aged_again = Time::default();
        if let Some(rare) = &mut self.rare {
            rare.late.unage();
        }
    }
}

// === impl Rare ===

impl Rare {
    fn is_empty(&self) -> bool {
        self.late.is_empty() && self.outboxed.is_empty() && self.tokens.is_empty() && self.taken.is_empty()
    }
}

/// Refuses a body larger than a queue or topic takes. What a seal adds does not count.
pub(crate) fn check_body(body: &crate::Body, body_bytes_max: u32) -> Result<(), Refusal> {
    let (bytes, limit) = (body.len() as u64, u64::from(body_bytes_max));
    let allowance = match body {
        crate::Body::Clear(_) => 0,
        crate::Body::Sealed(_) => crate::bounds::SEAL_BYTES_MAX as u64,
    };
    if bytes > limit + allowance {
        return Err(Refusal::BodyTooLarge { bytes, limit });
    }
    Ok(())
}

/// Returns the refusal of a command that names a queue or topic which is not here.
pub(crate) fn not_here(incarnation: Incarnation, is_other_kind: bool) -> Refusal {
    if is_other_kind {
        Refusal::WrongKind(incarnation)
    } else {
        Refusal::NoIncarnation(incarnation)
    }
}
