//! The streaming door of a real node, through the client crate, and raw where a client would not do what is tested.

use std::collections::BTreeSet;

use posthouse_client::{
    Client, ConsumeError, Consumer, Delivery, Key, PublishError, SettleError, Target, Window,
};
use posthouse_tests::Node;

use crate::{PATIENCE, get, node};

#[test]
fn what_is_published_is_consumed_in_order_and_gone_once_acknowledged() {
    let (node, client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let bodies: Vec<String> = (0..200).map(|number| format!("order {number}")).collect();
        let ids = publish_all(&client, "orders", &bodies).await;
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), bodies.len());

        let mut consumer = client.consumer("orders", Window::default());
        let mut settlements = Vec::new();
        for (number, body) in bodies.iter().enumerate() {
            let delivery = next(&mut consumer).await;
            assert_eq!(delivery.body, body.as_bytes());
            assert_eq!(delivery.message_id, ids[number]);
            assert_eq!(delivery.receive_count, 1);
            assert!(delivery.visible_again_millis > delivery.enqueued_millis);
            settlements.push(consumer.ack(delivery.handle).await.unwrap());
        }
        for settlement in settlements {
            settlement.await.unwrap();
        }
    });
    let mut cmq = node.client();
    assert_eq!(attribute(&mut cmq, "orders", "activeMsgNum"), 0);
    assert_eq!(attribute(&mut cmq, "orders", "inactiveMsgNum"), 0);
}

#[test]
fn a_topic_takes_what_is_published_over_streams() {
    let (node, client) = with_queue("CreateQueue", &[("queueName", "kept")]);
    let mut cmq = node.client();
    cmq.ask("CreateTopic", &[("topicName", "news")]).unwrap();
    let subscription = [
        ("topicName", "news"),
        ("subscriptionName", "red"),
        ("protocol", "queue"),
        ("endpoint", "kept"),
        ("filterTag.1", "red"),
    ];
    assert_eq!(cmq.ask("Subscribe", &subscription).unwrap().code(), 0);
    run(async {
        let publisher = client.publisher();
        let red = Target::topic("news").tagged("red");
        let receipt = publisher.publish(&red, "to red").await.unwrap();
        let id = receipt.await.unwrap();
        let mut consumer = client.consumer("kept", Window::default());
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.message_id, &delivery.body[..]), (id, &b"to red"[..]));
        assert_eq!(delivery.tags, ["red"]);

        let blue = Target::topic("news").tagged("blue");
        let refused = publisher.publish(&blue, "to nobody").await.unwrap().await;
        assert_eq!(code(&refused), (6030, 10_730));
    });
}

#[test]
fn a_message_that_is_given_back_comes_again_and_counts() {
    let (_node, client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        publish_all(&client, "orders", &["again".to_owned()]).await;
        let mut consumer = client.consumer("orders", Window::default());
        let first = next(&mut consumer).await;
        settle(consumer.nack(first.handle, 0).await).await.unwrap();
        let second = next(&mut consumer).await;
        assert_eq!((second.message_id, second.receive_count), (first.message_id, 2));
        assert_eq!(
            settle(consumer.ack(first.handle).await).await,
            Err(SettleError::Void)
        );
        settle(consumer.nack(second.handle, 1).await).await.unwrap();
        let third = next(&mut consumer).await;
        assert_eq!(third.receive_count, 3);
        assert!(third.first_received_millis < third.visible_again_millis);
        settle(consumer.ack(third.handle).await).await.unwrap();
    });
}

#[test]
fn a_lease_that_is_extended_lasts_and_one_that_is_shortened_ends() {
    let (_node, client) = with_queue(
        "CreateQueue",
        &[("queueName", "orders"), ("visibilityTimeout", "43200")],
    );
    run(async {
        publish_all(&client, "orders", &["long".to_owned()]).await;
        let mut consumer = client.consumer("orders", Window::default());
        let first = next(&mut consumer).await;
        settle(consumer.extend(first.handle, 1).await).await.unwrap();
        let again = next(&mut consumer).await;
        assert_eq!((again.message_id, again.receive_count), (first.message_id, 2));
        assert_eq!(
            settle(consumer.extend(first.handle, 60).await).await,
            Err(SettleError::Void)
        );
        settle(consumer.extend(again.handle, 3_600).await).await.unwrap();
        settle(consumer.ack(again.handle).await).await.unwrap();
    });
}

