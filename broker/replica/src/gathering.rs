//! How long an entry that nothing keeps from being proposed waits for more commands.
//!
//! Callers that ask again once they are answered come back one after the other. Without a wait the first of them gets an
//! entry of its own, and all others wait until that is agreed on: twice as many entries, each with its cost, and twice the
//! time. How long a wait may last, and whether it is worth it, is learnt from what came of earlier ones, so that callers
//! who have nothing to do with each other do not wait for each other.

use std::time::Duration;

use tokio::time::Instant;

/// A wait is to end after this part of what the last entry took.
const ROUND_PART: u32 = 4;
/// The longest wait that is asked for. The timer rounds up to its next tick, of a millisecond.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// Where a wait would be shorter than that, there is none: what the timer makes of it would be much of a round.
const WAIT_MIN: Duration = Duration::from_micros(500);
/// After so many more waits in vain the number of entries that do not wait no longer doubles.
const VAIN_MAX: u32 = 6;

/// Whether an entry waits for more commands, and what waits were worth.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    until: Option<Instant>,
    /// By how much waits to which fewer came than were expected outnumber the others: half the waits have to be worth it.
    vain: u32,
    /// Entries that do not wait, because others did in vain.
    passes: u32,
}

/// What was seen when the last entry was agreed on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Round {
    /// How many callers it had and how many waited for another.
    pub(crate) callers: usize,
    /// How long it took.
    pub(crate) took: Duration,
}

// === impl Gathering ===

impl Gathering {
    /// Returns when the wait ends, if one has begun.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Ends the wait: there is nothing to propose any more, or enough without those it was for.
    pub(crate) fn end(&mut self) {
        self.until = None;
    }

    /// Returns whether an entry with so many commands is to be proposed now.
    pub(crate) fn is_over(&mut self, commands: usize, last: Round, now: Instant) -> bool {
        if commands >= last.callers {
            if self.until.is_some() {
                self.vain = self.vain.saturating_sub(1);
            }
            self.end();
            return true;
        }
        match self.until {
            Some(until) if now < until => false,
            Some(_) => {
                self.end();
                self.vain = (self.vain + 1).min(VAIN_MAX);
                self.passes = 1 << self.vain;
                true
            }
            None if self.passes > 0 => {
                self.passes -= 1;
                true
            }
            None => {
                let wait = (last.took / ROUND_PART).min(WAIT_MAX);
                if wait < WAIT_MIN {
                    return true;
                }
                self.until = Some(now + wait);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Round = Round {
        callers: 4,
        took: Duration::from_millis(2),
    };

    #[test]
    fn an_entry_waits_for_as_many_as_there_were() {
        let mut gathering = Gathering::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert!(!gathering.is_over(1, ROUND, now));
            assert!(!gathering.is_over(3, ROUND, now));
            assert!(gathering.is_over(4, ROUND, now));
            assert_eq!(gathering.until(), None);
        }
    }

    #[test]
    fn a_wait_is_a_part_of_a_round_and_never_long() {
        let now = Instant::now();
        for (took, wait) in [(2_000, 500), (3_000, 750), (100_000, 1_000)] {
            let mut gathering = Gathering::default();
            let round = Round {
                took: Duration::from_micros(took),
                ..ROUND
            };
            assert!(!gathering.is_over(1, round, now));
            let until = now + Duration::from_micros(wait);
            assert_eq!(gathering.until(), Some(until));
            assert!(gathering.is_over(1, round, until));
            assert_eq!(gathering.until(), None);
        }
    }

    #[test]
    fn nothing_waits_for_less_than_the_timer_can_tell() {
        let round = Round {
            took: Duration::from_micros(1_999),
            ..ROUND
        };
        assert!(Gathering::default().is_over(1, round, Instant::now()));
    }

    #[test]
    fn who_is_alone_never_waits() {
        let mut gathering = Gathering::default();
        let alone = Round { callers: 1, ..ROUND };
        for round in [alone, Round::default()] {
            assert!(gathering.is_over(1, round, Instant::now()));
        }
    }

    /// Returns how many of a thousand entries wait, if every so manyth wait is worth it; none is if that is zero.
    fn waits(gathering: &mut Gathering, worth_it_every: u32) -> u32 {
        let (now, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut waits = 0;
        for _ in 0..1_000 {
            if !gathering.is_over(1, ROUND, now) {
                waits += 1;
                let is_worth_it = worth_it_every > 0 && waits % worth_it_every == 0;
                let (commands, now) = if is_worth_it { (4, now) } else { (1, late) };
                assert!(gathering.is_over(commands, ROUND, now));
            }
        }
        waits
    }

    #[test]
    fn waits_in_vain_become_rare_and_those_that_are_not_make_them_usual_again() {
        let mut gathering = Gathering::default();
        for (worth_it_every, few, many) in [(0, 10, 30), (4, 10, 60), (1, 900, 1_000), (0, 10, 30)] {
            let waits = waits(&mut gathering, worth_it_every);
            assert!(
                (few..=many).contains(&waits),
                "{waits} of 1000 entries waited, every {worth_it_every}th with success"
            );
        }
    }
}
