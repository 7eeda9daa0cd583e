//! Sending, receiving, deleting; topics to queues; dead letters; tokens.

use std::time::{Duration, Instant};

use posthouse_tests::{Client, Connection, Node};
use serde_json::Value;

use crate::metrics::figure;
use crate::sealing::run;
use crate::steps::Steps;
use crate::{node, until};

#[test]
fn a_message_is_sent_received_and_deleted() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let sent = client.send("q", "hello");
    let got = client.receive("q");
    assert_eq!(got.text("msgBody"), "hello");
    assert_eq!(got.text("msgId"), sent.text("msgId"));
    assert_eq!(client.delete("q", got.text("receiptHandle")), (0, 0));
    let none = client.ask("ReceiveMessage", &[("queueName", "q")]).unwrap();
    assert_eq!(none.codes(), (7000, 10200));
}

#[test]
fn a_batch_is_answered_in_order_and_deleted_one_by_one() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let sent = client.done(
        "BatchSendMessage",
        &[
            ("queueName", "q"),
            ("msgBody.1", "a"),
            ("msgBody.2", "b"),
            ("msgBody.3", "c"),
        ],
    );
    assert_eq!(sent.0["msgList"].as_array().unwrap().len(), 3);
    let got = client.done("BatchReceiveMessage", &[("queueName", "q"), ("numOfMsg", "16")]);
    let messages = got.0["msgInfoList"].as_array().unwrap().clone();
    let bodies: Vec<&str> = messages
        .iter()
        .map(|message| message["msgBody"].as_str().unwrap())
        .collect();
    assert_eq!(bodies, ["a", "b", "c"]);
    let first = messages[0]["receiptHandle"].as_str().unwrap();
    let partly = client
        .ask(
            "BatchDeleteMessage",
            &[
                ("queueName", "q"),
                ("receiptHandle.0", first),
                ("receiptHandle.1", "99999"),
            ],
        )
        .unwrap();
    assert_eq!(partly.codes(), (6010, 10150));
    assert_eq!(partly.0["errorList"].as_array().unwrap().len(), 1);
}

#[test]
fn a_waiting_receive_gets_a_message_when_it_comes() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let mut waiting = node.client();
    let waiter = std::thread::spawn(move || waiting.receive("q"));
    // Wherever the waiter is when this is sent, on its way or waiting, it gets the message.
    client.send("q", "at last");
    assert_eq!(waiter.join().unwrap().text("msgBody"), "at last");
}

/// Returns how many entries the only set has applied.
fn entries(node: &Node) -> u64 {
    let status: Value = serde_json::from_str(&run(node, &["status", "--json"])).unwrap();
    status["sets"][0]["group"]["applied"].as_u64().unwrap()
}

#[test]
fn a_message_is_leased_to_one_who_waits_in_the_entry_that_brings_it() {
    const ROUNDS: u64 = 20;
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let before = entries(&node);
    for _ in 0..ROUNDS {
        let mut waiting = node.client();
        let waiter = std::thread::spawn(move || waiting.receive("q"));
        until(|| (figure(&node, "waiters", "") == 1.0).then_some(()));
        let sent = client.send("q", "for one who waits");
        assert_eq!(waiter.join().unwrap().text("msgId"), sent.text("msgId"));
    }
    let entries = entries(&node) - before;
    // Now and then an entry may be on its way before the receive is in it.
    assert!(
        entries < ROUNDS * 3 / 2,
        "{entries} entries for {ROUNDS} messages"
    );
}

#[test]
fn a_receive_that_waits_in_vain_is_answered_at_the_end_of_its_wait() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let begun = Instant::now();
    let wait = [("queueName", "q"), ("pollingWaitSeconds", "1")];
    let none = client.ask("ReceiveMessage", &wait).unwrap();
    assert_eq!(none.codes(), (7000, 10200));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn those_who_wait_for_a_queue_that_is_deleted_are_told_so() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let mut waiting = node.client();
            std::thread::spawn(move || {
                let wait = [("queueName", "q"), ("pollingWaitSeconds", "30")];
                waiting.ask("ReceiveMessage", &wait).unwrap().codes()
            })
        })
        .collect();
    until(|| (figure(&node, "waiters", "") == 3.0).then_some(()));
    client.done("DeleteQueue", &[("queueName", "q")]);
    for waiter in waiters {
        // At the end of the wait it would be "no message".
        assert_eq!(waiter.join().unwrap(), (4440, 10100));
    }
}

#[test]
fn a_client_that_goes_away_while_it_waits_takes_no_message_along() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[("visibilityTimeout", "43200")]);
    for _ in 0..4 {
        let gone = node.client();
        let form = gone.form(
            "ReceiveMessage",
            &[("queueName", b"q"), ("pollingWaitSeconds", b"20")],
        );
        let mut connection = Connection::open(node.address()).unwrap();
        connection
            .request("POST", "/v2/index.php", &node.address().to_string(), "", &form)
            .unwrap();
        drop(connection);
    }
    client.send("q", "still here");
    assert_eq!(client.receive("q").text("msgBody"), "still here");
}

#[test]
fn a_topic_reaches_each_queue_that_asks_for_it() {
    let node = node();
    let mut client = node.client();
    client.create_topic("t", &[]);
    for (queue, tag) in [("left", "l"), ("right", "r")] {
        client.create_queue(queue, &[]);
        let settings = [("notifyContentFormat", "JSON"), ("filterTag.1", tag)];
        client.subscribe_queue("t", queue, &settings);
    }
    let neither = [("topicName", "t"), ("msgBody", "x"), ("msgTag.1", "z")];
    let neither = client.ask("PublishMessage", &neither).unwrap();
    assert_eq!(neither.codes(), (6030, 10730));
    let sent = client.publish("t", "to the left", &[("msgTag.1", "l")]);
    let got = client.receive("left");
    assert_eq!(
        (got.text("msgBody"), got.text("msgId")),
        ("to the left", sent.text("msgId"))
    );
    assert_eq!(client.look("right"), 7000);
}

#[test]
fn a_message_received_too_often_becomes_a_dead_letter() {
    let node = node();
    let mut client = node.client();
    client.create_queue("dead", &[]);
    let policy = r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":1}"#;
    client.create_queue("q", &[("visibilityTimeout", "1"), ("deadLetterPolicy", policy)]);
    client.send("q", "poison");
    client.receive("q");
    assert_eq!(client.receive("dead").text("msgBody"), "poison");
    assert_eq!(client.look("q"), 7000);
    let sources = client.done("ListDeadLetterSourceQueues", &[("deadLetterQueueName", "dead")]);
    assert_eq!(sources.0["queueList"][0]["queueName"], "q");
}

#[test]
fn tenants_do_not_see_each_others_names() {
    let node = node();
    node.client().create_queue("mine", &[]);
    let mut stranger = Client::new(node.address(), "AKIDnobody", b"dev");
    let refused = stranger.ask("ReceiveMessage", &[("queueName", "mine")]).unwrap();
    assert_eq!(refused.codes(), (4100, 10270));
    let mut liar = Client::new(node.address(), "AKIDdev", b"not dev");
    assert_eq!(liar.ask("ListQueue", &[]).unwrap().codes(), (4100, 10030));
}
