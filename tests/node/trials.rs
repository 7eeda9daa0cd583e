//! Versions that are tried beside those in use: compared, as canaries, promoted and taken back by a gate.

use posthouse_tests::{Answer, Client, Node};
use serde_json::Value;

use crate::plugins::{component, explain, publish_tag, push, receive, refused, topic_to_queue};
use crate::sealing::run;
use crate::steps::Steps;
use crate::{get, node, until};

/// To the built-in router `lazy` does not match `lazy.#`, to the other one it does.
const SAME: &str = "lazy.cat";
const DIFFERENT: &str = "lazy";
const RULE: &str = r#"{"when":{"field":"/price","above":100}}"#;

/// A topic with a router of its own in two versions: the built-in in use, and one that reads `#` in another way.
fn routed() -> (Node, Client) {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[("filterType", "2")], "q", "lazy.#");
    push(&node, "router", "plugins/topic-router");
    run(&node, &["plugin", "bind", "router", "--topic", "t"]);
    push(&node, "router", "examples/plugins/zero-or-more-router");
    (node, client)
}

fn publish(client: &mut Client, key: &str) -> Answer {
    let message = [("topicName", "t"), ("msgBody", "x"), ("routingKey", key)];
    client.ask("PublishMessage", &message).unwrap()
}

/// Returns the only trial there is.
fn trial(node: &Node) -> Value {
    let trials: Value = serde_json::from_str(&run(node, &["plugin", "trials", "--json"])).unwrap();
    let [trial] = &trials.as_array().unwrap()[..] else {
        panic!("{trials}")
    };
    trial.clone()
}

/// Waits until a trial shows what it is to show.
fn trial_with(node: &Node, shows: impl Fn(&Value) -> bool) -> Value {
    until(|| Some(trial(node)).filter(|trial| shows(trial)))
}

/// Returns the version that is in use at the topic.
fn in_use(node: &Node) -> u64 {
    let bindings: Value = serde_json::from_str(&run(node, &["plugin", "bindings", "--json"])).unwrap();
    let mut bindings = bindings.as_array().unwrap().iter();
    let bound = bindings.find(|one| one["place"]["topic"] == "t").unwrap();
    bound["version"].as_u64().unwrap()
}

#[test]
fn a_shadow_is_compared_and_what_it_says_changes_nothing() {
    let (node, mut client) = routed();
    run(&node, &["plugin", "shadow", "router", "--topic", "t"]);
    for _ in 0..3 {
        publish(&mut client, SAME).success().unwrap();
    }
    assert_eq!(publish(&mut client, DIFFERENT).codes(), (6030, 10730));
    let shown = trial_with(&node, |trial| trial["calls"] == 4);
    assert_eq!(
        (
            &shown["same"],
            &shown["different"],
            &shown["failed"],
            &shown["decided"]
        ),
        (&3.into(), &1.into(), &0.into(), &0.into()),
        "{shown}"
    );
    let sample = &shown["samples"][0];
    assert_eq!(sample["in_use"], "subscriptions ", "{shown}");
    assert_ne!(sample["tried"], "subscriptions ", "{shown}");
    let told = run(&node, &["plugin", "trials"]);
    assert!(told.contains(sample["message_id"].as_str().unwrap()), "{told}");
    let counted =
        "posthouse_plugin_trial_messages_total{tenant=\"1\",world=\"route\",outcome=\"different\"} 1";
    let metrics = get(&node, "/metrics").1;
    assert!(metrics.contains(counted), "{metrics}");
    run(&node, &["plugin", "stop", "--topic", "t", "--world", "route"]);
    publish(&mut client, SAME).success().unwrap();
    let ended = trial(&node);
    assert_eq!((&ended["state"], &ended["calls"]), (&"stopped".into(), &4.into()));
}

