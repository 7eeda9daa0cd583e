//! Three replicas of which one goes or is cut off.

use std::collections::BTreeSet;
use std::time::Duration;

use posthouse_model::{ReplicaId, Set, SetReply, Span};
use posthouse_replica::{Fault, Group, Reason};

use crate::kit::{active, define, send, send_one, until, within};
use crate::mesh::{Mesh, Replica, ids_in, leader_of};

/// Starts three with a queue; returns them, and which of them leads.
async fn start(mesh: &Mesh) -> (Vec<Replica>, usize) {
    let replicas = mesh.start_three().await;
    let first = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    let defined = within(replicas[first].set().propose(define())).await;
    assert_eq!(defined, Ok(Ok(SetReply::Defined)));
    (replicas, first)
}

fn others_than(one: usize, replicas: &[Replica]) -> Vec<&Replica> {
    let others = replicas.iter().enumerate().filter(|(place, _)| *place != one);
    others.map(|(_, other)| other).collect()
}

/// Sends by whoever leads, until so many messages were answered; returns their ids.
async fn send_many(sets: Vec<Group<Set>>, count: usize) -> BTreeSet<posthouse_model::MessageId> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_when_the_leader_goes() {
    let mesh = Mesh::default();
    let (mut replicas, first) = start(&mesh).await;
    let sets: Vec<Group<Set>> = replicas.iter().map(|replica| replica.set().clone()).collect();
    let senders: Vec<_> = (0..8)
        .map(|_| tokio::spawn(send_many(sets.clone(), 100)))
        .collect();
    until("some were sent", || active(replicas[first].set()) > 100).await;

    let gone = first as u64 + 1;
    mesh.cut_off(ReplicaId(gone));
    let dir = replicas.remove(first).stop(&mesh, gone).await;
    let mut answered = BTreeSet::new();
    for sender in senders {
        answered.extend(within(sender).await.expect("the sender got its answers"));
    }
    assert_eq!(answered.len(), 800, "no id was given twice");
    let second = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    assert!(ids_in(&replicas[second]).is_superset(&answered));

    mesh.join(ReplicaId(gone));
    let back = mesh.start(gone, dir).await;
    let applied = replicas[second].set().applied();
    within(back.set().wait_applied(applied))
        .await
        .expect("it catches up");
    assert!(ids_in(&back).is_superset(&answered));
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
    let (replicas, first) = start(&mesh).await;
    within(replicas[first].set().confirm()).await.expect("it leads");

    mesh.cut_off(ReplicaId(first as u64 + 1));
    let set = replicas[first].set().clone();
    let stranded = tokio::spawn(async move { send_one(&set, b"nobody hears this").await });
    let others = others_than(first, &replicas);
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
    assert_eq!(ids_in(&replicas[first]), BTreeSet::from([id]));
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
async fn a_leader_that_is_heard_and_hears_nobody_makes_room_for_another() {
    let mesh = Mesh::default();
    let (replicas, first) = start(&mesh).await;

    mesh.deafen(ReplicaId(first as u64 + 1));
    let others = others_than(first, &replicas);
    let second = leader_of(&others).await;
    let id = within(send_one(others[second].set(), b"agreed without it"))
        .await
        .expect("sent");

    mesh.join(ReplicaId(first as u64 + 1));
    let applied = others[second].set().applied();
    within(replicas[first].set().wait_applied(applied))
        .await
        .expect("it catches up");
    assert_eq!(ids_in(&replicas[first]), BTreeSet::from([id]));

    // It speaks again when it leads again.
    within(others[second].set().hand_over(ReplicaId(first as u64 + 1)))
        .await
        .expect("asked");
    let speaks_for = Duration::from_secs(3);
    until("it leads again", || replicas[first].set().is_leader()).await;
    tokio::time::timeout(
        speaks_for,
        others[second]
            .set()
            .led_by_other_than(Some(ReplicaId(first as u64 + 1))),
    )
    .await
    .expect_err("nobody else is elected");
    for replica in &replicas {
        within(replica.groups.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_in_one_term_is_not_proposed_in_another() {
    let mesh = Mesh::default();
    let (replicas, first) = start(&mesh).await;
    let leader = replicas[first].set();
    let decided_in = leader.term();
    let between = (first + 1) % 3;
    for next in [between, first] {
        let now = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
        within(replicas[now].set().hand_over(ReplicaId(next as u64 + 1)))
            .await
            .expect("asked");
        until("the other one leads", || replicas[next].set().is_leader()).await;
    }
    assert!(leader.term() > decided_in);

    let [early, late] = [0, 1].map(|place| leader.next_message_ids(2)[place]);
    let of_then = leader.propose_in(decided_in, None, send(early, b"of then", Span::ZERO));
    let of_now = leader.propose_in(leader.term(), None, send(late, b"of now", Span::ZERO));
    let (of_then, of_now) = within(async { tokio::join!(of_then, of_now) }).await;
    assert_eq!(of_then, Err(Fault::NotDone(Reason::LeadershipLost)));
    assert_eq!(of_now, Ok(Ok(SetReply::Sent(vec![late]))));
    assert_eq!(ids_in(&replicas[first]), BTreeSet::from([late]));
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
