//! Brings the members of groups to what the directory wants them to be, one step at a time.
//!
//! The directory's leader does this. All that it goes by is in the directory and in the groups' own logs, so whoever
//! leads next goes on where it was. It asks each group's leader who the members are, decides by [`plan`], and has
//! the group's leader take the step. A replica that is a member no longer is discarded from the directory.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use posthouse_model::{
    Directory, DirectoryCommand, Kind, LogIndex, NodeId, NodeState, ReplicaId, ReplicaRecord, ReplicaState,
    SetId,
};
use posthouse_replica::{Fault, Group, Machine, Members, Reason};
use serde::{Deserialize, Serialize};

use super::reach::{Ask, Told, senseless};
use super::{Broker, BrokerError};
use plan::{Step, Wanted};

/// How often the leader of the directory looks at groups whose members are not what they are to be.
const LOOK: Duration = Duration::from_millis(500);
/// How long a group's leader has to say who its members are.
const MEMBERS_WITHIN: Duration = Duration::from_secs(2);
/// How long a group's leader has to take a step.
const STEP_WITHIN: Duration = Duration::from_secs(15);

/// A change of a group's members, as its leader is asked for it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Reform {
    /// Sends a replica the log from now on.
    AddLearner(ReplicaId),
    /// Makes these members the voters, and nobody else.
    SetVoters(BTreeSet<ReplicaId>),
    /// Takes a learner out.
    RemoveLearner(ReplicaId),
    /// Brings a change of voters to its end that was left half-way.
    Finish,
}

/// What the directory wants of a group.
struct Claim {
    wanted: Wanted,
    leaving: BTreeSet<ReplicaId>,
    /// A member that is leaving, where the one that is to take its place on its disk is none yet.
    returning: Option<ReplicaId>,
    /// Nodes that join, by the replica of this group that they are to hold.
    joining: BTreeMap<ReplicaId, NodeId>,
}

impl Broker {
    /// Brings the members of groups to what they are to be, as long as this node leads the directory, until the broker
    /// stops.
    pub(super) async fn reconcile(self) {
        let mut settled = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.directory.is_leader() {
                self.reconcile_once(&mut settled).await;
            } else {
                settled.clear();
            }
        }
    }

    /// Takes a step for each group that is not settled at what the directory says now.
    async fn reconcile_once(&self, settled: &mut BTreeMap<Option<SetId>, LogIndex>) {
        let (changed, sets) = self.directory.view(|directory| {
            let known = directory.nodes().next().is_some();
            let sets = directory.founded().map_or(0, |founding| founding.sets);
            (directory.nodes_changed(), known.then_some(sets))
        });
        let Some(sets) = sets else { return };
        for set in std::iter::once(None).chain((0..sets).map(|set| Some(SetId(set)))) {
            if settled.get(&set) == Some(&changed) {
                continue;
            }
            match self.reconcile_group(set).await {
                Ok(true) => {
                    settled.insert(set, changed);
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(?set, %error, "the members of a group are not what they are to be yet")
                }
            }
            if !self.directory.is_leader() || self.is_stopping() {
                return;
            }
        }
    }

    /// Takes the next step for a group; returns whether there is none.
    async fn reconcile_group(&self, set: Option<SetId>) -> Result<bool, BrokerError> {
        let members = self.members_of(set).await?;
        let claim = self
            .directory
            .view(|directory| Claim::of(directory, set, &members));
        for (replica, node) in &claim.joining {
            if members.caught_up.contains(replica) {
                tracing::info!(%node, "the node has joined");
                self.direct(DirectoryCommand::Ready { node: *node }, Kind::Queue)
                    .await?;
            }
        }
        if let Some(replica) = claim.returning {
            // It has what the other would have to fetch, and would have to go first.
            tracing::info!(group = %group_text(set), %replica, "the replica stays after all");
            self.direct(DirectoryCommand::Reinstate { set, replica }, Kind::Queue)
                .await?;
            return Ok(false);
        }
        if !members.changing && !members.halfway {
            self.discard(set, &claim.leaving, &members).await?;
        }
        let reform = match plan::next_step(&claim.wanted, &members) {
            Step::Wait => return Ok(false),
            Step::Nothing => return Ok(claim.joining.is_empty()),
            Step::Take(reform) => reform,
        };
        tracing::info!(group = %group_text(set), ?reform, "the members of a group change");
        let ask = |_| Ask::Reform {
            set,
            reform: reform.clone(),
        };
        match self.reach(set, STEP_WITHIN, ask).await? {
            Told::Reformed(_) => Ok(false),
            other => Err(senseless(&other)),
        }
    }

    /// Discards what was to leave and is a member no longer.
    async fn discard(
        &self,
        set: Option<SetId>,
        leaving: &BTreeSet<ReplicaId>,
        members: &Members,
    ) -> Result<(), BrokerError> {
        for replica in leaving
            .iter()
            .copied()
            .filter(|replica| !members.contains(*replica))
        {
            tracing::info!(group = %group_text(set), %replica, "the replica is a member no longer");
            self.direct(DirectoryCommand::Discard { set, replica }, Kind::Queue)
                .await?;
        }
        Ok(())
    }

    async fn members_of(&self, set: Option<SetId>) -> Result<Members, BrokerError> {
        match self.reach(set, MEMBERS_WITHIN, |_| Ask::Members { set }).await? {
            Told::Members(members) => Ok(members),
            other => Err(senseless(&other)),
        }
    }
}

