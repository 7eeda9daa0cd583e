//! Messages that were parked because a plugin failed on them: what they say of it, and how they are sent on their way again.

use posthouse_tests::{Client, Node};
use serde_json::Value;

use crate::plugins::{explain, publish, publish_tag, push, receive, topic_to_queue};
use crate::sealing::run;
use crate::{node, program, until};

const GUILTY: &str = "guilty of something";

fn json(node: &Node, command: &[&str]) -> Value {
    serde_json::from_str(&run(node, &[command, &["--json"]].concat())).unwrap()
}

/// Sends messages again; returns what the command says and whether it says that all went.
fn redrive(node: &Node, arguments: &[&str]) -> (Value, bool) {
    let output = std::process::Command::new(program())
        .args(["plugin", "redrive"])
        .args(arguments)
        .arg("--json")
        .env("POSTHOUSE_URL", node.url())
        .output()
        .unwrap();
    let told = serde_json::from_slice(&output.stdout);
    let told = told.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (told, output.status.success())
}

fn send(client: &mut Client, body: &str) -> String {
    let letter = [("queueName", "q"), ("msgBody", body)];
    let sent = client.ask("SendMessage", &letter).unwrap().success().unwrap();
    sent.text("msgId").to_owned()
}

/// Waits until so many messages are parked: they come there by the outbox of where they are from.
fn await_parked(client: &mut Client, count: u64) {
    until(|| {
        let told = client.ask("GetQueueAttributes", &[("queueName", "parked")]);
        (told.unwrap().success().unwrap().0["activeMsgNum"] == count).then_some(())
    });
}

/// Receives what is parked, by its order.
fn parked_bodies(client: &mut Client) -> Vec<String> {
    let all = [("queueName", "parked"), ("numOfMsg", "16")];
    let got = client
        .ask("BatchReceiveMessage", &all)
        .unwrap()
        .success()
        .unwrap();
    let bodies = got.0["msgInfoList"].as_array().unwrap().iter();
    bodies
        .map(|message| message["msgBody"].as_str().unwrap().to_owned())
        .collect()
}

/// Makes a queue `q` whose filter traps at a guilty message and has it parked; returns its version and, pushed under the
/// same name, that of a filter that does not.
fn queue_with_a_filter_that_traps(node: &Node, client: &mut Client) -> [String; 2] {
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    push(node, "guard", "tests/plugins/hostile-filter");
    let bind = ["plugin", "bind", "guard", "--queue", "q", "--config", "trap"];
    run(node, &[&bind[..], &["--on-failure", "park"]].concat());
    push(node, "guard", "examples/plugins/json-filter");
    let shown = json(node, &["plugin", "show", "guard"]);
    [0, 1].map(|at| shown["versions"][at]["version"].to_string())
}

#[test]
fn a_parked_message_tells_its_receiver_and_explain_which_plugin_failed_on_it_and_where() {
    let node = node();
    let mut client = node.client();
    let [version, _] = queue_with_a_filter_that_traps(&node, &mut client);
    let id = send(&mut client, GUILTY);
    await_parked(&mut client, 1);
    let told = explain(&node, &id);
    let parked = &told["moves"][0]["parked"];
    let digest = json(&node, &["plugin", "show", "guard"])["versions"][0]["digest"].clone();
    assert_eq!(parked["plugin"], "guard", "{told}");
    assert_eq!(
        (parked["version"].to_string(), &parked["digest"]),
        (version.clone(), &digest)
    );
    assert_eq!(
        (&parked["world"], &parked["attempt"]),
        (&"filter".into(), &1.into())
    );
    let trap = parked["trap"].as_str().unwrap();
    assert!(trap.starts_with("the plugin trapped"), "{told}");
    let backtrace = parked["backtrace"].as_str().unwrap();
    assert!(
        backtrace.lines().count() > 1 && backtrace.contains(" at 0x"),
        "{told}"
    );
    let got = json(&node, &["queue", "receive", "parked"]);
    assert_eq!(&got["messages"][0]["origin"]["parked"], parked, "{got}");
    let handle = got["messages"][0]["receipt_handle"].as_str().unwrap();
    run(&node, &["queue", "remove", "parked", handle]);
    // What CMQ's clients get.
    send(&mut client, GUILTY);
    let got = client
        .ask(
            "ReceiveMessage",
            &[("queueName", "parked"), ("pollingWaitSeconds", "20")],
        )
        .unwrap()
        .success()
        .unwrap();
    let told = &got.0["parked"];
    assert_eq!(
        (&told["trap"], &told["digest"]),
        (&trap.into(), &digest),
        "{}",
        got.0
    );
    assert_eq!(told["version"], version, "{}", got.0);
}

