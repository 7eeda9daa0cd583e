//! Where CMQ's documents are silent: what the README's table says the broker does, done over HTTP.
//!
//! Rows that are a matter of reading and writing requests are tested in `broker/gateway`.

use std::collections::BTreeSet;
use std::sync::mpsc::TryRecvError;
use std::time::{SystemTime, UNIX_EPOCH};

use posthouse_tests::{Client, Node};
use serde_json::{Value, json};

use crate::metrics::figure;
use crate::plugins::push;
use crate::push::{PUSH, endpoint, endpoint_with, holding_endpoint, subscribe};
use crate::sealing::run;
use crate::steps::Steps;
use crate::{node, until};

/// Row 4.
#[test]
fn routing_words_are_compared_byte_for_byte_and_a_hash_is_one_or_more_of_them() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let cases = [
        ("lazy.#", "lazy", false),
        ("lazy.#", "lazy.fox", true),
        ("lazy.#", "lazy.fox.brown", true),
        ("#", "lazy", true),
        ("lazy.#.end", "lazy.end", false),
        ("lazy.#.end", "lazy.fox.end", true),
        ("*", "lazy", true),
        ("*", "lazy.fox", false),
        ("lazy.fox", "Lazy.fox", false),
        ("Lazy.fox", "Lazy.fox", true),
        ("a.*.b", "a..b", true),
        ("*.*.*", "a..b", true),
        ("*.*", "a..b", false),
        ("a.b", "a..b", false),
    ];
    for (number, (binding_key, routing_key, matches)) in cases.into_iter().enumerate() {
        let topic = format!("t{number}");
        client.create_topic(&topic, &[("filterType", "2")]);
        client.subscribe_queue(&topic, "q", &[("bindingKey.1", binding_key)]);
        let message = [
            ("topicName", &*topic),
            ("msgBody", &*topic),
            ("routingKey", routing_key),
        ];
        let codes = client.ask("PublishMessage", &message).unwrap().codes();
        let expected = if matches { (0, 0) } else { (6030, 10730) };
        assert_eq!(codes, expected, "{routing_key} to {binding_key}");
        if matches {
            assert_eq!(client.receive("q").text("msgBody"), topic);
        }
    }
}

/// Row 6.
#[test]
fn a_message_that_nobody_gets_is_refused_unless_others_of_its_batch_are_got() {
    let node = node();
    let mut client = node.client();
    client.create_topic("t", &[]);
    let batch = [
        ("topicName", "t"),
        ("msgBody.1", "a"),
        ("msgBody.2", "none gets this"),
        ("msgBody.3", "b"),
    ];
    let publish = |client: &mut Client, count| client.ask("BatchPublishMessage", &batch[..count]).unwrap();
    assert_eq!(publish(&mut client, 4).codes(), (6030, 10650));
    client.create_queue("q", &[]);
    client.subscribe_queue("t", "q", &[]);
    push(&node, "lies", "tests/plugins/lies");
    run(
        &node,
        &["plugin", "bind", "lies", "--topic", "t", "--config", "one-byte"],
    );
    let none = [("topicName", "t"), ("msgBody", "none gets this")];
    assert_eq!(
        client.ask("PublishMessage", &none).unwrap().codes(),
        (6030, 10730)
    );
    let answer = publish(&mut client, 4).success().unwrap();
    let ids: Vec<&str> = answer.0["msgList"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sent| sent["msgId"].as_str().unwrap())
        .collect();
    let [a, none, b] = ids[..] else {
        panic!("three messages have three ids: {ids:?}");
    };
    // Deliveries are concurrent: their order is not said.
    let got: BTreeSet<(String, String)> = (0..2)
        .map(|_| client.receive("q"))
        .map(|got| (got.text("msgBody").to_owned(), got.text("msgId").to_owned()))
        .collect();
    let both = [("a", a), ("b", b)].map(|(body, id)| (body.to_owned(), id.to_owned()));
    assert_eq!(got, BTreeSet::from(both));
    assert_eq!(client.look("q"), 7000);
    // The subscription settles once the queue has what it was handed.
    until(|| {
        let topic = client.done("GetTopicAttributes", &[("topicName", "t")]);
        (topic.0["msgCount"] == 0).then_some(())
    });
    let explanation: Value = serde_json::from_str(&run(&node, &["explain", none, "--json"])).unwrap();
    assert_eq!(explanation["deliveries"], json!([]), "{explanation}");
}

/// Row 7.
#[test]
fn what_exists_is_not_made_again_whatever_it_is_set_to() {
    let node = node();
    let mut client = node.client();
    client.create_queue("Orders", &[]);
    client.create_topic("News", &[]);
    for (queue, attributes) in [("Orders", &[][..]), ("orders", &[("visibilityTimeout", "60")])] {
        let again = [&[("queueName", queue)], attributes].concat();
        assert_eq!(client.ask("CreateQueue", &again).unwrap().codes(), (4460, 10210));
    }
    for topic in ["News", "news"] {
        let again = client.ask("CreateTopic", &[("topicName", topic)]).unwrap();
        assert_eq!(again.codes(), (4460, 10550));
    }
}

