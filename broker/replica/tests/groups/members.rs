//! Members come and go while the group works.

use std::collections::BTreeSet;

use posthouse_model::{ReplicaId, SetId, SetReply};
use posthouse_replica::{Fault, Members, Reason};
use posthouse_store::GroupId;

use crate::kit::{active, define, send_one, until, within};
use crate::mesh::{Mesh, Replica, ids_in, leader_of};

/// Waits until a group's leader says that its members are as a test wants them.
async fn until_members(replicas: &[&Replica], what: &str, holds: impl Fn(&Members) -> bool) -> Members {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
    let held = async {
        loop {
            for replica in replicas {
                if let Ok(members) = replica.set().members().await
                    && holds(&members)
                {
                    return members;
                }
            }
            looks.tick().await;
        }
    };
    tokio::time::timeout(crate::kit::PATIENCE, held)
        .await
        .unwrap_or_else(|_| panic!("{what}"))
}

fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_replica_is_replaced_by_one_with_another_id_and_an_empty_disk() {
    let mesh = Mesh::default();
    let mut replicas = mesh.start_three().await;
    let leader = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    within(replicas[leader].set().propose(define()))
        .await
        .expect("taken")
        .expect("defined");
    for _ in 0..50 {
        within(send_one(replicas[leader].set(), b"before"))
            .await
            .expect("sent");
    }
    let dead = (leader + 1) % 3;
    let dead_id = dead as u64 + 1;
    mesh.cut_off(ReplicaId(dead_id));
    replicas.remove(dead).stop(&mesh, dead_id).await;

    let dir = tempfile::tempdir().expect("a directory");
    let new = mesh.start_as(70_000, dir, |config| config.founders = None).await;
    replicas.push(new);
    let all: Vec<&Replica> = replicas.iter().collect();
    let leader = all[leader_of(&all).await];
    within(leader.set().add_learner(ReplicaId(70_000)))
        .await
        .expect("added");
    let members = until_members(
        &all,
        "the new one has caught up, and the dead one answers no more",
        |members| {
            members.caught_up.contains(&ReplicaId(70_000)) && !members.caught_up.contains(&ReplicaId(dead_id))
        },
    )
    .await;
    assert_eq!(members.voters, ids(&[1, 2, 3]));
    assert_eq!(members.learners, ids(&[70_000]));
    let voters: BTreeSet<ReplicaId> = ids(&[1, 2, 3, 70_000])
        .into_iter()
        .filter(|replica| replica.0 != dead_id)
        .collect();
    within(leader.set().set_voters(&voters)).await.expect("changed");
    let members = until_members(&all, "it is agreed on", |members| !members.changing).await;
    assert_eq!(members.voters, voters);
    assert!(!members.contains(ReplicaId(dead_id)));

    let new = all.last().expect("it was started");
    within(leader.set().hand_over(ReplicaId(70_000)))
        .await
        .expect("asked");
    until("the new one leads", || new.set().is_leader()).await;
    within(send_one(new.set(), b"after")).await.expect("sent");
    assert_eq!(active(new.set()), 51);
    assert_eq!(ids_in(new).len(), 51);
    for replica in &replicas {
        within(replica.groups.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_grows_to_three_and_then_counts_on_the_others() {
    let mesh = Mesh::default();
    let dir = || tempfile::tempdir().expect("a directory");
    let first = mesh
        .start_as(1, dir(), |config| config.founders = Some(ids(&[1])))
        .await;
    until("it leads", || first.set().is_leader()).await;
    within(first.set().propose(define()))
        .await
        .expect("taken")
        .expect("defined");
    within(send_one(first.set(), b"alone")).await.expect("sent");
    let others = [
        mesh.start_as(70_001, dir(), |config| config.founders = None)
            .await,
        mesh.start_as(70_002, dir(), |config| config.founders = None)
            .await,
    ];
    let all = [&first, &others[0], &others[1]];
    for other in [70_001, 70_002] {
        within(first.set().add_learner(ReplicaId(other)))
            .await
            .expect("added");
    }
    until_members(&all, "they have caught up", |members| {
        members.caught_up.len() == 3
    })
    .await;
    within(first.set().set_voters(&ids(&[1, 70_001, 70_002])))
        .await
        .expect("changed");
    within(send_one(first.set(), b"of three")).await.expect("sent");

    mesh.cut_off(ReplicaId(1));
    let second = leader_of(&[&others[0], &others[1]]).await;
    let confirmed = within(first.set().confirm()).await;
    assert!(
        matches!(
            confirmed,
            Err(Fault::NotDone(Reason::NoMajority | Reason::NotLeading { .. }))
        ),
        "who was alone once is not believed any more: {confirmed:?}"
    );
    within(send_one(others[second].set(), b"without it"))
        .await
        .expect("sent");
    assert_eq!(ids_in(&others[second]).len(), 3);
    for replica in all {
        within(replica.groups.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_leader_changes_members_and_only_to_those_that_have_the_log() {
    let mesh = Mesh::default();
    let replicas = mesh.start_three().await;
    let leader = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    let follower = &replicas[(leader + 1) % 3];
    let refused = within(follower.set().add_learner(ReplicaId(9))).await;
    assert!(
        matches!(refused, Err(Fault::NotDone(Reason::NotLeading { .. }))),
        "{refused:?}"
    );
    let refused = within(replicas[leader].set().set_voters(&ids(&[1, 2, 9]))).await;
    assert_eq!(refused, Err(Fault::NotDone(Reason::OtherMembers)));
    for replica in &replicas {
        within(replica.groups.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lost_its_files_is_replaced_on_its_node_while_the_node_runs() {
    let mesh = Mesh::default();
    let replicas = mesh.start_three().await;
    let all: Vec<&Replica> = replicas.iter().collect();
    let leader = leader_of(&all).await;
    within(replicas[leader].set().propose(define()))
        .await
        .expect("taken")
        .expect("defined");
    within(send_one(replicas[leader].set(), b"kept"))
        .await
        .expect("sent");
    let node = &replicas[(leader + 1) % 3];
    let old = node.set().replica();
    within(node.groups.close_set(SetId(0))).await;
    let (done, cleared) = tokio::sync::oneshot::channel();
    let tell = move |result| drop(done.send(result));
    node.store.clear(GroupId::of(SetId(0)), Box::new(tell));
    assert_eq!(within(cleared).await.expect("told"), Ok(()));

    let new = ReplicaId(70_000);
    within(node.groups.open_set(SetId(0), new))
        .await
        .expect("it opens");
    mesh.host(new, old);
    let leader = replicas[leader].set();
    within(leader.add_learner(new)).await.expect("added");
    let others: Vec<&Replica> = all
        .iter()
        .copied()
        .filter(|other| other.set().replica() != old)
        .collect();
    until_members(&others, "it has caught up", |members| {
        members.caught_up.contains(&new)
    })
    .await;
    let voters = [1, 2, 3, 70_000]
        .map(ReplicaId)
        .into_iter()
        .filter(|voter| *voter != old);
    within(leader.set_voters(&voters.collect()))
        .await
        .expect("changed");
    let back = node.groups.set(SetId(0)).expect("it was opened");
    until("it has what the others have", || active(&back) == 1).await;
    assert_eq!(back.replica(), new);
    for replica in &replicas {
        within(replica.groups.stop()).await;
    }
}

#[tokio::test]
async fn a_replica_alone_is_the_only_member() {
    let mesh = Mesh::default();
    let dir = tempfile::tempdir().expect("a directory");
    let lone = mesh
        .start_as(5, dir, |config| config.founders = Some(ids(&[5])))
        .await;
    until("it leads", || lone.set().is_leader()).await;
    let defined = within(lone.set().propose(define())).await;
    assert_eq!(defined, Ok(Ok(SetReply::Defined)));
    let members = within(lone.set().members()).await.expect("it leads");
    assert_eq!(members.voters, ids(&[5]));
    assert_eq!(members.caught_up, ids(&[5]));
    assert_eq!(lone.set().replica(), ReplicaId(5));
    within(lone.groups.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_taken_out_changes_members_no_more() {
    let mesh = Mesh::default();
    let replicas = mesh.start_three().await;
    let all: Vec<&Replica> = replicas.iter().collect();
    let leader = all[leader_of(&all).await];
    let own = leader.set().replica();
    let others: BTreeSet<ReplicaId> = ids(&[1, 2, 3]).into_iter().filter(|id| *id != own).collect();
    within(leader.set().set_voters(&others)).await.expect("changed");
    // It leads for a moment still, until one of the others does.
    let again = within(leader.set().add_learner(own)).await;
    assert!(matches!(again, Err(Fault::NotDone(_))), "{again:?}");
    let members = until_members(&all, "another leads", |members| !members.changing).await;
    assert_eq!((members.voters, members.learners), (others, ids(&[])));
    until("another leads for good", || {
        all.iter()
            .any(|replica| replica.set().is_leader() && replica.set().replica() != own)
    })
    .await;
    for replica in &replicas {
        within(replica.groups.stop()).await;
    }
}
