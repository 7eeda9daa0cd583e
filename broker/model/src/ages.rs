//! When the messages of a stream were produced, without memory for each: one mark a second.
//!
//! A mark stands for all messages produced in one second and says when the last of them was. Ages are therefore
//! told by the second: a message counts as produced when the last message of its second was, so that it expires
//! late by less than a second and never early. Sequences rise with time of production.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Span, Time};

/// From how many marks on, those of seconds of which nothing is kept are swept out.
const SWEEP_FROM: usize = 4_096;

/// The times of production of a stream.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ages {
    marks: VecDeque<Mark>,
    swept_to: u32,
}

/// A second in which something was produced.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// When the last message of the second was produced.
    last: Time,
    /// The first message of the second.
    first: u64,
}

// === impl Ages ===

impl Ages {
    /// Notes that `sequence` is produced now.
    pub(crate) fn note(&mut self, sequence: u64, now: Time) {
        match self.marks.back_mut() {
            Some(mark) if mark.last.seconds() == now.seconds() => mark.last = now,
            Some(_) | None => self.marks.push_back(Mark {
                last: now,
                first: sequence,
            }),
        }
    }

    /// Returns when a kept message counts as produced.
    pub(crate) fn produced(&self, sequence: u64) -> Time {
        let after = self.marks.partition_point(|mark| mark.first <= sequence);
        self.marks
            .get(after.saturating_sub(1))
            .map_or(Time::default(), |mark| mark.last)
    }

    /// Returns the first sequence that at `now` is not yet of an age; `next` when there is none.
    pub(crate) fn first_younger(&self, age: Span, now: Time, next: u64) -> u64 {
        let after = self.marks.partition_point(|mark| mark.last + age <= now);
        self.marks.get(after).map_or(next, |mark| mark.first)
    }

    /// Returns the first sequence produced in the second of `start` or later; `next` when there is none.
    pub(crate) fn first_since(&self, start: Time, next: u64) -> u64 {
        let from = self
            .marks
            .partition_point(|mark| mark.last.seconds() < start.seconds());
        self.marks.get(from).map_or(next, |mark| mark.first)
    }

    /// Forgets what is older than the oldest message kept, or everything when none is.
    pub(crate) fn forget_before(&mut self, oldest: Option<u64>) {
        let Some(oldest) = oldest else {
            if !self.marks.is_empty() {
                *self = Ages::default();
            }
            return;
        };
        while self.marks.get(1).is_some_and(|mark| mark.first <= oldest) {
            self.marks.pop_front();
        }
    }

    /// Returns whether so many marks have gathered that a sweep is worth its cost.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.marks.len() >= SWEEP_FROM.max(2 * self.swept_to as usize)
    }

    /// Drops the marks of seconds of which nothing is kept. Between two sweeps the marks double, so the cost of
    /// sweeping stays in proportion to what is produced.
    pub(crate) fn sweep(&mut self, next: u64, is_any_kept: impl Fn(std::ops::Range<u64>) -> bool) {
        let mut swept = VecDeque::new();
        for (position, mark) in self.marks.iter().enumerate() {
            let end = self
                .marks
                .get(position + 1)
                .map_or(next, |following| following.first);
            if is_any_kept(mark.first..end) {
                swept.push_back(*mark);
            }
        }
        self.swept_to = u32::try_from(swept.len()).unwrap_or(u32::MAX);
        self.marks = swept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn ages() -> Ages {
        let mut ages = Ages::default();
        ages.note(1, at(1_000));
        ages.note(2, at(1_900));
        ages.note(3, at(2_000));
        ages.note(4, at(7_500));
        ages
    }

    #[test]
    fn a_second_is_as_old_as_its_last_message() {
        let ages = ages();
        assert_eq!(ages.produced(1), at(1_900));
        assert_eq!(ages.produced(3), at(2_000));
        let age = Span::from_millis(100);
        assert_eq!(ages.first_younger(age, at(1_999), 5), 1);
        assert_eq!(ages.first_younger(age, at(2_000), 5), 3);
        assert_eq!(ages.first_younger(age, at(7_600), 5), 5);
    }

    #[test]
    fn a_start_takes_its_whole_second_in() {
        let ages = ages();
        assert_eq!(ages.first_since(at(1_999), 5), 1);
        assert_eq!(ages.first_since(at(2_000), 5), 3);
        assert_eq!(ages.first_since(at(3_000), 5), 4);
        assert_eq!(ages.first_since(at(8_000), 5), 5);
    }

    #[test]
    fn what_is_kept_keeps_its_age_through_forgetting_and_sweeping() {
        let mut ages = ages();
        ages.forget_before(Some(2));
        assert_eq!(ages.produced(2), at(1_900));
        ages.sweep(5, |range| range.contains(&4) || range.contains(&2));
        assert_eq!(ages.produced(2), at(1_900));
        assert_eq!(ages.produced(4), at(7_500));
        ages.forget_before(None);
        assert_eq!(ages, Ages::default());
    }
}