#[test]
fn a_version_is_tried_on_what_a_queue_kept_in_a_queue_of_its_own() {
    let node = node();
    let mut client = node.client();
    client.create_queue("orders", &[("rewindSeconds", "3600")]);
    client.create_queue("scratch", &[]);
    for price in [50, 150, 250] {
        client.send("orders", &format!("{{\"price\":{price}}}"));
    }
    // Two are waiting, and one is kept to be rewound to.
    let got = client.receive("orders");
    client.delete("orders", got.text("receiptHandle"));
    push(&node, "prices", "examples/plugins/json-filter");
    let bind = ["plugin", "bind", "prices", "--queue", "scratch", "--config", RULE];
    run(&node, &bind);
    push(&node, "prices", "tests/plugins/hostile-filter");
    run(&node, &["plugin", "shadow", "prices", "--queue", "scratch"]);
    let told = run(&node, &["queue", "copy", "orders", "--into", "scratch"]);
    assert_eq!(told, "3 messages of orders copied into scratch\n");
    assert_eq!(client.receive("scratch").text("msgBody"), r#"{"price":150}"#);
    assert_eq!(client.receive("scratch").text("msgBody"), r#"{"price":250}"#);
    let shown = trial_with(&node, |trial| trial["calls"] == 3);
    assert_eq!(
        (&shown["same"], &shown["different"], &shown["decided"]),
        (&2.into(), &1.into(), &0.into()),
        "{shown}"
    );
    assert_eq!(
        client.receive("orders").text("msgBody"),
        r#"{"price":150}"#,
        "the queue is as it was"
    );
    let told = run(
        &node,
        &[
            "queue",
            "copy",
            "orders",
            "--into",
            "scratch",
            "--since",
            "99999999999",
        ],
    );
    assert_eq!(told, "0 messages of orders copied into scratch\n");
}

#[test]
fn a_queue_is_copied_page_by_page_into_another_one_that_is_sealed_if_it_is() {
    let node = node();
    let mut client = node.client();
    for queue in ["q", "scratch"] {
        client.create_queue(queue, &[]);
    }
    for number in 0..250 {
        client.send("q", &number.to_string());
    }
    let told = refused(&node, &[], &["queue", "copy", "q", "--into", "q"]);
    assert!(told.contains("into itself"), "{told}");
    let told = refused(&node, &[], &["queue", "copy", "q", "--into", "nowhere"]);
    assert!(told.contains("no queue of that name"), "{told}");
    let told = run(&node, &["queue", "copy", "q", "--into", "scratch"]);
    assert_eq!(told, "250 messages of q copied into scratch\n");
    for number in 0..250 {
        let got = client.receive("scratch");
        assert_eq!(got.text("msgBody"), number.to_string());
    }
    client.send("q", "guilty");
    push(&node, "hostile", "tests/plugins/hostile-filter");
    run(
        &node,
        &[
            "plugin",
            "bind",
            "hostile",
            "--queue",
            "scratch",
            "--config",
            "count-and-trap",
        ],
    );
    let told = run(&node, &["queue", "copy", "q", "--into", "scratch", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["copied"], 250, "{told}");
    let refused_ones = told["refused"].as_array().unwrap();
    assert_eq!(refused_ones.len(), 1, "{told}");
    assert!(
        refused_ones[0]["why"].as_str().unwrap().contains("filter"),
        "{told}"
    );
    run(
        &node,
        &["plugin", "unbind", "--queue", "scratch", "--world", "filter"],
    );

    run(&node, &["key", "create", "k"]);
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    client.send("q", "secret");
    let told = refused(&node, &[], &["queue", "copy", "q", "--into", "scratch"]);
    assert!(told.contains("seal the queue"), "{told}");
    run(&node, &["queue", "seal", "scratch", "--key", "k"]);
    let told = run(&node, &["queue", "copy", "q", "--into", "scratch"]);
    assert_eq!(told, "252 messages of q copied into scratch\n");
}

#[test]
fn a_canary_decides_its_share_and_is_put_in_use_and_taken_back_by_hand() {
    let (node, mut client) = routed();
    let before = in_use(&node);
    let shadow = ["plugin", "shadow", "router", "--topic", "t", "--canary"];
    run(&node, &[&shadow[..], &["100"]].concat());
    let sent = publish(&mut client, DIFFERENT).success().unwrap();
    assert_eq!(receive(&mut client, "q"), "x");
    let shown = trial_with(&node, |trial| trial["different"] == 1);
    assert_eq!((&shown["decided"], &shown["calls"]), (&1.into(), &1.into()));
    let told = explain(&node, sent.text("msgId"));
    assert_eq!(told["decisions"][0]["version"], shown["version"], "{told}");

    run(&node, &[&shadow[..], &["50"]].concat());
    let (mut by_tried, mut by_in_use) = (0_u64, 0_u64);
    for _ in 0..40 {
        let sent = publish(&mut client, SAME).success().unwrap();
        let version = explain(&node, sent.text("msgId"))["decisions"][0]["version"].as_u64();
        match version == shown["version"].as_u64() {
            true => by_tried += 1,
            false => by_in_use += 1,
        }
    }
    assert!(by_tried > 0 && by_in_use > 0, "{by_tried} and {by_in_use}");
    let shown = trial_with(&node, |trial| trial["same"] == 40);
    assert_eq!(
        shown["decided"].as_u64(),
        Some(by_tried),
        "it counts anew: {shown}"
    );

    run(&node, &["plugin", "promote", "--topic", "t", "--world", "route"]);
    assert_eq!(Some(in_use(&node)), shown["version"].as_u64());
    publish(&mut client, DIFFERENT).success().unwrap();
    run(&node, &["plugin", "rollback", "router"]);
    assert_eq!(in_use(&node), before);
    assert_eq!(publish(&mut client, DIFFERENT).codes(), (6030, 10730));
}

#[test]
fn a_gate_puts_in_use_what_is_good() {
    let (node, mut client) = routed();
    let shadow = [
        "plugin",
        "shadow",
        "router",
        "--topic",
        "t",
        "--gate-calls",
        "5",
        "--errors-max",
        "1",
        "--differences-max",
        "10",
        "--promote",
    ];
    run(&node, &shadow);
    let before = in_use(&node);
    for _ in 0..4 {
        publish(&mut client, SAME).success().unwrap();
    }
    trial_with(&node, |trial| trial["same"] == 4);
    assert_eq!(in_use(&node), before, "four are too few");
    publish(&mut client, SAME).success().unwrap();
    let promoted = trial_with(&node, |trial| trial["state"] == "promoted");
    assert_eq!(Some(in_use(&node)), promoted["version"].as_u64());
    publish(&mut client, DIFFERENT).success().unwrap();
}

#[test]
fn a_gate_takes_back_a_canary_that_fails_and_no_publish_does() {
    let (node, mut client) = routed();
    push(&node, "router", "tests/plugins/traps");
    let before = in_use(&node);
    let shadow = [
        "plugin",
        "shadow",
        "router",
        "--topic",
        "t",
        "--canary",
        "100",
        "--gate-calls",
        "20",
        "--errors-max",
        "10",
        "--promote",
    ];
    run(&node, &shadow);
    let trap = [
        ("topicName", "t"),
        ("msgBody", "x"),
        ("routingKey", SAME),
        ("msgTag.1", "trap"),
    ];
    for _ in 0..3 {
        client.ask("PublishMessage", &trap).unwrap().success().unwrap();
    }
    let fallen = trial_with(&node, |trial| trial["state"] == "fell back");
    assert_eq!(fallen["reason"], "3 of 3 calls failed", "{fallen}");
    assert_eq!(in_use(&node), before);
    client.ask("PublishMessage", &trap).unwrap().success().unwrap();
    assert_eq!(trial(&node)["calls"], 3, "it is asked no more");
}

#[test]
fn what_differs_about_a_sealed_body_is_shown_without_it() {
    let node = node();
    let mut client = node.client();
    for queue in ["sealed", "open"] {
        client
            .ask("CreateQueue", &[("queueName", queue)])
            .unwrap()
            .success()
            .unwrap();
    }
    run(&node, &["key", "create", "k"]);
    run(&node, &["queue", "seal", "sealed", "--key", "k"]);
    push(&node, "prices", "examples/plugins/json-filter");
    let config = r#"{"when":{"field":"/price","above":100}}"#;
    for queue in ["sealed", "open"] {
        run(
            &node,
            &["plugin", "bind", "prices", "--queue", queue, "--config", config],
        );
    }
    // Another version lets everything pass.
    push(&node, "prices", "tests/plugins/hostile-filter");
    for (queue, shown) in [("sealed", Value::Null), ("open", Value::from(r#"{"price":50}"#))] {
        run(&node, &["plugin", "shadow", "prices", "--queue", queue]);
        let send = [("queueName", queue), ("msgBody", r#"{"price":50}"#)];
        client.ask("SendMessage", &send).unwrap().success().unwrap();
        let trial = until(|| {
            let trials: Value = serde_json::from_str(&run(&node, &["plugin", "trials", "--json"])).unwrap();
            let mut trials = trials.as_array().unwrap().iter();
            let trial = trials.find(|one| one["place"]["queue"] == queue).unwrap();
            (trial["different"] == 1).then(|| trial.clone())
        });
        let sample = &trial["samples"][0];
        assert_eq!(
            (&sample["in_use"], &sample["tried"], &sample["body"]),
            (&"drop".into(), &"pass".into(), &shown),
            "{trial}"
        );
    }
}

#[test]
fn what_cannot_be_tried_is_refused_and_says_why() {
    let (node, mut client) = routed();
    publish_tag(&mut client, "t", "none");
    let shadow = |plugin, place: &'static [&str]| {
        refused(&node, &[], &[&["plugin", "shadow", plugin], place].concat())
    };
    let told = shadow("http-push", &["--http-endpoints"]);
    assert!(told.contains("only plugins that route or filter"), "{told}");
    let told = shadow("router", &["--whole-tenant"]);
    assert!(told.contains("nothing of that world is bound there"), "{told}");
    let told = shadow("topic-router", &["--topic", "t"]);
    assert!(told.contains("another plugin"), "{told}");
    let ending = ["plugin", "stop", "--topic", "t", "--world", "route"];
    let told = refused(&node, &[], &ending);
    assert!(told.contains("no such trial"), "{told}");
}

/// Counts messages in its store, in two versions that say the same: what differs is a section that nobody reads.
fn counting() -> (Node, Client) {
    const SECTION: &[u8] = b"\0\x06\x05other";
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    push(&node, "numbers", "tests/plugins/keeps");
    run(&node, &["plugin", "bind", "numbers", "--queue", "q"]);
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("component.wasm");
    let bytes = std::fs::read(component("tests/plugins/keeps")).unwrap();
    std::fs::write(&other, [&bytes[..], SECTION].concat()).unwrap();
    run(&node, &["plugin", "push", "numbers", other.to_str().unwrap()]);
    (node, client)
}

/// Sends some messages at once and some alone, and checks that each got the next number.
fn count(client: &mut Client, from: usize) {
    let batch = [
        ("queueName", "q"),
        ("msgBody.0", "x"),
        ("msgBody.1", "x"),
        ("msgBody.2", "x"),
    ];
    client.ask("BatchSendMessage", &batch).unwrap().success().unwrap();
    for _ in 0..7 {
        client.send("q", "x");
    }
    for number in from..from + 10 {
        assert_eq!(client.receive("q").text("msgBody"), number.to_string());
    }
}

#[test]
fn what_is_tried_finds_the_store_as_the_one_in_use_found_it_and_leaves_it_so() {
    let (node, mut client) = counting();
    count(&mut client, 1);
    run(&node, &["plugin", "shadow", "numbers", "--queue", "q"]);
    count(&mut client, 11);
    let shown = trial_with(&node, |trial| trial["calls"] == 10);
    let figures = (&shown["same"], &shown["different"], &shown["failed"]);
    assert_eq!(figures, (&10.into(), &0.into(), &0.into()), "{shown}");
    count(&mut client, 21);
}

#[test]
fn a_canary_keeps_what_it_decides_by_in_the_store_of_the_one_in_use() {
    let (node, mut client) = counting();
    count(&mut client, 1);
    run(
        &node,
        &["plugin", "shadow", "numbers", "--queue", "q", "--canary", "50"],
    );
    for from in (11..51).step_by(10) {
        count(&mut client, from);
    }
    let shown = trial_with(&node, |trial| {
        let compared = trial["same"].as_u64().unwrap() + trial["different"].as_u64().unwrap();
        compared == 40
    });
    assert_eq!(shown["different"], 0, "{shown}");
    let decided = shown["decided"].as_u64().unwrap();
    assert!((1..40).contains(&decided), "{shown}");
    run(&node, &["plugin", "promote", "--queue", "q", "--world", "filter"]);
    count(&mut client, 51);
}

#[test]
fn routers_are_tried_where_neither_version_keeps_a_store() {
    let (node, _) = routed();
    push(&node, "router", "tests/plugins/keeps-route");
    let told = refused(&node, &[], &["plugin", "shadow", "router", "--topic", "t"]);
    assert!(told.contains("a router that keeps a store"), "{told}");
}
