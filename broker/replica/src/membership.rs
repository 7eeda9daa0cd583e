//! Who the members of a group are, and how its leader changes that.
//!
//! A replica begins as a learner: it gets the log and does not vote. Once it has caught up it is made a voter, in place
//! of another one if need be; voters change by way of a joint membership, in which both the old and the new ones must
//! agree. A change that was left half-way is brought to its end by asking for voters again.
//!
//! Only a leader whose own first entry is agreed on changes anything: before, two leaders could make changes that do
//! not know of each other. One that was taken out leads for a moment still, until another does, and changes nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::Instant as OpenraftInstant;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, Precondition};
use posthouse_model::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::raft::Types;
use crate::{Fault, Group, Machine, Reason};

/// How many entries a replica may be behind to count as caught up.
const LAG_MAX: u64 = 64;
/// How long ago a replica may have answered last to count as there.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long a change of members may take to be agreed on.
const CHANGE_WITHIN: Duration = Duration::from_secs(10);

/// The members of a group, as its leader sees them.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// Those who vote. While a change is half-way, the old ones and the new ones.
    pub voters: BTreeSet<ReplicaId>,
    /// Those who get the log and do not vote.
    pub learners: BTreeSet<ReplicaId>,
    /// Those of both who have caught up with the leader and answer it, the leader included.
    pub caught_up: BTreeSet<ReplicaId>,
    /// Whether the last change is not agreed on yet.
    pub changing: bool,
    /// Whether a change of voters is half-way.
    pub halfway: bool,
}

type ChangeError = RaftError<Types, ClientWriteError<Types>>;

// === impl Members ===

impl Members {
    /// Returns whether a replica is a member.
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica) || self.learners.contains(&replica)
    }
}

// === impl Group ===

impl<M: Machine> Group<M> {
    /// Returns what this replica is called in the group.
    pub fn replica(&self) -> ReplicaId {
        ReplicaId(*self.engine().node_id())
    }

    /// Returns who the members are, if this replica leads and a majority follows it.
    pub async fn members(&self) -> Result<Members, Fault> {
        self.confirm().await?;
        let metrics = self.engine().metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let last = metrics.last_log_index.unwrap_or(0);
        let mut caught_up = BTreeSet::from([self.replica()]);
        for (replica, matched) in metrics.replication.iter().flatten() {
            let matched = matched.as_ref().map_or(0, |log_id| log_id.index);
            let heard = metrics.heartbeat.as_ref().and_then(|heard| *heard.get(replica)?);
            let is_there = heard.is_some_and(|heard| heard.into_inner().elapsed() < SILENCE_MAX);
            if is_there && matched.saturating_add(LAG_MAX) >= last {
                caught_up.insert(ReplicaId(*replica));
            }
        }
        Ok(Members {
            voters: membership.voter_ids().map(ReplicaId).collect(),
            learners: membership.learner_ids().map(ReplicaId).collect(),
            caught_up,
            changing: metrics.membership_config.log_id() != metrics.committed_membership_config.log_id(),
            halfway: membership.get_joint_config().len() > 1,
        })
    }

    /// Returns the replicas that vote once a change that is half-way has come to its end.
    pub fn voters_to_be(&self) -> BTreeSet<ReplicaId> {
        let metrics = self.engine().server_metrics();
        let metrics = metrics.borrow_watched();
        let configs = metrics.membership_config.membership().get_joint_config();
        configs
            .last()
            .into_iter()
            .flatten()
            .copied()
            .map(ReplicaId)
            .collect()
    }

    /// Makes a replica a learner. It is sent the log from now on.
    pub async fn add_learner(&self, replica: ReplicaId) -> Result<(), Fault> {
        let learner = BTreeMap::from([(replica.0, ())]);
        self.change(ChangeMembers::AddNodes(learner)).await
    }

    /// Makes members the voters, all of them and nobody else. Who voted and does no longer is no member any more.
    pub async fn set_voters(&self, voters: &BTreeSet<ReplicaId>) -> Result<(), Fault> {
        let voters = voters.iter().map(|replica| replica.0).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    /// Brings a change of voters to its end that was left half-way.
    pub async fn finish_change(&self) -> Result<(), Fault> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await
    }

    /// Takes a learner out of the group.
    pub async fn remove_learner(&self, replica: ReplicaId) -> Result<(), Fault> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([replica.0])))
            .await
    }

    async fn change(&self, change: ChangeMembers<u64, ()>) -> Result<(), Fault> {
        if !self.is_leader() {
            let leader = self.leader();
            return Err(Fault::NotDone(Reason::NotLeading { leader }));
        }
        let known = {
            let metrics = self.engine().server_metrics();
            let metrics = metrics.borrow_watched();
            let known = &metrics.membership_config;
            if known.membership().get_node(&metrics.id).is_none() {
                return Err(Fault::NotDone(Reason::NotLeading { leader: None }));
            }
            *known.log_id()
        };
        // They may be others by the time that the engine has the change.
        let as_known = Precondition::LastMembershipLogId {
            last_membership_log_id: known,
        };
        let changing = self.engine().change_membership_if(change, false, [as_known]);
        match tokio::time::timeout(CHANGE_WITHIN, changing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(fault_of(&error)),
            Err(_) => Err(Fault::MayBeDone(Reason::TimedOut)),
        }
    }
}

fn fault_of(error: &ChangeError) -> Fault {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            let leader = forward.leader_id.map(ReplicaId);
            Fault::NotDone(Reason::NotLeading { leader })
        }
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
            Fault::MayBeDone(Reason::LeadershipLost)
        }
        RaftError::APIError(
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
        ) => Fault::NotDone(Reason::OtherMembers),
        RaftError::Fatal(_) => Fault::MayBeDone(Reason::Stopping),
    }
}
