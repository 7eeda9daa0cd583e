//! What the nodes say of themselves, put together.

use std::collections::{BTreeMap, BTreeSet};

use posthouse_model::{NodeRecord, NodeState, ReplicaId, ReplicaRecord, ReplicaState, SetId};

use crate::admin::shapes::{
    ClusterDamage, ClusterGroup, ClusterNode, ClusterReplica, ClusterScrub, ClusterStatus, DiskStatus,
    NodeScrub, NodeStateView,
};
use crate::broker::{DamageReport, GroupReport, NodeReport};

/// What the directory says.
#[derive(Default)]
pub(super) struct Known {
    /// The nodes, by what they are known by.
    pub(super) nodes: BTreeMap<ReplicaId, NodeRecord>,
    /// The replicas of all groups.
    pub(super) replicas: Vec<ReplicaRecord>,
}

/// Returns the cluster as its nodes' reports show it.
pub(super) fn of(reports: &[(ReplicaId, Option<NodeReport>)], known: &Known) -> ClusterStatus {
    let answered = reports.iter().flat_map(|(_, report)| report);
    let mut groups: Vec<Option<SetId>> = answered
        .flat_map(|report| report.groups.iter().map(|group| group.set))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    ClusterStatus {
        healthy: reports
            .iter()
            .all(|(_, report)| report.as_ref().is_some_and(is_well)),
        nodes: reports
            .iter()
            .map(|(replica, report)| node(*replica, report.as_ref(), known.nodes.get(replica)))
            .collect(),
        groups: groups.into_iter().map(|set| group(set, reports, known)).collect(),
    }
}

/// Returns which nodes said that they read everything durable again.
pub(super) fn begun(nodes: &[(ReplicaId, bool)]) -> ClusterScrub {
    let nodes = nodes.iter().map(|(replica, begun)| NodeScrub {
        replica: replica.0,
        begun: *begun,
    });
    ClusterScrub {
        nodes: nodes.collect(),
    }
}

fn is_well(report: &NodeReport) -> bool {
    report.unready.is_none() && report.damage.is_empty() && report.groups.iter().all(|group| group.whole)
}

fn damage(damaged: &DamageReport) -> ClusterDamage {
    ClusterDamage {
        set: damaged.set.map(|set| set.0),
        file: damaged.file.clone(),
        offset: damaged.offset,
        bytes: damaged.bytes,
        what: damaged.what.clone(),
    }
}

fn node(replica: ReplicaId, report: Option<&NodeReport>, record: Option<&NodeRecord>) -> ClusterNode {
    let leads =
        |report: &NodeReport| report.groups.iter().filter(|group| group.leads.is_some()).count() as u64;
    ClusterNode {
        node: record.map(|record| record.node.0),
        replica: replica.0,
        state: record.map(|record| state(record.state)),
        address: record.map(|record| record.address.clone()),
        reachable: report.is_some(),
        label: report.map(|report| report.label.clone()),
        version: report.map(|report| report.version.clone()),
        uptime_seconds: report.map(|report| report.up.as_secs()),
        unready: report.and_then(|report| report.unready.clone()),
        disk: report.map(|report| DiskStatus {
            used_bytes: report.used_bytes,
            free_bytes: report.free_bytes,
            nearly_full: report.nearly_full,
            failed: report.failed,
        }),
        leads: report.map(leads),
        damage: report.map_or(Vec::new(), |report| report.damage.iter().map(damage).collect()),
        scrubbed_seconds: report.and_then(|report| Some(report.scrubbed?.as_secs())),
    }
}

fn state(state: NodeState) -> NodeStateView {
    match state {
        NodeState::Joining => NodeStateView::Joining,
        NodeState::Active => NodeStateView::Active,
        NodeState::Draining => NodeStateView::Draining,
        NodeState::Gone => NodeStateView::Gone,
    }
}

fn group(set: Option<SetId>, reports: &[(ReplicaId, Option<NodeReport>)], known: &Known) -> ClusterGroup {
    let seen: Vec<(ReplicaId, &GroupReport)> = reports
        .iter()
        .filter_map(|(replica, report)| {
            let groups = &report.as_ref()?.groups;
            let found = groups.iter().find(|group| group.set == set)?;
            Some((*replica, found))
        })
        .collect();
    let most = seen.iter().map(|(_, group)| group.applied.0).max().unwrap_or(0);
    let leader = seen
        .iter()
        .filter_map(|(_, group)| Some((group.leads?, *group)))
        .max_by_key(|(term, _)| *term);
    let none = BTreeSet::new();
    let voters = leader.map_or(&none, |(_, group)| &group.voters);
    ClusterGroup {
        set: set.map(|set| set.0),
        leader: leader.map(|(_, group)| group.replica.0),
        term: leader.map(|(term, _)| term.0),
        changing: leader.is_none_or(|(_, group)| is_changing(group, &known.replicas)),
        replicas: seen
            .iter()
            .map(|(host, group)| ClusterReplica {
                replica: group.replica.0,
                node: known.nodes.get(host).map(|record| record.node.0),
                votes: voters.contains(&group.replica),
                applied: group.applied.0,
                lag: most - group.applied.0,
                whole: group.whole,
            })
            .collect(),
    }
}

