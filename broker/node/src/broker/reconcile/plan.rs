//! Decides the next step that brings a group's members nearer to what they are to be. Pure.
//!
//! A replica gets the log as a learner before it votes, and votes once it has caught up. One that is to leave goes on
//! voting until another takes its place, so that there are never fewer voters than before, nor one more than an odd
//! number of them: of four no more may fail than of three.

use std::collections::BTreeSet;

use posthouse_model::ReplicaId;
use posthouse_replica::Members;

use super::Reform;

/// What a group is to be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Wanted {
    /// All replicas.
    pub(super) members: BTreeSet<ReplicaId>,
    /// Those of them that vote.
    pub(super) voters: BTreeSet<ReplicaId>,
}

/// What is to be done next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing: the group is what it is to be.
    Nothing,
    /// Nothing yet.
    Wait,
    /// This.
    Take(Reform),
}

/// Returns the next step.
pub(super) fn next_step(wanted: &Wanted, members: &Members) -> Step {
    if wanted.voters.is_empty() || members.changing {
        return Step::Wait;
    }
    if members.halfway {
        return Step::Take(Reform::Finish);
    }
    if let Some(missing) = wanted.members.iter().find(|wanted| !members.contains(**wanted)) {
        return Step::Take(Reform::AddLearner(*missing));
    }
    if let Some(voters) = next_voters(wanted, members) {
        return Step::Take(Reform::SetVoters(voters));
    }
    if let Some(learner) = members.learners.difference(&wanted.members).next() {
        return Step::Take(Reform::RemoveLearner(*learner));
    }
    match wanted.voters == members.voters {
        true => Step::Nothing,
        false => Step::Wait,
    }
}

/// Returns which replicas are to vote of a group that has one on every node: some of those whose nodes are active, an odd
/// number that goes by how many nodes there are to be. Who votes goes on, as far as can be; while there are too few to
/// take their places, all do.
pub(super) fn voters_of_many(
    nodes: usize,
    active: &BTreeSet<ReplicaId>,
    members: &Members,
) -> BTreeSet<ReplicaId> {
    let wanted = match nodes {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    };
    let mut choice: Vec<ReplicaId> = active.iter().copied().collect();
    choice.sort_by_key(|replica| {
        let votes = members.voters.contains(replica);
        (!votes, !members.caught_up.contains(replica), *replica)
    });
    choice.truncate(wanted);
    match choice.len() == wanted {
        true => choice.into_iter().collect(),
        false => members.voters.clone(),
    }
}

