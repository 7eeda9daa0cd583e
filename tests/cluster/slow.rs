//! A disk that takes long: one slow follower holds up nobody, and with a slow leader all goes on.

use std::time::{Duration, Instant};

use posthouse_tests::Cluster;

use crate::{cluster, create_queue, drain, leader, send, until};

/// How much longer a sync of the slow disk takes.
const DELAY: Duration = Duration::from_millis(500);
/// Sends that come one after the other: if each waited for the slow disk, they would take twice as long as they may.
const SENDS: u32 = 40;
/// How often the others have a chance to go on as before.
const ROUNDS_MAX: usize = 4;

/// Has each sync of a node take so much longer from now on.
pub(crate) fn set_delay(cluster: &Cluster, node: usize, delay: Duration) {
    let file = cluster.node(node).data().join("sync-delay");
    std::fs::write(file, delay.as_millis().to_string()).unwrap();
}

/// Gives a node that does not run an empty disk that can be made slow.
pub(crate) fn empty_disk(cluster: &Cluster, node: usize) {
    if cluster.node(node).data().exists() {
        cluster.node(node).lose_disk().unwrap();
    }
    std::fs::create_dir(cluster.node(node).data()).unwrap();
    set_delay(cluster, node, Duration::ZERO);
}

/// Starts nodes anew so that their disks can be made slow.
pub(crate) fn with_slow_disks(mut cluster: Cluster) -> Cluster {
    for node in 1..=3 {
        set_delay(&cluster, node, Duration::ZERO);
        assert_eq!(cluster.node_mut(node).terminate().unwrap(), Some(0));
        cluster.node_mut(node).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    cluster
}

/// Sends messages one after the other through each node in turn; returns how long all took.
fn send_all(cluster: &Cluster, round: &str, expected: &mut Vec<String>) -> Duration {
    let mut clients: Vec<_> = (1..=3).map(|node| cluster.node(node).client()).collect();
    let began = Instant::now();
    for number in 0..SENDS {
        let body = format!("{round} {number}");
        send(&mut clients[number as usize % 3], "q", &body);
        expected.push(body);
    }
    began.elapsed()
}

#[test]
fn a_slow_disk_of_one_node_holds_up_nobody_and_loses_nothing() {
    let cluster = with_slow_disks(cluster(1));
    create_queue(&mut cluster.node(1).client(), "q");
    let mut expected = Vec::new();
    send_all(&cluster, "all are quick", &mut expected);
    // On a machine that is too busy others may be elected for want of time, which is no fault of the slow one.
    let mut rounds = 0;
    let (led_by, follower) = loop {
        let led_by = leader(cluster.node(1), 0);
        let follower = led_by % 3 + 1;
        set_delay(&cluster, follower, DELAY);
        let took = send_all(&cluster, &format!("a follower is slow, {rounds}"), &mut expected);
        let leads = leader(cluster.node(1), 0);
        set_delay(&cluster, follower, Duration::ZERO);
        if took < DELAY * SENDS / 2 && leads == led_by {
            break (led_by, follower);
        }
        rounds += 1;
        assert!(
            rounds < ROUNDS_MAX,
            "{SENDS} sends took {took:?}, and {leads} leads in place of {led_by}"
        );
    };

    set_delay(&cluster, led_by, DELAY);
    // Whoever leads by now: the two others have each entry on their disks.
    send_all(&cluster, "the leader is slow", &mut expected);
    set_delay(&cluster, led_by, Duration::ZERO);

    until("all messages are there", || {
        let status = crate::status(cluster.node(1));
        status["healthy"] == true
    });
    let mut found = drain(&cluster, follower);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}