/// Changes a group's members, if this node leads it; returns whether they were those that this takes. A leader that is
/// to vote no longer hands over first.
pub(super) async fn reform<M: Machine>(group: &Group<M>, reform: Reform) -> Result<bool, Fault> {
    match change(group, reform).await {
        Ok(()) => Ok(true),
        Err(Fault::NotDone(Reason::OtherMembers)) => Ok(false),
        Err(fault) => Err(fault),
    }
}

async fn change<M: Machine>(group: &Group<M>, reform: Reform) -> Result<(), Fault> {
    match reform {
        Reform::AddLearner(replica) => group.add_learner(replica).await,
        Reform::RemoveLearner(replica) => group.remove_learner(replica).await,
        Reform::Finish => {
            make_way(group, &group.voters_to_be()).await?;
            group.finish_change().await
        }
        Reform::SetVoters(voters) => {
            make_way(group, &voters).await?;
            group.set_voters(&voters).await
        }
    }
}

/// Has another lead that is to vote, if this replica is not to.
async fn make_way<M: Machine>(group: &Group<M>, voters: &BTreeSet<ReplicaId>) -> Result<(), Fault> {
    if voters.contains(&group.replica()) {
        return Ok(());
    }
    let members = group.members().await?;
    let mut stay = voters.intersection(&members.voters);
    match stay.find(|other| members.caught_up.contains(other)).copied() {
        Some(other) => {
            group.hand_over(other).await?;
            Err(Fault::NotDone(Reason::NotLeading { leader: Some(other) }))
        }
        // The others are new: whichever of them is elected leads.
        None => Ok(()),
    }
}

// === impl Claim ===

impl Claim {
    fn of(directory: &Directory, set: Option<SetId>, members: &Members) -> Claim {
        let wanted: BTreeSet<ReplicaId> = directory
            .replicas_wanted(set)
            .map(|record| record.replica)
            .collect();
        let of_group = directory.replicas().filter(|record| record.set == set);
        let leaving: Vec<&ReplicaRecord> = of_group
            .filter(|record| record.state == ReplicaState::Leaving)
            .collect();
        let returning = leaving.iter().find(|record| {
            let successor = directory.replica_wanted_on(record.node, set);
            members.contains(record.replica)
                && successor
                    .is_some_and(|wanted| wanted.disk == record.disk && !members.contains(wanted.replica))
        });
        let state = |node| directory.node(node).map(|node| node.state);
        let in_state = |which: NodeState| {
            let records = directory.replicas_wanted(set);
            records.filter(move |record| state(record.node) == Some(which))
        };
        let voters = match set {
            Some(_) => wanted.clone(),
            None => {
                let nodes = in_state(NodeState::Active).count() + in_state(NodeState::Joining).count();
                let active = in_state(NodeState::Active).map(|record| record.replica);
                plan::voters_of_many(nodes, &active.collect(), members)
            }
        };
        let joining = match set {
            Some(_) => BTreeMap::new(),
            None => in_state(NodeState::Joining)
                .map(|record| (record.replica, record.node))
                .collect(),
        };
        Claim {
            returning: returning.map(|record| record.replica),
            leaving: leaving.iter().map(|record| record.replica).collect(),
            wanted: Wanted {
                members: wanted,
                voters,
            },
            joining,
        }
    }
}

fn group_text(set: Option<SetId>) -> String {
    match set {
        Some(set) => format!("set {set}"),
        None => "directory".to_owned(),
    }
}