#[test]
fn messages_that_are_given_back_too_often_are_dead_letters() {
    let (node, client) = with_queue("CreateQueue", &[("queueName", "dead")]);
    let policy = r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":2}"#;
    let create = [("queueName", "orders"), ("deadLetterPolicy", policy)];
    let created = node.client().ask("CreateQueue", &create).unwrap();
    assert_eq!(created.code(), 0, "{created:?}");
    run(async {
        let ids = publish_all(&client, "orders", &["poison".to_owned()]).await;
        let mut consumer = client.consumer("orders", Window::default());
        for count in 1..=2 {
            let delivery = next(&mut consumer).await;
            assert_eq!(delivery.receive_count, count);
            settle(consumer.nack(delivery.handle, 0).await).await.unwrap();
        }
        let mut dead = client.consumer("dead", Window::default());
        assert_eq!(next(&mut dead).await.message_id, ids[0]);
    });
}

#[test]
fn each_message_that_is_refused_is_refused_alone() {
    let (_node, client) = with_queue("CreateQueue", &[("queueName", "orders"), ("maxMsgSize", "1024")]);
    run(async {
        let publisher = client.publisher();
        let target = Target::queue("orders");
        let mut receipts = Vec::new();
        for number in 0..50_usize {
            let bytes = if number % 10 == 3 { 1_025 } else { 1_024 };
            receipts.push(publisher.publish(&target, vec![b'x'; bytes]).await.unwrap());
        }
        for (number, receipt) in receipts.into_iter().enumerate() {
            match number % 10 {
                3 => assert_eq!(code(&receipt.await), (4400, 10_230)),
                _ => assert!(receipt.await.is_ok()),
            }
        }
        let unknown = publisher.publish(&Target::queue("nothing"), "x").await.unwrap();
        assert_eq!(code(&unknown.await), (4440, 10_100));
        let empty = publisher.publish(&target, "").await.unwrap();
        assert_eq!(code(&empty.await), (4000, 10_120));
    });
}

#[test]
fn streams_are_opened_by_known_keys_for_queues_that_exist() {
    let (node, client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let mut nothing = client.consumer("nothing", Window::default());
        assert!(matches!(nothing.next().await, Err(ConsumeError::NoQueue(_))));
        for key in [Key::new("AKIDdev", "wrong"), Key::new("AKIDnobody", "dev")] {
            let stranger = Client::new(&[node.streams_url()], key).unwrap();
            let refused = stranger.publisher().publish(&Target::queue("orders"), "x").await;
            assert_eq!(code(&refused.unwrap().await).0, 4100);
            let mut consumer = stranger.consumer("orders", Window::default());
            assert!(matches!(consumer.next().await, Err(ConsumeError::Key(_))));
        }
    });
}

#[test]
fn large_messages_come_in_order_and_each_counts_once() {
    let (_node, client) = with_queue(
        "CreateQueue",
        &[("queueName", "orders"), ("maxMsgSize", "1048576")],
    );
    run(async {
        let bodies: Vec<String> = (0..40_u8)
            .map(|number| char::from(b'A' + number).to_string().repeat(1_048_576))
            .collect();
        let ids = publish_all(&client, "orders", &bodies).await;
        let mut consumer = client.consumer("orders", Window::default());
        let mut seen = BTreeSet::new();
        for _ in &ids {
            let delivery = next(&mut consumer).await;
            assert_eq!(delivery.body.len(), 1_048_576);
            assert_eq!(delivery.receive_count, 1);
            assert!(seen.insert(delivery.message_id));
            settle(consumer.ack(delivery.handle).await).await.unwrap();
        }
        assert_eq!(seen, ids.into_iter().collect());
    });
}

#[test]
fn a_consumer_that_is_dropped_gives_back_what_it_did_not_take() {
    let (_node, client) = with_queue(
        "CreateQueue",
        &[("queueName", "orders"), ("visibilityTimeout", "43200")],
    );
    run(async {
        let bodies: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        publish_all(&client, "orders", &bodies).await;
        let mut first = client.consumer("orders", Window::default());
        let taken = next(&mut first).await;
        drop(first);
        let mut second = client.consumer("orders", Window::default());
        let mut left = BTreeSet::new();
        while left.len() < bodies.len() - 1 {
            left.insert(next(&mut second).await.message_id);
        }
        assert!(!left.contains(&taken.message_id));
        // Handles are good over every connection.
        settle(second.ack(taken.handle).await).await.unwrap();
    });
}

