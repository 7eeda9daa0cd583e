//! The wall clock of a cluster: the median of its nodes' clocks.
//!
//! Each node learns now and then how far the others' clocks are from its own. One machine's wrong clock then moves the
//! median of three by nothing: what it shows is between the other two.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_model::{ReplicaId, Time};
use posthouse_replica::{Clock, SystemClock};

/// How far a machine's clock may be off the median of all nodes', in milliseconds.
const OFF_MILLIS_MAX: u64 = 2_000;

/// A clock whose wall time is the median of the nodes' clocks, as far as they are known.
#[derive(Debug, Default)]
pub struct MedianClock {
    system: SystemClock,
    /// How far other nodes' clocks are ahead of this machine's, in milliseconds.
    others: Mutex<BTreeMap<ReplicaId, i64>>,
}

/// What another node's clock showed, and when it was asked by the monotonic clock here.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// What it showed.
    pub shown: Time,
    /// When it was asked.
    pub asked: Duration,
    /// When it had answered.
    pub answered: Duration,
}

// === impl MedianClock ===

impl MedianClock {
    /// Takes notice of what another node's clock showed.
    pub fn learn(&self, replica: ReplicaId, reading: Reading) {
        let now = self.system.monotonic();
        let here = millis(self.system.wall());
        // It was read half-way between question and answer, as far as can be known.
        let half = (reading.answered.saturating_sub(reading.asked)) / 2;
        let since = now.saturating_sub(reading.answered).saturating_add(half);
        let there =
            millis(reading.shown).saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        self.others.lock().insert(replica, there.saturating_sub(here));
    }

    /// Forgets the clocks of those who are not to be kept.
    pub fn keep(&self, keep: impl Fn(ReplicaId) -> bool) {
        self.others.lock().retain(|replica, _| keep(*replica));
    }

    /// Returns whether a node's clock is further off the median than is borne; none is this one's.
    pub fn is_off(&self, replica: Option<ReplicaId>) -> bool {
        let offset = match replica {
            Some(replica) => self.others.lock().get(&replica).copied().unwrap_or(0),
            None => 0,
        };
        offset.abs_diff(self.ahead()) > OFF_MILLIS_MAX
    }

    /// Returns how far the median is ahead of this machine's clock, in milliseconds.
    pub fn ahead(&self) -> i64 {
        let mut offsets: Vec<i64> = self.others.lock().values().copied().collect();
        offsets.push(0);
        median(offsets)
    }
}

impl Clock for MedianClock {
    fn wall(&self) -> Time {
        let here = millis(self.system.wall());
        Time::from_millis(u64::try_from(here.saturating_add(self.ahead())).unwrap_or(0))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn reach(&self, at: Duration) -> BoxFuture<'static, ()> {
        self.system.reach(at)
    }
}

/// Returns the middle one; of an even number, the lower of the two, so that all nodes agree which.
fn median(mut offsets: Vec<i64>) -> i64 {
    offsets.sort_unstable();
    let middle = offsets.len().saturating_sub(1) / 2;
    offsets.get(middle).copied().unwrap_or(0)
}

fn millis(time: Time) -> i64 {
    i64::try_from(time.millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn reading(clock: &MedianClock, ahead: i64) -> Reading {
        let shown = millis(clock.system.wall()).saturating_add(ahead);
        let now = clock.monotonic();
        Reading {
            shown: Time::from_millis(u64::try_from(shown).expect("after 1970")),
            asked: now,
            answered: now,
        }
    }

    fn is_near(found: i64, expected: i64) -> bool {
        (found - expected).abs() < 60_000
    }

    #[test]
    fn one_wrong_clock_of_three_moves_nothing() {
        let clock = MedianClock::default();
        for ahead in [HOUR, -HOUR] {
            clock.learn(ReplicaId(2), reading(&clock, ahead));
            clock.learn(ReplicaId(3), reading(&clock, 0));
            assert!(is_near(clock.ahead(), 0), "{}", clock.ahead());
            assert!(clock.is_off(Some(ReplicaId(2))) && !clock.is_off(None));
        }
    }

    #[test]
    fn a_wrong_clock_here_is_put_right_by_the_others() {
        let clock = MedianClock::default();
        clock.learn(ReplicaId(2), reading(&clock, HOUR));
        clock.learn(ReplicaId(3), reading(&clock, HOUR));
        assert!(is_near(clock.ahead(), HOUR), "{}", clock.ahead());
        assert!(clock.is_off(None) && !clock.is_off(Some(ReplicaId(2))));
        assert!(is_near(millis(clock.wall()) - millis(clock.system.wall()), HOUR));
    }

    #[test]
    fn alone_the_machines_clock_is_right() {
        assert_eq!(MedianClock::default().ahead(), 0);
    }
}
