//! Nodes die, stop and come back: nothing acknowledged is lost, and what cannot be agreed on is refused.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use posthouse_tests::Cluster;

use crate::{cluster, create_queue, done, drain, program, send, try_send, until, wait_for};

/// What becomes of the node that a producer sends through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Lives,
    Dies,
}

/// Sends through a node until told to stop, and sees no error if that one lives; returns what was acknowledged.
fn producer(
    cluster: &Cluster,
    (node, fate): (usize, Fate),
    round: usize,
    stop: &Arc<AtomicBool>,
    sent: &Arc<AtomicUsize>,
) -> std::thread::JoinHandle<BTreeSet<String>> {
    let mut client = cluster.node(node).client();
    let (stop, sent) = (Arc::clone(stop), Arc::clone(sent));
    std::thread::spawn(move || {
        let mut acknowledged = BTreeSet::new();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let body = format!("{round}-{node}-{number}");
            match fate {
                Fate::Lives => send(&mut client, "q", &body),
                Fate::Dies if try_send(&mut client, "q", &body) => {}
                Fate::Dies => continue,
            }
            acknowledged.insert(body);
            sent.fetch_add(1, Ordering::Relaxed);
        }
        acknowledged
    })
}

#[test]
fn a_killed_node_loses_nothing_and_others_see_no_error() {
    // With one set, whoever is killed led it once in the three rounds.
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let mut expected = BTreeSet::new();
    for victim in 1..=3 {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let survivors: Vec<usize> = (1..=3).filter(|node| *node != victim).collect();
        let producers: Vec<_> = survivors
            .iter()
            .map(|node| producer(&cluster, (*node, Fate::Lives), victim, &stop, &sent))
            .collect();
        let unlucky = producer(&cluster, (victim, Fate::Dies), victim, &stop, &sent);
        wait_for(&sent, 50);
        cluster.node_mut(victim).kill();
        wait_for(&sent, 50);
        stop.store(true, Ordering::Relaxed);
        for producer in producers.into_iter().chain([unlucky]) {
            expected.extend(producer.join().unwrap());
        }
        cluster.node_mut(victim).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    let stored = drain(&cluster, 2);
    let distinct: BTreeSet<String> = stored.iter().cloned().collect();
    assert_eq!(stored.len(), distinct.len(), "something was stored twice");
    let lost: Vec<&String> = expected.difference(&distinct).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

#[test]
fn without_a_majority_calls_are_refused_and_with_one_they_go_on() {
    let mut cluster = cluster(2);
    create_queue(&mut cluster.node(1).client(), "q");
    send(&mut cluster.node(1).client(), "q", "before");
    cluster.node_mut(2).kill();
    cluster.node_mut(3).kill();
    let mut client = cluster.node(1).client();
    cluster.wait_unready(1).unwrap();
    for action in [
        vec![("queueName", "q"), ("msgBody", "lost?")],
        vec![("queueName", "q")],
    ] {
        let name = if action.len() == 2 {
            "SendMessage"
        } else {
            "ReceiveMessage"
        };
        let refused = client.ask(name, &action).unwrap();
        assert_eq!(refused.codes(), (6000, 10050), "{}", refused.0);
    }
    cluster.node_mut(2).spawn().unwrap();
    cluster.node_mut(2).wait_serving().unwrap();
    cluster.wait_ready().unwrap();
    send(&mut client, "q", "after");
    let stored = drain(&cluster, 2);
    assert_eq!(stored.first().map(String::as_str), Some("before"));
    assert_eq!(stored.last().map(String::as_str), Some("after"));
    assert!(stored.len() <= 3, "{stored:?}");
}

#[test]
fn a_lease_survives_its_leader() {
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    for round in 0..6 {
        send(&mut cluster.node(1).client(), "q", &round.to_string());
    }
    for victim in 1..=3 {
        let through = victim % 3 + 1;
        let mut client = cluster.node(through).client();
        let got = done(&mut client, "ReceiveMessage", &[("queueName", "q")]);
        cluster.node_mut(victim).kill();
        let other = done(&mut client, "ReceiveMessage", &[("queueName", "q")]);
        assert_ne!(other["msgBody"], got["msgBody"], "a leased message was seen");
        for message in [got, other] {
            let handle = message["receiptHandle"].as_str().unwrap();
            done(
                &mut client,
                "DeleteMessage",
                &[("queueName", "q"), ("receiptHandle", handle)],
            );
        }
        cluster.node_mut(victim).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    assert_eq!(drain(&cluster, 1), Vec::<String>::new());
}

#[test]
fn a_node_that_is_stopped_hands_over_and_nobody_notices() {
    let mut cluster = cluster(3);
    create_queue(&mut cluster.node(1).client(), "q");
    for leaver in 1..=3 {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let survivor = leaver % 3 + 1;
        let producing = producer(&cluster, (survivor, Fate::Lives), leaver, &stop, &sent);
        wait_for(&sent, 20);
        assert_eq!(cluster.node_mut(leaver).terminate().unwrap(), Some(0));
        wait_for(&sent, 20);
        stop.store(true, Ordering::Relaxed);
        producing.join().unwrap();
        cluster.node_mut(leaver).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
}

#[test]
fn a_waiting_receive_is_carried_on_when_its_leader_dies() {
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    for victim in 1..=3 {
        let through = victim % 3 + 1;
        let mut client = cluster.node(through).client();
        let waits = std::thread::spawn(move || {
            done(
                &mut client,
                "ReceiveMessage",
                &[("queueName", "q"), ("pollingWaitSeconds", "30")],
            )
        });
        cluster.node_mut(victim).kill();
        let other = (1..=3).find(|node| *node != victim && *node != through).unwrap();
        send(&mut cluster.node(other).client(), "q", "at last");
        let got = waits.join().unwrap();
        assert_eq!(got["msgBody"], "at last");
        done(
            &mut cluster.node(through).client(),
            "DeleteMessage",
            &[
                ("queueName", "q"),
                ("receiptHandle", got["receiptHandle"].as_str().unwrap()),
            ],
        );
        cluster.node_mut(victim).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
}

/// Returns whether bytes have come to a node that it did not read yet, as Linux tells it.
fn is_unread(address: SocketAddr) -> bool {
    let IpAddr::V4(ip) = address.ip() else {
        panic!("nodes of tests have IPv4 addresses");
    };
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().any(|socket| {
        // A number, where it is, where it leads, its state (01 is connected), and how much waits each way.
        let fields: Vec<&str> = socket.split_whitespace().collect();
        let [_, here, _, "01", queues, ..] = fields[..] else {
            return false;
        };
        let unread = queues
            .split_once(':')
            .map(|(_, unread)| u64::from_str_radix(unread, 16));
        here == local && matches!(unread, Some(Ok(unread)) if unread > 0)
    })
}

#[test]
fn a_client_whose_own_node_dies_is_told_that_its_call_may_have_been_done() {
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    // It takes the call, and is killed before it can answer.
    cluster.node(2).pause().unwrap();
    let asking = Command::new(program())
        .args(["queue", "send", "q", "hello", "--url", &cluster.node(2).url()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the call is at the node", || is_unread(cluster.node(2).address()));
    cluster.node_mut(2).kill();
    let told = asking.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert!(text.contains("may have been done"), "{text}");
    assert_eq!(told.status.code(), Some(1), "{text}");

    // Nobody is there any more: then it was not.
    let asked = Command::new(program())
        .args(["queue", "send", "q", "hello", "--url", &cluster.node(2).url()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&asked.stderr);
    assert!(!text.contains("may have been done"), "{text}");
    assert_eq!(asked.status.code(), Some(2), "{text}");
}
