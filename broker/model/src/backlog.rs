//! Messages that wait for a consumer, in order: shared by queues and subscriptions.
//!
//! A message of a backlog is in one of two places. It is `ready`, which costs one bit; or it is `held`, leased
//! to a consumer or waiting for a time, and has a mark and a timer. A ready message has a mark only while it
//! has been received before. The oldest ready message is always the next to go, so marks are at most as many as
//! can be held at once, and a few.
//!
//! ```text
//!             lease                      remove
//!   ready ───────────► leased ──────────────────────► gone
//!     ▲  ▲               │ release, void, time
//!     │  └── show ◄──────┘
//!     └───── show ◄── waiting ◄── add_waiting, postpone
//! ```
//!
//! The backlog decides nothing: what a timer that ended leads to, its owner says.

use std::ops::Range;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::block_map::BlockMap;
use crate::sequence_set::SequenceSet;
use crate::timers::Timers;
use crate::{ReceiptHandle, Time};

/// Messages that wait for a consumer, by their sequences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Backlog {
    ready: SequenceSet,
    ready_count: u64,
    held: SequenceSet,
    leased_count: u64,
    /// By sequence.
    marks: BlockMap<Mark>,
    /// Sequences by receipt handle.
    handles: BlockMap<u64>,
    timers: Timers,
}

/// What is known of a message that has been received or waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// How often it was received.
    pub(crate) receive_count: u32,
    /// When it was first received.
    pub(crate) first_received: Time,
    hold: Hold,
}

/// How a message stands in a queue, or with a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Standing {
    /// It can be received, or claimed.
    Ready,
    /// It is leased, or claimed.
    Leased {
        /// Until then.
        until: Time,
    },
    /// It is delayed, or waits for its retry.
    Waiting {
        /// Until then.
        until: Time,
    },
    /// It was deleted and can be brought back.
    Rewindable,
    /// It is on its way to another queue.
    Outgoing,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum Hold {
    None,
    /// With a handle of zero it is leased to nobody: it only must not be seen for a while.
    Leased {
        handle: ReceiptHandle,
        until: Time,
    },
    Waiting {
        until: Time,
    },
}

// === impl Backlog ===

impl Backlog {
    /// Returns how many messages there are, in whatever state.
    pub(crate) fn len(&self) -> u64 {
        self.ready_count + self.held_count()
    }

    /// Returns whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many are ready.
    pub(crate) fn ready_count(&self) -> u64 {
        self.ready_count
    }

    /// Returns how many are leased.
    pub(crate) fn leased_count(&self) -> u64 {
        self.leased_count
    }

    /// Returns how many wait for a time.
    pub(crate) fn waiting_count(&self) -> u64 {
        self.held_count() - self.leased_count
    }

    /// Returns how many are leased or waiting: each of them has its timer.
    pub(crate) fn held_count(&self) -> u64 {
        self.timers.len() as u64
    }

