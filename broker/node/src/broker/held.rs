//! The sets as this node has them: those that it holds a replica of, and what it was told of the others.
//!
//! A node without a replica of a set passes on what is asked, as it does when another leads. What is read of a queue or
//! topic of such a set, it asks the set's leader for first: an excerpt of the state, kept here, which shows all that was
//! answered before the question. Excerpts are bounded in number; the one that was asked for longest ago goes first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_model::{
    Directory, Incarnation, ReplicaId, ReplicaState, Set, SetCommand, SetId, SetReply, Term, Time,
};
use posthouse_replica::{Fault, Group, Reason};

use super::names::Resolved;
use super::reach::{Ask, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};

/// How long a node has to say who leads a set.
const LEADER_WITHIN: Duration = Duration::from_millis(500);
/// Excerpts that are kept.
const EXCERPTS_MAX: usize = 256;

/// A set as this node has it.
pub enum Seen {
    /// It has a replica.
    Here(Group<Set>),
    /// It has none, and was told this.
    Told(Arc<Set>),
}

/// What was told of sets that are not here.
#[derive(Default)]
pub(super) struct Excerpts {
    told: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    sets: BTreeMap<SetId, Arc<Set>>,
    /// What is there, the one that was asked for longest ago first.
    order: VecDeque<(SetId, Incarnation)>,
    /// Who led a set when it was asked last.
    leaders: BTreeMap<SetId, ReplicaId>,
}

// === impl Seen ===

impl Seen {
    /// Reads the state, or what was told of it.
    pub fn view<R>(&self, read: impl FnOnce(&Set) -> R) -> R {
        match self {
            Seen::Here(group) => group.view(read),
            Seen::Told(set) => read(set),
        }
    }

    /// Returns whether this node leads the set.
    pub fn is_leader(&self) -> bool {
        self.term().is_some()
    }

    /// Returns the term in which this node leads the set, if it does.
    pub fn term(&self) -> Option<Term> {
        match self {
            Seen::Here(group) => group.term(),
            Seen::Told(_) => None,
        }
    }

    /// Returns what time it is for the set, or was when it was told.
    pub fn now(&self) -> Time {
        match self {
            Seen::Here(group) => group.now(),
            Seen::Told(set) => set.now(),
        }
    }

    /// Has a command done, if this node leads the set.
    pub async fn propose(
        &self,
        command: SetCommand,
    ) -> Result<Result<SetReply, posthouse_model::Refusal>, Fault> {
        match self {
            Seen::Here(group) => group.propose(command).await,
            Seen::Told(_) => Err(Fault::NotDone(Reason::NotLeading { leader: None })),
        }
    }
}

// === impl Excerpts ===

impl Excerpts {
    fn of(&self, set: SetId) -> Arc<Set> {
        let told = self.told.lock().sets.get(&set).cloned();
        told.unwrap_or_else(|| Arc::new(Set::new(set)))
    }

    fn take_in(&self, excerpt: &Set, incarnation: Incarnation) {
        let set = excerpt.id();
        let mut contents = self.told.lock();
        let known = contents
            .sets
            .entry(set)
            .or_insert_with(|| Arc::new(Set::new(set)));
        Arc::make_mut(known).take_in(excerpt, incarnation);
        contents.order.retain(|known| *known != (set, incarnation));
        contents.order.push_back((set, incarnation));
        if contents.order.len() > EXCERPTS_MAX
            && let Some((set, incarnation)) = contents.order.pop_front()
            && let Some(known) = contents.sets.get_mut(&set)
        {
            let nothing = Set::new(set);
            Arc::make_mut(known).take_in(&nothing, incarnation);
        }
    }

    pub(super) fn leader(&self, set: SetId) -> Option<ReplicaId> {
        self.told.lock().leaders.get(&set).copied()
    }

    pub(super) fn note_leader(&self, set: SetId, leader: Option<ReplicaId>) {
        let leaders = &mut self.told.lock().leaders;
        match leader {
            Some(leader) => leaders.insert(set, leader),
            None => leaders.remove(&set),
        };
    }
}

impl Broker {
    /// Returns the sets that this node has replicas of.
    pub fn sets(&self) -> Vec<Group<Set>> {
        self.groups.sets()
    }