#[test]
fn parked_messages_are_sent_through_another_version_each_once() {
    let mut node = node();
    let mut client = node.client();
    let [broken, mended] = queue_with_a_filter_that_traps(&node, &mut client);
    let ids: Vec<String> = (0..3)
        .map(|number| send(&mut client, &format!("{GUILTY} {number}")))
        .collect();
    await_parked(&mut client, 3);
    let (told, complete) = redrive(&node, &["guard"]);
    assert!(!complete, "it fails again: {told}");
    assert_eq!((&told["sent"], &told["parked"]), (&0.into(), &3.into()), "{told}");
    assert_eq!(told["stayed"].as_array().unwrap().len(), 3, "{told}");
    let reason = told["stayed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("trapped"), "{told}");

    // Bound to this, the version in use would drop what the other one passes.
    let config = r#"{"when":{"field":"/price","above":100},"not-json":"pass"}"#;
    let bind = [
        "plugin",
        "bind",
        "guard",
        "--queue",
        "q",
        "--plugin-version",
        &broken,
    ];
    run(&node, &[&bind[..], &["--config", config]].concat());
    let through = ["guard", "--plugin-version", &mended, "--queue", "q"];
    let (told, complete) = redrive(&node, &[&through[..], &["--max", "2"]].concat());
    assert!(complete && told["sent"] == 2, "{told}");
    node.kill();
    node.launch().unwrap();
    let mut client = node.client();
    let (told, complete) = redrive(&node, &through);
    assert!(complete && told["sent"] == 1 && told["parked"] == 0, "{told}");
    let (told, _) = redrive(&node, &through);
    assert_eq!((&told["sent"], &told["parked"]), (&0.into(), &0.into()), "{told}");
    for number in 0..3 {
        assert_eq!(receive(&mut client, "q"), format!("{GUILTY} {number}"));
    }
    let nothing = client.ask("ReceiveMessage", &[("queueName", "q")]).unwrap();
    assert_eq!(nothing.code(), 7000, "each came once: {nothing:?}");
    let told = explain(&node, &ids[0]);
    let hops: Vec<(&Value, &Value)> = told["moves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| (&hop["from"], &hop["to"]))
        .collect();
    let (q, parked) = (Value::from("q"), Value::from("parked"));
    assert_eq!(hops, [(&q, &parked), (&parked, &q)], "{told}");
    let decisions = told["decisions"].as_array().unwrap();
    let last = decisions.last().unwrap();
    assert_eq!(last["verdict"], "passed", "{told}");
    assert_eq!(last["version"].to_string(), mended, "{told}");
}

#[test]
fn what_one_subscription_s_filter_failed_on_goes_to_that_subscription_alone() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "one", "");
    client
        .ask("CreateQueue", &[("queueName", "two")])
        .unwrap()
        .success()
        .unwrap();
    run(&node, &["sub", "create", "t", "two", "--queue", "two"]);
    push(&node, "guard", "tests/plugins/hostile-filter");
    let place = ["--topic", "t", "--subscription", "two"];
    let bind = [
        "plugin",
        "bind",
        "guard",
        "--config",
        "trap",
        "--on-failure",
        "park",
    ];
    run(&node, &[&bind[..], &place].concat());
    publish(&mut client, "t", GUILTY).success().unwrap();
    assert_eq!(receive(&mut client, "one"), GUILTY);
    await_parked(&mut client, 1);
    let (told, _) = redrive(&node, &["guard", "--queue", "one"]);
    assert_eq!((&told["sent"], &told["parked"]), (&0.into(), &1.into()), "{told}");
    // The configuration is the binding's: with this one, it lets everything pass.
    let bind = ["plugin", "bind", "guard", "--config", "chatter"];
    run(&node, &[&bind[..], &place].concat());
    let (told, complete) = redrive(&node, &[&["guard"], &place[..]].concat());
    assert!(complete && told["sent"] == 1 && told["parked"] == 0, "{told}");
    assert_eq!(receive(&mut client, "two"), GUILTY);
    let nothing = client.ask("ReceiveMessage", &[("queueName", "one")]).unwrap();
    assert_eq!(nothing.code(), 7000, "{nothing:?}");
}

