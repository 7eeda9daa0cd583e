//! What plugins keep between decisions: counted exactly by many at once, and gone with what it belongs to.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::metrics::figure;
use crate::plugins::{publish, push, subscribe, topic_to_queue};
use crate::push::endpoint;
use crate::sealing::run;
use crate::steps::Steps;
use crate::{node, program, until};
use posthouse_tests::{Client, Node};

/// How many send at once, and how often each.
const SENDERS: usize = 4;
const SENDS: usize = 25;

/// Takes so many messages out of a queue, and returns their bodies.
fn bodies(client: &mut Client, queue: &str, count: usize) -> Vec<String> {
    let take = |_| client.receive(queue).text("msgBody").to_owned();
    (0..count).map(take).collect()
}

fn bind(node: &Node, plugin: &str, place: &[&str]) {
    run(node, &[&["plugin", "bind", plugin], place].concat());
}

/// Says something on the command line that is not done, and returns why.
fn refusal(node: &Node, arguments: &[&str]) -> String {
    let output = Command::new(program())
        .args(arguments)
        .env("POSTHOUSE_URL", node.url())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a message and returns what the plugin made of it.
fn told(client: &mut Client, body: &str) -> String {
    client.send("q", body);
    bodies(client, "q", 1).remove(0)
}

#[test]
fn a_router_gives_each_subscription_its_turn_however_many_publish() {
    const QUEUES: [&str; 3] = ["one", "two", "three"];
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], QUEUES[0], "");
    for queue in &QUEUES[1..] {
        subscribe(&mut client, "t", queue, "");
    }
    push(&node, "turns", "tests/plugins/keeps-route");
    bind(&node, "turns", &["--topic", "t"]);
    let publishers: Vec<_> = (0..SENDERS)
        .map(|_| {
            let mut publisher = node.client();
            std::thread::spawn(move || {
                let batch = [("topicName", "t"), ("msgBody.0", "x"), ("msgBody.1", "x")];
                for _ in 0..SENDS {
                    publish(&mut publisher, "t", "x").success().unwrap();
                    let told = publisher.ask("BatchPublishMessage", &batch).unwrap();
                    told.success().unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    // Three messages each time: so all have had the same number of turns.
    for queue in QUEUES {
        bodies(&mut client, queue, SENDERS * SENDS);
        assert_eq!(
            client
                .ask("ReceiveMessage", &[("queueName", queue)])
                .unwrap()
                .codes()
                .0,
            7000
        );
    }
}

#[test]
fn many_at_once_are_numbered_without_a_gap() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    bind(&node, "numbers", &["--queue", "q"]);
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let mut sender = node.client();
            std::thread::spawn(move || {
                for _ in 0..SENDS {
                    sender.send("q", "x");
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    let numbers: BTreeSet<usize> = bodies(&mut client, "q", SENDERS * SENDS)
        .iter()
        .map(|body| body.parse().unwrap())
        .collect();
    assert!(numbers.into_iter().eq(1..=SENDERS * SENDS));
    // They took turns: none was decided by what another was about to change.
    assert_eq!(figure(&node, "sends_decided_again_total", ""), 0.0);
    assert_eq!(client.look("q"), 7000);
}

#[test]
fn messages_of_one_call_are_numbered_and_one_that_fails_has_counted_nothing() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    bind(&node, "numbers", &["--queue", "q"]);
    let batch = [
        ("queueName", "q"),
        ("msgBody.1", "x"),
        ("msgBody.2", "drop"),
        ("msgBody.3", "x"),
    ];
    client.done("BatchSendMessage", &batch);
    assert_eq!(bodies(&mut client, "q", 2), ["1", "2"]);
    for failing in ["trap", "fail"] {
        let batch = [("queueName", "q"), ("msgBody.1", "x"), ("msgBody.2", failing)];
        let refused = client.ask("BatchSendMessage", &batch).unwrap();
        assert_eq!(refused.code(), 6000, "{failing}: {}", refused.0);
    }
    assert_eq!(told(&mut client, "x"), "3", "what was refused counts nothing");
}

#[test]
fn what_is_kept_outlives_a_restart_and_a_new_version_and_goes_with_its_binding() {
    let mut node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    bind(&node, "numbers", &["--queue", "q"]);
    assert_eq!(told(&mut client, "x"), "1");
    assert_eq!(node.terminate().unwrap(), Some(0));
    node.launch().unwrap();
    let mut client = node.client();
    assert_eq!(told(&mut client, "x"), "2");
    bind(&node, "numbers", &["--queue", "q", "--config", "other"]);
    assert_eq!(
        told(&mut client, "x"),
        "3",
        "bound again, it is the same plugin's"
    );
    run(&node, &["plugin", "unbind", "--queue", "q", "--world", "filter"]);
    bind(&node, "numbers", &["--queue", "q"]);
    assert_eq!(told(&mut client, "x"), "1", "another binding begins with nothing");
    push(&node, "others", "tests/plugins/keeps");
    bind(&node, "others", &["--queue", "q"]);
    assert_eq!(told(&mut client, "x"), "1", "another plugin is not shown it");
    client.done("DeleteQueue", &[("queueName", "q")]);
    client.create_queue("q", &[]);
    bind(&node, "others", &["--queue", "q"]);
    assert_eq!(told(&mut client, "x"), "1", "another queue has another store");
}

#[test]
fn what_is_kept_expires_by_the_sets_time() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    bind(&node, "numbers", &["--queue", "q"]);
    assert_eq!(told(&mut client, "brief"), "false");
    // It is put anew each time, for a second: so it expires only where nobody asks for that long.
    until(|| {
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        (told(&mut client, "brief") == "false").then_some(())
    });
}

#[test]
fn where_bodies_are_sealed_nothing_is_kept() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    client.create_queue("sealed", &[]);
    run(&node, &["key", "create", "k"]);
    run(&node, &["queue", "seal", "sealed", "--key", "k"]);
    push(&node, "numbers", "tests/plugins/keeps");
    let refused = refusal(&node, &["plugin", "bind", "numbers", "--queue", "sealed"]);
    assert!(refused.contains("sealed"), "{refused}");
    bind(&node, "numbers", &["--queue", "q"]);
    assert_eq!(told(&mut client, "x"), "1");
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    let refused = client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "x")])
        .unwrap();
    assert_eq!(refused.code(), 6000);
    assert!(refused.text("message").contains("sealed"), "{}", refused.0);
}