    /// Returns the numbers of all sets, whether they are here or not.
    pub(crate) fn all_sets(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..self.set_count).map(SetId)
    }

    /// Returns a set that this node has a replica of which votes. One that is new, or was taken out, may know little of
    /// what the others do: it is as good as none.
    pub(super) fn here(&self, set: SetId) -> Option<Group<Set>> {
        let group = self.groups.set(set).filter(Group::is_voter)?;
        let follows = group.elected().is_none();
        let left_out = |directory: &Directory| may_be_left_out(directory, set, group.replica());
        (!follows || !self.directory.view(left_out)).then_some(group)
    }

    /// Returns a set as this node has it.
    pub fn set(&self, set: SetId) -> Seen {
        match self.here(set) {
            Some(group) => Seen::Here(group),
            None => Seen::Told(self.excerpts.of(set)),
        }
    }

    /// Returns a set that this node has a replica of.
    pub(super) fn member(&self, set: SetId) -> Result<Group<Set>, BrokerError> {
        match self.groups.set(set) {
            Some(group) => Ok(group),
            None if set.0 < self.set_count => Err(Fault::NotDone(Reason::NotLeading { leader: None }).into()),
            None => Err(BrokerError::Argument(format!("there is no set {set}"))),
        }
    }

    /// Has this node see a queue or topic as it is now, with all that its set was answered before.
    pub(crate) fn see_incarnation<'a>(
        &'a self,
        found: &'a Resolved,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        // Boxed, because what is asked of a leader may begin with this very call.
        self.see_excerpt(found).boxed()
    }

    async fn see_excerpt(&self, found: &Resolved) -> Result<(), BrokerError> {
        let set = found.set;
        if self.here(set).is_some() {
            return self.refresh(Some(set)).await;
        }
        let ask = |_| Ask::Excerpt {
            set,
            incarnation: found.incarnation,
        };
        let told = match self.reach(Some(set), PATIENCE, ask).await? {
            Told::Excerpt(told) => told,
            other => return Err(senseless(&other)),
        };
        let excerpt: Set = posthouse_wire::decode_set_state(&told).map_err(BrokerError::unreadable)?;
        self.excerpts.take_in(&excerpt, found.incarnation);
        Ok(())
    }

    /// Asks the nodes that hold a set who leads it.
    pub(super) async fn seek_leader(&self, set: SetId) -> Option<ReplicaId> {
        let holders: Vec<ReplicaId> = self.directory.view(|directory| {
            let of_set = directory.replicas().filter(|record| record.set == Some(set));
            of_set.map(|record| record.replica).collect()
        });
        let asked = holders
            .into_iter()
            .map(|holder| self.ask_leader_seen(holder, set));
        let told = futures::future::join_all(asked).await.into_iter().flatten();
        // Of several, who leads in the latest term.
        let leader = told.max_by_key(|(term, _)| *term).map(|(_, leader)| leader);
        self.excerpts.note_leader(set, leader);
        leader
    }
}

impl Broker {
    async fn ask_leader_seen(&self, holder: ReplicaId, set: SetId) -> Option<(Option<Term>, ReplicaId)> {
        match self.ask_one(holder, &Ask::Leader { set }, LEADER_WITHIN).await? {
            Told::Leader(leader) => leader,
            _ => None,
        }
    }
}

/// Returns whether a replica that follows may have been taken out without its knowing: it is to leave, and once the others
/// have agreed on that, nobody tells it so, nor who leads them.
fn may_be_left_out(directory: &Directory, set: SetId, replica: ReplicaId) -> bool {
    match directory.replica(Some(set), replica) {
        Some(record) => record.state == ReplicaState::Leaving,
        None => directory.is_discarded(Some(set), replica),
    }
}

/// Returns who leads a set as this node sees it; the one that leads says in which term.
pub(super) fn leader_seen(group: &Group<Set>) -> Option<(Option<Term>, ReplicaId)> {
    Some((group.term(), group.leader()?))
}

/// Returns the bytes of what a set holds of a queue or topic.
pub(super) async fn excerpt(group: &Group<Set>, incarnation: Incarnation) -> Result<bytes::Bytes, Fault> {
    group.confirm().await?;
    let excerpt = group.view(|state| state.excerpt(incarnation));
    Ok(posthouse_wire::encode_set_state(&excerpt))
}

#[cfg(test)]
mod tests {
    use posthouse_model::{DirectoryCommand, DiskId, NodeId};

    use super::*;
    use crate::founded;

    #[test]
    fn a_replica_that_is_to_leave_is_not_counted_on_to_know_what_the_others_do() {
        let set = SetId(1);
        let admit = DirectoryCommand::Admit {
            node: NodeId(4),
            address: "host:4".to_owned(),
            disk: DiskId([4; 16]),
        };
        let relocate = DirectoryCommand::Relocate {
            set,
            from: NodeId(2),
            to: NodeId(4),
        };
        let discard = DirectoryCommand::Discard {
            set: Some(set),
            replica: ReplicaId(2),
        };
        let commands = [
            admit,
            DirectoryCommand::Ready { node: NodeId(4) },
            relocate,
            discard,
        ];
        let left_out = |done: usize| {
            let directory = founded::directory(2, commands.iter().take(done).cloned());
            [ReplicaId(1), ReplicaId(2)].map(|replica| may_be_left_out(&directory, set, replica))
        };
        assert_eq!(left_out(0), [false, false]);
        assert_eq!(left_out(3), [false, true], "it is to leave");
        assert_eq!(left_out(4), [false, true], "it was discarded");
    }
}