#[test]
fn what_a_router_failed_on_is_routed_by_another_version_also_while_its_binding_is_out_of_use() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    push(&node, "ways", "tests/plugins/traps");
    let bind = ["plugin", "bind", "ways", "--topic", "t", "--on-failure", "park"];
    run(&node, &bind);
    publish_tag(&mut client, "t", "trap").success().unwrap();
    await_parked(&mut client, 1);
    let out = [
        "plugin",
        "quarantine",
        "--topic",
        "t",
        "--world",
        "route",
        "--reason",
        "it traps",
    ];
    run(&node, &out);
    let (told, complete) = redrive(&node, &["ways"]);
    assert!(!complete && told["sent"] == 0, "{told}");
    let reason = told["stayed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("out of use"), "{told}");
    push(&node, "ways", "plugins/topic-router");
    let mended = json(&node, &["plugin", "show", "ways"])["versions"][1]["version"].to_string();
    let (told, complete) = redrive(&node, &["ways", "--plugin-version", &mended]);
    assert!(complete && told["sent"] == 1, "{told}");
    assert_eq!(receive(&mut client, "q"), "x");
}

#[test]
fn what_a_delivery_failed_on_is_delivered_by_what_is_bound_now_and_never_parked_in_clear() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    run(&node, &["key", "create", "k"]);
    run(&node, &["topic", "seal", "t", "--key", "k"]);
    push(&node, "hands", "tests/plugins/hostile-deliver");
    let bind = ["plugin", "bind", "hands", "--topic", "t", "--on-failure", "park"];
    run(&node, &[&bind[..], &["--config", "trap"]].concat());
    let sent = publish(&mut client, "t", "x").success().unwrap();
    let told = until(|| {
        let told = explain(&node, sent.text("msgId"));
        told["moves"][0]["parked"].is_object().then_some(told)
    });
    let parked = &told["moves"][0]["parked"];
    assert_eq!(
        (&parked["world"], &parked["subscription"], &parked["attempt"]),
        (&"deliver".into(), &"q".into(), &1.into()),
        "{told}"
    );
    let place = told["places"]
        .as_array()
        .unwrap()
        .iter()
        .find(|place| place["name"] == "parked");
    assert_eq!(place.unwrap()["sealed"], true, "{told}");
    let version = json(&node, &["plugin", "show", "hands"])["versions"][0]["version"].to_string();
    let (told, _) = redrive(&node, &["hands", "--plugin-version", &version]);
    let reason = told["stayed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("bind or activate"), "{told}");
    run(&node, &["plugin", "unbind", "--topic", "t", "--world", "deliver"]);
    let (told, complete) = redrive(&node, &["hands"]);
    assert!(complete && told["sent"] == 1 && told["parked"] == 0, "{told}");
    assert_eq!(receive(&mut client, "q"), "x");
}

