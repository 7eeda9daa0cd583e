//! Nodes come, go and lose their disks while the cluster serves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use posthouse_tests::{Client, Cluster, Node};
use serde_json::Value;

use crate::{cluster, command, create_queue, program, send, status, take};

/// How long a change has to come to its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
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
                send(&mut client, &name, &body);
                sent.insert(body);
            }
            sent
        });
        let (name, stopping) = (queue.to_owned(), Arc::clone(&stop));
        let mut client = consumer;
        let consumer = std::thread::spawn(move || {
            let mut taken = BTreeSet::new();
            while !stopping.load(Ordering::Relaxed) {
                taken.extend(take(&mut client, &name));
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
        taken.extend(std::iter::from_fn(|| take(&mut rest, queue)));
        assert!(!sent.is_empty());
        assert_eq!(taken, sent);
    }
}

/// Waits until a node shows the cluster as a test wants it.
pub(crate) fn wait_until(node: &Node, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
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
pub(crate) fn node(status: &Value, number: u64) -> &Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes
        .iter()
        .find(|node| node["node"] == number)
        .unwrap_or(&Value::Null)
}

/// Returns the nodes that have a replica of a group.
pub(crate) fn holders(group: &Value) -> BTreeSet<u64> {
    let replicas = group["replicas"].as_array().unwrap();
    replicas
        .iter()
        .filter_map(|replica| replica["node"].as_u64())
        .collect()
}

/// Returns whether all is well, and every group has replicas on these nodes and members nowhere else.
pub(crate) fn is_settled_on(status: &Value, nodes: &[u64]) -> bool {
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
        send(&mut cluster.node(1).client(), "kept", &message.to_string());
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

/// Returns whether a group has replicas on these nodes, and members nowhere else.
pub(crate) fn is_group_on(status: &Value, set: Option<u64>, nodes: &[u64]) -> bool {
    let nodes: BTreeSet<u64> = nodes.iter().copied().collect();
    let groups = status["groups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["set"].as_u64() == set);
    group.is_some_and(|group| holders(group) == nodes && group["changing"] == false)
}

#[test]
fn a_node_joins_and_takes_over_sets_and_another_is_drained_and_removed_under_load() {
    let mut cluster = cluster(2);
    for queue in ["load", "other"] {
        create_queue(&mut cluster.node(1).client(), queue);
    }
    wait_until(cluster.node(1), "it is founded", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    let load = Traffic::begin("load", cluster.node(1).client(), cluster.node(3).client());
    let other = Traffic::begin("other", cluster.node(3).client(), cluster.node(1).client());
    cluster.add().unwrap();
    wait_until(cluster.node(1), "the fourth has joined", |status| {
        node(status, 4)["state"] == "active" && is_group_on(status, None, &[1, 2, 3, 4])
    });

    // It holds no set, and serves everything.
    let mut fourth = cluster.node(4).client();
    create_queue(&mut fourth, "by-the-fourth");
    for queue in ["by-the-fourth", "load", "other"] {
        let shown = fourth.ask("GetQueueAttributes", &[("queueName", queue)]).unwrap();
        assert_eq!(shown.code(), 0, "{}", shown.0);
    }
    send(&mut fourth, "by-the-fourth", "hello");
    let shown = fourth
        .ask("GetQueueAttributes", &[("queueName", "by-the-fourth")])
        .unwrap();
    assert_eq!(
        shown.0["activeMsgNum"], 1,
        "it sees what it was answered: {}",
        shown.0
    );
    assert_eq!(take(&mut fourth, "by-the-fourth").as_deref(), Some("hello"));

    let change = |cluster: &Cluster, arguments: &[&str]| {
        command(cluster.node(4), &[&["cluster"], arguments].concat());
    };
    change(&cluster, &["move", "--set", "0", "--from", "2", "--to", "4"]);
    wait_until(cluster.node(1), "the set was moved", |status| {
        is_group_on(status, Some(0), &[1, 3, 4]) && is_group_on(status, Some(1), &[1, 2, 3])
    });
    change(&cluster, &["drain", "2"]);
    wait_until(cluster.node(4), "it is drained", |status| {
        is_group_on(status, Some(0), &[1, 3, 4]) && is_group_on(status, Some(1), &[1, 3, 4])
    });
    change(&cluster, &["remove", "2"]);
    wait_until(cluster.node(1), "it is removed", |status| {
        node(status, 2).is_null() && is_settled_on(status, &[1, 3, 4])
    });
    assert_eq!(
        cluster.node_mut(2).wait_ended().unwrap(),
        Some(1),
        "it is told to go"
    );
    load.end("load", cluster.node(4).client());
    other.end("other", cluster.node(4).client());

    // The fourth counts like any other.
    cluster.node_mut(3).kill();
    send(&mut cluster.node(4).client(), "load", "after");
    assert_eq!(
        take(&mut cluster.node(1).client(), "load").as_deref(),
        Some("after")
    );
}

#[test]
fn one_node_grows_to_three_with_its_messages() {
    let mut cluster = Cluster::start_alone(program(), 2).unwrap();
    for queue in ["first", "second"] {
        create_queue(&mut cluster.node(1).client(), queue);
        for message in 0..20 {
            send(&mut cluster.node(1).client(), queue, &message.to_string());
        }
    }
    cluster.open_to_others().unwrap();
    cluster.wait_ready().unwrap();
    let alone = take(&mut cluster.node(1).client(), "first");
    assert_eq!(alone.as_deref(), Some("0"));
    cluster.add().unwrap();
    wait_until(cluster.node(1), "the second has joined", |status| {
        node(status, 2)["state"] == "active"
    });
    let by_the_second = take(&mut cluster.node(2).client(), "first");
    assert_eq!(by_the_second.as_deref(), Some("1"), "it holds no set yet");
    cluster.add().unwrap();
    wait_until(cluster.node(1), "everything is on all three", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    cluster.node_mut(1).kill();
    for (queue, first) in [("first", 2), ("second", 0)] {
        for message in first..20 {
            let body = take(&mut cluster.node(3).client(), queue);
            assert_eq!(body, Some(message.to_string()), "{queue}");
        }
        assert_eq!(take(&mut cluster.node(2).client(), queue), None);
    }
}
