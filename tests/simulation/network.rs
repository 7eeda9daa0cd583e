//! The network between machines: frames take their time, are lost, and are cut off, all from a seed.
//!
//! What is sent on one way arrives in its order. A frame is lost in silence, or its sender is told; an answer may be
//! lost just as well. Who is dead by the time that a frame or an answer would arrive does not get it, and what a dead
//! process still does reaches nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_model::ReplicaId;
use posthouse_replica::{GroupName, Network, NetworkFault, Outbound};
use posthouse_store::crash::Chance;
use tokio::time::Instant;

use crate::door::{Ask, Told, perform};
use crate::life::Process;

/// How long a frame takes at the most when all is well, in microseconds.
const USUAL_MICROS_MAX: u64 = 2_000;
/// How long a frame takes at the most when the network is slow, in microseconds.
const SLOW_MICROS_MAX: u64 = 400_000;
/// How long a connection is silent before it is given up, as that of nodes is.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// One in so many frames takes as long as in a slow network, always.
const LATE_ONE_IN: u64 = 2_000;

/// What connects the machines. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Wires {
    state: Arc<Mutex<State>>,
}

struct State {
    chance: Chance,
    processes: BTreeMap<ReplicaId, Arc<Process>>,
    /// Who does not reach whom.
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    /// Groups of which no frame passes.
    cut_groups: BTreeSet<GroupName>,
    /// One in so many frames is lost.
    loses_one_in: Option<u64>,
    is_slow: bool,
    /// When the last frame of each way arrives.
    arrivals: BTreeMap<Way, Instant>,
    carried: u64,
}

/// What keeps its order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Way {
    from: ReplicaId,
    to: ReplicaId,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    /// Of a group, on a lane.
    Frame(GroupName, u8),
    /// Between doors.
    Ask,
}

/// What becomes of a frame.
enum Fate {
    Arrives(Instant),
    /// Its sender is told so after a while.
    IsRefused(Instant),
    /// Its sender hears nothing until the connection is given up.
    IsLost,
}

/// One process' way into the network.
pub(crate) struct Port {
    wires: Wires,
    from: ReplicaId,
    life: crate::life::Life,
}

// === impl Wires ===

impl Wires {
    pub(crate) fn new(chance: Chance) -> Wires {
        Wires {
            state: Arc::new(Mutex::new(State {
                chance,
                processes: BTreeMap::new(),
                cut: BTreeSet::new(),
                cut_groups: BTreeSet::new(),
                loses_one_in: None,
                is_slow: false,
                arrivals: BTreeMap::new(),
                carried: 0,
            })),
        }
    }

    pub(crate) fn port(&self, from: ReplicaId, life: crate::life::Life) -> Port {
        Port {
            wires: self.clone(),
            from,
            life,
        }
    }

    /// Has a process be the one that frames to its replica reach.
    pub(crate) fn connect(&self, process: Arc<Process>) {
        self.state.lock().processes.insert(process.replica, process);
    }

    /// Returns the process of a replica, if one runs.
    pub(crate) fn process(&self, replica: ReplicaId) -> Option<Arc<Process>> {
        let state = self.state.lock();
        let found = state.processes.get(&replica);
        found.filter(|process| !process.life.is_over()).cloned()
    }

    /// Returns the processes that run.
    pub(crate) fn running(&self) -> Vec<Arc<Process>> {
        let state = self.state.lock();
        let alive = state.processes.values().filter(|process| !process.life.is_over());
        alive.cloned().collect()
    }

    /// Has nothing from one replica reach another.
    pub(crate) fn cut(&self, from: ReplicaId, to: ReplicaId) {
        self.state.lock().cut.insert((from, to));
    }

    /// Has no frame of a group reach anybody.
    pub(crate) fn cut_group(&self, group: GroupName) {
        self.state.lock().cut_groups.insert(group);
    }

    /// Has one in so many frames be lost from now on, or none.
    pub(crate) fn lose(&self, one_in: Option<u64>) {
        self.state.lock().loses_one_in = one_in;
    }

    /// Has frames take long from now on, or not.
    pub(crate) fn slow_down(&self, is_slow: bool) {
        self.state.lock().is_slow = is_slow;
    }

