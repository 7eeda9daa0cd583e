//! Three replicas over TCP.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_model::{ReplicaId, Set, SetReply};
use posthouse_replica::{Answerer, Group, GroupName, Groups, Hello, PeerFault, PeerNetwork};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::kit::{active, define, until, within};
use crate::replica::{Replica, leader_of, send_many};

/// Has a replica's groups answer.
struct GroupAnswers(Arc<Groups>);

/// A replica with its network.
struct Wired {
    replica: Replica,
    network: PeerNetwork,
}

// === impl GroupAnswers ===

impl Answerer for GroupAnswers {
    fn group(&self, group: GroupName, frame: Bytes) -> BoxFuture<'static, Result<Bytes, PeerFault>> {
        let groups = self.0.clone();
        async move { groups.answer(group, frame).await }.boxed()
    }

    fn request(&self, _from: Hello, _request: Bytes) -> BoxFuture<'static, Bytes> {
        futures::future::ready(Bytes::new()).boxed()
    }
}

// === impl Wired ===

impl Wired {
    async fn start(place: usize, listener: TcpListener, addresses: &[String], dir: TempDir) -> Wired {
        let id = replica_at(place);
        let hello = Hello {
            cluster: Some([1; 16]),
            replica: Some(id),
            node: 1 + u16::try_from(place).expect("there are three"),
        };
        let network = PeerNetwork::new(hello, None);
        for (other, address) in addresses.iter().enumerate().filter(|(other, _)| *other != place) {
            network.know(replica_at(other), address.clone());
        }
        let replica = Replica::open(id, dir, Arc::new(network.clone())).await;
        network.serve(listener, Arc::new(GroupAnswers(replica.groups.clone())));
        Wired { replica, network }
    }

    fn set(&self) -> &Group<Set> {
        self.replica.set()
    }

    async fn stop(self) -> TempDir {
        within(self.network.stop()).await;
        self.replica.stop().await
    }
}

fn replica_at(place: usize) -> ReplicaId {
    ReplicaId(1 + place as u64)
}

fn leader_among(nodes: &[Wired]) -> impl Future<Output = usize> {
    let replicas: Vec<&Replica> = nodes.iter().map(|node| &node.replica).collect();
    async move { leader_of(&replicas).await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_over_tcp_elects_goes_on_without_its_leader_and_takes_it_back() {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
    }
    let addresses: Vec<String> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("it is bound").to_string())
        .collect();
    let mut nodes = Vec::new();
    for (place, listener) in listeners.into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("a directory");
        nodes.push(Wired::start(place, listener, &addresses, dir).await);
    }

    let first = leader_among(&nodes).await;
    let defined = within(nodes[first].set().propose(define())).await;
    assert_eq!(defined, Ok(Ok(SetReply::Defined)));
    let sets: Vec<Group<Set>> = nodes.iter().map(|node| node.set().clone()).collect();
    let senders: Vec<_> = (0..8)
        .map(|_| tokio::spawn(send_many(sets.clone(), 50)))
        .collect();
    until("some were sent", || active(nodes[first].set()) > 50).await;

    let dir = nodes.remove(first).stop().await;
    let mut answered = BTreeSet::new();
    for sender in senders {
        answered.extend(within(sender).await.expect("the sender got its answers"));
    }
    assert_eq!(answered.len(), 400, "no id was given twice");
    let second = leader_among(&nodes).await;
    assert!(nodes[second].replica.ids().is_superset(&answered));

    let listener = TcpListener::bind(&addresses[first])
        .await
        .expect("the port is free again");
    let back = Wired::start(first, listener, &addresses, dir).await;
    let applied = nodes[second].set().applied();
    within(back.set().wait_applied(applied))
        .await
        .expect("it catches up");
    assert!(back.replica.ids().is_superset(&answered));
    for node in nodes.into_iter().chain([back]) {
        node.stop().await;
    }
}
