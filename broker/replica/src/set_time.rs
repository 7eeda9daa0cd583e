//! Set time: the last stamp and what the monotonic clock says has passed since, led towards the wall clock.
//!
//! Pure: the clocks' readings come in with each call. Stamps never run back, whatever the clocks show.
//!
//! Who stamps is the leader. Everybody else counts on from the leader's stamps, and never gets ahead of it: a stamp was
//! given before it was seen, and a follower's clock is taken to be slow. So a new leader goes on from where the last one
//! can have been at the most, and a lease that the last one gave ends no earlier for it. For the same reason the first
//! stamp of a new term counts even when it is behind what was counted here: from then on the new leader's time is the
//! group's.

use std::time::Duration;

use posthouse_model::{Term, Time};

/// How fast set time is led towards the wall clock, at most: 500 parts in a million of what has passed.
const SLEW_PARTS_PER_MILLION: u128 = 500;
/// By how much a leader's time may run slower than a follower's monotonic clock: by being led back, and as much again
/// because their machines' clocks are not the same.
const FOLLOWED_PARTS_PER_MILLION: u128 = 1_000;

/// What is known of a group's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetTime {
    /// Set time in nanoseconds since 1970, at `at`.
    nanos: u128,
    /// What the monotonic clock showed then; none when nothing was stamped since this process started.
    at: Option<Duration>,
    /// In which term the last known stamp was given.
    term: Term,
    /// Whether this replica gave it.
    leads: bool,
}

// === impl SetTime ===

impl SetTime {
    /// Returns the time of a group whose last known stamp was given before this process started.
    pub(crate) fn since_before(last: Time) -> SetTime {
        SetTime {
            nanos: nanos_of(last),
            at: None,
            term: Term::default(),
            leads: false,
        }
    }

    /// Takes notice of a stamp that was agreed on in a term: time is at least that, and no more at a new leader's first.
    pub(crate) fn observe(&mut self, term: Term, stamp: Time, monotonic: Duration) {
        let stamped = nanos_of(stamp);
        if self.at.is_none() {
            self.nanos = stamped.max(self.nanos);
        } else if term > self.term || stamped > self.read(monotonic) {
            self.nanos = stamped;
        } else {
            return;
        }
        self.at = Some(monotonic);
        if term > self.term {
            self.term = term;
            self.leads = false;
        }
    }

    /// Takes notice of a stamp that is read again from the log after a start, so from before it.
    pub(crate) fn replay(&mut self, term: Term, stamp: Time) {
        self.nanos = self.nanos.max(nanos_of(stamp));
        self.term = self.term.max(term);
    }

    /// Takes notice of what time it is at least, as another replica counted it from the same last stamp.
    pub(crate) fn believe(&mut self, time: Time, monotonic: Duration) {
        let counted = nanos_of(time);
        if self.at.is_none() || counted > self.read(monotonic) {
            self.nanos = counted.max(self.nanos);
            self.at = Some(monotonic);
        }
    }

