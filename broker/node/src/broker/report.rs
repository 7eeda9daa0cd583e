//! What nodes say of themselves, and what one node knows of all.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use posthouse_model::{LogIndex, ReplicaId, SetId, Term, Time};
use posthouse_replica::{Clock, Condition, Group, Machine};
use serde::{Deserialize, Serialize};

use super::Broker;
use super::reach::{Ask, Told};
use crate::clock::Reading;

/// How long another node has to say how it is.
const REPORT_WITHIN: Duration = Duration::from_secs(2);

/// How many damaged parts a node names, at most.
const DAMAGE_REPORTED_MAX: usize = 16;

/// What a node says of itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// What logs call it.
    pub label: String,
    /// What its wall clock shows.
    pub wall: Time,
    /// The program's version.
    pub version: String,
    /// How long the process has run.
    pub up: Duration,
    /// Why it does not serve everything; none when it does.
    pub unready: Option<String>,
    /// Bytes that the broker uses of the disk.
    pub used_bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Whether sends are refused because the disk is nearly full.
    pub nearly_full: bool,
    /// Whether a write failed.
    pub failed: bool,
    /// Its groups: the directory, then the sets in order.
    pub groups: Vec<GroupReport>,
    /// What of its files is damaged and not mended yet, some of it if there is much.
    pub damage: Vec<DamageReport>,
    /// How long ago everything durable had been read again; none if it has not been since the start.
    pub scrubbed: Option<Duration>,
}

/// A part of a file that is not what was written.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DamageReport {
    /// Whose it is: a set's, or none, the directory's.
    pub set: Option<SetId>,
    /// The file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many bytes from there on cannot be used, as far as that is known.
    pub bytes: u64,
    /// What is wrong there.
    pub what: String,
}

/// A group as one of its replicas sees it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Which set; none is the directory.
    pub set: Option<SetId>,
    /// What this replica is called in it.
    pub replica: ReplicaId,
    /// Who leads, as far as it is known there.
    pub leader: Option<ReplicaId>,
    /// The term in which this replica leads, if it does.
    pub leads: Option<Term>,
    /// The last index that is applied there.
    pub applied: LogIndex,
    /// Who votes, as far as it is known there.
    pub voters: BTreeSet<ReplicaId>,
    /// Who gets the log and does not vote.
    pub learners: BTreeSet<ReplicaId>,
    /// Whether all is there that it needs to vote and to lead.
    pub whole: bool,
}

impl Broker {
    /// Returns what each node of the cluster says of itself, this one first; none for one that says nothing.
    pub async fn reports(&self) -> Vec<(ReplicaId, Option<NodeReport>)> {
        let asked = self
            .others
            .all()
            .into_iter()
            .map(|other| async move { (other, self.report_of(other).await) });
        let (own, others) = futures::join!(self.report(), join_all(asked));
        let mut reports = vec![(self.replica, Some(own))];
        reports.extend(others);
        reports
    }

    /// Returns what another node says of itself; none if it says nothing. Its clock is taken notice of.
    pub(super) async fn report_of(&self, other: ReplicaId) -> Option<NodeReport> {
        let asked = self.clock.monotonic();
        let Told::Report(report) = self.ask_one(other, &Ask::Report, REPORT_WITHIN).await? else {
            return None;
        };
        let reading = Reading {
            shown: report.wall,
            asked,
            answered: self.clock.monotonic(),
        };
        self.clock.learn(other, reading);
        Some(report)
    }

    /// Returns what this node says of itself.
    pub(super) async fn report(&self) -> NodeReport {
        let usage = self.store.usage().ok();
        let groups = std::iter::once(group_report(&self.directory, None))
            .chain(self.sets().iter().map(|set| group_report(set, Some(set.set()))))
            .collect();
        NodeReport {
            label: self.label.clone(),
            wall: self.clock.machine(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up: self.started.elapsed(),
            unready: self.unready().await.map(str::to_owned),
            used_bytes: usage.map_or(0, |usage| usage.wal_bytes + usage.segment_bytes),
            free_bytes: usage.map_or(0, |usage| usage.space.free_bytes),
            nearly_full: self.store.nearly_full(),
            failed: self.store.failed().is_some(),
            groups,
            damage: self.damage(),
            scrubbed: self.scrubs.since_last(),
        }
    }

    fn damage(&self) -> Vec<DamageReport> {
        let damage = self.store.damage().into_iter().take(DAMAGE_REPORTED_MAX);
        let damage = damage.map(|damaged| DamageReport {
            set: damaged.group.set(),
            file: damaged.file.display().to_string(),
            offset: damaged.offset,
            bytes: damaged.bytes,
            what: damaged.what,
        });
        damage.collect()
    }
}

fn group_report<M: Machine>(group: &Group<M>, set: Option<SetId>) -> GroupReport {
    GroupReport {
        set,
        replica: group.replica(),
        leader: group.leader(),
        leads: group.term(),
        applied: group.applied(),
        voters: group.voters(),
        learners: group.learners(),
        whole: group.condition() == Condition::Whole,
    }
}