/// Returns whether a group's members, as its leader sees them, are not what the directory wants them to be.
fn is_changing(group: &GroupReport, replicas: &[ReplicaRecord]) -> bool {
    let of_group = || replicas.iter().filter(|record| record.set == group.set);
    let wanted: BTreeSet<ReplicaId> = of_group()
        .filter(|record| record.state == ReplicaState::Wanted)
        .map(|record| record.replica)
        .collect();
    let members: BTreeSet<ReplicaId> = group.voters.union(&group.learners).copied().collect();
    let all_vote = group.set.is_none() || group.learners.is_empty();
    let is_settled = of_group().count() == wanted.len() && members == wanted && all_vote;
    !replicas.is_empty() && !is_settled
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthouse_model::{LogIndex, Term};

    use super::*;

    fn report(replica: u64, applied: u64, leads: Option<u64>) -> NodeReport {
        NodeReport {
            label: "n".to_owned(),
            wall: posthouse_model::Time::default(),
            version: "v".to_owned(),
            up: Duration::from_secs(7),
            unready: None,
            used_bytes: 1,
            free_bytes: 2,
            nearly_full: false,
            failed: false,
            groups: vec![GroupReport {
                set: Some(SetId(0)),
                replica: ReplicaId(replica),
                leader: None,
                leads: leads.map(Term),
                applied: LogIndex(applied),
                voters: BTreeSet::from([ReplicaId(1), ReplicaId(70_000)]),
                learners: BTreeSet::from([ReplicaId(3)]),
                whole: true,
            }],
            damage: Vec::new(),
            scrubbed: None,
        }
    }

    #[test]
    fn who_leads_is_the_one_of_the_highest_term_and_lag_is_told() {
        let reports = [
            (ReplicaId(1), Some(report(1, 7, Some(2)))),
            (ReplicaId(2), Some(report(70_000, 9, Some(3)))),
            (ReplicaId(3), None),
        ];
        let second = NodeRecord {
            node: posthouse_model::NodeId(8),
            address: "host:8".to_owned(),
            disk: posthouse_model::DiskId::default(),
            state: NodeState::Draining,
        };
        let known = Known {
            nodes: BTreeMap::from([(ReplicaId(2), second)]),
            replicas: Vec::new(),
        };
        let status = of(&reports, &known);
        assert!(!status.healthy, "one does not answer");
        assert_eq!(
            status.groups[0].leader,
            Some(70_000),
            "as it is called in that group"
        );
        assert_eq!(status.groups[0].replicas[1].node, Some(8));
        assert_eq!(status.nodes[1].state, Some(NodeStateView::Draining));
        assert_eq!(status.groups[0].term, Some(3));
        let lags: Vec<u64> = status.groups[0]
            .replicas
            .iter()
            .map(|replica| replica.lag)
            .collect();
        assert_eq!(lags, [2, 0]);
        assert_eq!(status.nodes[2].label, None);
        assert!(of(&reports[..2], &known).healthy);
    }

    #[test]
    fn a_group_changes_until_its_members_are_those_that_are_wanted_and_all_vote() {
        let mut group = report(1, 7, Some(2)).groups.remove(0);
        let record = |replica, state| ReplicaRecord {
            replica: ReplicaId(replica),
            node: posthouse_model::NodeId(1),
            disk: posthouse_model::DiskId::default(),
            set: Some(SetId(0)),
            state,
        };
        assert!(!is_changing(&group, &[]), "nobody said what they are to be");
        let wanted = [1, 3, 70_000].map(|replica| record(replica, ReplicaState::Wanted));
        assert!(is_changing(&group, &wanted), "one has not caught up");
        group.voters = std::mem::take(&mut group.learners)
            .union(&group.voters)
            .copied()
            .collect();
        assert!(!is_changing(&group, &wanted));
        let leaving = record(2, ReplicaState::Leaving);
        assert!(is_changing(&group, &[wanted.as_slice(), &[leaving]].concat()));
    }

    #[test]
    fn a_cluster_with_damage_is_not_healthy_and_says_where_it_is() {
        let known = Known::default();
        let mut hurt = report(2, 9, Some(3));
        hurt.damage.push(DamageReport {
            set: Some(SetId(0)),
            file: "a.segment".to_owned(),
            offset: 24,
            bytes: 7,
            what: "a flipped byte".to_owned(),
        });
        let status = of(
            &[
                (ReplicaId(1), Some(report(1, 9, None))),
                (ReplicaId(2), Some(hurt)),
            ],
            &known,
        );
        assert!(!status.healthy);
        assert_eq!(status.nodes[0].damage, []);
        assert_eq!(
            (status.nodes[1].damage[0].offset, status.nodes[1].damage[0].bytes),
            (24, 7)
        );

        let mut mends = report(1, 9, None);
        mends.groups[0].whole = false;
        let status = of(&[(ReplicaId(1), Some(mends))], &known);
        assert!(!status.healthy && !status.groups[0].replicas[0].whole);
    }
}
