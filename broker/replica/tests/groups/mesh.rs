//! A network between replicas of one process, which loses what it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_model::{MessageId, ReplicaId, Set, SetId};
use posthouse_replica::{
    Config, Group, Groups, Lane, Network, NetworkFault, Outbound, SystemClock, Unobserved,
};
use posthouse_store::Store;
use tempfile::TempDir;

use crate::kit::{QUEUE, active, open_store, until, within};

/// Carries frames between replicas of one process, and cuts some off.
#[derive(Clone, Default)]
pub(crate) struct Mesh {
    state: Arc<Mutex<MeshState>>,
}

#[derive(Default)]
struct MeshState {
    replicas: BTreeMap<ReplicaId, Arc<Groups>>,
    cut_off: BTreeSet<ReplicaId>,
    /// Those who are heard and hear nobody.
    deaf: BTreeSet<ReplicaId>,
    snapshots: Snapshots,
}

/// What was carried of snapshots, and how it is broken off.
#[derive(Clone, Copy, Default)]
pub(crate) struct Snapshots {
    /// The bytes of frames that got there.
    pub(crate) bytes: u64,
    /// How often one was lost, or its answer was.
    pub(crate) lost: u32,
    /// How many frames pass before one is lost; none: all pass.
    pub(crate) passes: Option<u32>,
    passed: u32,
}

/// What becomes of a frame.
enum Fate {
    Passes,
    IsLost,
    LosesItsAnswer,
}

/// One replica's way into the mesh.
struct Port {
    mesh: Mesh,
    from: ReplicaId,
}

/// A replica with what it stands on.
pub(crate) struct Replica {
    pub(crate) groups: Arc<Groups>,
    set: Group<Set>,
    pub(crate) store: Store,
    number: u64,
    dir: TempDir,
}

// === impl Snapshots ===

impl Snapshots {
    fn fate(&mut self, bytes: usize) -> Fate {
        if self.passes.is_some_and(|passes| self.passed >= passes) {
            self.passed = 0;
            self.lost += 1;
            if self.lost % 2 == 1 {
                return Fate::IsLost;
            }
            self.bytes += bytes as u64;
            return Fate::LosesItsAnswer;
        }
        self.passed += 1;
        self.bytes += bytes as u64;
        Fate::Passes
    }
}

// === impl Port ===

impl Network for Port {
    fn call(&self, frame: Outbound) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        let (target, fate) = {
            let mut state = self.mesh.state.lock();
            let is_cut = state.cut_off.contains(&self.from)
                || state.cut_off.contains(&frame.to)
                || state.deaf.contains(&frame.to);
            let target = state.replicas.get(&frame.to).cloned().filter(|_| !is_cut);
            let fate = match frame.lane {
                _ if state.deaf.contains(&self.from) => Fate::LosesItsAnswer,
                Lane::Snapshot if target.is_some() => state.snapshots.fate(frame.frame.len()),
                Lane::Snapshot | Lane::Log | Lane::Heartbeat => Fate::Passes,
            };
            (target, fate)
        };
        async move {
            let target = target.ok_or(NetworkFault::Unreachable(frame.to))?;
            let lost = Err(NetworkFault::NoAnswer("lost".to_owned()));
            if let Fate::IsLost = fate {
                return lost;
            }
            let answer = target.answer(frame.group, frame.frame).await;
            if let Fate::LosesItsAnswer = fate {
                return lost;
            }
            answer.map_err(|error| NetworkFault::NoAnswer(error.to_string()))
        }
        .boxed()
    }
}

// === impl Mesh ===

impl Mesh {
    pub(crate) async fn start(&self, number: u64, dir: TempDir) -> Replica {
        self.start_as(number, dir, |_| {}).await
    }

    /// Starts a replica that is configured otherwise.
    pub(crate) async fn start_as(
        &self,
        number: u64,
        dir: TempDir,
        configure: impl FnOnce(&mut Config),
    ) -> Replica {
        let replica = ReplicaId(number);
        let store = open_store(dir.path());
        let mut config = Config {
            replica,
            founders: Some([1, 2, 3].map(ReplicaId).into()),
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            ..Config::lone(1)
        };
        configure(&mut config);
        let port = Port {
            mesh: self.clone(),
            from: replica,
        };
        let clock = Arc::new(SystemClock::new());
        let groups = Groups::open(config, store.clone(), Arc::new(port), clock, Arc::new(Unobserved));
        let groups = Arc::new(groups.await.expect("a replica opens"));
        self.state.lock().replicas.insert(replica, groups.clone());
        let set = groups.set(SetId(0)).expect("it has all sets");
        Replica {
            groups,
            set,
            store,
            number,
            dir,
        }
    }

    pub(crate) async fn start_three(&self) -> Vec<Replica> {
        let mut replicas = Vec::new();
        for number in 1..=3 {
            let dir = tempfile::tempdir().expect("a directory");
            replicas.push(self.start(number, dir).await);
        }
        replicas
    }

    /// Has every frame of a snapshot lost, or its answer, after so many passed.
    pub(crate) fn break_snapshots(&self, passes: Option<u32>) {
        self.state.lock().snapshots.passes = passes;
    }

    /// Returns what was carried of snapshots.
    pub(crate) fn snapshots(&self) -> Snapshots {
        self.state.lock().snapshots
    }

    /// Has frames for a replica go to the node of another one.
    pub(crate) fn host(&self, replica: ReplicaId, of: ReplicaId) {
        let mut state = self.state.lock();
        let groups = state.replicas.get(&of).cloned();
        state.replicas.extend(groups.map(|groups| (replica, groups)));
    }

    pub(crate) fn cut_off(&self, replica: ReplicaId) {
        self.state.lock().cut_off.insert(replica);
    }

    /// Has nothing get to a replica, while all that it says gets to others.
    pub(crate) fn deafen(&self, replica: ReplicaId) {
        self.state.lock().deaf.insert(replica);
    }

    pub(crate) fn join(&self, replica: ReplicaId) {
        let mut state = self.state.lock();
        state.cut_off.remove(&replica);
        state.deaf.remove(&replica);
    }
}

// === impl Replica ===

impl Replica {
    pub(crate) fn set(&self) -> &Group<Set> {
        &self.set
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn stop(self, mesh: &Mesh, number: u64) -> TempDir {
        mesh.state.lock().replicas.remove(&ReplicaId(number));
        within(self.groups.stop()).await;
        self.store.close();
        self.dir
    }
}

/// Waits until one of some replicas leads, and returns its place.
pub(crate) async fn leader_of(replicas: &[&Replica]) -> usize {
    let mut leader = 0;
    until("one of them leads", || {
        let found = replicas.iter().position(|replica| replica.set().is_leader());
        leader = found.unwrap_or(leader);
        found.is_some()
    })
    .await;
    leader
}

pub(crate) fn ids_in(replica: &Replica) -> BTreeSet<MessageId> {
    let bodies = replica.store.bodies(SetId(0));
    let mut ids = BTreeSet::new();
    for sequence in 1..=active(replica.set()) {
        let key = posthouse_model::BodyKey {
            stream: QUEUE,
            sequence: posthouse_model::Sequence(sequence),
        };
        ids.insert(bodies.read(key).expect("readable").expect("there").message.id);
    }
    ids
}
