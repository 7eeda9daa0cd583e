//! One of three replicas, over whatever network a test has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use posthouse_model::{BodyKey, MessageId, ReplicaId, Sequence, Set, SetId};
use posthouse_replica::{Config, Group, Groups, Network, SystemClock, Unobserved};
use posthouse_store::Store;
use tempfile::TempDir;

use crate::kit::{QUEUE, active, open_store, send_one, until, within};

/// A replica with what it stands on.
pub(crate) struct Replica {
    pub(crate) groups: Arc<Groups>,
    set: Group<Set>,
    store: Store,
    dir: TempDir,
}

// === impl Replica ===

impl Replica {
    pub(crate) async fn open(id: ReplicaId, dir: TempDir, network: Arc<dyn Network>) -> Replica {
        let store = open_store(dir.path());
        let config = Config {
            replica: id,
            founders: Some([1, 2, 3].map(ReplicaId).into()),
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            ..Config::lone(1)
        };
        let clock = Arc::new(SystemClock::new());
        let groups = Groups::open(config, store.clone(), network, clock, Arc::new(Unobserved));
        let groups = Arc::new(groups.await.expect("a replica opens"));
        Replica {
            set: groups.set(SetId(0)).expect("it has all sets"),
            groups,
            store,
            dir,
        }
    }

    pub(crate) fn set(&self) -> &Group<Set> {
        &self.set
    }

    /// Returns the ids of the messages in the queue.
    pub(crate) fn ids(&self) -> BTreeSet<MessageId> {
        let bodies = self.store.bodies(SetId(0));
        let mut ids = BTreeSet::new();
        for sequence in 1..=active(self.set()) {
            let key = BodyKey {
                stream: QUEUE,
                sequence: Sequence(sequence),
            };
            ids.insert(bodies.read(key).expect("readable").expect("there").message.id);
        }
        ids
    }

    pub(crate) async fn stop(self) -> TempDir {
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

/// Sends by whoever leads, until so many messages were answered; returns their ids.
pub(crate) async fn send_many(sets: Vec<Group<Set>>, count: usize) -> BTreeSet<MessageId> {
    let mut answered = BTreeSet::new();
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    while answered.len() < count {
        let Some(set) = sets.iter().find(|set| set.is_leader()) else {
            pause.tick().await;
            continue;
        };
        if let Ok(id) = send_one(set, b"hello").await {
            answered.insert(id);
        }
    }
    answered
}
