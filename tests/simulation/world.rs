//! Three machines, the network between them, and what is noted of it all.

use std::sync::Arc;
use std::time::Duration;

use posthouse_model::{
    Definition, Generation, Incarnation, Name, QueueAttributes, ReplicaId, Set, SetCommand, SetId, SetReply,
    TenantId,
};
use posthouse_replica::{Group, GroupName, Machine as StateMachine};
use posthouse_store::crash::Chance;

use crate::door::{Door, set_of};
use crate::machine::{Ending, Machine, Timing};
use crate::network::Wires;
use crate::notes::Notes;

/// How many sets there are, beside the directory.
pub(crate) const SETS: u8 = 2;
/// How long what must come may take once all is well.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Three machines and what is between them.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) wires: Wires,
    pub(crate) notes: Notes,
}

// === impl World ===

impl World {
    /// Returns three machines that run.
    pub(crate) async fn begin(chance: &mut Chance, timing: Timing, notes: Notes) -> World {
        let wires = Wires::new(Chance::new(chance.any()));
        let machines = (1..=3).map(|number| {
            let chance = Chance::new(chance.any());
            let machine = Machine::new(
                ReplicaId(number),
                SETS,
                timing,
                wires.clone(),
                notes.clone(),
                chance,
            );
            Arc::new(machine)
        });
        let world = World {
            machines: machines.collect(),
            wires,
            notes,
        };
        world.start_all().await;
        tokio::spawn(world.clone().watch_elections(timing.heartbeat / 10));
        world
    }

    /// Returns a replica that was elected by a group, if one was.
    pub(crate) fn elected(&self) -> Option<ReplicaId> {
        let running = self.wires.running();
        let mut elected = running.iter().filter(|process| {
            let sets = process.groups.sets().into_iter();
            process
                .groups
                .directory
                .elected()
                .or(sets.filter_map(|set| set.elected()).next())
                .is_some()
        });
        elected.next().map(|process| process.replica)
    }

    /// Ends all processes at once. Nobody counts time then.
    pub(crate) fn end_all(&self, how: Ending) {
        self.notes.event("nobody counts");
        for machine in &self.machines {
            machine.end(how);
        }
    }

    /// Looks again and again who was elected: in each term of a group one at the most.
    async fn watch_elections(self, again: Duration) {
        loop {
            for process in self.wires.running() {
                let directory = (GroupName::Directory, process.groups.directory.elected());
                let sets = process
                    .groups
                    .sets()
                    .into_iter()
                    .map(|set| (set.name(), set.elected()));
                for (group, term) in sets.chain([directory]) {
                    if let Some(term) = term {
                        self.notes.elected(process.replica, group, term);
                    }
                }
            }
            tokio::time::sleep(again).await;
        }
    }

    /// Starts each machine's process that does not run.
    pub(crate) async fn start_all(&self) {
        for machine in &self.machines {
            machine.start().await;
        }
    }

    /// Has the writes of all disks take long from now on, or not.
    pub(crate) fn slow_disks(&self, is_slow: bool) {
        for machine in &self.machines {
            machine.slow_down(is_slow);
        }
    }

    /// Puts the wall clocks of all machines ahead, for they were wrong.
    pub(crate) fn correct_clocks(&self, millis: i64) {
        for machine in &self.machines {
            machine.dial.correct(millis);
        }
    }

    /// Waits until all is well again; says what is wrong if it does not come to that.
    pub(crate) async fn wait_well(&self) {
        let is_well = || {
            let running = self.wires.running();
            running.len() == self.machines.len()
                && (0..SETS).all(|set| {
                    let mut leaders = running
                        .iter()
                        .map(|process| process.groups.sets()[usize::from(set)].leader());
                    let first = leaders.next().flatten();
                    first.is_some() && leaders.all(|leader| leader == first)
                })
        };
        if !until(is_well).await {
            self.notes
                .wrong("the nodes do not come back to a leader that all know".to_owned());
        }
    }

    /// Makes a queue. All is well while it does.
    pub(crate) async fn define(&self, queue: Incarnation, attributes: QueueAttributes) {
        let command = SetCommand::Define {
            incarnation: queue,
            generation: Generation(1),
            tenant: TenantId(1),
            name: Name::parse(&format!("queue-{queue}")).expect("a name"),
            definition: Definition::Queue(attributes),
        };
        let defined = async {
            loop {
                let process = self.wires.running().into_iter().next().expect("all run");
                let door = Door {
                    process,
                    wires: self.wires.clone(),
                };
                match door.command(set_of(queue), command.clone()).await {
                    Ok(outcome) => return outcome,
                    Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, defined).await;
        assert_eq!(
            outcome,
            Ok(Ok(SetReply::Defined)),
            "a queue is made while all is well"
        );
    }

    /// Waits until all replicas have the same state, and says what is wrong if they never have.
    pub(crate) async fn wait_equal(&self) {
        let running = self.wires.running();
        let directories: Vec<_> = running
            .iter()
            .map(|process| process.groups.directory.clone())
            .collect();
        self.compare(&directories).await;
        for set in 0..SETS {
            let sets: Vec<Group<Set>> = running
                .iter()
                .map(|process| process.groups.sets()[usize::from(set)].clone())
                .collect();
            self.compare(&sets).await;
        }
    }

    async fn compare<M: StateMachine + PartialEq>(&self, groups: &[Group<M>]) {
        let at_one = || {
            let mut applied = groups.iter().map(|group| group.view(M::applied));
            let first = applied.next();
            applied.all(|other| Some(other) == first)
        };
        // They are compared in the moment in which they are as far.
        if !until(at_one).await {
            let name = groups[0].name();
            return self
                .notes
                .wrong(format!("the replicas of {name} do not come as far as each other"));
        }
        let states: Vec<M> = groups.iter().map(|group| group.view(M::clone)).collect();
        if states.windows(2).any(|pair| pair[0] != pair[1]) {
            self.notes.wrong(format!(
                "the replicas of {} have different states",
                groups[0].name()
            ));
        }
        self.notes
            .event(format!("{} stands at {}", groups[0].name(), states[0].applied()));
    }

    /// Returns the place of a set's leader among the machines, if one is known.
    pub(crate) fn leader(&self, set: SetId) -> Option<usize> {
        self.machines.iter().position(|machine| {
            let process = machine.process();
            process.is_some_and(|process| process.groups.sets()[usize::from(set.0)].is_leader())
        })
    }
}

/// Waits until a condition holds; returns whether it came to that.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) -> bool {
    let held = async {
        while !holds() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.is_ok()
}
