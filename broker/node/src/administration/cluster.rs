//! What the nodes say of themselves, put together.

use posthouse_model::{ReplicaId, SetId};

use crate::admin::shapes::{ClusterGroup, ClusterNode, ClusterReplica, ClusterStatus, DiskStatus};
use crate::broker::{GroupReport, NodeReport};

/// Returns the cluster as its nodes' reports show it.
pub(super) fn of(reports: &[(ReplicaId, Option<NodeReport>)]) -> ClusterStatus {
    let known = reports.iter().flat_map(|(_, report)| report);
    let mut groups: Vec<Option<SetId>> = known
        .flat_map(|report| report.groups.iter().map(|group| group.set))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    ClusterStatus {
        healthy: reports
            .iter()
            .all(|(_, report)| report.as_ref().is_some_and(|report| report.unready.is_none())),
        nodes: reports
            .iter()
            .map(|(replica, report)| node(*replica, report.as_ref()))
            .collect(),
        groups: groups.into_iter().map(|set| group(set, reports)).collect(),
    }
}

fn node(replica: ReplicaId, report: Option<&NodeReport>) -> ClusterNode {
    let leads =
        |report: &NodeReport| report.groups.iter().filter(|group| group.leads.is_some()).count() as u64;
    ClusterNode {
        replica: replica.0,
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
    }
}

fn group(set: Option<SetId>, reports: &[(ReplicaId, Option<NodeReport>)]) -> ClusterGroup {
    let seen: Vec<(ReplicaId, GroupReport)> = reports
        .iter()
        .filter_map(|(replica, report)| {
            let groups = &report.as_ref()?.groups;
            let found = groups.iter().find(|group| group.set == set)?;
            Some((*replica, *found))
        })
        .collect();
    let most = seen.iter().map(|(_, group)| group.applied.0).max().unwrap_or(0);
    let leader = seen
        .iter()
        .filter_map(|(replica, group)| Some((group.leads?, *replica)))
        .max();
    ClusterGroup {
        set: set.map(|set| set.0),
        leader: leader.map(|(_, replica)| replica.0),
        term: leader.map(|(term, _)| term.0),
        replicas: seen
            .iter()
            .map(|(replica, group)| ClusterReplica {
                replica: replica.0,
                applied: group.applied.0,
                lag: most - group.applied.0,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthouse_model::{LogIndex, Term};

    use super::*;

    fn report(applied: u64, leads: Option<u64>) -> NodeReport {
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
                leader: None,
                leads: leads.map(Term),
                applied: LogIndex(applied),
            }],
        }
    }

    #[test]
    fn who_leads_is_the_one_of_the_highest_term_and_lag_is_told() {
        let reports = [
            (ReplicaId(1), Some(report(7, Some(2)))),
            (ReplicaId(2), Some(report(9, Some(3)))),
            (ReplicaId(3), None),
        ];
        let status = of(&reports);
        assert!(!status.healthy, "one does not answer");
        assert_eq!(status.groups[0].leader, Some(2));
        assert_eq!(status.groups[0].term, Some(3));
        let lags: Vec<u64> = status.groups[0]
            .replicas
            .iter()
            .map(|replica| replica.lag)
            .collect();
        assert_eq!(lags, [2, 0]);
        assert_eq!(status.nodes[2].label, None);
        assert!(of(&reports[..2]).healthy);
    }
}