/// Row 8.
#[test]
fn a_message_is_deleted_once() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    client.send("q", "x");
    let got = client.receive("q");
    assert_eq!(client.delete("q", got.text("receiptHandle")), (0, 0));
    assert_eq!(client.delete("q", got.text("receiptHandle")), (4430, 10260));
}

/// Row 8.
#[test]
fn another_visibility_timeout_leaves_running_leases_their_end() {
    let node = node();
    let mut client = node.client();
    client.create_queue("long", &[("visibilityTimeout", "43200")]);
    client.send("long", "x");
    client.receive("long");
    set_visibility(&mut client, "long", "1");
    let wait = [("queueName", "long"), ("pollingWaitSeconds", "3")];
    let codes = client.ask("ReceiveMessage", &wait).unwrap().codes();
    assert_eq!(codes, (7000, 10200), "the lease ended early");
    client.create_queue("short", &[("visibilityTimeout", "1")]);
    client.send("short", "x");
    client.receive("short");
    set_visibility(&mut client, "short", "43200");
    // Without its old end, the lease would outlast this wait.
    assert_eq!(client.receive("short").text("msgBody"), "x");
}

/// Row 8.
#[test]
fn a_queue_made_later_under_its_name_gets_what_a_subscription_kept() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    client.create_topic("t", &[]);
    client.subscribe_queue("t", "q", &[("notifyStrategy", "EXPONENTIAL_DECAY_RETRY")]);
    client.done("DeleteQueue", &[("queueName", "q")]);
    client.publish("t", "kept", &[]);
    until(|| (figure(&node, "push_attempts_total", "outcome=\"retry\"") >= 1.0).then_some(()));
    assert_eq!(kept(&mut client, "q"), 1);
    client.create_queue("q", &[]);
    assert_eq!(client.receive("q").text("msgBody"), "kept");
    until(|| (kept(&mut client, "q") == 0).then_some(()));
}

/// Row 9.
#[test]
fn a_rewind_starts_the_queue_over_at_a_time() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[("rewindSeconds", "3600"), ("visibilityTimeout", "1")]);
    client.create_queue("empty", &[]);
    client.send("q", "a");
    let a = client.receive("q");
    assert_eq!(client.delete("q", a.text("receiptHandle")), (0, 0));
    // A wait for nothing, so that the next message is of another second.
    let wait = [("queueName", "empty"), ("pollingWaitSeconds", "2")];
    assert_eq!(client.ask("ReceiveMessage", &wait).unwrap().code(), 7000);
    client.send("q", "b");
    assert_eq!(client.receive("q").0["dequeueCount"], 1);
    set_visibility(&mut client, "q", "43200");
    let b = client.receive("q");
    assert_eq!(b.0["dequeueCount"], 2);
    client.done(
        "SendMessage",
        &[("queueName", "q"), ("msgBody", "c"), ("delaySeconds", "3600")],
    );

    rewind(&mut client, "q", b.0["enqueueTime"].as_u64().unwrap(), (0, 0));
    let again = client.receive("q");
    assert_eq!(
        (again.text("msgBody"), &again.0["dequeueCount"]),
        ("b", &1.into())
    );
    assert_eq!(client.delete("q", b.text("receiptHandle")), (4430, 10260));
    assert_eq!(client.look("q"), 7000, "a is older, c is delayed");
    assert_eq!(client.delete("q", again.text("receiptHandle")), (0, 0));

    rewind(&mut client, "q", a.0["enqueueTime"].as_u64().unwrap(), (0, 0));
    assert_eq!(client.receive("q").text("msgBody"), "a");
    assert_eq!(client.receive("q").text("msgBody"), "b");
    assert_eq!(client.look("q"), 7000);
    let queue = client.done("GetQueueAttributes", &[("queueName", "q")]);
    assert_eq!(queue.0["delayMsgNum"], 1, "c is delayed still");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    rewind(&mut client, "q", now + 60, (4000, 10680));
    rewind(&mut client, "q", now - 3_660, (4000, 10680));
    rewind(&mut client, "empty", now, (6050, 10670));
}

/// Row 16.
#[test]
fn an_https_endpoint_is_accepted_and_its_protocol_shown_as_http() {
    let node = node();
    let mut client = node.client();
    client.create_topic("t", &[]);
    let subscription = [("topicName", "t"), ("subscriptionName", "s")];
    let url = "https://127.0.0.1:1/hook";
    client.done(
        "Subscribe",
        &[&subscription[..], &[("protocol", "https"), ("endpoint", url)]].concat(),
    );
    let shown = client.done("GetSubscriptionAttributes", &subscription);
    assert_eq!((shown.text("protocol"), shown.text("endpoint")), ("http", url));
}

