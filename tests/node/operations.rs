//! Running a node: health, readiness, metrics, a graceful stop, tenants, refusals at start.

use std::process::Command;

use posthouse_tests::Client;

use crate::metrics::figure;
use crate::sealing::run;
use crate::steps::Steps;
use crate::{get, node, node_with, program, until};

#[test]
fn a_node_tells_how_it_is() {
    let node = node();
    assert_eq!(get(&node, "/healthz").0, 200);
    assert_eq!(get(&node, "/readyz").0, 200);
    node.client()
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let (status, metrics) = get(&node, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("CreateQueue"), "{metrics}");
    assert_eq!(get(&node, "/elsewhere").0, 404);
}

#[test]
fn a_graceful_stop_answers_those_who_wait_and_exits_well() {
    let mut node = node();
    node.client()
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let mut waiting = node.client();
    let waiter = std::thread::spawn(move || {
        waiting.ask(
            "ReceiveMessage",
            &[("queueName", "q"), ("pollingWaitSeconds", "30")],
        )
    });
    // The waiter is counted once it waits.
    until(|| (figure(&node, "waiters", "") == 1.0).then_some(()));
    assert_eq!(node.terminate().unwrap(), Some(0));
    assert_eq!(waiter.join().unwrap().unwrap().codes(), (7000, 10200));
}

#[test]
fn a_tenant_has_names_and_keys_of_its_own() {
    let node = node();
    run(&node, &["tenant", "create", "acme"]);
    let made = run(
        &node,
        &[
            "tenant",
            "key",
            "add",
            "acme",
            "--id",
            "AKIDacme",
            "--secret",
            "acme-secret-0123456789",
            "--json",
        ],
    );
    assert!(made.contains("AKIDacme"), "{made}");
    let mut ours = node.client();
    let mut theirs = Client::new(node.address(), "AKIDacme", b"acme-secret-0123456789");
    ours.ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(
        theirs
            .ask("ReceiveMessage", &[("queueName", "q")])
            .unwrap()
            .codes(),
        (4440, 10100)
    );
    theirs
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    ours.ask("SendMessage", &[("queueName", "q"), ("msgBody", "ours")])
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(
        theirs
            .ask("ReceiveMessage", &[("queueName", "q")])
            .unwrap()
            .code(),
        7000
    );
    run(&node, &["tenant", "key", "disable", "acme", "AKIDacme"]);
    assert_eq!(theirs.ask("ListQueue", &[]).unwrap().codes(), (4100, 10080));
}

#[test]
fn what_plugins_may_use_for_a_tenant_can_be_changed_while_it_is_used() {
    let node = node();
    run(&node, &["topic", "create", "t"]);
    run(&node, &["queue", "create", "q"]);
    run(&node, &["sub", "create", "t", "s", "--queue", "q"]);
    let mut client = node.client();
    let mut publish = || {
        client
            .ask("PublishMessage", &[("topicName", "t"), ("msgBody", "x")])
            .unwrap()
            .code()
    };
    assert_eq!(publish(), 0);
    run(&node, &["tenant", "quota", "dev", "--plugin-cpu", "0"]);
    assert_eq!(publish(), 6000);
    run(&node, &["tenant", "quota", "dev", "--plugin-cpu", "500000"]);
    assert_eq!(publish(), 0);
}

#[test]
fn what_could_not_be_printed_is_not_deleted() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[("visibilityTimeout", "43200")]);
    client.send("q", "x");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(program())
        .args(["queue", "receive", "q", "--visibility", "1", "--delete"])
        .args(["--url", &node.url()])
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
    assert_eq!(client.receive("q").text("msgBody"), "x");
    run(&node, &["queue", "send", "q", "y"]);
    let printed = run(&node, &["queue", "receive", "q", "--wait", "30", "--delete"]);
    assert!(printed.contains('y'), "{printed}");
}

#[test]
fn two_nodes_cannot_have_one_directory() {
    let node = node();
    let output = Command::new(program())
        .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(node.data())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(log.contains("in use"), "{log}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let output = Command::new(program())
        .args([
            "serve",
            "--dev",
            "--listen",
            "127.0.0.1:0",
            "--data",
            "/proc/nowhere",
        ])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(log.contains("/proc/nowhere"), "{log}");
}

#[test]
fn development_mode_is_for_loopback_only() {
    let output = Command::new(program())
        .args(["serve", "--dev", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(log.contains("loopback"), "{log}");
}

#[test]
fn without_built_in_plugins_nothing_is_published_or_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let node = node_with(&format!("[plugins]\nbuiltin_dir = {:?}\n", folder.path()));
    let mut client = node.client();
    run(&node, &["key", "create", "k"]);
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "x")])
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
                ("endpoint", "q"),
            ],
        )
        .unwrap()
        .success()
        .unwrap();
    let published = client
        .ask("PublishMessage", &[("topicName", "t"), ("msgBody", "x")])
        .unwrap();
    assert_eq!(published.code(), 6000);
    assert!(published.text("message").contains("route"), "{:?}", published);
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    let sealed = client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "x")])
        .unwrap();
    assert_eq!(sealed.code(), 6000);
    assert!(sealed.text("message").contains("seal"), "{:?}", sealed);
}
