//! Three replicas with a network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_model::{ReplicaId, Set, SetReply};
use posthouse_replica::{Fault, Group, Groups, Network, NetworkFault, Outbound, Reason};
use tempfile::TempDir;

use crate::kit::{active, define, send_one, until, within};
use crate::replica::{Replica, leader_of, send_many};

/// Carries frames between replicas of one process, and cuts some off.
#[derive(Clone, Default)]
struct Mesh {
    state: Arc<Mutex<MeshState>>,
}

#[derive(Default)]
struct MeshState {
    replicas: BTreeMap<ReplicaId, Arc<Groups>>,
    cut_off: BTreeSet<ReplicaId>,
}

/// One replica's way into the mesh.
struct Port {
    mesh: Mesh,
    from: ReplicaId,
}

// === impl Port ===

impl Network for Port {
    fn call(&self, frame: Outbound) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        let target = {
            let state = self.mesh.state.lock();
            let is_cut = state.cut_off.contains(&self.from) || state.cut_off.contains(&frame.to);
            if is_cut {
                None
            } else {
                state.replicas.get(&frame.to).cloned()
            }
        };
        async move {
            let target = target.ok_or(NetworkFault::Unreachable(frame.to))?;
            let answer = target.answer(frame.group, frame.frame).await;
            answer.map_err(|error| NetworkFault::NoAnswer(error.to_string()))
        }
        .boxed()
    }
}

// === impl Mesh ===

impl Mesh {
    async fn start(&self, number: u64, dir: TempDir) -> Replica {
        let id = ReplicaId(number);
        let port = Port {
            mesh: self.clone(),
            from: id,
        };
        let replica = Replica::open(id, dir, Arc::new(port)).await;
        self.state.lock().replicas.insert(id, replica.groups.clone());
        replica
    }

    async fn start_three(&self) -> Vec<Replica> {
        let mut replicas = Vec::new();
        for number in 1..=3 {
            let dir = tempfile::tempdir().expect("a directory");
            replicas.push(self.start(number, dir).await);
        }
        replicas
    }

    async fn stop(&self, replica: Replica) -> TempDir {
        self.state.lock().replicas.remove(&replica.id);
        replica.stop().await
    }

    fn cut_off(&self, replica: ReplicaId) {
        self.state.lock().cut_off.insert(replica);
    }

    fn join(&self, replica: ReplicaId) {
        self.state.lock().cut_off.remove(&replica);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_when_the_leader_goes() {
    let mesh = Mesh::default();
    let mut replicas = mesh.start_three().await;
    let first = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    let defined = within(replicas[first].set().propose(define())).await;
    assert_eq!(defined, Ok(Ok(SetReply::Defined)));
    let sets: Vec<Group<Set>> = replicas.iter().map(|replica| replica.set().clone()).collect();
    let senders: Vec<_> = (0..8)
        .map(|_| tokio::spawn(send_many(sets.clone(), 100)))
        .collect();
    until("some were sent", || active(replicas[first].set()) > 100).await;

    let gone = first as u64 + 1;
    mesh.cut_off(ReplicaId(gone));
    let dir = mesh.stop(replicas.remove(first)).await;
    let mut answered = BTreeSet::new();
    for sender in senders {
        answered.extend(within(sender).await.expect("the sender got its answers"));
    }
    assert_eq!(answered.len(), 800, "no id was given twice");
    let second = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    assert!(replicas[second].ids().is_superset(&answered));

    mesh.join(ReplicaId(gone));
    let back = mesh.start(gone, dir).await;
    let applied = replicas[second].set().applied();
    within(back.set().wait_applied(applied))
        .await
        .expect("it catches up");
    assert!(back.ids().is_superset(&answered));
    let other = &replicas[1 - second];
    within(other.set().wait_applied(applied))
        .await
        .expect("it follows");
    assert_eq!(
        other.set().view(Clone::clone),
        back.set().view(Clone::clone),
        "replicas are equal"
    );
    for replica in replicas.into_iter().chain([back]) {
        within(replica.groups.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_confirms_nothing_and_says_what_may_have_been_done() {
    let mesh = Mesh::default();
    let replicas = mesh.start_three().await;
    let all: Vec<&Replica> = replicas.iter().collect();
    let first = leader_of(&all).await;
    let defined = within(replicas[first].set().propose(define())).await;
    assert_eq!(defined, Ok(Ok(SetReply::Defined)));
    within(replicas[first].set().confirm()).await.expect("it leads");

    mesh.cut_off(ReplicaId(first as u64 + 1));
    let set = replicas[first].set().clone();
    let stranded = tokio::spawn(async move { send_one(&set, b"nobody hears this").await });
    let others: Vec<&Replica> = all
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != first)
        .map(|(_, r)| *r)
        .collect();
    let second = leader_of(&others).await;
    let confirmed = within(replicas[first].set().confirm()).await;
    assert!(matches!(confirmed, Err(Fault::NotDone(_))), "{confirmed:?}");
    let id = within(send_one(others[second].set(), b"heard"))
        .await
        .expect("sent");

    mesh.join(ReplicaId(first as u64 + 1));
    let stranded = within(stranded).await.expect("the sender ends");
    assert_eq!(stranded, Err(Fault::MayBeDone(Reason::LeadershipLost)));
    let applied = others[second].set().applied();
    within(replicas[first].set().wait_applied(applied))
        .await
        .expect("it catches up");
    assert_eq!(replicas[first].ids(), BTreeSet::from([id]));
    let refused = within(replicas[first].set().propose(define())).await;
    assert!(
        matches!(
            refused,
            Err(Fault::NotDone(Reason::NotLeading { leader: Some(_) }))
        ),
        "{refused:?}"
    );
    for replica in &replicas {
        within(replica.groups.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_hands_over() {
    let mesh = Mesh::default();
    let replicas = mesh.start_three().await;
    let first = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    let leader = replicas[first].set();
    assert_eq!(leader.voters(), [1, 2, 3].map(ReplicaId).into());
    within(leader.propose(define()))
        .await
        .expect("taken")
        .expect("defined");
    let next = (first + 1) % 3;
    within(leader.hand_over(ReplicaId(next as u64 + 1)))
        .await
        .expect("asked");
    until("the other one leads", || replicas[next].set().is_leader()).await;
    until("the first one follows", || {
        leader.leader() == Some(ReplicaId(next as u64 + 1))
    })
    .await;
    within(send_one(replicas[next].set(), b"hello"))
        .await
        .expect("sent");
    for replica in &replicas {
        within(replica.groups.stop()).await;
    }
}
