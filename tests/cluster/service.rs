//! Any node serves any request, and sees what any other answered before.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posthouse_tests::Client;
use serde_json::Value;

use crate::cuts::wired;
use crate::{
    NO_QUEUE, ask, ask_as, cluster, command, create_queue, done, drain, send, status, take, wait_for,
};

/// How long each piece takes to and from a node that is behind.
const FAR: Duration = Duration::from_millis(100);
/// CMQ's codes for a key that nobody has.
const NO_SUCH_KEY: (i64, i64) = (4100, 10270);

#[test]
fn leaders_spread_over_the_nodes_and_the_status_tells() {
    let mut cluster = cluster(6);
    let spread = |cluster: &posthouse_tests::Cluster| {
        let began = Instant::now();
        loop {
            let status = status(cluster.node(1));
            let leads: Vec<u64> = status["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|node| node["leads"].as_u64().unwrap_or(0))
                .collect();
            if status["healthy"] == true && leads.iter().all(|leads| *leads >= 2) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(90), "not spread: {status}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    spread(&cluster);
    cluster.node_mut(2).kill();
    cluster.wait_ready().unwrap();
    let without = status(cluster.node(1));
    assert_eq!(without["healthy"], false);
    let silent: Vec<&Value> = without["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["reachable"] == false)
        .collect();
    assert_eq!(silent.len(), 1, "{without}");
    assert!(
        without["groups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|group| group["leader"].is_u64()),
        "{without}"
    );
    cluster.node_mut(2).launch().unwrap();
    spread(&cluster);
}

#[test]
fn what_one_node_answered_every_other_sees_at_once() {
    let cluster = cluster(4);
    let mut clients: Vec<_> = (1..=3).map(|node| cluster.node(node).client()).collect();
    for round in 0..30 {
        let queue = format!("q{round}");
        create_queue(&mut clients[round % 3], &queue);
        // Right after the create.
        send(&mut clients[(round + 1) % 3], &queue, "hello");
        let count = clients[(round + 2) % 3]
            .ask("GetQueueAttributes", &[("queueName", &queue)])
            .unwrap()
            .success()
            .unwrap();
        assert_eq!(count.0["activeMsgNum"], 1, "{queue}");
        assert_eq!(
            take(&mut clients[(round + 2) % 3], &queue).as_deref(),
            Some("hello")
        );
        assert_eq!(take(&mut clients[round % 3], &queue), None);
        let deleted = clients[(round + 1) % 3].ask("DeleteQueue", &[("queueName", &queue)]);
        deleted.unwrap().success().unwrap();
        let late = [("queueName", queue.as_str()), ("msgBody", "too late")];
        let refused = ask(&mut clients[(round + 2) % 3], "SendMessage", &late);
        assert_eq!(
            refused.code(),
            NO_QUEUE,
            "a send right after the delete: {}",
            refused.0
        );
        create_queue(&mut clients[(round + 2) % 3], &queue);
        assert_eq!(
            take(&mut clients[round % 3], &queue),
            None,
            "{queue}: a new queue is empty"
        );
    }
}

/// A send, and when it was made.
struct Sent {
    body: String,
    began: Instant,
    ended: Instant,
}

/// Sends through a node until told to stop, and returns what was taken in.
fn send_until(client: &mut Client, node: usize, stop: &AtomicBool, taken: &AtomicUsize) -> Vec<Sent> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("{node}/{number}");
        let letter = [("queueName", "q"), ("msgBody", body.as_str())];
        let began = Instant::now();
        let answer = ask_as(client, Some(&body), "SendMessage", &letter);
        let ended = Instant::now();
        match answer.code() {
            0 => acknowledged.push(Sent { body, began, ended }),
            code => assert_eq!(code, NO_QUEUE, "{}", answer.0),
        }
        taken.fetch_add(usize::from(answer.code() == 0), Ordering::Relaxed);
    }
    acknowledged
}

#[test]
fn sends_that_race_with_a_delete_and_a_new_create_are_where_they_were_taken_in() {
    const ROUNDS: usize = 20;
    let cluster = cluster(4);
    let mut clients: Vec<_> = (1..=3).map(|node| cluster.node(node).client()).collect();
    create_queue(&mut clients[0], "q");
    let (stop, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut deleting, mut created) = (Instant::now(), Instant::now());
    let acknowledged: Vec<Sent> = std::thread::scope(|scope| {
        let senders: Vec<_> = (1..=3)
            .map(|node| {
                let mut client = cluster.node(node).client();
                let (stop, taken) = (&stop, &taken);
                scope.spawn(move || send_until(&mut client, node, stop, taken))
            })
            .collect();
        for round in 0..ROUNDS {
            wait_for(&taken, 5);
            deleting = Instant::now();
            done(&mut clients[round % 3], "DeleteQueue", &[("queueName", "q")]);
            create_queue(&mut clients[(round + 1) % 3], "q");
            created = Instant::now();
        }
        wait_for(&taken, 20);
        stop.store(true, Ordering::Relaxed);
        senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap())
            .collect()
    });
    let left: BTreeSet<String> = drain(&cluster, 2).into_iter().collect();
    for sent in &acknowledged {
        let is_left = left.contains(&sent.body);
        assert!(sent.began < created || is_left, "{} is lost", sent.body);
        assert!(
            sent.ended > deleting || !is_left,
            "{} is in another queue",
            sent.body
        );
    }
    let taken_in: BTreeSet<&String> = acknowledged.iter().map(|sent| &sent.body).collect();
    assert!(left.iter().all(|body| taken_in.contains(body)), "{left:?}");
}

#[test]
fn a_node_shows_what_was_just_changed_through_it() {
    let cluster = cluster(4);
    for number in 1..=3 {
        let node = cluster.node(number);
        let [tenant, topic, queue, key] =
            ["shop", "news", "box", "key"].map(|word| format!("{word}{number}"));
        let quota = ["tenant", "quota", &tenant, "--queues", "7"];
        assert_eq!(command(node, &["tenant", "create", &tenant])["name"], tenant);
        assert_eq!(command(node, &quota)["quotas"]["queues"], 7);
        let id = format!("AKID{tenant}");
        command(node, &["tenant", "key", "add", &tenant, "--id", &id]);
        let disabled = command(node, &["tenant", "key", "disable", &tenant, &id]);
        assert_eq!(disabled["status"], "disabled");
        assert_eq!(command(node, &["key", "create", &key])["name"], key);
        assert_eq!(command(node, &["queue", "create", &queue])["name"], queue);
        let longer = command(node, &["queue", "set", &queue, "--visibility", "77"]);
        assert_eq!(longer["visibility_seconds"], 77);
        command(node, &["topic", "create", &topic]);
        let subscribe = ["sub", "create", &topic, "s", "--queue", &queue];
        assert_eq!(command(node, &subscribe)["name"], "s");
        let tagged = command(node, &["sub", "set", &topic, "s", "--filter-tag", "a"]);
        assert_eq!(tagged["filter_tags"], serde_json::json!(["a"]));
    }
}

#[test]
fn a_publish_right_after_a_subscribe_reaches_the_subscriber() {
    let cluster = cluster(4);
    let mut clients: Vec<_> = (1..=3).map(|node| cluster.node(node).client()).collect();
    for round in 0..10 {
        let (topic, queue) = (format!("t{round}"), format!("to{round}"));
        create_queue(&mut clients[round % 3], &queue);
        clients[round % 3]
            .ask("CreateTopic", &[("topicName", &topic)])
            .unwrap()
            .success()
            .unwrap();
        clients[(round + 1) % 3]
            .ask(
                "Subscribe",
                &[
                    ("topicName", &topic),
                    ("subscriptionName", "s"),
                    ("protocol", "queue"),
                    ("endpoint", &queue),
                    ("notifyContentFormat", "SIMPLIFIED"),
                ],
            )
            .unwrap()
            .success()
            .unwrap();
        clients[(round + 2) % 3]
            .ask("PublishMessage", &[("topicName", &topic), ("msgBody", "news")])
            .unwrap()
            .success()
            .unwrap();
        let got = clients[round % 3]
            .ask(
                "ReceiveMessage",
                &[("queueName", &queue), ("pollingWaitSeconds", "20")],
            )
            .unwrap()
            .success()
            .unwrap();
        assert_eq!(got.text("msgBody"), "news");
    }
}

#[test]
fn a_receive_that_waits_at_one_node_gets_what_is_sent_at_another() {
    let cluster = cluster(3);
    create_queue(&mut cluster.node(1).client(), "q");
    for node in 1..=3 {
        let mut waiting = cluster.node(node).client();
        let waits = std::thread::spawn(move || {
            waiting.ask(
                "ReceiveMessage",
                &[("queueName", "q"), ("pollingWaitSeconds", "30")],
            )
        });
        let body = format!("for {node}");
        send(&mut cluster.node(node % 3 + 1).client(), "q", &body);
        let got = waits.join().unwrap().unwrap().success().unwrap();
        assert_eq!(got.text("msgBody"), body);
    }
}

#[test]
fn a_key_that_was_just_made_is_known_to_a_node_that_is_behind() {
    let cluster = wired(1);
    command(cluster.node(1), &["tenant", "create", "shop"]);
    for late in 1..=3 {
        let id = format!("AKIDshop{late}");
        cluster.wires().unwrap().slow(late, FAR);
        let add = ["tenant", "key", "add", "shop", "--id", &id];
        let made = command(cluster.node(late % 3 + 1), &add);
        let secret = made["secret"].as_str().unwrap();
        let mut client = Client::new(cluster.node(late).address(), &id, secret.as_bytes());
        let listed = ask(&mut client, "ListQueue", &[]);
        assert_eq!(listed.code(), 0, "node {late}: {}", listed.0);
        cluster.wires().unwrap().mend();
    }
    let mut stranger = Client::new(cluster.node(2).address(), "AKIDnobody", b"made up");
    let refused = ask(&mut stranger, "ListQueue", &[]);
    assert_eq!(refused.codes(), NO_SUCH_KEY, "{}", refused.0);
}