/// Returns the voters that the group should have next, if it can have them: those that are wanted and have caught up, and
/// as many of the old ones as there are not enough.
fn next_voters(wanted: &Wanted, members: &Members) -> Option<BTreeSet<ReplicaId>> {
    let kept = members.voters.intersection(&wanted.voters);
    let new = wanted.voters.difference(&members.voters);
    let ready: Vec<ReplicaId> = new
        .filter(|new| members.caught_up.contains(new))
        .copied()
        .collect();
    let mut next: BTreeSet<ReplicaId> = kept.copied().chain(ready.iter().copied()).collect();
    if next != wanted.voters {
        let mut old: Vec<ReplicaId> = members.voters.difference(&wanted.voters).copied().collect();
        // Whoever does not answer goes first.
        old.sort_by_key(|old| (members.caught_up.contains(old), *old));
        next.extend(old.into_iter().skip(ready.len()));
        if next.len().is_multiple_of(2) || next.len() < members.voters.len() {
            return None;
        }
    }
    let there = next.intersection(&members.caught_up).count();
    (next != members.voters && there > next.len() / 2).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    fn all(ids: &[u64]) -> Wanted {
        Wanted {
            members: set(ids),
            voters: set(ids),
        }
    }

    fn members(voters: &[u64], learners: &[u64], caught_up: &[u64]) -> Members {
        Members {
            voters: set(voters),
            learners: set(learners),
            caught_up: set(caught_up),
            ..Members::default()
        }
    }

    fn set_voters(ids: &[u64]) -> Step {
        Step::Take(Reform::SetVoters(set(ids)))
    }

    #[test]
    fn a_dead_replica_is_replaced_once_the_new_one_has_caught_up() {
        let wanted = all(&[1, 3, 9]);
        let step = |learners: &[u64], caught_up: &[u64]| {
            next_step(&wanted, &members(&[1, 2, 3], learners, caught_up))
        };
        assert_eq!(step(&[], &[1, 3]), Step::Take(Reform::AddLearner(ReplicaId(9))));
        assert_eq!(step(&[9], &[1, 3]), Step::Wait);
        assert_eq!(step(&[9], &[1, 3, 9]), set_voters(&[1, 3, 9]));
        assert_eq!(next_step(&wanted, &members(&[1, 3, 9], &[], &[1])), Step::Nothing);
    }

    #[test]
    fn a_change_is_waited_for_and_one_that_is_half_way_is_finished() {
        let mut halfway = members(&[1, 2, 3, 9], &[], &[1, 3, 9]);
        halfway.changing = true;
        assert_eq!(next_step(&all(&[1, 3, 9]), &halfway), Step::Wait);
        halfway.changing = false;
        halfway.halfway = true;
        assert_eq!(next_step(&all(&[1, 3, 9]), &halfway), Step::Take(Reform::Finish));
    }

    #[test]
    fn one_grows_to_three_at_once() {
        let wanted = all(&[1, 8, 9]);
        assert_eq!(next_step(&wanted, &members(&[1], &[8, 9], &[1, 8])), Step::Wait);
        assert_eq!(
            next_step(&wanted, &members(&[1], &[8, 9], &[1, 8, 9])),
            set_voters(&[1, 8, 9])
        );
    }

    #[test]
    fn of_two_that_are_replaced_each_goes_when_it_can() {
        let wanted = all(&[1, 8, 9]);
        assert_eq!(
            next_step(&wanted, &members(&[1, 2, 3], &[8, 9], &[1, 2, 9])),
            set_voters(&[1, 2, 9]),
            "the one that does not answer goes first"
        );
    }

    #[test]
    fn nothing_is_changed_to_what_no_majority_would_answer() {
        let wanted = all(&[1, 3, 9]);
        assert_eq!(
            next_step(&wanted, &members(&[1, 2, 3], &[9], &[1, 2])),
            Step::Wait
        );
    }

    #[test]
    fn what_is_not_wanted_is_taken_out() {
        assert_eq!(
            next_step(&all(&[1, 2, 3]), &members(&[1, 2, 3], &[9], &[1, 2, 3, 9])),
            Step::Take(Reform::RemoveLearner(ReplicaId(9)))
        );
        assert_eq!(
            next_step(
                &all(&[1, 2, 3]),
                &members(&[1, 2, 3, 4, 5], &[], &[1, 2, 3, 4, 5])
            ),
            set_voters(&[1, 2, 3])
        );
    }

    #[test]
    fn the_directory_has_an_odd_number_of_voters_of_those_that_are_active() {
        let voters = |nodes, active: &[u64], now: &[u64]| {
            voters_of_many(nodes, &set(active), &members(now, &[], &[1, 2, 3, 5]))
        };
        assert_eq!(voters(1, &[1], &[1]), set(&[1]));
        assert_eq!(voters(2, &[1, 2], &[1]), set(&[1]));
        assert_eq!(
            voters(3, &[1, 2], &[1]),
            set(&[1]),
            "the third has not joined yet"
        );
        assert_eq!(voters(3, &[1, 2, 3], &[1]), set(&[1, 2, 3]));
        assert_eq!(voters(4, &[1, 2, 3, 4], &[1, 2, 3]), set(&[1, 2, 3]));
        assert_eq!(
            voters(3, &[1, 3], &[1, 2, 3]),
            set(&[1, 2, 3]),
            "nobody can take its place"
        );
        assert_eq!(voters(3, &[1, 3, 9], &[1, 2, 3]), set(&[1, 3, 9]));
        assert_eq!(
            voters(4, &[1, 2, 4, 5], &[1, 2, 3]),
            set(&[1, 2, 5]),
            "who has caught up"
        );
        assert_eq!(voters(6, &[1, 2, 3, 4, 5, 6], &[1, 2, 3]), set(&[1, 2, 3, 4, 5]));
    }
}
