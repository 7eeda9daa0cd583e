//! What became of a message, told by nodes that go on when others die.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use posthouse_tests::{Cluster, Endpoint, Node};
use serde_json::{Value, json};

use crate::{WITHIN, cluster, command, create_queue, done, leader, take, until};

const SETS: u8 = 2;
const RULE: &str = r#"{"when":{"field":"/price","above":100}}"#;

fn explain(node: &Node, id: &str) -> Value {
    command(node, &["explain", id])
}

/// Publishes to a topic that all but one of its subscriptions takes: one that pushes, and is refused once, and one that a
/// filter looks at. Returns the message once all of it is over.
fn publish_and_follow(cluster: &Cluster) -> String {
    let tries = AtomicUsize::new(0);
    let endpoint = Endpoint::serve(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Some(503),
        _ => Some(200),
    })
    .unwrap();
    let mut client = cluster.node(1).client();
    done(&mut client, "CreateTopic", &[("topicName", "t")]);
    let url = endpoint.url();
    for (name, protocol, endpoint) in [
        ("taken", "queue", "q"),
        ("dropped", "queue", "q"),
        ("pushed", "http", url.as_str()),
    ] {
        if name == "taken" {
            create_queue(&mut client, "q");
        }
        let subscription = [
            ("topicName", "t"),
            ("subscriptionName", name),
            ("protocol", protocol),
            ("endpoint", endpoint),
        ];
        done(&mut client, "Subscribe", &subscription);
    }
    let filter = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/plugins/json-filter/component.wasm")
        .display()
        .to_string();
    command(cluster.node(1), &["plugin", "push", "json-filter", &filter]);
    let place = ["--topic", "t", "--subscription", "dropped", "--config", RULE];
    command(
        cluster.node(1),
        &[&["plugin", "bind", "json-filter"], &place[..]].concat(),
    );
    let published = done(
        &mut client,
        "PublishMessage",
        &[("topicName", "t"), ("msgBody", r#"{"price":7}"#)],
    );
    let id = published["msgId"].as_str().unwrap().to_owned();
    assert_eq!(endpoint.next(WITHIN).unwrap().status, Some(503));
    assert_eq!(endpoint.next(WITHIN).unwrap().status, Some(200));
    let mut body = None;
    until("it comes into the queue", || {
        body = take(&mut client, "q");
        body.is_some()
    });
    assert_eq!(take(&mut client, "q"), None, "the filter has dropped it");
    until("the push is settled", || {
        pushed(&explain(cluster.node(1), &id)).is_some_and(|delivery| delivery["state"] == "acknowledged")
    });
    id
}

/// Returns the delivery to the endpoint, by what is told of a message.
fn pushed(told: &Value) -> Option<&Value> {
    let deliveries = told["deliveries"].as_array()?;
    deliveries.iter().find(|one| one["subscription"] == "pushed")
}

/// Returns what the endpoint answered each time.
fn answers(told: &Value) -> Vec<u64> {
    let tries = pushed(told).unwrap()["tries"].as_array().unwrap();
    tries.iter().filter_map(|one| one["status"].as_u64()).collect()
}

#[test]
fn explain_tells_the_same_whoever_has_died_since() {
    let mut cluster = cluster(SETS);
    let id = publish_and_follow(&cluster);
    let before = explain(cluster.node(1), &id);
    let verdicts: Vec<&Value> = before["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|decision| &decision["verdict"])
        .collect();
    assert!(verdicts.contains(&&json!("dropped")), "{before}");
    assert_eq!(answers(&before), [503, 200], "{before}");
    for set in 0..u64::from(SETS) {
        let victim = leader(cluster.node(1), set);
        cluster.node_mut(victim).kill();
        for survivor in (1..=3).filter(|node| *node != victim) {
            assert_eq!(explain(cluster.node(survivor), &id), before, "set {set}");
        }
        cluster.node_mut(victim).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    for node in 1..=3 {
        cluster.node_mut(node).kill();
    }
    for node in 1..=3 {
        cluster.node_mut(node).spawn().unwrap();
    }
    for node in 1..=3 {
        cluster.node_mut(node).wait_serving().unwrap();
    }
    cluster.wait_ready().unwrap();
    for node in 1..=3 {
        assert_eq!(explain(cluster.node(node), &id), before, "node {node}");
    }
}
