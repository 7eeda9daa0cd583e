//! Replicas with damaged files: they neither vote nor lead until they are mended from the others.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthouse_model::{MessageId, ReplicaId};
use posthouse_replica::Condition;
use posthouse_store::{GroupId, Store};

use crate::away::{BODY, begin, catches_up, cutting, send_much, send_some, stop_all};
use crate::kit::{until, within};
use crate::mesh::{Mesh, Replica, ids_in, leader_of};

/// The set that tests use.
const GROUP: GroupId = GroupId(1);
/// The longest silence after which a replica of these tests wants to lead.
const ELECTION_MAX: Duration = Duration::from_millis(400);

/// Returns a replica's segments, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir.join("groups")).expect("the folder is there");
    let mut paths: Vec<PathBuf> = names.map(|name| name.expect("a name").path()).collect();
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        name.starts_with("001-") && name.ends_with(".segment")
    });
    paths.sort();
    paths
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) -> u64 {
    let bytes = std::fs::read(path).expect("readable");
    flip_at(path, bytes.len() / 2)
}

/// Flips a bit of a file in its place: whoever has it open sees it.
fn flip_at(path: &Path, at: usize) -> u64 {
    let byte = std::fs::read(path).expect("readable")[at] ^ 0x10;
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("there");
    file.write_at(&[byte], at as u64).expect("written");
    at as u64
}

/// Flips a bit of the newest body in a replica's log.
fn flip_newest_entry(dir: &Path) {
    let (path, at) = newest_entry(dir);
    flip_at(&path, at);
}

/// Takes away what was written last to a replica's log, from the middle of the newest body on.
fn tear_newest_entry(dir: &Path) {
    let (path, at) = newest_entry(dir);
    let length = std::fs::metadata(&path).expect("there").len() as usize;
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("there");
    file.write_at(&vec![0; length - at], at as u64).expect("written");
}