    /// Has everything reach everybody again, in the usual time.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.cut_groups.clear();
        state.loses_one_in = None;
        state.is_slow = false;
    }

    /// Returns how many frames and answers were given to it.
    pub(crate) fn carried(&self) -> u64 {
        self.state.lock().carried
    }

    /// Asks another node's door.
    pub(crate) async fn ask(
        &self,
        from: ReplicaId,
        to: ReplicaId,
        ask: Ask,
    ) -> Result<Result<Told, posthouse_replica::Fault>, NetworkFault> {
        self.carry(from, to, Kind::Ask).await?;
        let target = self.process(to).ok_or(NetworkFault::Unreachable(to))?;
        let asked = target.clone();
        // It goes on there when its sender has given up.
        let done = tokio::spawn(async move { perform(&asked, ask).await }).await;
        let answer = done.map_err(|error| NetworkFault::NoAnswer(error.to_string()))?;
        self.carry_answer(&target, to, from, Kind::Ask).await?;
        Ok(answer)
    }

    async fn carry_answer(
        &self,
        target: &Process,
        from: ReplicaId,
        to: ReplicaId,
        kind: Kind,
    ) -> Result<(), NetworkFault> {
        if target.life.is_over() {
            return Err(NetworkFault::NoAnswer("its process ended".to_owned()));
        }
        match self.carry(from, to, kind).await {
            // The frame itself got there.
            Err(NetworkFault::Unreachable(_)) => Err(NetworkFault::NoAnswer("lost".to_owned())),
            carried => carried,
        }
    }

    async fn carry(&self, from: ReplicaId, to: ReplicaId, kind: Kind) -> Result<(), NetworkFault> {
        let way = Way { from, to, kind };
        let fate = self.state.lock().fate(way);
        match fate {
            Fate::Arrives(at) => {
                tokio::time::sleep_until(at).await;
                match self.state.lock().is_cut(way) {
                    true => {}
                    false => return Ok(()),
                }
            }
            Fate::IsRefused(at) => {
                tokio::time::sleep_until(at).await;
                return Err(NetworkFault::Unreachable(to));
            }
            Fate::IsLost => {}
        }
        tokio::time::sleep(SILENCE_MAX).await;
        Err(NetworkFault::NoAnswer("lost".to_owned()))
    }
}

// === impl State ===

impl State {
    fn fate(&mut self, way: Way) -> Fate {
        self.carried += 1;
        let micros_max = match self.is_slow || self.chance.one_in(LATE_ONE_IN) {
            true => SLOW_MICROS_MAX,
            false => USUAL_MICROS_MAX,
        };
        let at = Instant::now() + Duration::from_micros(100 + self.chance.below(micros_max));
        if self.is_cut(way) {
            return match self.chance.one_in(2) {
                true => Fate::IsRefused(at),
                false => Fate::IsLost,
            };
        }
        if self.loses_one_in.is_some_and(|one_in| self.chance.one_in(one_in)) {
            return Fate::IsLost;
        }
        let arrival = self.arrivals.entry(way).or_insert(at);
        *arrival = at.max(*arrival);
        Fate::Arrives(*arrival)
    }

    fn is_cut(&self, way: Way) -> bool {
        let is_group_cut = match way.kind {
            Kind::Frame(group, _) => self.cut_groups.contains(&group),
            Kind::Ask => false,
        };
        is_group_cut || self.cut.contains(&(way.from, way.to))
    }
}

// === impl Port ===

impl Network for Port {
    fn call(&self, frame: Outbound) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        let (wires, from, life) = (self.wires.clone(), self.from, self.life.clone());
        async move {
            let (to, group) = (frame.to, frame.group);
            let kind = Kind::Frame(group, frame.lane as u8);
            if life.is_over() {
                return Err(NetworkFault::Unreachable(to));
            }
            wires.carry(from, to, kind).await?;
            let target = wires.process(to).ok_or(NetworkFault::Unreachable(to))?;
            let groups = target.groups.clone();
            // It goes on there when its sender has given up.
            let answer = tokio::spawn(async move { groups.answer(group, frame.frame).await }).await;
            wires.carry_answer(&target, to, from, kind).await?;
            let answer = answer.map_err(|error| NetworkFault::NoAnswer(error.to_string()))?;
            answer.map_err(|error| NetworkFault::NoAnswer(error.to_string()))
        }
        .boxed()
    }
}
