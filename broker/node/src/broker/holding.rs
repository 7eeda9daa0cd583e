//! Has this node hold the replicas of sets that the directory says it is to hold.
//!
//! A replica that it is to hold is opened with nothing in it, and its group's leader brings it what the group has. One
//! that was discarded is closed, and its files removed. Until then it is held, whatever is to take its place: as long as it
//! is a member, the group may count on what it has.
//!
//! An id that was once let go of must not be held again, with nothing in it: it could vote a second time. So what is on
//! the disk is written down before anything else ([`Identity`]), in this order: a replica is not held any more before its
//! files go, and its files are gone before another is held. And nothing is done by what this node saw of the directory
//! before: it is made sure that it sees what everybody else does.

use std::collections::BTreeSet;
use std::time::Duration;

use posthouse_model::{Directory, ReplicaId, SetId};
use posthouse_store::{GroupId, Identity, StoreFault};
use tokio::sync::oneshot;

use super::{Broker, BrokerError};

/// How often it is looked whether the directory says anything new.
const LOOK: Duration = Duration::from_millis(500);

/// What is to be done with a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Hold this replica, in place of any that is held.
    Hold(SetId, ReplicaId),
    /// Hold none.
    LetGo(SetId),
}

impl Broker {
    /// Holds what this node is to hold, until the broker stops.
    pub(super) async fn hold(self) {
        let mut done_at = None;
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let changed = self.directory.view(Directory::nodes_changed);
            if done_at == Some(changed) {
                continue;
            }
            match self.hold_what_is_said().await {
                Ok(()) => done_at = Some(changed),
                Err(error) => tracing::warn!(%error, "this node does not hold what it is to hold yet"),
            }
        }
    }

    async fn hold_what_is_said(&self) -> Result<(), BrokerError> {
        let Some(identity) = self.store.identity() else {
            return Ok(());
        };
        let kept: BTreeSet<SetId> = self
            .all_sets()
            .filter(|set| !self.store.is_empty(GroupId::of(*set)))
            .collect();
        let to_do = || {
            self.directory
                .view(|directory| steps(directory, &identity, &kept))
        };
        if to_do().is_empty() {
            return Ok(());
        }
        self.refresh(None).await?;
        for step in to_do() {
            match step {
                Step::Hold(set, replica) => self.hold_replica(set, replica).await?,
                Step::LetGo(set) => self.let_go(set).await?,
            }
        }
        Ok(())
    }

    async fn hold_replica(&self, set: SetId, replica: ReplicaId) -> Result<(), BrokerError> {
        self.let_go(set).await?;
        tracing::info!(%set, %replica, "holds a new replica of a set");
        self.write_down(set, Some(replica)).await?;
        let opened = self.groups.open_set(set, replica).await;
        opened.map_err(BrokerError::unreadable)
    }

    async fn let_go(&self, set: SetId) -> Result<(), BrokerError> {
        self.groups.close_set(set).await;
        self.write_down(set, None).await?;
        if !self.store.is_empty(GroupId::of(set)) {
            tracing::info!(%set, "removes what is left of a replica of a set");
            let (done, cleared) = oneshot::channel();
            // Nobody waits any longer only when the node stops.
            let tell = move |result| drop(done.send(result));
            self.store.clear(GroupId::of(set), Box::new(tell));
            cleared
                .await
                .unwrap_or(Err(StoreFault::Closed))
                .map_err(BrokerError::unreadable)?;
        }
        Ok(())
    }

    /// Writes down which replica of a set is on this disk.
    async fn write_down(&self, set: SetId, replica: Option<ReplicaId>) -> Result<(), BrokerError> {
        let Some(mut identity) = self.store.identity() else {
            return Ok(());
        };
        let group = GroupId::of(set);
        let before = identity.clone();
        identity.replicas.retain(|(held, _)| *held != group);
        identity.replicas.extend(replica.map(|replica| (group, replica)));
        if identity == before {
            return Ok(());
        }
        let store = self.store.clone();
        let written = tokio::task::spawn_blocking(move || store.set_identity(identity)).await;
        let written = written.map_err(BrokerError::unreadable)?;
        written.map_err(BrokerError::unreadable)
    }
}

