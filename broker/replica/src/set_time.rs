//! Set time: the last stamp and what the monotonic clock says has passed since, led towards the wall clock.
//!
//! Pure: the clocks' readings come in with each call. Never runs back, whatever they show.

use std::time::Duration;

use posthouse_model::Time;

/// How fast set time is led towards the wall clock, at most: 500 parts in a million of what has passed.
const SLEW_PARTS_PER_MILLION: u128 = 500;

/// What is known of a group's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetTime {
    /// Set time in nanoseconds since 1970, at `at`.
    nanos: u128,
    /// What the monotonic clock showed then; none when nothing was stamped since this process started.
    at: Option<Duration>,
}

// === impl SetTime ===

impl SetTime {
    /// Returns the time of a group whose last known stamp was given before this process started.
    pub(crate) fn since_before(last: Time) -> SetTime {
        SetTime {
            nanos: nanos_of(last),
            at: None,
        }
    }

    /// Takes notice of a stamp that was agreed on: time is at least that.
    pub(crate) fn observe(&mut self, stamp: Time, monotonic: Duration) {
        let passed = self.read(monotonic);
        let stamped = nanos_of(stamp);
        if self.at.is_none() || stamped > passed {
            self.nanos = stamped.max(self.nanos);
            self.at = Some(monotonic);
        }
    }

    /// Takes notice of a stamp that is read again from the log after a start, so from before it.
    pub(crate) fn replay(&mut self, stamp: Time) {
        self.nanos = self.nanos.max(nanos_of(stamp));
    }

    /// Begins to lead: what has passed while no replica of the group was there to count it is made up by the wall
    /// clock, in one step forward. A group that was stamped since this process started is only led gently.
    pub(crate) fn lead(&mut self, wall: Time, monotonic: Duration) {
        if self.at.is_none() {
            self.nanos = self.nanos.max(nanos_of(wall));
            self.at = Some(monotonic);
        }
    }

    /// Moves on to now, led towards the wall clock, and returns the stamp for an entry.
    pub(crate) fn stamp(&mut self, wall: Time, monotonic: Duration) -> Time {
        let at = self.at.unwrap_or(monotonic);
        let passed = monotonic.saturating_sub(at).as_nanos();
        let plain = self.nanos + passed;
        let slew_max = passed * SLEW_PARTS_PER_MILLION / 1_000_000;
        let wall = nanos_of(wall);
        self.nanos = if wall > plain {
            plain + slew_max.min(wall - plain)
        } else {
            plain - slew_max.min(plain - wall)
        };
        self.at = Some(monotonic.max(at));
        time_of(self.nanos)
    }

    /// Returns what time it is, if something was stamped since this process started.
    pub(crate) fn counted(&self, monotonic: Duration) -> Option<Time> {
        self.at.map(|_| self.now(monotonic))
    }

    /// Returns what time it is.
    pub(crate) fn now(&self, monotonic: Duration) -> Time {
        time_of(self.read(monotonic))
    }

    /// Returns what the monotonic clock will show when it is `deadline`.
    pub(crate) fn reached_at(&self, deadline: Time, monotonic: Duration) -> Duration {
        let wait = nanos_of(deadline).saturating_sub(self.read(monotonic));
        // Led back at the most, set time takes this much longer to get there.
        let wait = wait + wait * SLEW_PARTS_PER_MILLION / 1_000_000;
        monotonic.saturating_add(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    fn read(&self, monotonic: Duration) -> u128 {
        match self.at {
            Some(at) => self.nanos + monotonic.saturating_sub(at).as_nanos(),
            None => self.nanos,
        }
    }
}

fn nanos_of(time: Time) -> u128 {
    u128::from(time.millis()) * 1_000_000
}

fn time_of(nanos: u128) -> Time {
    Time::from_millis(u64::try_from(nanos / 1_000_000).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Time = Time::from_seconds(1_700_000_000);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn one_that_was_not_there_goes_on_from_what_another_counted() {
        let mut time = SetTime::since_before(START);
        assert_eq!(time.counted(seconds(10)), None);
        // The other's time lags an hour behind the wall clock: no lease may end that hour early.
        time.observe(Time::from_seconds(START.seconds() + 5), seconds(10));
        time.lead(Time::from_seconds(START.seconds() + 3_600), seconds(11));
        assert_eq!(time.now(seconds(12)).since(START).seconds(), 7);
        assert_eq!(time.counted(seconds(12)), Some(time.now(seconds(12))));
    }

    #[test]
    fn time_goes_on_from_the_last_stamp_by_the_monotonic_clock() {
        let mut time = SetTime::since_before(Time::default());
        time.observe(START, seconds(10));
        assert_eq!(time.now(seconds(13)).since(START).seconds(), 3);
    }

    #[test]
    fn a_wall_clock_ahead_leads_by_at_most_500_parts_in_a_million() {
        let mut time = SetTime::since_before(Time::default());
        time.observe(START, seconds(0));
        let far_ahead = Time::from_seconds(START.seconds() + 100_000);
        let stamp = time.stamp(far_ahead, seconds(1_000));
        assert_eq!(stamp.since(START).millis(), 1_000_500);
    }

    #[test]
    fn a_wall_clock_behind_slows_time_and_never_turns_it_back() {
        let mut time = SetTime::since_before(Time::default());
        time.observe(START, seconds(0));
        let stamp = time.stamp(Time::default(), seconds(1_000));
        assert_eq!(stamp.since(START).millis(), 999_500);
    }

    #[test]
    fn downtime_is_made_up_when_a_restarted_replica_leads() {
        let mut time = SetTime::since_before(START);
        let wall = Time::from_seconds(START.seconds() + 3_600);
        time.lead(wall, seconds(1));
        assert_eq!(time.stamp(wall, seconds(1)), wall);
    }

    #[test]
    fn a_wall_clock_that_was_set_back_while_down_changes_nothing() {
        let mut time = SetTime::since_before(START);
        time.lead(Time::default(), seconds(1));
        assert_eq!(time.now(seconds(1)), START);
    }

    #[test]
    fn a_new_leader_of_a_running_group_does_not_step() {
        let mut time = SetTime::since_before(Time::default());
        time.observe(START, seconds(5));
        time.lead(Time::from_seconds(START.seconds() + 3_600), seconds(6));
        assert_eq!(time.now(seconds(6)).since(START).seconds(), 1);
    }

    proptest! {
        #[test]
        fn stamps_never_run_back(steps in proptest::collection::vec((0u64..10_000, any::<u64>()), 1..50)) {
            let mut time = SetTime::since_before(START);
            let mut monotonic = Duration::ZERO;
            let mut last = START;
            for (millis, wall) in steps {
                monotonic += Duration::from_millis(millis);
                let stamp = time.stamp(Time::from_millis(wall), monotonic);
                prop_assert!(stamp >= last);
                prop_assert!(time.now(monotonic) >= stamp);
                last = stamp;
            }
        }

        #[test]
        fn a_deadline_is_reached_when_it_is_said_to_be(millis in 0u64..100_000_000, wall in any::<u64>()) {
            let mut time = SetTime::since_before(START);
            time.lead(START, Duration::ZERO);
            let base = time.now(Duration::ZERO);
            let deadline = base + posthouse_model::Span::from_millis(millis);
            let at = time.reached_at(deadline, Duration::ZERO);
            prop_assert!(time.stamp(Time::from_millis(wall), at) >= deadline);
        }
    }
}
