//! Sealed bodies stay sealed: nothing in the data directory says what was sent.

use std::path::Path;
use std::process::Command;

use crate::steps::Steps;
use crate::{node_with, program};

/// What no file may say.
const SECRET: &str = "the-heron-flies-at-midnight";
/// What the filter of this test says when it fails.
const SAID_BY_FILTER: &str = "as it was told to";

#[test]
fn no_file_says_what_was_sent_to_a_sealed_queue_or_topic() {
    // Small files, so that segments are written too.
    let mut node = node_with("[storage]\ncut_bytes = 1048576\n");
    let mut client = node.client();
    run(&node, &["key", "create", "k"]);
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    client
        .ask("CreateQueue", &[("queueName", "far")])
        .unwrap()
        .success()
        .unwrap();
    client
        .ask("CreateTopic", &[("topicName", "t")])
        .unwrap()
        .success()
        .unwrap();
    client
        .ask(
            "Subscribe",
            &[
                ("topicName", "t"),
                ("subscriptionName", "s"),
                ("protocol", "queue"),
                ("endpoint", "far"),
            ],
        )
        .unwrap()
        .success()
        .unwrap();
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    run(&node, &["topic", "seal", "t", "--key", "k"]);
    let padding = "x".repeat(20_000);
    for number in 0..100 {
        let body = format!("{SECRET} {number} {padding}");
        client
            .ask("SendMessage", &[("queueName", "q"), ("msgBody", &body)])
            .unwrap()
            .success()
            .unwrap();
    }
    client
        .ask("PublishMessage", &[("topicName", "t"), ("msgBody", SECRET)])
        .unwrap()
        .success()
        .unwrap();
    let far = client
        .ask(
            "ReceiveMessage",
            &[("queueName", "far"), ("pollingWaitSeconds", "20")],
        )
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(far.text("msgBody"), SECRET);
    let got = client
        .ask("ReceiveMessage", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    assert!(got.text("msgBody").starts_with(SECRET));
    assert_eq!(node.terminate().unwrap(), Some(0));
    let searched = assert_silent(&node.data(), SECRET.as_bytes());
    assert!(searched > 5, "only {searched} files were searched");
    let log = node.take_log().join("\n");
    assert!(!log.contains(SECRET), "the log says it");
}

#[test]
fn explain_tells_the_key_and_the_version_that_a_body_was_sealed_under() {
    let node = node_with("");
    let mut client = node.client();
    run(&node, &["key", "create", "Letters"]);
    client.create_queue("q", &[]);
    run(&node, &["queue", "seal", "q", "--key", "Letters"]);
    let before = client.send("q", "x").text("msgId").to_owned();
    run(&node, &["key", "rotate", "letters"]);
    crate::until(|| {
        let after = client.send("q", "x").text("msgId").to_owned();
        let told = run(&node, &["explain", &after]);
        told.contains("letters version 2").then_some(())
    });
    // It is told of what was sealed before as it was.
    let told = run(&node, &["explain", &before]);
    assert!(told.contains("letters version 1"), "{told}");
}

#[test]
fn no_file_says_what_a_filter_said_of_a_body_that_is_sealed() {
    let mut node = node_with("");
    let mut client = node.client();
    run(&node, &["key", "create", "k"]);
    client.create_queue("q", &[]);
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    crate::plugins::push(&node, "filter", "tests/plugins/hostile-filter");
    let bind = ["plugin", "bind", "filter", "--queue", "q", "--config", "fail"];
    run(&node, &[&bind[..], &["--on-failure", "fallback"]].concat());
    // The filter fails with the second half of this.
    let body = format!("guilty {SAID_BY_FILTER}");
    let sent = client.send("q", &body);
    let told = run(&node, &["explain", sent.text("msgId")]);
    assert!(told.contains("repeats the body"), "{told}");
    assert_eq!(client.receive("q").text("msgBody"), body);
    assert_eq!(node.terminate().unwrap(), Some(0));
    // The filter's own code says it.
    for folder in ["components", "plugin-cache"] {
        std::fs::remove_dir_all(node.data().join(folder)).unwrap();
    }
    assert!(assert_silent(&node.data(), SAID_BY_FILTER.as_bytes()) > 5);
}

#[test]
fn a_seal_that_traps_too_often_is_taken_out_of_use_also_where_the_built_in_seals_instead() {
    let node = node_with("[plugins]\nbreaker_traps = 2\nbreaker_seconds = 86400\n");
    let mut client = node.client();
    run(&node, &["key", "create", "k"]);
    client.create_queue("q", &[]);
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    crate::plugins::push(&node, "seal", "tests/plugins/hostile-seal");
    let bind = ["plugin", "bind", "seal", "--queue", "q", "--config", "trap"];
    run(&node, &[&bind[..], &["--on-failure", "fallback"]].concat());
    for _ in 0..2 {
        client.send("q", SECRET);
    }
    crate::until(|| {
        let bindings = run(&node, &["plugin", "bindings"]);
        bindings.contains("2 traps within 86400 s").then_some(())
    });
    client.send("q", SECRET);
    assert_eq!(client.receive("q").text("msgBody"), SECRET);
}

#[test]
fn sealing_can_be_taken_off_and_what_was_sealed_still_opens() {
    let node = node_with("");
    let mut client = node.client();
    run(&node, &["key", "create", "k"]);
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "sealed")])
        .unwrap()
        .success()
        .unwrap();
    run(&node, &["queue", "seal", "q", "--off"]);
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "clear")])
        .unwrap()
        .success()
        .unwrap();
    for expected in ["sealed", "clear"] {
        let got = client
            .ask("ReceiveMessage", &[("queueName", "q")])
            .unwrap()
            .success()
            .unwrap();
        assert_eq!(got.text("msgBody"), expected);
    }
}

/// Runs a client command against a node.
pub(crate) fn run(node: &posthouse_tests::Node, arguments: &[&str]) -> String {
    let output = Command::new(program())
        .args(arguments)
        .env("POSTHOUSE_URL", node.url())
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "posthouse {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Searches every file below a folder for a secret; returns how many files there were.
pub(crate) fn assert_silent(folder: &Path, secret: &[u8]) -> usize {
    let mut searched = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            searched += assert_silent(&path, secret);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{} says what was sent", path.display());
        searched += 1;
    }
    searched
}