#[test]
fn one_key_is_shown_by_its_name_with_what_it_holds() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    bind(&node, "numbers", &["--queue", "q"]);
    for number in ["1", "2"] {
        assert_eq!(told(&mut client, "x"), number);
    }
    assert_eq!(told(&mut client, "brief"), "false");
    let get = |key: &str, more: &[&str]| {
        let get = ["plugin", "kv", "get", key, "--queue", "q", "--world", "filter"];
        run(&node, &[&get[..], more].concat())
    };
    let shown = get("count", &[]);
    let line = shown.lines().find(|line| line.starts_with("count"));
    let mut words = line.unwrap_or_default().split_whitespace();
    assert_eq!(words.nth(1), Some("2"), "{shown}");
    let kept = |key: &str| -> Value { serde_json::from_str(&get(key, &["--json"])).unwrap() };
    let count = kept("count");
    assert_eq!(
        (&count[0]["key"], &count[0]["text"]),
        (&"count".into(), &"2".into())
    );
    assert_eq!(count[0]["hexadecimal"], "32");
    assert!(count[0]["expires_ms"].is_null(), "{count}");
    assert_eq!(count.as_array().map(Vec::len), Some(1), "no other key is told");
    assert_eq!(kept("cou").as_array().map(Vec::len), Some(0));
    let nowhere = ["plugin", "kv", "get", "count", "--queue", "q", "--world", "route"];
    assert!(!refusal(&node, &nowhere).is_empty());
}

#[test]
fn a_producers_repeats_pass_once() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "once", "examples/plugins/once");
    bind(&node, "once", &["--queue", "q"]);
    for body in [
        "order 1\na crate",
        "order 2\na box",
        "order 1\na crate",
        "order 2\na box",
        "order 3",
    ] {
        client.send("q", body);
    }
    assert_eq!(
        bodies(&mut client, "q", 3),
        ["order 1\na crate", "order 2\na box", "order 3"]
    );
    assert_eq!(client.look("q"), 7000);
    assert_eq!(figure(&node, "plugin_counter_total", "name=\"repeated\""), 2.0);
}

#[test]
fn each_subscription_has_a_store_of_its_own() {
    let node = node();
    let mut client = node.client();
    client.create_topic("t", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    for queue in ["one", "two"] {
        client.create_queue(queue, &[]);
        client.subscribe_queue("t", queue, &[]);
        bind(&node, "numbers", &["--topic", "t", "--subscription", queue]);
    }
    let publishers: Vec<_> = (0..SENDERS)
        .map(|_| {
            let mut publisher = node.client();
            std::thread::spawn(move || {
                for _ in 0..SENDS {
                    publisher.publish("t", "x", &[]);
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    for queue in ["one", "two"] {
        let numbers = bodies(&mut client, queue, SENDERS * SENDS);
        let numbers: BTreeSet<usize> = numbers.iter().map(|body| body.parse().unwrap()).collect();
        assert!(numbers.into_iter().eq(1..=SENDERS * SENDS), "{queue}");
    }
}

#[test]
fn a_delivery_counts_with_what_became_of_it() {
    let node = node();
    let mut client = node.client();
    // Refused once, and taken from then on.
    let (url, pushes) = endpoint(vec![500, 200, 200, 200, 200, 200]);
    crate::push::subscribe(&mut client, &url, "SIMPLIFIED");
    push(&node, "counts", "tests/plugins/keeps-deliver");
    bind(&node, "counts", &["--topic", "t"]);
    for _ in 0..5 {
        client.publish("t", "x", &[]);
    }
    for _ in 0..6 {
        pushes.recv_timeout(crate::push::PUSH).unwrap();
    }
    let settled = |outcome: &str| figure(&node, "push_attempts_total", &format!("outcome=\"{outcome}\""));
    until(|| (settled("acknowledged") == 5.0).then_some(()));
    assert_eq!(settled("retry"), 1.0);
    let list = [
        "plugin", "kv", "list", "--topic", "t", "--world", "deliver", "--json",
    ];
    let kept: Value = serde_json::from_str(&run(&node, &list)).unwrap();
    let kept: Vec<(&str, &str)> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["key"].as_str().unwrap(), entry["text"].as_str().unwrap()))
        .collect();
    assert_eq!(kept, [("refused", "1"), ("taken", "5")]);
}