    /// Returns whether `sequence` is here.
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.ready.contains(sequence) || self.held.contains(sequence)
    }

    /// Returns how many of a range are here.
    pub(crate) fn count_in(&self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.ready.range_cardinality(range.clone()) + self.held.range_cardinality(range)
    }

    /// Returns the oldest message here.
    pub(crate) fn oldest(&self) -> Option<u64> {
        match (self.ready.lowest(), self.held.lowest()) {
            (Some(ready), Some(held)) => Some(ready.min(held)),
            (one, other) => one.or(other),
        }
    }

    /// Returns the oldest ready message.
    pub(crate) fn oldest_ready(&self) -> Option<u64> {
        self.ready.lowest()
    }

    /// Returns the oldest ready message from `sequence` on.
    pub(crate) fn ready_from(&self, sequence: u64) -> Option<u64> {
        self.ready.lowest_from(sequence)
    }

    /// Returns whether a message is ready.
    pub(crate) fn is_ready(&self, sequence: u64) -> bool {
        self.ready.contains(sequence)
    }

    /// Returns how a message stands, if it is here.
    pub(crate) fn standing(&self, sequence: u64) -> Option<Standing> {
        if self.is_ready(sequence) {
            return Some(Standing::Ready);
        }
        match self.marks.get(sequence)?.hold {
            Hold::None => None,
            Hold::Leased { until, .. } => Some(Standing::Leased { until }),
            Hold::Waiting { until } => Some(Standing::Waiting { until }),
        }
    }

    /// Returns all that is here.
    pub(crate) fn sequences(&self) -> RoaringTreemap {
        &*self.ready | &*self.held
    }

    /// Returns what is known of a message beside that it is here.
    pub(crate) fn mark(&self, sequence: u64) -> Option<&Mark> {
        self.marks.get(sequence)
    }

    /// Returns when the next hold ends.
    pub(crate) fn next_timer(&self) -> Option<Time> {
        self.timers.first().map(|(until, _)| until)
    }

    /// Returns the message that `handle` leases at `now`.
    pub(crate) fn leased_by(&self, handle: ReceiptHandle, now: Time) -> Option<u64> {
        let sequence = *self.handles.get(handle.0)?;
        match self.marks.get(sequence)?.hold {
            Hold::Leased { until, .. } if until > now => Some(sequence),
            Hold::Leased { .. } | Hold::Waiting { .. } | Hold::None => None,
        }
    }

    /// Adds a new message that is ready.
    pub(crate) fn add_ready(&mut self, sequence: u64) {
        debug_assert!(!self.contains(sequence), "a message is added once");
        if self.ready.insert(sequence) {
            self.ready_count += 1;
        }
    }

    /// Adds a new message that waits for a time.
    pub(crate) fn add_waiting(&mut self, sequence: u64, until: Time) {
        debug_assert!(!self.contains(sequence), "a message is added once");
        self.hold(sequence, Mark::NEW, Hold::Waiting { until });
    }

    /// Leases a message that is ready, and returns how it now stands.
    pub(crate) fn lease(&mut self, sequence: u64, handle: ReceiptHandle, until: Time, now: Time) -> Mark {
        // Each held message has a mark and a timer. As many marks as timers are theirs, so that no ready message has one.
        let is_new = self.marks.len() == self.timers.len() && self.lift_ready(sequence);
        let mut mark = match is_new {
            true => Mark::NEW,
            false => self.lift(sequence),
        };
        if mark.receive_count == 0 {
            mark.first_received = now;
        }
        mark.receive_count = mark.receive_count.saturating_add(1);
        self.hold(sequence, mark, Hold::Leased { handle, until });
        mark
    }

    /// Hides a message that is here until a time, leased to nobody. Its count stays.
    pub(crate) fn stall(&mut self, sequence: u64, until: Time) {
        let mark = self.lift(sequence);
        self.hold(
            sequence,
            mark,
            Hold::Leased {
                handle: ReceiptHandle(0),
                until,
            },
        );
    }

    /// Has the lease on a message end at another time.
    pub(crate) fn extend(&mut self, sequence: u64, handle: ReceiptHandle, until: Time) {
        let mark = self.lift(sequence);
        self.hold(sequence, mark, Hold::Leased { handle, until });
    }

    /// Makes a message that is here wait for a time. Its count stays.
    pub(crate) fn postpone(&mut self, sequence: u64, until: Time) {
        let mark = self.lift(sequence);
        self.hold(sequence, mark, Hold::Waiting { until });
    }

    /// Makes a message that is here ready. Its count stays.
    pub(crate) fn show(&mut self, sequence: u64) {
        let mark = self.lift(sequence);
        if mark.receive_count > 0 {
            self.marks.insert(
                sequence,
                Mark {
                    hold: Hold::None,
                    ..mark
                },
            );
        }
        self.ready.insert(sequence);
        self.ready_count += 1;
    }

    /// Takes one receive back, as if it had not been.
    pub(crate) fn uncount(&mut self, sequence: u64) {
        if let Some(mark) = self.marks.get_mut(sequence) {
            mark.receive_count = mark.receive_count.saturating_sub(1);
        }
    }

    /// Removes a message, wherever it is.
    pub(crate) fn remove(&mut self, sequence: u64) {
        self.lift(sequence);
    }

    /// Returns a message whose hold has ended, the longest ago first. The owner is to move it at once.
    pub(crate) fn due(&self, now: Time) -> Option<u64> {
        let (until, sequence) = self.timers.first()?;
        (until <= now).then_some(sequence)
    }

    /// Removes all messages of a range but the spared ones, which rise.
    pub(crate) fn remove_range(&mut self, range: Range<u64>, spared: &[u64]) {
        let ready: Vec<u64> = spared.iter().copied().filter(|s| self.ready.remove(*s)).collect();
        let removed = self.ready.remove_range(range.clone());
        self.ready_count -= removed;
        for sequence in ready {
            self.ready.insert(sequence);
        }
        let marked: Vec<u64> = self.marks.numbers_in(range).collect();
        for sequence in marked {
            if spared.binary_search(&sequence).is_err() {
                self.lift(sequence);
            }
        }
    }

    /// Ends all leases, and returns whether there were any. Counts stay.
    pub(crate) fn void_leases(&mut self) -> bool {
        let leased = self.leased();
        for sequence in &leased {
            self.show(*sequence);
        }
        !leased.is_empty()
    }

    /// Ends all leases and starts every count from zero. What waits goes on waiting.
    pub(crate) fn renew(&mut self) {
        for sequence in self.leased() {
            self.show(sequence);
        }
        self.marks.retain(|mark| mark.hold != Hold::None);
    }

    /// Adds messages that are ready, none of which is here.
    pub(crate) fn add_all_ready(&mut self, sequences: &RoaringTreemap) {
        self.ready.insert_all(sequences);
        self.ready_count += sequences.len();
    }

    fn leased(&self) -> Vec<u64> {
        let marks = self.marks.iter();
        marks
            .filter(|(_, mark)| matches!(mark.hold, Hold::Leased { .. }))
            .map(|(sequence, _)| sequence)
            .collect()
    }

    /// Takes a message out of its place, and returns its mark.
    fn lift(&mut self, sequence: u64) -> Mark {
        let Some(mark) = self.marks.remove(sequence) else {
            self.lift_ready(sequence);
            return Mark::NEW;
        };
        match mark.hold {
            Hold::None => {
                self.lift_ready(sequence);
            }
            Hold::Leased { handle, until } => {
                self.handles.remove(handle.0);
                self.leased_count -= 1;
                self.end_hold(sequence, until);
            }
            Hold::Waiting { until } => self.end_hold(sequence, until),
        }
        mark
    }

    /// Takes a message out of those that are ready, and returns whether it was there.
    fn lift_ready(&mut self, sequence: u64) -> bool {
        let was_there = self.ready.remove(sequence);
        self.ready_count -= u64::from(was_there);
        was_there
    }

    fn begin_hold(&mut self, sequence: u64, until: Time) {
        self.timers.insert(until, sequence);
        self.held.insert(sequence);
    }

    fn end_hold(&mut self, sequence: u64, until: Time) {
        debug_assert!(!self.ready.contains(sequence), "what is held is not ready");
        self.timers.remove(until, sequence);
        self.held.remove(sequence);
    }

    fn hold(&mut self, sequence: u64, mark: Mark, hold: Hold) {
        match hold {
            Hold::None => {}
            Hold::Leased { handle, until } => {
                if handle != ReceiptHandle(0) {
                    self.handles.insert(handle.0, sequence);
                }
                self.leased_count += 1;
                self.begin_hold(sequence, until);
            }
            Hold::Waiting { until } => self.begin_hold(sequence, until),
        }
        self.marks.insert(sequence, Mark { hold, ..mark });
    }
}

// === impl Mark ===

impl Mark {
    /// What is known of a message that has just come.
    const NEW: Mark = Mark {
        receive_count: 0,
        first_received: Time::from_millis(0),
        hold: Hold::None,
    };
}
