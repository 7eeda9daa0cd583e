//! The cluster's nodes as the directory knows them: who is recorded, who is taken in, who is who.
//!
//! A node is known by its replica of the directory. In other groups its replica may be called otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use posthouse_model::{
    Directory, DirectoryCommand, DirectoryReply, DiskId, Founder, Kind, NodeId, NodeRecord, NodeState,
    ReplicaId, ReplicaRecord, SetId,
};

use super::reach::{Ask, senseless};
use super::{Broker, BrokerError};
use crate::config::ClusterConfig;

/// How long a node has to show that it is there, before another takes its number.
const SHOWS_WITHIN: Duration = Duration::from_secs(2);

impl Broker {
    /// Returns whether the directory knows which nodes there are.
    pub(crate) fn knows_nodes(&self) -> bool {
        self.directory
            .view(|directory| directory.nodes().next().is_some())
    }

    /// Has the directory know the nodes that it is replicated on, if it does not yet. Its leader does this.
    pub(crate) async fn enroll(&self, cluster: &ClusterConfig) -> Result<(), BrokerError> {
        if self.knows_nodes() {
            return Ok(());
        }
        let own = self.directory.replica();
        let mut founders = Vec::new();
        for replica in self.directory.voters() {
            // Founders are called by their numbers, but for one that was run alone before.
            let number = match replica == own {
                true => Some(cluster.node),
                false => u16::try_from(replica.0).ok(),
            };
            let found = number.and_then(|number| Some((number, cluster.peers.get(&number)?)));
            let (number, address) = found.ok_or_else(|| {
                BrokerError::Argument(format!(
                    "replica {replica} votes and is no node of cluster.peers; give all nodes there"
                ))
            })?;
            founders.push(Founder {
                node: NodeId(number),
                replica,
                address: address.clone(),
            });
        }
        self.direct(DirectoryCommand::Enroll { founders }, Kind::Queue)
            .await?;
        Ok(())
    }

    /// Takes a node with an empty disk into the cluster, as a new one or in place of a dead one, and returns the
    /// replicas that it is to hold.
    pub(crate) async fn admit(
        &self,
        node: NodeId,
        address: String,
        disk: DiskId,
    ) -> Result<Vec<ReplicaRecord>, BrokerError> {
        self.see_directory().await?;
        let known = self.directory.view(|directory| {
            let record = directory.node(node)?;
            let is_another = record.state != NodeState::Gone && record.disk != disk;
            let known_by = directory.replica_wanted_on(node, None)?;
            is_another.then_some(known_by.replica)
        });
        if let Some(known) = known {
            // One of both is a mistake, and the one that is there may hold what is nowhere else.
            let is_there =
                known == self.replica || self.ask_one(known, &Ask::Report, SHOWS_WITHIN).await.is_some();
            if is_there {
                return Err(BrokerError::Argument(format!(
                    "node {node} is there and answers; give the new one another number"
                )));
            }
        }
        let command = DirectoryCommand::Admit { node, address, disk };
        match self.direct(command, Kind::Queue).await? {
            DirectoryReply::Admitted(replicas) => Ok(replicas),
            other => Err(senseless(&other)),
        }
    }

    /// Has the directory know where a node listens to the others, if that is the node which they know by this replica.
    pub(crate) async fn locate(
        &self,
        node: NodeId,
        known_by: ReplicaId,
        address: String,
    ) -> Result<(), BrokerError> {
        self.see_directory().await?;
        let is_it = self.directory.view(|directory| {
            let replica = directory.replica_wanted_on(node, None);
            replica.is_some_and(|record| record.replica == known_by)
        });
        if !is_it {
            return Err(BrokerError::Argument(format!(
                "node {node} is not replica {known_by}"
            )));
        }
        let command = DirectoryCommand::Locate { node, address };
        self.direct(command, Kind::Queue).await?;
        Ok(())
    }

    /// Returns what the node of a group's replica is known by; none if its disk is lost.
    pub(super) fn host_of(&self, set: Option<SetId>, replica: ReplicaId) -> Option<ReplicaId> {
        self.directory.view(|directory| {
            if directory.nodes().next().is_none() {
                return Some(replica);
            }
            let record = directory.replica(set, replica)?;
            let node = directory.node(record.node)?;
            let known_by = directory.replica_wanted_on(record.node, None)?;
            (node.disk == record.disk).then_some(known_by.replica)
        })
    }

    /// Returns what the directory says of the replicas of all groups.
    pub(crate) fn replica_records(&self) -> Vec<ReplicaRecord> {
        self.directory
            .view(|directory| directory.replicas().copied().collect())
    }

    /// Returns the records of the nodes, by what they are known by; those that are gone are not.
    pub(crate) fn node_records(&self) -> BTreeMap<ReplicaId, NodeRecord> {
        self.directory.view(|directory: &Directory| {
            let nodes = directory.nodes().filter(|node| node.state != NodeState::Gone);
            let known = nodes.filter_map(|node| {
                let known_by = directory.replica_wanted_on(node.node, None)?;
                Some((known_by.replica, node.clone()))
            });
            known.collect()
        })
    }
}
