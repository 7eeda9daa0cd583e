//! Streams while nodes die: nothing that was acknowledged is lost, and nothing is stored twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use posthouse_client::{Client, Consumer, Key, Publisher, Target, Window};
use posthouse_tests::{Cluster, Node};

use crate::{LOOK_AGAIN, cluster, create_queue, done, gauge, leader, until, wait_for};

/// Messages that a producer has in flight.
const IN_FLIGHT: usize = 32;

#[test]
fn a_leader_that_is_killed_under_streams_loses_nothing_and_nothing_is_stored_twice() {
    // With one set, whoever is killed led it once in the three rounds.
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut expected = BTreeSet::new();
    for victim in 1..=3 {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let producers: Vec<_> = (0..3)
            .map(|number| {
                let publisher = runtime.block_on(async { client(&cluster).publisher() });
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                runtime.spawn(produce(publisher, format!("{victim}-{number}"), stop, sent))
            })
            .collect();
        wait_for(&sent, 500);
        cluster.node_mut(victim).kill();
        wait_for(&sent, 500);
        stop.store(true, Ordering::Relaxed);
        for producer in producers {
            expected.extend(runtime.block_on(producer).unwrap());
        }
        cluster.node_mut(victim).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    let stored = runtime.block_on(async {
        let consumer = client(&cluster).consumer("q", Window::default());
        consume(consumer, expected.len()).await
    });
    // Every publish was acknowledged in the end, so what is stored is what was published.
    assert_eq!(stored, expected);
    let told = cluster
        .node(2)
        .client()
        .ask("GetQueueAttributes", &[("queueName", "q")])
        .unwrap();
    let left = (&told.0["activeMsgNum"], &told.0["inactiveMsgNum"]);
    assert_eq!(left, (&0.into(), &0.into()), "something was stored twice");
}

#[test]
fn a_consumer_goes_on_when_the_node_that_it_is_connected_to_dies() {
    const MESSAGES: usize = 400;
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = client(&cluster);
    let sent = Arc::new(AtomicUsize::new(0));
    let published = runtime.block_on(async {
        let publisher = client.publisher();
        let stop = Arc::new(AtomicBool::new(false));
        let producing = tokio::spawn(produce(
            publisher,
            "all".to_owned(),
            Arc::clone(&stop),
            Arc::clone(&sent),
        ));
        while sent.load(Ordering::Relaxed) < MESSAGES {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        stop.store(true, Ordering::Relaxed);
        producing.await.unwrap()
    });
    let mut consumer = runtime.block_on(async { client.consumer("q", Window::default()) });
    let mut seen = BTreeSet::new();
    let mut killed = false;
    while seen.len() < published.len() {
        if seen.len() > published.len() / 2 && !killed {
            killed = true;
            cluster.node_mut(1).kill();
            cluster.node_mut(1).launch().unwrap();
            cluster.node_mut(2).kill();
            cluster.node_mut(2).launch().unwrap();
        }
        runtime.block_on(async {
            let delivery = consumer.next().await.unwrap();
            seen.insert(String::from_utf8(delivery.body.to_vec()).unwrap());
            // One that was lost with its connection may have been done, and comes again if not.
            drop(consumer.ack(delivery.handle).await.unwrap().await);
        });
    }
    assert!(killed);
    assert_eq!(seen, published);
}

#[test]
fn a_client_that_knows_one_follower_goes_to_whoever_leads_and_loses_nothing_when_the_leader_dies() {
    let mut cluster = cluster(1);
    // What is on its way to the client when its leader dies is leased: it comes again soon.
    let attributes = [("queueName", "q"), ("visibilityTimeout", "2")];
    done(&mut cluster.node(1).client(), "CreateQueue", &attributes);
    let first = leader(cluster.node(1), 0);
    let known = first % 3 + 1;
    let address = cluster.node(known).streams_url();
    let client = Client::new(&[address], Key::new("AKIDdev", "dev")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let seen: Arc<Mutex<BTreeMap<u64, String>>> = Arc::default();
    let (publisher, consumer) =
        runtime.block_on(async { (client.publisher(), client.consumer("q", Window::default())) });
    let producing = runtime.spawn(produce(
        publisher,
        "all".to_owned(),
        Arc::clone(&stop),
        Arc::clone(&sent),
    ));
    let consuming = runtime.spawn(consume_on(consumer, Arc::clone(&seen)));
    // Leadership may move by itself meanwhile.
    until("both streams are at the leader", || {
        streams_at(cluster.node(leader(cluster.node(known), 0))) == 2
    });
    let dying = match leader(cluster.node(known), 0) {
        // The one that the client knows is not to be killed.
        leader if leader == known => first,
        leader => leader,
    };
    cluster.node_mut(dying).kill();
    wait_for(&sent, 200);
    until("both streams are at the next leader", || {
        streams_at(cluster.node(leader(cluster.node(known), 0))) == 2
    });
    wait_for(&sent, 200);
    stop.store(true, Ordering::Relaxed);
    let expected = runtime.block_on(producing).unwrap();
    until("everything is consumed", || {
        seen.lock().unwrap().len() >= expected.len()
    });
    consuming.abort();
    let bodies: Vec<String> = seen.lock().unwrap().values().cloned().collect();
    assert_eq!(bodies.len(), expected.len(), "something was stored twice");
    assert_eq!(bodies.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Returns how many streams are open at a node, as it says.
fn streams_at(node: &Node) -> u64 {
    gauge(node, "posthouse_streams")
}

/// Consumes and deletes for ever, and notes the messages with their bodies.
async fn consume_on(mut consumer: Consumer, seen: Arc<Mutex<BTreeMap<u64, String>>>) {
    loop {
        let delivery = consumer.next().await.unwrap();
        let body = String::from_utf8(delivery.body.to_vec()).unwrap();
        seen.lock().unwrap().insert(delivery.message_id, body);
        // One that was lost with its connection may have been done, and comes again if not.
        drop(consumer.ack(delivery.handle).await.unwrap());
    }
}

fn client(cluster: &Cluster) -> Client {
    let addresses: Vec<String> = cluster.nodes().iter().map(|node| node.streams_url()).collect();
    Client::new(&addresses, Key::new("AKIDdev", "dev")).unwrap()
}

/// Publishes until told to stop, many at a time; returns what was acknowledged, which is all.
async fn produce(
    publisher: Publisher,
    name: String,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
) -> BTreeSet<String> {
    let target = Target::queue("q");
    let mut acknowledged = BTreeSet::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut receipts = Vec::new();
        for _ in 0..IN_FLIGHT {
            number += 1;
            let body = format!("{name}-{number}");
            receipts.push((publisher.publish(&target, body.clone()).await.unwrap(), body));
        }
        for (receipt, body) in receipts {
            receipt.await.unwrap_or_else(|error| panic!("{body}: {error}"));
            acknowledged.insert(body);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    acknowledged
}

/// Consumes and deletes so many messages, and returns their bodies.
async fn consume(mut consumer: Consumer, count: usize) -> BTreeSet<String> {
    let (mut messages, mut bodies, mut settlements) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    while messages.len() < count {
        let delivery = consumer.next().await.unwrap();
        settlements.push(consumer.ack(delivery.handle).await.unwrap());
        let body = String::from_utf8(delivery.body.to_vec()).unwrap();
        // A message may come again; another message with the same body may not.
        let is_new = messages.insert(delivery.message_id);
        assert!(!is_new || bodies.insert(body.clone()), "{body} was stored twice");
    }
    for settlement in settlements {
        // Of one that came again the first lease is void.
        drop(settlement.await);
    }
    bodies
}