/// Returns a place in the newest body in a replica's log.
fn newest_entry(dir: &Path) -> (PathBuf, usize) {
    let names = std::fs::read_dir(dir.join("wal")).expect("the folder is there");
    let mut paths: Vec<PathBuf> = names.map(|name| name.expect("a name").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    for path in paths.iter().rev() {
        let bytes = std::fs::read(path).expect("readable");
        let mut places = bytes.chunks(BODY.len() / 2).enumerate().rev();
        let within_body = places.find(|(_, chunk)| chunk.iter().all(|byte| *byte == BODY[0]));
        if let Some((place, _)) = within_body {
            return (path.clone(), place * (BODY.len() / 2));
        }
    }
    panic!("there is no body in the log");
}

fn scrub(store: &Store) {
    let mut scrub = store.scrub();
    while scrub.step().is_some() {}
}

async fn is_mended(replica: &Replica) {
    until("it is whole again", || {
        replica.store.damage().is_empty() && replica.set().condition() == Condition::Whole
    })
    .await;
}

/// Sees that a replica that was mended has all that was sent, beside two of which one leads, and votes and acknowledges as
/// before: with another gone, things go on.
async fn goes_on(
    mesh: &Mesh,
    (mut replicas, led): (Vec<Replica>, usize),
    back: Replica,
    mut sent: BTreeSet<MessageId>,
) {
    sent.extend(send_some(&replicas[led], 1).await);
    catches_up(&back, &replicas[led]).await;
    assert_eq!(ids_in(&back), sent);
    assert_eq!(back.set().voters(), [1, 2, 3].map(ReplicaId).into());
    let gone = replicas.remove(1 - led);
    let gone_number = gone.number();
    drop(gone.stop(mesh, gone_number).await);
    let rest = [&replicas[0], &back];
    let led = leader_of(&rest).await;
    send_some(rest[led], 1).await;
    replicas.push(back);
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_is_fetched_from_a_peer() {
    let mesh = Mesh::default();
    let (replicas, leader) = begin(&mesh, &[1, 2, 3]).await;
    let others: Vec<&Replica> = replicas.iter().collect();
    let sent = send_much(&replicas[leader], &others).await;
    for hurt in [&replicas[(leader + 1) % 3], &replicas[leader]] {
        let path = segments(hurt.dir()).remove(0);
        let before = std::fs::read(&path).expect("readable");
        // Nothing is mended before it was seen.
        mesh.break_snapshots(Some(0));
        let at = flip(&path);
        scrub(&hurt.store);
        let damage = hurt.store.damage();
        let found = damage.first().expect("it was found");
        assert_eq!((found.group, &found.file), (GROUP, &path));
        assert!(found.offset <= at && at < found.offset + found.bytes, "{found:?}");
        mesh.break_snapshots(None);
        is_mended(hurt).await;
        assert_eq!(std::fs::read(&path).expect("readable"), before);
        assert_eq!(ids_in(hurt), sent);
        until("somebody leads", || {
            replicas.iter().any(|replica| replica.set().is_leader())
        })
        .await;
    }
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_damage_has_another_lead() {
    let mesh = Mesh::default();
    let (replicas, leader) = begin(&mesh, &[1, 2, 3]).await;
    let others: Vec<&Replica> = replicas.iter().collect();
    send_much(&replicas[leader], &others).await;
    // Nothing is fetched for now.
    mesh.break_snapshots(Some(0));
    flip(&segments(replicas[leader].dir())[0]);
    scrub(&replicas[leader].store);
    until("another leads", || {
        !replicas[leader].set().is_leader() && others.iter().any(|replica| replica.set().is_leader())
    })
    .await;
    assert_eq!(replicas[leader].set().condition(), Condition::Mends);
    mesh.break_snapshots(None);
    is_mended(&replicas[leader]).await;
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_replica_gives_no_vote_until_it_is_mended() {
    let mesh = Mesh::default();
    let (mut replicas, leader) = begin(&mesh, &[1, 2, 3]).await;
    let others: Vec<&Replica> = replicas.iter().collect();
    let sent = send_much(&replicas[leader], &others).await;
    let hurt = (leader + 1) % 3;
    let number = hurt as u64 + 1;
    let dir = replicas.remove(hurt).stop(&mesh, number).await;
    // So that it cannot even be opened.
    let path = segments(dir.path()).remove(0);
    let length = std::fs::metadata(&path).expect("there").len();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("there");
    file.set_len(length - 1).expect("cut short");
    mesh.break_snapshots(Some(0));
    let back = mesh.start_as(number, dir, cutting).await;
    assert_eq!(back.set().condition(), Condition::Mends);
    // Its log is whole, so it follows.
    let led = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    let applied = replicas[led].set().applied();
    within(back.set().wait_applied(applied))
        .await
        .expect("it follows");

    // The other one is alone with it: there is nobody to lead.
    let leader = replicas.remove(led);
    let other = replicas.remove(0);
    let leader_number = leader.number();
    drop(leader.stop(&mesh, leader_number).await);
    let long = 6 * ELECTION_MAX;
    let elected = tokio::time::timeout(long, async {
        until("nobody", || other.set().is_leader() || back.set().is_leader()).await;
    });
    assert!(elected.await.is_err(), "one of two was elected by a damaged one");
    mesh.break_snapshots(None);
    is_mended(&back).await;
    until("one of two leads", || {
        other.set().is_leader() || back.set().is_leader()
    })
    .await;
    assert_eq!(ids_in(&back), sent);
    assert_eq!(back.set().voters(), [1, 2, 3].map(ReplicaId).into());
    stop_all([other, back]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lost_an_entry_takes_part_again_from_a_newer_checkpoint() {
    let mesh = Mesh::default();
    let (mut replicas, leader) = begin(&mesh, &[1, 2, 3]).await;
    let others: Vec<&Replica> = replicas.iter().collect();
    let mut sent = send_much(&replicas[leader], &others).await;
    sent.extend(send_some(&replicas[leader], 1).await);
    let hurt = (leader + 1) % 3;
    let number = hurt as u64 + 1;
    let applied = replicas[leader].set().applied();
    within(replicas[hurt].set().wait_applied(applied))
        .await
        .expect("it follows");
    let dir = replicas.remove(hurt).stop(&mesh, number).await;
    flip_newest_entry(dir.path());
    mesh.break_snapshots(Some(0));
    let back = mesh.start_as(number, dir, cutting).await;
    assert_eq!(back.set().condition(), Condition::Lacks);
    assert_eq!(
        back.groups.directory.condition(),
        Condition::Whole,
        "others go on"
    );
    let led = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    sent.extend(send_some(&replicas[led], 1).await);
    assert!(back.set().applied() < applied, "it takes no entries");

    mesh.break_snapshots(None);
    is_mended(&back).await;
    goes_on(&mesh, (replicas, led), back, sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_damaged_while_running_is_mended_by_a_newer_checkpoint() {
    let mesh = Mesh::default();
    let (replicas, leader) = begin(&mesh, &[1, 2, 3]).await;
    let others: Vec<&Replica> = replicas.iter().collect();
    let mut sent = send_much(&replicas[leader], &others).await;
    for hurt in [(leader + 1) % 3, leader] {
        let led = leader_of(&others).await;
        sent.extend(send_some(&replicas[led], 1).await);
        catches_up(&replicas[hurt], &replicas[led]).await;
        replicas[hurt].store.settle();
        mesh.break_snapshots(Some(0));
        flip_newest_entry(replicas[hurt].dir());
        scrub(&replicas[hurt].store);
        until("it lacks something", || {
            replicas[hurt].set().condition() == Condition::Lacks
        })
        .await;
        mesh.break_snapshots(None);
        is_mended(&replicas[hurt]).await;
        let led = leader_of(&others).await;
        sent.extend(send_some(&replicas[led], 1).await);
        catches_up(&replicas[hurt], &replicas[led]).await;
        assert_eq!(ids_in(&replicas[hurt]), sent);
    }
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cut_its_last_batch_is_sent_it_again() {
    let mesh = Mesh::default();
    let (mut replicas, leader) = begin(&mesh, &[1, 2, 3]).await;
    let mut sent = send_some(&replicas[leader], 3).await;
    let hurt = (leader + 1) % 3;
    let number = hurt as u64 + 1;
    catches_up(&replicas[hurt], &replicas[leader]).await;
    let dir = replicas.remove(hurt).stop(&mesh, number).await;
    tear_newest_entry(dir.path());
    let back = mesh.start_as(number, dir, cutting).await;
    assert!(
        back.store.recovery().torn.is_some(),
        "the end of its log is in doubt"
    );
    // The leader has counted on what is gone.
    let led = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    sent.extend(send_some(&replicas[led], 2).await);
    catches_up(&back, &replicas[led]).await;
    assert_eq!(ids_in(&back), sent);
    replicas.push(back);
    stop_all(replicas).await;
}

/// Returns a group's newest checkpoint.
fn newest_checkpoint(dir: &Path, group: GroupId) -> PathBuf {
    let names = std::fs::read_dir(dir.join("groups")).expect("the folder is there");
    let mut paths: Vec<PathBuf> = names.map(|name| name.expect("a name").path()).collect();
    let prefix = format!("{:03}-", group.0);
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        name.starts_with(&prefix) && name.ends_with(".checkpoint")
    });
    paths.sort();
    paths.pop().expect("a checkpoint")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_checkpoint_was_damaged_while_it_was_down_takes_anothers() {
    let mesh = Mesh::default();
    let (mut replicas, leader) = begin(&mesh, &[1, 2, 3]).await;
    let others: Vec<&Replica> = replicas.iter().collect();
    let mut sent = send_much(&replicas[leader], &others).await;
    let hurt = (leader + 1) % 3;
    let number = hurt as u64 + 1;
    let mut dir = replicas.remove(hurt).stop(&mesh, number).await;
    let path = newest_checkpoint(dir.path(), GROUP);
    flip(&path);
    mesh.break_snapshots(Some(0));
    // It is found again at every start, until it is mended.
    for _ in 0..2 {
        let back = mesh.start_as(number, dir, cutting).await;
        assert_eq!(back.set().condition(), Condition::Lacks);
        assert_eq!(
            back.groups.directory.condition(),
            Condition::Whole,
            "others go on"
        );
        let damage = back.store.damage();
        assert!(damage.iter().all(|damaged| damaged.file == path), "{damage:?}");
        assert_eq!(back.set().applied().0, 0, "it has no state");
        dir = back.stop(&mesh, number).await;
    }
    let back = mesh.start_as(number, dir, cutting).await;
    let led = leader_of(&replicas.iter().collect::<Vec<_>>()).await;
    sent.extend(send_some(&replicas[led], 1).await);
    mesh.break_snapshots(None);
    is_mended(&back).await;
    assert!(!path.exists(), "the damaged one is gone");
    goes_on(&mesh, (replicas, led), back, sent).await;
}
