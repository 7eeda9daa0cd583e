//! One command at work: what it may touch outside the queue or topic it is for, and what it leaves behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::outbox::Outboxes;
use crate::{
    Awake, BodyKey, Incarnation, MoveCause, Park, ReceiptHandle, Refusal, Sequence, Stored, SubscriptionId,
    Time,
};

/// What a queue or topic is lent while it works on a command or on what is due.
pub(crate) struct Step<'a> {
    /// The set's time.
    pub(crate) now: Time,
    /// The queue or topic at work.
    pub(crate) stream: Incarnation,
    /// The command's place in its entry.
    pub(crate) submission: u32,
    /// The last handle given out.
    pub(crate) last_handle: &'a mut ReceiptHandle,
    /// The set's outboxes.
    pub(crate) outboxes: &'a mut Arc<Outboxes>,
    /// What the entry does.
    pub(crate) effects: &'a mut Effects,
}

/// What an entry did, as it gathers.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Where messages went.
    pub(crate) stored: Vec<Stored>,
    /// What has messages that became visible.
    pub(crate) awake: BTreeSet<Awake>,
    /// Whether messages moved into outboxes.
    pub(crate) outgoing: bool,
}

// === impl Step ===

impl Step<'_> {
    /// Gives out the next handle.
    pub(crate) fn next_handle(&mut self) -> ReceiptHandle {
        self.last_handle.0 += 1;
        *self.last_handle
    }

    /// Says where a message of the command went.
    pub(crate) fn store(&mut self, sequence: u64, ordinal: usize, keep_until: Time) {
        self.effects.stored.push(Stored {
            body: self.body(sequence),
            submission: self.submission,
            ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
            keep_until,
        });
    }

    /// Returns the key of a body of the stream at work.
    pub(crate) fn body(&self, sequence: u64) -> BodyKey {
        BodyKey {
            stream: self.stream,
            sequence: Sequence(sequence),
        }
    }

    /// Says that the queue at work has messages that became visible.
    pub(crate) fn wake_queue(&mut self) {
        self.effects.awake.insert(Awake::Queue(self.stream));
    }

    /// Says that a subscription of the topic at work has messages that became visible.
    pub(crate) fn wake_subscription(&mut self, subscription: SubscriptionId) {
        self.effects
            .awake
            .insert(Awake::Subscription(self.stream, subscription));
    }

    /// Refuses to park messages of a command that has so many, unless there is room for all of them.
    pub(crate) fn check_parks(&self, parks: &[Park], messages: usize) -> Result<(), Refusal> {
        if parks.iter().any(|park| park.place as usize >= messages) {
            return Err(Refusal::Malformed(
                "what is parked is not in the command".to_owned(),
            ));
        }
        match parks.is_empty() {
            true => Ok(()),
            false => self
                .outboxes
                .check_room(self.stream, parks.iter().map(|park| park.target)),
        }
    }

    /// Posts a message of the stream at work to the queue that it is to be parked in.
    pub(crate) fn park(&mut self, sequence: u64, park: &Park) {
        let cause = MoveCause::ParkedBy(park.parking.clone());
        let has_room = self.post(park.target, sequence, 0, cause);
        debug_assert!(has_room, "room was looked for before anything was done");
    }

    /// Posts a message of the stream at work to a queue, and returns whether there was room.
    #[must_use]
    pub(crate) fn post(
        &mut self,
        target: Incarnation,
        sequence: u64,
        receive_count: u32,
        cause: MoveCause,
    ) -> bool {
        let outboxes = Arc::make_mut(self.outboxes);
        let posted = outboxes.post(self.stream, target, sequence, receive_count, cause);
        self.effects.outgoing |= posted;
        posted
    }
}
