//! Nodes come, go and lose their disks while the cluster serves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use posthouse_tests::{Client, Node};
use serde_json::Value;

use crate::{cluster, create_queue, send, status, take};

/// How long a change has to come to its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A producer and a consumer of one queue that meet no error.
struct Traffic {
    stop: Arc<AtomicBool>,
    producer: JoinHandle<BTreeSet<String>>,
    consumer: JoinHandle<BTreeSet<String>>,
}

// === impl Traffic ===

impl Traffic {
    /// Begins at two nodes that live.
    fn begin(queue: &str, producer: Client, consumer: Client) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopping) = (queue.to_owned(), Arc::clone(&stop));
        let mut client = producer;
        let producer = std::thread::spawn(move || {
            let mut sent = BTreeSet::new();
            while !stopping.load(Ordering::Relaxed) {
                let body = format!("{name}-{}", sent.len());
                let answer = client
                    .ask("SendMessage", &[("queueName", &name), ("msgBody", &body)])
                    .unwrap();
                assert_eq!(answer.code(), 0, "{}", answer.0);
                sent.insert(body);
            }
            sent
        });
        let (name, stopping) = (queue.to_owned(), Arc::clone(&stop));
        let mut client = consumer;
        let consumer = std::thread::spawn(move || {
            let mut taken = BTreeSet::new();
            while !stopping.load(Ordering::Relaxed) {
                taken.extend(take_all(&mut client, &name));
            }
            taken
        });
        Traffic {
            stop,
            producer,
            consumer,
        }
    }

    /// Ends, takes what is left, and checks that all that was sent was got.
    fn end(self, queue: &str, mut rest: Client) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.producer.join().unwrap();
        let mut taken = self.consumer.join().unwrap();
        taken.extend(take_all(&mut rest, queue));
        assert!(!sent.is_empty());
        assert_eq!(taken, sent);
    }
}

/// Takes messages until there is none.
fn take_all(client: &mut Client, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let got = client.ask("ReceiveMessage", &[("queueName", queue)]).unwrap();
        // No message.
        if got.code() == 7000 {
            return bodies;
        }
        assert_eq!(got.code(), 0, "{}", got.0);
        let handle = got.text("receiptHandle").to_owned();
        let deleted = client
            .ask(
                "DeleteMessage",
                &[("queueName", queue), ("receiptHandle", &handle)],
            )
            .unwrap();
        assert_eq!(deleted.code(), 0, "{}", deleted.0);
        bodies.push(got.text("msgBody").to_owned());
    }
}

/// Waits until a node shows the cluster as a test wants it.
fn wait_until(node: &Node, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let status = status(node);
        if holds(&status) {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {status:#}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Returns a node by its number.
fn node(status: &Value, number: u64) -> &Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes
        .iter()
        .find(|node| node["node"] == number)
        .unwrap_or(&Value::Null)
}

/// Returns the nodes that have a replica of a group.
fn holders(group: &Value) -> BTreeSet<u64> {
    let replicas = group["replicas"].as_array().unwrap();
    replicas
        .iter()
        .filter_map(|replica| replica["node"].as_u64())
        .collect()
}

/// Returns whether all is well, and every group has replicas on these nodes and members nowhere else.
fn is_settled_on(status: &Value, nodes: &[u64]) -> bool {
    let nodes: BTreeSet<u64> = nodes.iter().copied().collect();
    status["healthy"] == true
        && status["groups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|group| holders(group) == nodes && group["changing"] == false)
}

#[test]
fn a_dead_node_is_replaced_by_one_with_an_empty_disk_under_load() {
    let mut cluster = cluster(2);
    create_queue(&mut cluster.node(1).client(), "load");
    create_queue(&mut cluster.node(1).client(), "kept");
    for message in 0..20 {
        assert!(send(&mut cluster.node(1).client(), "kept", &message.to_string()));
    }
    wait_until(cluster.node(1), "it is founded", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    let traffic = Traffic::begin("load", cluster.node(1).client(), cluster.node(3).client());
    cluster.node_mut(2).kill();
    let kept = cluster.node(2).keep_disk().unwrap();
    cluster.node_mut(2).launch().unwrap();
    let status = wait_until(
        cluster.node(1),
        "it has taken the place of the dead one",
        |status| is_settled_on(status, &[1, 2, 3]),
    );
    let replica = node(&status, 2)["replica"].as_u64().unwrap();
    assert!(replica > 65_535, "another id than the founder's: {status:#}");
    traffic.end("load", cluster.node(2).client());

    // It counts: with it and one other, everything works, and it knows everything.
    cluster.node_mut(3).kill();
    for message in 0..20 {
        let body = take(&mut cluster.node(2).client(), "kept");
        assert_eq!(body, Some(message.to_string()));
    }
    cluster.node_mut(3).launch().unwrap();
    cluster.wait_ready().unwrap();

    // Its old disk must never vote again.
    cluster.node_mut(2).kill();
    cluster.node(2).put_disk(&kept).unwrap();
    cluster.node_mut(2).spawn().unwrap();
    assert_eq!(cluster.node_mut(2).wait_ended().unwrap(), Some(1));
    let log = cluster.node_mut(2).take_log().join("\n");
    assert!(log.contains("was taken out of the cluster"), "{log}");
}
