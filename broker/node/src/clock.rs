//! The wall clock of a cluster: the median of its nodes' clocks.
//!
//! Each node learns now and then how far the others' clocks are from its own. One machine's wrong clock then moves the
//! median of three by nothing: what it shows is between the other two. They are compared over the monotonic clock, which
//! does not jump, so that a clock that is set moves nothing from the moment on at which it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_model::{ReplicaId, Time};
use posthouse_replica::{Clock, SystemClock};

/// How far a machine's clock may be off the median of all nodes', in milliseconds.
const OFF_MILLIS_MAX: u64 = 2_000;

/// The file in the data directory that sets the clock wrong, in development mode alone: so many milliseconds ahead. Tests
/// write it; it must be there when the node starts, and is read whenever the clock is.
const SHIFT_FILE: &str = "clock-shift";

/// This machine's clock, which a test can set wrong.
#[derive(Debug, Default)]
pub struct MachineClock {
    system: SystemClock,
    shift: Option<PathBuf>,
}

/// A clock whose wall time is the median of the nodes' clocks, as far as they are known.
#[derive(Debug, Default)]
pub struct MedianClock {
    machine: MachineClock,
    /// How far other nodes' wall clocks are ahead of this machine's monotonic one, in milliseconds.
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

// === impl MachineClock ===

impl MachineClock {
    /// Returns the machine's clock as it is in development mode, where a test can set it wrong.
    pub fn in_development(data: &Path) -> MachineClock {
        let shift = data.join(SHIFT_FILE);
        MachineClock {
            system: SystemClock::new(),
            shift: shift.exists().then_some(shift),
        }
    }

    fn wall(&self) -> Time {
        let shift = self
            .shift
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        let shift: i64 = shift.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let shown = millis(self.system.wall()).saturating_add(shift);
        Time::from_millis(u64::try_from(shown).unwrap_or(0))
    }
}

// === impl MedianClock ===

impl MedianClock {
    /// Returns the median clock of a machine that knows no others yet.
    pub fn of(machine: MachineClock) -> MedianClock {
        MedianClock {
            machine,
            others: Mutex::default(),
        }
    }

    /// Returns what this machine's own clock shows, right or wrong.
    pub fn machine(&self) -> Time {
        self.machine.wall()
    }

    /// Takes notice of what another node's clock showed.
    pub fn learn(&self, replica: ReplicaId, reading: Reading) {
        let now = self.monotonic();
        // It was read half-way between question and answer, as far as can be known.
        let half = (reading.answered.saturating_sub(reading.asked)) / 2;
        let since = now.saturating_sub(reading.answered).saturating_add(half);
        let there = millis(reading.shown).saturating_add(whole_millis(since));
        self.others
            .lock()
            .insert(replica, there.saturating_sub(whole_millis(now)));
    }

    /// Forgets the clocks of those who are not to be kept.
    pub fn keep(&self, keep: impl Fn(ReplicaId) -> bool) {
        self.others.lock().retain(|replica, _| keep(*replica));
    }

    /// Returns whether a node's clock is further off the median than is borne; none is this one's.
    pub fn is_off(&self, replica: Option<ReplicaId>) -> bool {
        let offset = match replica {
            Some(replica) => {
                let known = self.others.lock().get(&replica).copied();
                known.map_or(0, |there| there.saturating_sub(self.own()))
            }
            None => 0,
        };
        offset.abs_diff(self.ahead()) > OFF_MILLIS_MAX
    }

    /// Returns how far the median is ahead of this machine's clock, in milliseconds.
    pub fn ahead(&self) -> i64 {
        let own = self.own();
        let others = self.others.lock();
        if others.is_empty() {
            return 0;
        }
        let offsets = others.values().copied().chain([own]);
        median(offsets.collect()).saturating_sub(own)
    }

    /// Returns how far this machine's wall clock is ahead of its monotonic one, in milliseconds.
    fn own(&self) -> i64 {
        millis(self.machine()).saturating_sub(whole_millis(self.monotonic()))
    }
}

impl Clock for MedianClock {
    fn wall(&self) -> Time {
        let here = millis(self.machine());
        Time::from_millis(u64::try_from(here.saturating_add(self.ahead())).unwrap_or(0))
    }

    fn monotonic(&self) -> Duration {
        self.machine.system.monotonic()
    }

    fn reach(&self, at: Duration) -> BoxFuture<'static, ()> {
        self.machine.system.reach(at)
    }
}

/// Returns the middle one; of an even number, the lower of the two, so that all nodes agree which.
fn median(mut offsets: Vec<i64>) -> i64 {
    offsets.sort_unstable();
    let middle = offsets.len().saturating_sub(1) / 2;
    offsets.get(middle).copied().unwrap_or(0)
}

fn whole_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn millis(time: Time) -> i64 {
    i64::try_from(time.millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn reading(clock: &MedianClock, ahead: i64) -> Reading {
        let shown = millis(clock.machine()).saturating_add(ahead);
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
        assert!(is_near(millis(clock.wall()) - millis(clock.machine()), HOUR));
    }

    #[test]
    fn a_clock_that_is_set_here_moves_nothing_from_then_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let shift = |millis: i64| {
            std::fs::write(dir.path().join(SHIFT_FILE), millis.to_string()).expect("it can be written");
        };
        shift(0);
        let clock = MedianClock::of(MachineClock::in_development(dir.path()));
        clock.learn(ReplicaId(2), reading(&clock, 0));
        clock.learn(ReplicaId(3), reading(&clock, 0));
        let before = millis(clock.wall());
        for set in [HOUR, -HOUR] {
            shift(set);
            assert!(is_near(millis(clock.machine()) - before, set));
            assert!(is_near(millis(clock.wall()), before), "{}", clock.ahead());
            assert!(clock.is_off(None) && !clock.is_off(Some(ReplicaId(2))));
        }
    }

    #[test]
    fn alone_the_machines_clock_is_right() {
        assert_eq!(MedianClock::default().ahead(), 0);
    }
}