/// Row 16.
#[test]
fn a_redirect_is_not_followed_and_tried_again() {
    let node = node();
    let mut client = node.client();
    let (elsewhere, followed) = endpoint(vec![200]);
    let redirect =
        format!("HTTP/1.1 307 X\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let accepted = "HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let (url, pushes) = endpoint_with(vec![redirect, accepted]);
    subscribe_to(&mut client, &url);
    client.publish("t", "x", &[]);
    for _ in 0..2 {
        assert_eq!(pushes.recv_timeout(PUSH).unwrap().body, b"x");
    }
    attempted(&node, "retry", 1);
    attempted(&node, "acknowledged", 1);
    assert_eq!(followed.try_recv().err(), Some(TryRecvError::Empty));
}

/// Row 16.
#[test]
fn an_answer_counts_once_its_status_line_came_and_none_is_a_failure() {
    let node = node();
    let mut client = node.client();
    let broken_off = "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nonly this".to_owned();
    let (url, pushes) = endpoint_with(vec![broken_off]);
    subscribe_to(&mut client, &url);
    client.publish("t", "x", &[]);
    pushes.recv_timeout(PUSH).unwrap();
    attempted(&node, "acknowledged", 1);
    attempted(&node, "retry", 0);
    let (url, pushes, release) = holding_endpoint();
    client.create_topic("late", &[]);
    client.done(
        "Subscribe",
        &[
            ("topicName", "late"),
            ("subscriptionName", "s"),
            ("protocol", "http"),
            ("endpoint", &url),
            ("notifyStrategy", "EXPONENTIAL_DECAY_RETRY"),
            ("notifyContentFormat", "SIMPLIFIED"),
        ],
    );
    client.publish("late", "y", &[]);
    // The first is not answered within the time limit, so it comes again.
    for _ in 0..2 {
        assert_eq!(pushes.recv_timeout(PUSH).unwrap().body, b"y");
    }
    for _ in 0..2 {
        release.send(()).unwrap();
    }
    attempted(&node, "retry", 1);
    attempted(&node, "acknowledged", 2);
}

/// Row 17.
#[test]
fn a_body_that_is_no_text_is_pushed_byte_for_byte() {
    let node = node();
    let mut client = node.client();
    let (url, pushes) = endpoint(vec![200]);
    subscribe(&mut client, &url, "SIMPLIFIED");
    let body = b"\xff\x00\xfe text \xc3";
    let message: [(&str, &[u8]); 2] = [("topicName", b"t"), ("msgBody", body)];
    let answer = client.ask_bytes("PublishMessage", &message).unwrap();
    answer.success().unwrap();
    assert_eq!(pushes.recv_timeout(PUSH).unwrap().body, body);
}

/// Row 18.
#[test]
fn a_message_that_becomes_visible_again_has_its_old_place() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[("visibilityTimeout", "1")]);
    for body in ["a", "b", "c"] {
        client.send("q", body);
    }
    assert_eq!(client.receive("q").text("msgBody"), "a");
    set_visibility(&mut client, "q", "43200");
    until(|| {
        let queue = client.done("GetQueueAttributes", &[("queueName", "q")]);
        (queue.0["activeMsgNum"] == 3).then_some(())
    });
    for body in ["a", "b", "c"] {
        assert_eq!(client.receive("q").text("msgBody"), body);
    }
}

fn set_visibility(client: &mut Client, queue: &str, seconds: &str) {
    client.done(
        "SetQueueAttributes",
        &[("queueName", queue), ("visibilityTimeout", seconds)],
    );
}

fn rewind(client: &mut Client, queue: &str, to: u64, codes: (i64, i64)) {
    let to = to.to_string();
    let rewound = client.ask("RewindQueue", &[("queueName", queue), ("startConsumeTime", &to)]);
    assert_eq!(rewound.unwrap().codes(), codes, "{queue} to {to}");
}

/// Returns how many messages a subscription of the topic `t` keeps.
fn kept(client: &mut Client, subscription: &str) -> i64 {
    let names = [("topicName", "t"), ("subscriptionName", subscription)];
    let shown = client.done("GetSubscriptionAttributes", &names);
    shown.0["msgCount"].as_i64().unwrap()
}

/// Subscribes an endpoint, which is tried again soon, to a new topic `t`.
fn subscribe_to(client: &mut Client, url: &str) {
    subscribe(client, url, "SIMPLIFIED");
    client.done(
        "SetSubscriptionAttributes",
        &[
            ("topicName", "t"),
            ("subscriptionName", "s"),
            ("notifyStrategy", "EXPONENTIAL_DECAY_RETRY"),
        ],
    );
}

/// Waits until so many attempts to deliver ended in this way.
fn attempted(node: &Node, outcome: &str, count: u32) {
    let label = format!("outcome=\"{outcome}\"");
    until(|| (figure(node, "push_attempts_total", &label) == f64::from(count)).then_some(()));
}
