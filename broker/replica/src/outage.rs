//! What lets a group tell, after all its replicas were down at once, how far its time went on meanwhile.
//!
//! Nobody counted then, so wall clocks are all there is. But a group's time need not be what they show: it is behind them
//! by what changes of leader cost. So each replica notes, in the batch of its log that makes a stamped entry durable, how
//! far time was behind the wall clock. Who leads after the outage asks a majority, and takes the wall clock in the middle
//! less the lag in the middle. One wrong clock, before or after, moves neither ahead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_model::{LogIndex, Term, Time};
use posthouse_wire::{DecodeError, Kind};
use serde::{Deserialize, Serialize};

use crate::Clock;
use crate::raft::{Payload, RaftEntry};
use crate::set_time::SetTime;

/// How much longer than the one in the middle a lag is still believed to be: more than changes of leader cost, and less than a
/// wrong clock does harm by.
const LONGER_MILLIS_MAX: i64 = 10_000;

/// How far a group's time was behind a replica's wall clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lag {
    /// The term of the last stamp that was seen then.
    term: Term,
    /// The entry that it came with.
    index: LogIndex,
    millis: i64,
}

/// What a replica says of itself after an outage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness {
    /// What its wall clock shows.
    pub(crate) wall: Time,
    /// What it noted before.
    pub(crate) lag: Option<Lag>,
}

/// Counts a group's time from the entries that are appended, before they are applied, and says what is to be noted
/// with them.
pub(crate) struct LagKeeper {
    clock: Arc<dyn Clock>,
    stamp_of: fn(&[u8]) -> Result<Time, DecodeError>,
    kept: Mutex<Kept>,
    /// The last entry that was stamped before this process could count, as far as it is known.
    late_to: AtomicU64,
}

struct Kept {
    time: SetTime,
    lag: Option<Lag>,
}

// === impl Lag ===

impl Lag {
    /// Returns the lag of a time, which was counted from the stamp of an entry.
    pub(crate) fn new(term: Term, index: LogIndex, wall: Time, time: Time) -> Lag {
        let millis = i128::from(wall.millis()) - i128::from(time.millis());
        let bound = i128::from(i64::MAX);
        Lag {
            term,
            index,
            millis: i64::try_from(millis.clamp(-bound, bound)).unwrap_or_default(),
        }
    }

    /// Returns its bytes.
    pub(crate) fn encode(&self) -> Bytes {
        posthouse_wire::encode(Kind::Replica, self)
    }

    /// Reads a lag.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Lag> {
        posthouse_wire::decode(Kind::Replica, bytes).map_err(io::Error::other)
    }

    /// Returns whether it was noted by one who had seen an entry.
    fn has_seen(&self, term: Term, index: LogIndex) -> bool {
        self.term >= term && self.index >= index
    }
}

// === impl LagKeeper ===

impl LagKeeper {
    /// Returns the keeper of a log that was just opened: its last entry, and what was noted with it.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        stamp_of: fn(&[u8]) -> Result<Time, DecodeError>,
        last: LogIndex,
        lag: Option<Lag>,
    ) -> LagKeeper {
        LagKeeper {
            clock,
            stamp_of,
            kept: Mutex::new(Kept {
                time: SetTime::since_before(Time::default()),
                lag,
            }),
            late_to: AtomicU64::new(last.0),
        }
    }

    /// Takes notice of entries that are appended while a term leads; returns what is to be noted with them, if that is
    /// another. Those of an earlier term may have been stamped long ago: who did not count before does not begin with
    /// them.
    pub(crate) fn append(&self, led: Term, entries: &[RaftEntry]) -> Option<Lag> {
        let monotonic = self.clock.monotonic();
        let mut kept = self.kept.lock();
        let mut last = None;
        for entry in entries {
            let term = Term(entry.log_id.leader_id.term);
            let is_late = term < led;
            if is_late {
                self.late_to.fetch_max(entry.log_id.index, Ordering::AcqRel);
            }
            if let Payload::Normal(proposal) = &entry.payload
                && let Ok(stamp) = (self.stamp_of)(&proposal.encoded)
            {
                match is_late {
                    true => kept.time.observe_late(term, stamp, monotonic),
                    false => kept.time.observe(term, stamp, monotonic),
                }
                last = Some((term, LogIndex(entry.log_id.index)));
            }
        }
        let (term, index) = last?;
        let time = kept.time.counted(monotonic)?;
        kept.lag = Some(Lag::new(term, index, self.clock.wall(), time));
        kept.lag
    }

    /// Returns whether an entry may have been stamped before this process could count.
    pub(crate) fn is_late(&self, index: LogIndex) -> bool {
        index.0 <= self.late_to.load(Ordering::Acquire)
    }

    /// Returns what was noted last.
    pub(crate) fn lag(&self) -> Option<Lag> {
        self.kept.lock().lag
    }
}