#[test]
fn a_call_that_is_decided_again_parks_its_messages_once() {
    let node = node();
    let mut client = node.client();
    let [broken, _] = queue_with_a_filter_that_traps(&node, &mut client);
    topic_to_queue(&mut client, "t", &[], "one", "");
    let bind = ["plugin", "bind", "guard", "--plugin-version", &broken];
    let place = ["--topic", "t", "--subscription", "one"];
    let how = ["--config", "trap", "--on-failure", "park"];
    run(&node, &[&bind[..], &place, &how].concat());
    let single = [("queueName", "q"), ("msgBody", "guilty alone")];
    let batch = [
        ("queueName", "q"),
        ("msgBody.1", "harmless"),
        ("msgBody.2", "guilty among others"),
    ];
    let published = [("topicName", "t"), ("msgBody", "guilty for one")];
    for _ in 0..2 {
        // A call that is asked again under its token is decided anew before the set says that it was done.
        for (action, parameters) in [
            ("SendMessage", &single[..]),
            ("BatchSendMessage", &batch),
            ("PublishMessage", &published),
        ] {
            let answer = client.ask_once(action, action, parameters).unwrap();
            answer.success().unwrap();
        }
    }
    // What comes from one place comes in order: whatever else was parked is there before the last of it.
    send(&mut client, "guilty, the last of the queue");
    await_parked(&mut client, 4);
    publish(&mut client, "t", "guilty, the last of the topic")
        .success()
        .unwrap();
    await_parked(&mut client, 5);
    let mut parked = parked_bodies(&mut client);
    parked.sort();
    assert_eq!(
        parked,
        [
            "guilty alone",
            "guilty among others",
            "guilty for one",
            "guilty, the last of the queue",
            "guilty, the last of the topic",
        ]
    );
    assert_eq!(receive(&mut client, "q"), "harmless");
    let nothing = client.ask("ReceiveMessage", &[("queueName", "q")]).unwrap();
    assert_eq!(nothing.code(), 7000, "{nothing:?}");
}

#[test]
fn a_call_that_is_refused_parks_nothing() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "one", "");
    run(&node, &["queue", "create", "two"]);
    run(&node, &["sub", "create", "t", "two", "--queue", "two"]);
    push(&node, "guard", "tests/plugins/hostile-filter");
    let bind = |subscription: &str, on_failure: &str, config: &str| {
        let place = ["--topic", "t", "--subscription", subscription];
        let how = ["--on-failure", on_failure, "--config", config];
        run(&node, &[&["plugin", "bind", "guard"], &place[..], &how].concat());
    };
    bind("one", "park", "trap");
    bind("two", "reject", "trap");
    let refused = publish(&mut client, "t", GUILTY);
    assert_ne!(refused.code(), 0, "{refused:?}");
    bind("two", "reject", "chatter");
    publish(&mut client, "t", "guilty, and taken in")
        .success()
        .unwrap();
    assert_eq!(receive(&mut client, "two"), "guilty, and taken in");
    await_parked(&mut client, 1);
    assert_eq!(parked_bodies(&mut client), ["guilty, and taken in"]);
}

#[test]
fn what_another_version_keeps_is_written_with_the_message_that_it_is_asked_about_again() {
    let node = node();
    let mut client = node.client();
    let [broken, _] = queue_with_a_filter_that_traps(&node, &mut client);
    push(&node, "guard", "examples/plugins/once");
    let once = json(&node, &["plugin", "show", "guard"])["versions"][2]["version"].to_string();
    send(&mut client, GUILTY);
    send(&mut client, GUILTY);
    await_parked(&mut client, 2);
    // The configuration is the binding's: by this one, that version keeps for how many seconds a message has passed.
    let bind = ["plugin", "bind", "guard", "--plugin-version", &broken];
    run(&node, &[&bind[..], &["--queue", "q", "--config", "300"]].concat());
    let (told, complete) = redrive(&node, &["guard", "--plugin-version", &once]);
    assert!(complete && told["sent"] == 2 && told["parked"] == 0, "{told}");
    assert_eq!(receive(&mut client, "q"), GUILTY);
    let nothing = client.ask("ReceiveMessage", &[("queueName", "q")]).unwrap();
    assert_eq!(nothing.code(), 7000, "the second one was dropped: {nothing:?}");
    let kept = json(
        &node,
        &["plugin", "kv", "list", "--queue", "q", "--world", "filter"],
    );
    let keys: Vec<&Value> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["key"])
        .collect();
    assert_eq!(keys, [&Value::from(GUILTY)], "{kept}");
}
