//! Sending, receiving, deleting; topics to queues; dead letters; tokens.

use std::time::{Duration, Instant};

use crate::node;

#[test]
fn a_message_is_sent_received_and_deleted() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let sent = client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "hello")])
        .unwrap()
        .success()
        .unwrap();
    let got = client
        .ask("ReceiveMessage", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(got.text("msgBody"), "hello");
    assert_eq!(got.text("msgId"), sent.text("msgId"));
    let handle = got.text("receiptHandle");
    client
        .ask("DeleteMessage", &[("queueName", "q"), ("receiptHandle", handle)])
        .unwrap()
        .success()
        .unwrap();
    let again = client
        .ask("DeleteMessage", &[("queueName", "q"), ("receiptHandle", handle)])
        .unwrap();
    assert_eq!(again.codes(), (4430, 10260));
    let none = client.ask("ReceiveMessage", &[("queueName", "q")]).unwrap();
    assert_eq!(none.codes(), (7000, 10200));
}

#[test]
fn a_batch_is_answered_in_order_and_deleted_one_by_one() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let sent = client
        .ask(
            "BatchSendMessage",
            &[
                ("queueName", "q"),
                ("msgBody.1", "a"),
                ("msgBody.2", "b"),
                ("msgBody.3", "c"),
            ],
        )
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(sent.0["msgList"].as_array().unwrap().len(), 3);
    let got = client
        .ask("BatchReceiveMessage", &[("queueName", "q"), ("numOfMsg", "16")])
        .unwrap()
        .success()
        .unwrap();
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
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let mut waiting = node.client();
    let waiter = std::thread::spawn(move || {
        waiting
            .ask(
                "ReceiveMessage",
                &[("queueName", "q"), ("pollingWaitSeconds", "20")],
            )
            .unwrap()
    });
    // Wherever the waiter is when this is sent, on its way or waiting, it gets the message.
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "at last")])
        .unwrap()
        .success()
        .unwrap();
    let got = waiter.join().unwrap().success().unwrap();
    assert_eq!(got.text("msgBody"), "at last");
}

#[test]
fn a_receive_that_waits_in_vain_is_answered_at_the_end_of_its_wait() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let begun = Instant::now();
    let none = client
        .ask(
            "ReceiveMessage",
            &[("queueName", "q"), ("pollingWaitSeconds", "1")],
        )
        .unwrap();
    assert_eq!(none.codes(), (7000, 10200));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_client_that_goes_away_while_it_waits_takes_no_message_along() {
    let node = node();
    let mut client = node.client();
    client
        .ask(
            "CreateQueue",
            &[("queueName", "q"), ("visibilityTimeout", "43200")],
        )
        .unwrap()
        .success()
        .unwrap();
    for _ in 0..4 {
        let gone = node.client();
        let form = gone.form(
            "ReceiveMessage",
            &[("queueName", b"q"), ("pollingWaitSeconds", b"20")],
        );
        let mut connection = posthouse_tests::Connection::open(node.address()).unwrap();
        connection
            .request("POST", "/v2/index.php", &node.address().to_string(), "", &form)
            .unwrap();
        drop(connection);
    }
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "still here")])
        .unwrap()
        .success()
        .unwrap();
    let got = client
        .ask(
            "ReceiveMessage",
            &[("queueName", "q"), ("pollingWaitSeconds", "20")],
        )
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(got.text("msgBody"), "still here");
}

#[test]
fn a_topic_reaches_each_queue_that_asks_for_it() {
    let node = node();
    let mut client = node.client();
    for queue in ["left", "right"] {
        client
            .ask("CreateQueue", &[("queueName", queue)])
            .unwrap()
            .success()
            .unwrap();
    }
    client
        .ask("CreateTopic", &[("topicName", "t")])
        .unwrap()
        .success()
        .unwrap();
    let early = client
        .ask("PublishMessage", &[("topicName", "t"), ("msgBody", "x")])
        .unwrap();
    assert_eq!(early.codes(), (6030, 10650));
    for (queue, tag) in [("left", "l"), ("right", "r")] {
        client
            .ask(
                "Subscribe",
                &[
                    ("topicName", "t"),
                    ("subscriptionName", queue),
                    ("protocol", "queue"),
                    ("endpoint", queue),
                    ("notifyContentFormat", "JSON"),
                    ("filterTag.1", tag),
                ],
            )
            .unwrap()
            .success()
            .unwrap();
    }
    let neither = client
        .ask(
            "PublishMessage",
            &[("topicName", "t"), ("msgBody", "x"), ("msgTag.1", "z")],
        )
        .unwrap();
    assert_eq!(neither.codes(), (6030, 10730));
    let sent = client
        .ask(
            "PublishMessage",
            &[("topicName", "t"), ("msgBody", "to the left"), ("msgTag.1", "l")],
        )
        .unwrap()
        .success()
        .unwrap();
    let got = client
        .ask(
            "ReceiveMessage",
            &[("queueName", "left"), ("pollingWaitSeconds", "20")],
        )
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(
        (got.text("msgBody"), got.text("msgId")),
        ("to the left", sent.text("msgId"))
    );
    let none = client.ask("ReceiveMessage", &[("queueName", "right")]).unwrap();
    assert_eq!(none.code(), 7000);
}

#[test]
fn a_message_received_too_often_becomes_a_dead_letter() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "dead")])
        .unwrap()
        .success()
        .unwrap();
    let policy = r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":1}"#;
    client
        .ask(
            "CreateQueue",
            &[
                ("queueName", "q"),
                ("visibilityTimeout", "1"),
                ("deadLetterPolicy", policy),
            ],
        )
        .unwrap()
        .success()
        .unwrap();
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "poison")])
        .unwrap()
        .success()
        .unwrap();
    client
        .ask("ReceiveMessage", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let dead = client
        .ask(
            "ReceiveMessage",
            &[("queueName", "dead"), ("pollingWaitSeconds", "20")],
        )
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(dead.text("msgBody"), "poison");
    assert_eq!(
        client
            .ask("ReceiveMessage", &[("queueName", "q")])
            .unwrap()
            .code(),
        7000
    );
    let sources = client
        .ask("ListDeadLetterSourceQueues", &[("deadLetterQueueName", "dead")])
        .unwrap();
    assert_eq!(sources.0["queueList"][0]["queueName"], "q");
}

#[test]
fn tenants_do_not_see_each_others_names() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "mine")])
        .unwrap()
        .success()
        .unwrap();
    let mut stranger = posthouse_tests::Client::new(node.address(), "AKIDnobody", b"dev");
    let refused = stranger.ask("ReceiveMessage", &[("queueName", "mine")]).unwrap();
    assert_eq!(refused.codes(), (4100, 10270));
    let mut liar = posthouse_tests::Client::new(node.address(), "AKIDdev", b"not dev");
    assert_eq!(liar.ask("ListQueue", &[]).unwrap().codes(), (4100, 10030));
}
