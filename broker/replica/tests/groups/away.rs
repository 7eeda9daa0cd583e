//! Replicas that were away for longer than the log is kept: they come back by checkpoint and segments.

use std::collections::BTreeSet;

use posthouse_model::{MessageId, ReplicaId, SetId};
use posthouse_replica::Config;
use posthouse_store::GroupId;
use tempfile::TempDir;

use crate::kit::{active, define, send_one, until, within};
use crate::mesh::{Mesh, Replica, ids_in, leader_of};

/// The set that tests use.
const GROUP: GroupId = GroupId(1);
/// A body that fills a log quickly.
pub(crate) const BODY: &[u8] = &[7; 60_000];
/// Applied bytes after which a set is cut: a few bodies.
const CUT_BYTES: u64 = 1 << 20;
/// The bytes of bodies that are sent while one is away, in cuts.
const CUTS: u64 = 5;

pub(crate) fn cutting(config: &mut Config) {
    config.cut_bytes = CUT_BYTES;
}

async fn start_empty(mesh: &Mesh, number: u64) -> Replica {
    let dir = tempfile::tempdir().expect("a directory");
    mesh.start_as(number, dir, cutting).await
}

pub(crate) async fn send_some(leader: &Replica, count: usize) -> BTreeSet<MessageId> {
    let mut sent = BTreeSet::new();
    for _ in 0..count {
        let id = within(send_one(leader.set(), BODY)).await;
        sent.insert(id.expect("it leads a majority"));
    }
    sent
}

/// Sends through several cuts, until no log has what comes before them.
pub(crate) async fn send_much(leader: &Replica, others: &[&Replica]) -> BTreeSet<MessageId> {
    let before = leader.set().applied();
    let count = CUTS * CUT_BYTES / BODY.len() as u64;
    let sent = send_some(leader, count as usize).await;
    for replica in others.iter().chain([&leader]) {
        until("the log is purged", || {
            let purged = replica.store.log(GROUP).state().purged;
            purged.is_some_and(|purged| purged.index > before)
        })
        .await;
    }
    sent
}

/// Waits until a replica has cut what it is to cut: until something is sent, its files stay what they are.
async fn until_cut(replica: &Replica) {
    let bodies = replica.store.bodies(SetId(0));
    until("the last cut is done", || {
        let cut: u64 = bodies.segments().iter().map(|segment| segment.bodies).sum();
        // Less than a cut is made for.
        (active(replica.set()) - cut) * (BODY.len() as u64) < CUT_BYTES - BODY.len() as u64 / 2
    })
    .await;
}

/// Waits until a replica has all that another has, and sees that it does.
pub(crate) async fn catches_up(late: &Replica, leader: &Replica) {
    within(late.set().wait_applied(leader.set().applied()))
        .await
        .expect("it catches up");
    assert_eq!(
        late.set().view(Clone::clone),
        leader.set().view(Clone::clone),
        "replicas are equal"
    );
}

pub(crate) async fn stop_all(replicas: impl IntoIterator<Item = Replica>) {
    for replica in replicas {
        within(replica.groups.stop()).await;
    }
}

pub(crate) async fn begin(mesh: &Mesh, numbers: &[u64]) -> (Vec<Replica>, usize) {
    let mut replicas = Vec::new();
    for number in numbers {
        replicas.push(start_empty(mesh, *number).await);
    }
    let leader = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    within(replicas[leader].set().propose(define()))
        .await
        .expect("taken")
        .expect("defined");
    (replicas, leader)
}

/// Begins with three, and stops one that follows; returns the leader, the other one, and what was left by the third.
async fn begin_and_stop_one(mesh: &Mesh) -> (Replica, Replica, u64, TempDir) {
    let (mut replicas, leader) = begin(mesh, &[1, 2, 3]).await;
    let applied = replicas[leader].set().applied();
    let gone = (leader + 1) % 3;
    within(replicas[gone].set().wait_applied(applied))
        .await
        .expect("it follows");
    let number = gone as u64 + 1;
    mesh.cut_off(ReplicaId(number));
    let dir = replicas.remove(gone).stop(mesh, number).await;
    mesh.join(ReplicaId(number));
    let leader = if gone < leader { leader - 1 } else { leader };
    let other = replicas.remove(1 - leader);
    (replicas.remove(0), other, number, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_comes_back_by_segments_and_leads() {
    let mesh = Mesh::default();
    let (leader, other, late, dir) = begin_and_stop_one(&mesh).await;
    let mut sent = send_much(&leader, &[&other]).await;
    let back = mesh.start_as(late, dir, cutting).await;
    catches_up(&back, &leader).await;
    assert!(mesh.snapshots().bytes > CUT_BYTES, "the log had it still");
    assert_eq!(ids_in(&back), sent);

    sent.extend(send_much(&leader, &[&other, &back]).await);
    within(leader.set().hand_over(ReplicaId(late)))
        .await
        .expect("asked");
    until("it leads", || back.set().is_leader()).await;
    stop_all([leader]).await;
    sent.extend(send_some(&back, 3).await);
    assert_eq!(ids_in(&back), sent);

    let dir = back.stop(&mesh, late).await;
    let again = mesh.start_as(late, dir, cutting).await;
    until("one of two leads", || {
        again.set().is_leader() || other.set().is_leader()
    })
    .await;
    assert_eq!(ids_in(&again), sent, "what was installed is durable");
    stop_all([other, again]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fetched_is_not_sent_again() {
    let mesh = Mesh::default();
    let (leader, other, late, dir) = begin_and_stop_one(&mesh).await;
    let sent = send_much(&leader, &[&other]).await;
    // Whichever of the two leads by then sends the same.
    for replica in [&leader, &other] {
        within(replica.set().wait_applied(leader.set().applied()))
            .await
            .expect("it follows");
        until_cut(replica).await;
    }
    let export = leader
        .store
        .export(GROUP)
        .expect("readable")
        .expect("a checkpoint");
    let files: u64 = export.files().iter().map(|file| file.bytes).sum();
    let whole = files + export.checkpoint().state.len() as u64;

    mesh.break_snapshots(Some(2));
    let back = mesh.start_as(late, dir, cutting).await;
    catches_up(&back, &leader).await;
    assert_eq!(ids_in(&back), sent);
    let carried = mesh.snapshots();
    assert!(carried.lost >= 4, "it was broken off {} times", carried.lost);
    assert!(
        (whole..whole + whole / 50).contains(&carried.bytes),
        "{} bytes came of {whole}",
        carried.bytes
    );
    stop_all([leader, other, back]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_never_had_anything_is_brought_up() {
    let mesh = Mesh::default();
    let (mut two, leader) = begin(&mesh, &[1, 2]).await;
    let leader = two.remove(leader);
    let other = two.remove(0);
    let mut sent = send_much(&leader, &[&other]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let new = mesh
        .start_as(3, dir, |config| {
            cutting(config);
            config.founders = None;
        })
        .await;
    catches_up(&new, &leader).await;
    assert_eq!(ids_in(&new), sent);
    assert_eq!(new.set().voters(), [1, 2, 3].map(ReplicaId).into());

    stop_all([other]).await;
    sent.extend(send_some(&leader, 3).await);
    catches_up(&new, &leader).await;
    assert_eq!(ids_in(&new), sent);
    assert_eq!(
        new.store.bodies(SetId(0)).segments(),
        leader.store.bodies(SetId(0)).segments()
    );
    stop_all([leader, new]).await;
}
