//! How nodes with empty disks become a cluster, once.
//!
//! The node with the lowest number waits until all that are to found the cluster say that they are empty, gives each
//! its identity, and begins when all have taken it. A node that is new, or whose disk was lost, finds the others not
//! empty: it has no part in the founding, whatever its number, and asks to be taken in.

use std::collections::{BTreeMap, BTreeSet};

use posthouse_model::Time;
use serde::{Deserialize, Serialize};

/// What a node says of itself before there is a cluster.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Its number.
    pub(super) node: u16,
    /// The cluster that its disk belongs to.
    pub(super) cluster: Option<[u8; 16]>,
    /// Whether it has neither voted nor heard of anything agreed on.
    pub(super) empty: bool,
    /// What its wall clock shows.
    pub(super) wall: Time,
}

/// What is to be done next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing: the node knows who it is.
    Begin,
    /// Wait, for others or for the one who founds.
    Wait,
    /// Give all others this identity, then begin as the one who founds. None is a new one.
    Found(Option<[u8; 16]>),
    /// The others are a cluster, and this node's disk is empty: ask to be taken in.
    Join,
    /// This node's disk is of another cluster than the others, or of none and not empty.
    Stranger,
}

/// Returns what a node is to do that knows this of itself and of the others that answered.
pub(super) fn next_step(own: &Standing, others: &BTreeMap<u16, Standing>, founders: &BTreeSet<u16>) -> Step {
    let foreign = |other: &Standing| match (own.cluster, other.cluster) {
        (Some(own), Some(other)) => own != other,
        _ => false,
    };
    if others.values().any(foreign) {
        return Step::Stranger;
    }
    let is_first = founders.first() == Some(&own.node);
    match (own.cluster, own.empty) {
        (Some(_), false) => return Step::Begin,
        (Some(_), true) if !is_first => return Step::Begin,
        (None, false) => return Step::Stranger,
        (Some(_) | None, true) => {}
    }
    if others.values().any(|other| !other.empty) {
        return match own.cluster {
            Some(_) => Step::Begin,
            None => Step::Join,
        };
    }
    let all_answered = founders
        .iter()
        .all(|node| *node == own.node || others.contains_key(node));
    match is_first && all_answered {
        true => Step::Found(
            own.cluster
                .or_else(|| others.values().find_map(|other| other.cluster)),
        ),
        false => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 16] = [1; 16];
    const B: [u8; 16] = [2; 16];

    fn standing(node: u16, cluster: Option<[u8; 16]>, empty: bool) -> Standing {
        Standing {
            node,
            cluster,
            empty,
            wall: Time::default(),
        }
    }

    fn step(own: Standing, others: &[Standing]) -> Step {
        let others = others.iter().map(|other| (other.node, other.clone())).collect();
        next_step(&own, &others, &BTreeSet::from([1, 2, 3]))
    }

    #[test]
    fn the_first_founds_when_all_are_there_and_empty() {
        let (second, third) = (standing(2, None, true), standing(3, None, true));
        let first = standing(1, None, true);
        assert_eq!(step(first.clone(), std::slice::from_ref(&second)), Step::Wait);
        assert_eq!(
            step(first.clone(), &[second.clone(), third.clone()]),
            Step::Found(None)
        );
        assert_eq!(step(second, &[first, third]), Step::Wait);
    }

    #[test]
    fn a_founding_that_was_broken_off_goes_on_with_its_cluster() {
        let (second, third) = (standing(2, Some(A), true), standing(3, None, true));
        assert_eq!(
            step(standing(1, None, true), &[second.clone(), third.clone()]),
            Step::Found(Some(A))
        );
        assert_eq!(
            step(standing(1, Some(A), true), &[second.clone(), third]),
            Step::Found(Some(A))
        );
        assert_eq!(
            step(second, &[]),
            Step::Begin,
            "it waits for the first one's entries"
        );
    }

    #[test]
    fn a_lost_disk_founds_nothing() {
        let others = [standing(2, Some(A), false), standing(3, Some(A), true)];
        assert_eq!(step(standing(1, None, true), &others), Step::Join);
        let others = [standing(1, Some(A), false), standing(3, Some(A), false)];
        assert_eq!(step(standing(2, None, true), &others), Step::Join);
    }

    #[test]
    fn a_disk_of_no_cluster_that_is_not_empty_is_of_no_use_to_one() {
        let others = [standing(2, None, true), standing(3, None, true)];
        assert_eq!(step(standing(1, None, false), &others), Step::Stranger);
    }

    #[test]
    fn who_knows_the_cluster_begins() {
        assert_eq!(step(standing(1, Some(A), false), &[]), Step::Begin);
        assert_eq!(
            step(standing(3, Some(A), false), &[standing(1, Some(A), false)]),
            Step::Begin
        );
    }

    #[test]
    fn two_clusters_do_not_mix() {
        assert_eq!(
            step(standing(1, Some(A), false), &[standing(2, Some(B), false)]),
            Step::Stranger
        );
        assert_eq!(
            step(standing(1, Some(A), true), &[standing(2, Some(B), true)]),
            Step::Stranger
        );
    }
}
