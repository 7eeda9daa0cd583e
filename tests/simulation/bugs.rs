//! Deliberate bugs, let loose one at a time: each is noticed within a few seeds, and without it those seeds are well.
//!
//! One of them was no deliberate one: a seed found it in what nodes ran, and here it is seen that it would be found again.

use posthouse_replica::Bug;

use crate::seeds::{Run, Story, digest};

/// A bug is noticed within so many seeds.
const SEEDS_MAX: u64 = 60;

/// Asserts that a bug is noticed, and that it is the bug that is noticed.
fn assert_noticed(bug: Bug) {
    let with_bug = |seed: u64| Run {
        seed,
        story: Story::Foul,
        bug: Some(bug),
    };
    let noticed = (0..SEEDS_MAX).find(|seed| digest(&with_bug(*seed).output()).is_none());
    let seed = noticed.unwrap_or_else(|| panic!("{bug:?} is not noticed"));
    let without = Run::of(seed, Story::Foul).output();
    assert!(
        digest(&without).is_some(),
        "seed {seed} fails without {bug:?}, too"
    );
}

macro_rules! noticed {
    ($($name:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $name() {
                assert_noticed(Bug::$bug);
            }
        )*
    };
}

noticed! {
    an_entry_acknowledged_before_its_sync_is_noticed: AckBeforeSync,
    a_vote_given_before_its_sync_is_noticed: VoteUnsynced,
    leases_forgotten_at_a_change_of_leader_are_noticed: LeasesForgotten,
    session_results_forgotten_at_a_restart_are_noticed: SessionsForgotten,
    a_log_purged_before_its_checkpoint_is_durable_is_noticed: PurgedTooEarly,
    set_time_that_steps_to_a_wall_clock_is_noticed: TimeStepped,
    a_new_leader_that_believes_its_own_wall_clock_is_noticed: OwnWallClockBelieved,
    a_group_that_forgets_how_far_it_was_behind_is_noticed: LagsForgotten,
}
