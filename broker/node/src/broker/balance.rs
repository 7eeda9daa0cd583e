//! Who leads what: groups are led by turns, so that the work is spread over the nodes.
//!
//! Each group has a first choice among its voters. A leader that is not it hands over, once the first choice is well
//! and has applied what the leader has. So leaders spread after a start, and again when a node has come back.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use posthouse_model::{ReplicaId, Set, SetId};
use posthouse_replica::{Group, Machine};

use super::{Broker, NodeReport, hand_over_to};

/// How often a node looks at what it leads.
const LOOK: Duration = Duration::from_secs(5);
/// How many entries the first choice may be behind, at most.
const LAG_MAX: u64 = 64;

impl Broker {
    /// Hands over what another is to lead, now and then, until the broker stops.
    pub(super) async fn balance(self) {
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = self.unbalanced.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            self.balance_once().await;
        }
    }

    async fn balance_once(&self) {
        let asked = self.others.all().into_iter().map(|other| async move {
            let report = self.report_of(other).await;
            if let Some(report) = &report {
                self.note_room(other, report.nearly_full);
            }
            let well = |report: &NodeReport| {
                report.unready.is_none() && !report.nearly_full && !self.clock.is_off(Some(other))
            };
            (other, report.filter(well))
        });
        let reports: BTreeMap<ReplicaId, Option<NodeReport>> = join_all(asked).await.into_iter().collect();
        let is_off = self.clock.is_off(None);
        if is_off {
            tracing::warn!(
                ahead_ms = self.clock.ahead(),
                "this machine's clock is off the others'"
            );
        }
        let is_full = self.store.nearly_full();
        if is_full {
            tracing::warn!("this machine's disk is nearly full");
        }
        let directory = first_choice(&self.directory, 0).map(|choice| (None::<Group<Set>>, choice));
        let sets = self.sets().into_iter().filter_map(|set| {
            let turn = usize::from(set.set().0) + 1;
            first_choice(&set, turn).map(|choice| (Some(set), choice))
        });
        for (group, choice) in directory.into_iter().chain(sets) {
            let set = group.as_ref().map(Group::set);
            // One whose clock is off, or whose disk is nearly full, leads nothing that another can lead.
            let (own, applied, voters) = match &group {
                Some(set) => (set.replica(), set.applied(), set.voters()),
                None => (
                    self.directory.replica(),
                    self.directory.applied(),
                    self.directory.voters(),
                ),
            };
            let report_of = |replica| {
                let host = self.host_of(set, replica)?;
                reports.get(&host).and_then(Option::as_ref)
            };
            let choice = match (choice == own, is_off || is_full) {
                (true, false) => continue,
                (true, true) => match voters.into_iter().find(|voter| report_of(*voter).is_some()) {
                    Some(other) => other,
                    None => continue,
                },
                (false, _) => choice,
            };
            let report = report_of(choice);
            if report.is_none_or(|report| is_behind(report, set, applied.0)) {
                continue;
            }
            tracing::debug!(?set, %choice, "handing over to the first choice");
            match &group {
                Some(set) => hand_over_to(set, choice).await,
                None => hand_over_to(&self.directory, choice).await,
            }
        }
    }
}

impl Broker {
    /// Takes notice of whether another node's disk is nearly full.
    fn note_room(&self, other: ReplicaId, is_full: bool) {
        let mut full = self.full.write();
        match is_full {
            true => full.insert(other),
            false => full.remove(&other),
        };
    }
}

/// Returns who is to lead a group that this node leads; none if it does not lead it.
fn first_choice<M: Machine>(group: &Group<M>, turn: usize) -> Option<ReplicaId> {
    if !group.is_leader() {
        return None;
    }
    let voters = group.voters();
    voters.iter().nth(turn % voters.len().max(1)).copied()
}

fn is_behind(report: &NodeReport, set: Option<SetId>, applied: u64) -> bool {
    let group = report.groups.iter().find(|group| group.set == set);
    group.is_none_or(|group| !group.whole || group.applied.0.saturating_add(LAG_MAX) < applied)
}