    /// Begins to lead at a term: what has passed while no replica of the group was there to count it is made up by the
    /// wall clock, in one step forward. A group that was stamped since this process started is only led gently.
    pub(crate) fn lead(&mut self, term: Term, wall: Time, monotonic: Duration) {
        self.nanos = match self.at {
            None => self.nanos.max(nanos_of(wall)),
            Some(_) => self.read(monotonic),
        };
        self.at = Some(monotonic);
        self.term = term;
        self.leads = true;
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

    /// Returns what the monotonic clock will show when it is `deadline`, for the replica that stamps.
    pub(crate) fn reached_at(&self, deadline: Time, monotonic: Duration) -> Duration {
        let wait = nanos_of(deadline).saturating_sub(self.read(monotonic));
        // Led back at the most, set time takes this much longer to get there.
        let wait = (wait * 1_000_000).div_ceil(1_000_000 - SLEW_PARTS_PER_MILLION);
        monotonic.saturating_add(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    fn read(&self, monotonic: Duration) -> u128 {
        let Some(at) = self.at else {
            return self.nanos;
        };
        let passed = monotonic.saturating_sub(at).as_nanos();
        match self.leads {
            true => self.nanos + passed,
            false => self.nanos + passed - passed * FOLLOWED_PARTS_PER_MILLION / 1_000_000,
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
    const FIRST: Term = Term(1);
    const SECOND: Term = Term(2);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn one_that_was_not_there_goes_on_from_what_another_counted() {
        let mut time = SetTime::since_before(START);
        assert_eq!(time.counted(seconds(10)), None);
        // The other's time lags an hour behind the wall clock: no lease may end that hour early.
        time.believe(Time::from_seconds(START.seconds() + 5), seconds(10));
        time.lead(SECOND, Time::from_seconds(START.seconds() + 3_600), seconds(10));
        assert_eq!(time.now(seconds(12)).since(START).seconds(), 7);
        assert_eq!(time.counted(seconds(12)), Some(time.now(seconds(12))));
    }

    #[test]
    fn time_goes_on_from_the_last_stamp_by_the_monotonic_clock() {
        let mut time = SetTime::since_before(Time::default());
        time.observe(FIRST, START, seconds(10));
        // A follower takes its clock to be fast by a thousandth.
        assert_eq!(time.now(seconds(13)).since(START).millis(), 2_997);
        time.lead(SECOND, START, seconds(13));
        assert_eq!(time.now(seconds(16)).since(START).millis(), 5_997);
    }

    #[test]
    fn a_wall_clock_ahead_leads_by_at_most_500_parts_in_a_million() {
        let mut time = SetTime::since_before(Time::default());
        time.lead(FIRST, START, seconds(0));
        let far_ahead = Time::from_seconds(START.seconds() + 100_000);
        let stamp = time.stamp(far_ahead, seconds(1_000));
        assert_eq!(stamp.since(START).millis(), 1_000_500);
    }

    #[test]
    fn a_wall_clock_behind_slows_time_and_never_turns_it_back() {
        let mut time = SetTime::since_before(Time::default());
        time.lead(FIRST, START, seconds(0));
        let stamp = time.stamp(Time::default(), seconds(1_000));
        assert_eq!(stamp.since(START).millis(), 999_500);
    }

    #[test]
    fn downtime_is_made_up_when_a_restarted_replica_leads() {
        let mut time = SetTime::since_before(START);
        let wall = Time::from_seconds(START.seconds() + 3_600);
        time.lead(FIRST, wall, seconds(1));
        assert_eq!(time.stamp(wall, seconds(1)), wall);
    }

    #[test]
    fn a_wall_clock_that_was_set_back_while_down_changes_nothing() {
        let mut time = SetTime::since_before(START);
        time.lead(FIRST, Time::default(), seconds(1));
        assert_eq!(time.now(seconds(1)), START);
    }

    #[test]
    fn a_new_leader_of_a_running_group_does_not_step() {
        let mut time = SetTime::since_before(Time::default());
        time.observe(FIRST, START, seconds(5));
        time.lead(SECOND, Time::from_seconds(START.seconds() + 3_600), seconds(6));
        assert_eq!(time.now(seconds(6)).since(START).millis(), 999);
    }

    #[test]
    fn a_new_leader_that_is_behind_takes_the_others_with_it() {
        let mut ahead = SetTime::since_before(Time::default());
        ahead.observe(FIRST, START, seconds(10));
        // Another saw that stamp three seconds late, and leads next.
        let behind = Time::from_seconds(START.seconds() + 1);
        ahead.observe(SECOND, behind, seconds(14));
        assert_eq!(ahead.now(seconds(14)), behind);
        // Later stamps of the same leader that are late do not hold time up.
        ahead.observe(SECOND, behind, seconds(15));
        assert_eq!(ahead.now(seconds(15)).since(behind).millis(), 999);
    }

    #[test]
    fn time_that_was_counted_from_an_earlier_moment_is_believed_when_it_is_later() {
        let mut time = SetTime::since_before(START);
        time.observe(FIRST, START, seconds(10));
        time.believe(START, seconds(11));
        assert_eq!(time.now(seconds(11)).since(START).millis(), 999);
        time.believe(Time::from_seconds(START.seconds() + 3_600), seconds(11));
        assert_eq!(time.now(seconds(11)).since(START).seconds(), 3_600);
    }

    /// What may happen to a group of three.
    #[derive(Clone, Copy, Debug)]
    enum Happening {
        Passes(u64),
        Stamps,
        /// A replica sees the next stamp that it has not seen.
        Sees(usize),
        /// A replica leads: it has seen all stamps, and asks another.
        Leads(usize, usize),
        Restarts(usize),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            4 => (0u64..20_000).prop_map(Happening::Passes),
            6 => Just(Happening::Stamps),
            6 => (0usize..3).prop_map(Happening::Sees),
            2 => (0usize..3, 1usize..3).prop_map(|(one, off)| Happening::Leads(one, (one + off) % 3)),
            1 => (0usize..3).prop_map(Happening::Restarts),
        ]
    }

    /// Three replicas' time, and what was stamped. Their wall clocks are an hour ahead.
    struct Three {
        clock: Duration,
        replicas: [(SetTime, usize); 3],
        stamps: Vec<(Term, Time, Duration)>,
        leader: usize,
        term: Term,
    }

    impl Three {
        fn wall(&self) -> Time {
            let passed = self.clock.as_secs() * 1_000 + u64::from(self.clock.subsec_millis());
            Time::from_millis(START.millis() + 3_600_000 + passed)
        }

        fn see(&mut self, one: usize) {
            let (time, seen) = &mut self.replicas[one];
            if let Some((term, stamp, _)) = self.stamps.get(*seen) {
                time.observe(*term, *stamp, self.clock);
                *seen += 1;
            }
        }

        fn see_all(&mut self, one: usize) {
            while self.replicas[one].1 < self.stamps.len() {
                self.see(one);
            }
        }

        fn stamp(&mut self) {
            let stamp = self.replicas[self.leader].0.stamp(self.wall(), self.clock);
            self.stamps.push((self.term, stamp, self.clock));
            self.see_all(self.leader);
        }

        /// Has one lead when the other it asks was there to count, so that the group was never gone.
        fn lead(&mut self, one: usize, other: usize) {
            self.see_all(one);
            self.see_all(other);
            if let Some(counted) = self.replicas[other].0.counted(self.clock) {
                self.replicas[one].0.believe(counted, self.clock);
            } else if self.replicas[one].0.counted(self.clock).is_none() {
                return;
            }
            self.leader = one;
            self.term = Term(self.term.0 + 1);
            let wall = self.wall();
            self.replicas[one].0.lead(self.term, wall, self.clock);
        }

        fn restart(&mut self, one: usize) {
            let seen = self.replicas[one].1;
            let mut time = SetTime::since_before(START);
            for (term, stamp, _) in &self.stamps[..seen] {
                time.replay(*term, *stamp);
            }
            self.replicas[one].0 = time;
            if one == self.leader {
                self.lead((one + 1) % 3, (one + 2) % 3);
            }
        }
    }

    proptest! {
        #[test]
        fn no_change_of_leader_makes_time_run_faster(happenings in proptest::collection::vec(happening(), 1..120)) {
            let mut first = SetTime::since_before(START);
            first.lead(FIRST, START, Duration::ZERO);
            let follower = SetTime::since_before(START);
            let mut three = Three {
                clock: Duration::ZERO,
                replicas: [(first, 0), (follower, 0), (follower, 0)],
                stamps: Vec::new(),
                leader: 0,
                term: FIRST,
            };
            three.stamp();
            three.see_all(1);
            three.see_all(2);
            for happening in happenings {
                match happening {
                    Happening::Passes(millis) => three.clock += Duration::from_millis(millis),
                    Happening::Stamps => three.stamp(),
                    Happening::Sees(one) => three.see(one),
                    Happening::Leads(one, other) => three.lead(one, other),
                    Happening::Restarts(one) => three.restart(one),
                }
            }
            for (earlier, (_, from, began)) in three.stamps.iter().enumerate() {
                for (_, to, ended) in &three.stamps[earlier..] {
                    prop_assert!(to >= from, "stamps run back");
                    let passed = (*ended - *began).as_micros() * 1_000_500 / 1_000_000_000 + 1;
                    prop_assert!(u128::from(to.since(*from).millis()) <= passed, "time runs too fast");
                }
            }
        }

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
        fn a_deadline_is_reached_when_it_is_said_to_be(millis in 0u64..100_000_000, wall in 0..2 * START.millis()) {
            let mut time = SetTime::since_before(START);
            time.lead(FIRST, START, Duration::ZERO);
            let base = time.now(Duration::ZERO);
            let deadline = base + posthouse_model::Span::from_millis(millis);
            let at = time.reached_at(deadline, Duration::ZERO);
            prop_assert!(time.stamp(Time::from_millis(wall), at) >= deadline);
        }
    }
}