/// Returns what time it is for a group that nobody counted for, by what replicas say of whom the first is the one that
/// asks; they are a majority of so many. The last stamp came with an entry of a term.
///
/// Of an even number of wall clocks the earlier one in the middle counts, and of lags the longer one. Lags of those who
/// have seen the last stamp count alone, if they are a majority: others may not know of a leader that was behind. A lag that is
/// a little longer than the one in the middle counts before it: the others may be one that was noted by a wrong clock and one
/// of who missed something, because nobody else has the last stamp. Time is never taken to be ahead of the wall
/// clocks, and who noted nothing takes it for what they show.
pub(crate) fn time_after(witnesses: &[Witness], voters: usize, term: Term, index: LogIndex) -> Time {
    let wall = middle(witnesses.iter().map(|witness| witness.wall));
    let abreast = |lag: &Lag| lag.has_seen(term, index);
    let mut lags: Vec<i64> = witnesses
        .iter()
        .filter_map(|witness| witness.lag.filter(abreast))
        .map(|lag| lag.millis)
        .collect();
    if lags.len() <= voters / 2 {
        lags = witnesses
            .iter()
            .map(|witness| witness.lag.map_or(0, |lag| lag.millis))
            .collect();
    }
    lags.sort_unstable();
    let in_the_middle = lags.get(lags.len() / 2).copied().unwrap_or(0);
    let longest = in_the_middle.saturating_add(LONGER_MILLIS_MAX);
    let behind = lags.into_iter().rfind(|lag| *lag <= longest).unwrap_or(0);
    Time::from_millis(wall.millis().saturating_sub(u64::try_from(behind).unwrap_or(0)))
}

/// Returns the time in the middle; of an even number, the earlier of the two, so that one wrong clock of two steps
/// nothing ahead.
fn middle(times: impl Iterator<Item = Time>) -> Time {
    let mut times: Vec<Time> = times.collect();
    times.sort_unstable();
    let middle = times.len().saturating_sub(1) / 2;
    times.get(middle).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Term = Term(3);
    const LAST: LogIndex = LogIndex(40);

    fn witness(wall: u64, lag: Option<(u64, i64)>) -> Witness {
        Witness {
            wall: Time::from_seconds(wall),
            lag: lag.map(|(index, seconds)| Lag {
                term: TERM,
                index: LogIndex(index),
                millis: seconds * 1_000,
            }),
        }
    }

    fn after(witnesses: &[Witness]) -> u64 {
        time_after(witnesses, 3, TERM, LAST).seconds()
    }

    #[test]
    fn time_stays_as_far_behind_the_wall_clock_as_it_was() {
        let seen = Some((40, 2));
        assert_eq!(after(&[witness(100, seen), witness(101, seen)]), 98);
        assert_eq!(
            after(&[witness(100, seen), witness(101, seen), witness(102, seen)]),
            99
        );
        assert_eq!(after(&[witness(100, seen)]), 98);
    }

    #[test]
    fn one_wrong_wall_clock_is_not_believed() {
        let at = |wall| witness(wall, None);
        assert_eq!(after(&[at(3_700), at(100), at(101)]), 101);
        assert_eq!(after(&[at(3_700), at(100)]), 100);
        assert_eq!(after(&[at(100), at(3_700)]), 100);
    }

    #[test]
    fn one_clock_that_was_wrong_before_ends_nothing_early() {
        let right = witness(100, Some((40, 2)));
        let was_behind = witness(100, Some((40, -3_598)));
        assert_eq!(after(&[was_behind, right]), 98);
        assert_eq!(after(&[was_behind, right, right]), 98);
        // Another one is wrong after it.
        assert_eq!(after(&[was_behind, right, witness(3_700, Some((40, 2)))]), 98);
    }

    #[test]
    fn who_has_not_seen_the_last_stamp_is_asked_only_when_too_few_have() {
        let (seen, missed) = (witness(100, Some((40, 2))), witness(100, Some((39, 1))));
        let was_behind = witness(100, Some((40, -3_598)));
        assert_eq!(after(&[was_behind, seen, missed]), 98);
        assert_eq!(after(&[missed, seen]), 98);
        assert_eq!(after(&[missed, missed, missed]), 99);
    }

    #[test]
    fn a_wrong_clock_and_one_who_missed_a_change_of_leader_end_nothing_early_together() {
        // The last stamp came to one alone; those before it to another, whose clock is wrong, and the third missed more.
        let (last, missed) = (witness(4_000, Some((40, 3))), witness(4_000, Some((20, 1))));
        let is_behind = witness(400, Some((39, -3_597)));
        assert_eq!(after(&[last, missed, is_behind]), 3_997);
        let is_ahead = witness(7_600, Some((39, 3_603)));
        assert_eq!(after(&[last, missed, is_ahead]), 3_997, "and no hour is lost");
        assert_eq!(after(&[last, missed, witness(4_000, Some((39, -3_597)))]), 3_997);
        assert_eq!(after(&[last, missed, witness(4_000, Some((39, 3_603)))]), 3_997);
    }

    #[test]
    fn time_is_never_ahead_of_the_wall_clocks() {
        let ahead = Some((40, -60));
        assert_eq!(
            after(&[witness(100, ahead), witness(100, ahead), witness(100, ahead)]),
            100
        );
        let nothing_noted = witness(100, None);
        assert_eq!(after(&[nothing_noted, witness(100, Some((40, -3_598)))]), 100);
    }

    #[test]
    fn lags_read_back_as_written() {
        let lag = Lag::new(TERM, LAST, Time::from_millis(100), Time::from_millis(350));
        assert_eq!(lag.millis, -250);
        assert_eq!(Lag::decode(&lag.encode()).expect("written by us"), lag);
    }
}