/// Returns what is to be done so that a disk holds what the directory says. `kept` are the sets that there are files of,
/// held or not.
fn steps(directory: &Directory, identity: &Identity, kept: &BTreeSet<SetId>) -> Vec<Step> {
    let held_of = |group: GroupId| {
        let mut held = identity.replicas.iter();
        held.find(|(held, _)| *held == group).map(|(_, replica)| *replica)
    };
    let own = held_of(GroupId::DIRECTORY).and_then(|own| directory.replica(None, own));
    let (Some(own), Some(founding)) = (own, directory.founded()) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    for set in (0..founding.sets).map(SetId) {
        let wanted = directory.replica_wanted_on(own.node, Some(set));
        let wanted = wanted
            .filter(|wanted| wanted.disk == own.disk)
            .map(|wanted| wanted.replica);
        match (held_of(GroupId::of(set)), wanted) {
            (None, Some(wanted)) => steps.push(Step::Hold(set, wanted)),
            // Ids are counted up: a lower one is of before this one was.
            (Some(held), Some(wanted)) if wanted > held && directory.is_discarded(Some(set), held) => {
                steps.push(Step::Hold(set, wanted));
            }
            (Some(held), None) if directory.is_discarded(Some(set), held) => steps.push(Step::LetGo(set)),
            // It was let go of, and the node ended before its files were gone. As long as they are there, the log that
            // all sets share is not let go of either.
            (None, None) if kept.contains(&set) => steps.push(Step::LetGo(set)),
            (Some(_) | None, _) => {}
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use posthouse_model::{DirectoryCommand, DiskId, NodeId};

    use super::*;
    use crate::founded;

    /// A directory of two sets that a fourth node has joined, after some commands.
    fn directory(commands: Vec<DirectoryCommand>) -> Directory {
        let join = [
            DirectoryCommand::Admit {
                node: NodeId(4),
                address: "host:4".to_owned(),
                disk: DiskId([4; 16]),
            },
            DirectoryCommand::Ready { node: NodeId(4) },
        ];
        founded::directory(2, join.into_iter().chain(commands))
    }

    fn disk(replicas: &[(GroupId, u64)]) -> Identity {
        Identity {
            replicas: replicas
                .iter()
                .map(|(group, replica)| (*group, ReplicaId(*replica)))
                .collect(),
            ..Identity::default()
        }
    }

    fn relocate() -> DirectoryCommand {
        DirectoryCommand::Relocate {
            set: SetId(1),
            from: NodeId(2),
            to: NodeId(4),
        }
    }

    /// Returns the steps of a disk that has files of what it holds alone.
    fn steps_of(directory: &Directory, identity: &Identity) -> Vec<Step> {
        let held = identity.replicas.iter().filter_map(|(group, _)| group.set());
        steps(directory, identity, &held.collect())
    }

    const FIRST: GroupId = GroupId(1);
    const SECOND: GroupId = GroupId(2);

    #[test]
    fn a_set_that_is_moved_here_is_held_and_where_it_was_until_it_is_discarded() {
        let fourth = disk(&[(GroupId::DIRECTORY, 65_536)]);
        let second = disk(&[(GroupId::DIRECTORY, 2), (FIRST, 2), (SECOND, 2)]);
        assert_eq!(steps_of(&directory(Vec::new()), &fourth), []);
        let moved = directory(vec![relocate()]);
        assert_eq!(
            steps_of(&moved, &fourth),
            [Step::Hold(SetId(1), ReplicaId(65_537))]
        );
        assert_eq!(steps_of(&moved, &second), [], "it may still be needed there");
        let discard = DirectoryCommand::Discard {
            set: Some(SetId(1)),
            replica: ReplicaId(2),
        };
        let discarded = directory(vec![relocate(), discard]);
        assert_eq!(steps_of(&discarded, &second), [Step::LetGo(SetId(1))]);
    }

    #[test]
    fn what_is_left_of_a_set_that_was_let_go_of_is_removed() {
        let discard = DirectoryCommand::Discard {
            set: Some(SetId(1)),
            replica: ReplicaId(2),
        };
        let directory = directory(vec![relocate(), discard]);
        let second = disk(&[(GroupId::DIRECTORY, 2), (FIRST, 2)]);
        assert_eq!(steps_of(&directory, &second), []);
        assert_eq!(
            steps(&directory, &second, &BTreeSet::from([SetId(0), SetId(1)])),
            [Step::LetGo(SetId(1))],
            "the node ended before its files were gone"
        );
    }

    #[test]
    fn a_replica_makes_room_for_another_on_its_disk_once_it_is_discarded() {
        let back = DirectoryCommand::Relocate {
            set: SetId(1),
            from: NodeId(4),
            to: NodeId(2),
        };
        let discard = DirectoryCommand::Discard {
            set: Some(SetId(1)),
            replica: ReplicaId(2),
        };
        let second = disk(&[(GroupId::DIRECTORY, 2), (FIRST, 2), (SECOND, 2)]);
        let moved_back = directory(vec![relocate(), back.clone()]);
        assert_eq!(steps_of(&moved_back, &second), [], "the group may count on it");
        assert_eq!(
            steps_of(&directory(vec![relocate(), back, discard]), &second),
            [Step::Hold(SetId(1), ReplicaId(65_538))]
        );
    }

    #[test]
    fn what_was_seen_of_the_directory_before_undoes_nothing() {
        let renewed = disk(&[(GroupId::DIRECTORY, 2), (FIRST, 65_537), (SECOND, 2)]);
        assert_eq!(steps_of(&directory(Vec::new()), &renewed), []);
        let stranger = disk(&[(GroupId::DIRECTORY, 70_000)]);
        assert_eq!(
            steps_of(&directory(Vec::new()), &stranger),
            [],
            "it is not known there yet"
        );
    }
}
