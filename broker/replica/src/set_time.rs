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

    /// Takes notice of a stamp that may have been given long ago, and maybe before this process started: who counted
    /// before takes it as any other, and who did not does not begin with it.
    pub(crate) fn observe_late(&mut self, term: Term, stamp: Time, monotonic: Duration) {
        match self.at {
            Some(_) => self.observe(term, stamp, monotonic),
            None => self.replay(term, stamp),
        }
    }

    /// Returns the term of the last known stamp.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    fn replay(&mut self, term: Term, stamp: Time) {
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

    /// Begins to lead at a term: what has passed while no replica of the group was there to count it is made up in one
    /// step forward, to what time it is by wall clocks. A group that was stamped since this process started is only led
    /// gently.
    pub(crate) fn lead(&mut self, term: Term, after_outage: Time, monotonic: Duration) {
        self.nanos = match self.at {
            None => self.nanos.max(nanos_of(after_outage)),
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
    use posthouse_model::LogIndex;
    use proptest::prelude::*;

    use super::*;
    use crate::outage::{Lag, Witness, time_after};

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
        /// A replica leads: it has seen all stamps, and asks another, or both.
        Leads(usize, usize, bool),
        Restarts(usize),
        /// All restart, and the last of them with a wall clock that is so many milliseconds ahead then.
        AllRestart(i64),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        let wrong = prop_oneof![Just(0), Just(3_600_000), Just(-3_600_000)];
        prop_oneof![
            4 => (0u64..20_000).prop_map(Happening::Passes),
            6 => Just(Happening::Stamps),
            6 => (0usize..3).prop_map(Happening::Sees),
            2 => (0usize..3, 1usize..3, any::<bool>())
                .prop_map(|(one, off, asks_both)| Happening::Leads(one, (one + off) % 3, asks_both)),
            1 => (0usize..3).prop_map(Happening::Restarts),
            1 => wrong.prop_map(Happening::AllRestart),
        ]
    }

    /// A replica's time, how many stamps it has seen, and what it noted.
    struct Replica {
        time: SetTime,
        seen: usize,
        lag: Option<Lag>,
    }

    /// Three replicas, and what was stamped. Their wall clocks are an hour ahead of the group's time, but for one.
    struct Three {
        clock: Duration,
        replicas: [Replica; 3],
        /// With the number of the entry, which no other has.
        stamps: Vec<(Term, Time, Duration, LogIndex)>,
        /// How many were stamped before all restarted.
        old: usize,
        wrong_millis: i64,
        was_ever_wrong: bool,
        leader: usize,
        term: Term,
        entries: u64,
    }

    impl Three {
        fn begin() -> Three {
            let replica = || Replica {
                time: SetTime::since_before(START),
                seen: 0,
                lag: None,
            };
            let mut three = Three {
                clock: Duration::ZERO,
                replicas: [replica(), replica(), replica()],
                stamps: Vec::new(),
                old: 0,
                wrong_millis: 0,
                was_ever_wrong: false,
                leader: 0,
                term: FIRST,
                entries: 0,
            };
            three.replicas[0].time.lead(FIRST, START, Duration::ZERO);
            three.stamp();
            three.see_all(1);
            three.see_all(2);
            three
        }

        fn wall(&self, one: usize) -> Time {
            let ahead = 3_600_000 + if one == 2 { self.wrong_millis } else { 0 };
            let passed = u64::try_from(self.clock.as_millis()).expect("hours");
            Time::from_millis((START.millis() + passed).saturating_add_signed(ahead))
        }

        fn see(&mut self, one: usize) {
            let wall = self.wall(one);
            let replica = &mut self.replicas[one];
            let Some((term, stamp, _, index)) = self.stamps.get(replica.seen) else {
                return;
            };
            if replica.seen < self.old {
                replica.time.observe_late(*term, *stamp, self.clock);
            } else {
                replica.time.observe(*term, *stamp, self.clock);
            }
            replica.seen += 1;
            if let Some(time) = replica.time.counted(self.clock) {
                replica.lag = Some(Lag::new(*term, *index, wall, time));
            }
        }

        fn see_all(&mut self, one: usize) {
            while self.replicas[one].seen < self.stamps.len() {
                self.see(one);
            }
        }

        fn stamp(&mut self) {
            // Who leads by itself, a restarted one, does not.
            if self.replicas[self.leader].time.counted(self.clock).is_none() {
                return;
            }
            let wall = self.wall(self.leader);
            let stamp = self.replicas[self.leader].time.stamp(wall, self.clock);
            self.entries += 1;
            let index = LogIndex(self.entries);
            self.stamps.push((self.term, stamp, self.clock, index));
            self.see_all(self.leader);
        }

        /// Has one lead, which asks another for its time or both.
        fn lead(&mut self, one: usize, other: usize, asks_both: bool) {
            // Who has not seen all is not elected by the other, if that one has.
            let (one, other) = match self.replicas[one].seen < self.replicas[other].seen {
                true => (other, one),
                false => (one, other),
            };
            let counts = |three: &Three, one: usize| three.replicas[one].time.counted(three.clock);
            // Those who count have applied the last stamp before they are believed; the others noted what they noted.
            self.see_all(one);
            if counts(self, other).is_some() {
                self.see_all(other);
            }
            let (last_term, last) = self
                .stamps
                .last()
                .map_or((FIRST, LogIndex(0)), |last| (last.0, last.3));
            if let Some(counted) = counts(self, other) {
                self.replicas[one].time.believe(counted, self.clock);
            }
            let mut asked = vec![one, other];
            // Two wrong things at once are not made good: a wrong clock, and one that missed a change of leader.
            if asks_both || self.was_ever_wrong {
                asked.push(3 - one - other);
            }
            let witness = |replica: &usize| Witness {
                wall: self.wall(*replica),
                lag: self.replicas[*replica].lag,
            };
            let witnesses: Vec<Witness> = asked.iter().map(witness).collect();
            let after_outage = time_after(&witnesses, 3, last_term, last);
            self.leader = one;
            self.term = Term(self.term.0 + 1);
            self.replicas[one].time.lead(self.term, after_outage, self.clock);
        }

        fn restart(&mut self, one: usize) {
            let mut time = SetTime::since_before(START);
            for (term, stamp, ..) in &self.stamps[..self.replicas[one].seen] {
                time.observe_late(*term, *stamp, self.clock);
            }
            self.replicas[one].time = time;
            if one == self.leader {
                self.lead((one + 1) % 3, (one + 2) % 3, false);
            }
        }

        /// What a majority has not got by then is gone; nobody was told of it.
        fn restart_all(&mut self, wrong_millis: i64) {
            let mut seen = self.replicas.each_ref().map(|replica| replica.seen);
            seen.sort_unstable();
            self.stamps.truncate(seen[1]);
            self.old = self.stamps.len();
            self.wrong_millis = wrong_millis;
            self.was_ever_wrong |= wrong_millis != 0;
            for one in 0..3 {
                self.replicas[one].seen = self.replicas[one].seen.min(self.old);
                let mut time = SetTime::since_before(START);
                for (term, stamp, ..) in &self.stamps[..self.replicas[one].seen] {
                    time.observe_late(*term, *stamp, self.clock);
                }
                self.replicas[one].time = time;
            }
        }
    }

    proptest! {
        #[test]
        fn no_change_of_leader_and_no_outage_makes_time_run_faster(
            happenings in proptest::collection::vec(happening(), 1..120),
        ) {
            let mut three = Three::begin();
            for happening in happenings {
                match happening {
                    Happening::Passes(millis) => three.clock += Duration::from_millis(millis),
                    Happening::Stamps => three.stamp(),
                    Happening::Sees(one) => three.see(one),
                    Happening::Leads(one, other, asks_both) => three.lead(one, other, asks_both),
                    Happening::Restarts(one) => three.restart(one),
                    Happening::AllRestart(wrong_millis) => three.restart_all(wrong_millis),
                }
            }
            for (earlier, (_, from, began, _)) in three.stamps.iter().enumerate() {
                for (_, to, ended, _) in &three.stamps[earlier..] {
                    prop_assert!(to >= from, "stamps run back");
                    let passed = (*ended - *began).as_micros() * 1_000_500 / 1_000_000_000 + 1;
                    prop_assert!(u128::from(to.since(*from).millis()) <= passed, "time runs too fast");
                }
            }
        }

        #[test]
        fn an_outage_is_made_up_for_whatever_one_clock_shows(
            before in 0u64..3_600_000,
            down in 0u64..100_000_000,
            leader in 0usize..3,
            ahead in prop_oneof![Just(0), Just(3_600_000), Just(-3_600_000)],
        ) {
            let mut three = Three::begin();
            three.clock += Duration::from_millis(before);
            three.stamp();
            three.see_all(1);
            three.see_all(2);
            let (_, last, ..) = three.stamps[1];
            three.restart_all(ahead);
            three.clock += Duration::from_millis(down);
            three.lead(leader, (leader + 1) % 3, true);
            three.stamp();
            let (_, stamp, ..) = three.stamps[2];
            let (passed, down) = (stamp.since(last).millis(), down);
            prop_assert!(passed.abs_diff(down) <= 1, "{passed} of {down}");
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