#[test]
fn a_consumer_that_is_closed_has_given_back_what_it_did_not_take_and_what_was_on_its_way() {
    let (node, client) = with_queue(
        "CreateQueue",
        &[
            ("queueName", "orders"),
            ("maxMsgSize", "1048576"),
            ("visibilityTimeout", "43200"),
        ],
    );
    // More than a stream's window holds: some have come, some are on their way, some are leased and not sent.
    let bodies: Vec<String> = (0..48).map(|_| "x".repeat(262_144)).collect();
    run(async {
        publish_all(&client, "orders", &bodies).await;
        let mut consumer = client.consumer("orders", Window::default());
        next(&mut consumer).await;
        assert!(consumer.next_now().is_ok());
        let last = next(&mut consumer).await;
        settle(consumer.ack(last.handle).await).await.unwrap();
        consumer.close().await;
    });
    let mut cmq = node.client();
    let leased = attribute(&mut cmq, "orders", "inactiveMsgNum");
    assert!((1..=2).contains(&leased), "{leased} are leased");
    assert_eq!(attribute(&mut cmq, "orders", "activeMsgNum") + leased, 47);
}

#[test]
fn what_streams_do_is_in_the_metrics() {
    let (node, client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        publish_all(&client, "orders", &["one".to_owned()]).await;
        let mut consumer = client.consumer("orders", Window::default());
        let delivery = next(&mut consumer).await;
        settle(consumer.ack(delivery.handle).await).await.unwrap();
        let (_, text) = get(&node, "/metrics");
        for line in [
            "posthouse_stream_requests_total{request=\"publish\",code=\"0\"} 1",
            "posthouse_stream_requests_total{request=\"settle\",code=\"0\"} 1",
            "posthouse_streams{method=\"Consume\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    });
}

#[test]
fn a_node_that_stops_answers_what_is_in_flight_and_ends_its_streams() {
    let (mut node, client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        publish_all(&client, "orders", &["before".to_owned()]).await;
        let mut consumer = client.consumer("orders", Window::default());
        let delivery = next(&mut consumer).await;
        assert_eq!(node.terminate().unwrap(), Some(0));
        // Settled where the node is again: the handle is as durable as the message.
        let settlement = consumer.ack(delivery.handle).await.unwrap();
        let address: std::net::SocketAddr = node.streams_url().replace("http://", "").parse().unwrap();
        node.set_arguments(vec!["--stream-listen".to_owned(), address.to_string()]);
        node.launch().unwrap();
        settlement.await.unwrap();
    });
}

pub(crate) fn with_queue(action: &str, parameters: &[(&str, &str)]) -> (Node, Client) {
    let node = node();
    let created = node.client().ask(action, parameters).unwrap();
    assert_eq!(created.code(), 0, "{created:?}");
    let client = Client::new(&[node.streams_url()], Key::new("AKIDdev", "dev")).unwrap();
    (node, client)
}

/// Runs what a test's client does, within the time that a busy machine needs.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let within = tokio::time::timeout(PATIENCE, test).await;
        within.expect("the streams do what they are to do in time");
    });
}

pub(crate) async fn publish_all(client: &Client, queue: &str, bodies: &[String]) -> Vec<u64> {
    let publisher = client.publisher();
    let target = Target::queue(queue);
    let mut receipts = Vec::new();
    for body in bodies {
        receipts.push(publisher.publish(&target, body.clone()).await.unwrap());
    }
    let mut ids = Vec::new();
    for receipt in receipts {
        ids.push(receipt.await.unwrap());
    }
    ids
}

async fn next(consumer: &mut Consumer) -> Delivery {
    consumer.next().await.unwrap()
}

async fn settle(settlement: Result<posthouse_client::Settlement, SettleError>) -> Result<(), SettleError> {
    settlement?.await
}

fn code(refused: &Result<u64, PublishError>) -> (u32, u32) {
    match refused {
        Err(PublishError::Refused {
            code, module_code, ..
        }) => (*code, *module_code),
        other => panic!("{other:?} is no refusal"),
    }
}

fn attribute(cmq: &mut posthouse_tests::Client, queue: &str, name: &str) -> i64 {
    let answer = cmq.ask("GetQueueAttributes", &[("queueName", queue)]).unwrap();
    answer.0[name].as_i64().unwrap()
}
