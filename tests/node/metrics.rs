//! `/metrics`: each figure moves when what it counts happens, and by how much where that is known.

use posthouse_tests::{Client, Connection, Node};

use crate::sealing::run;
use crate::steps::Steps;
use crate::{get, node, node_with, until};

#[test]
fn calls_messages_and_bytes_are_counted_for_their_tenant() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let before = [
        figure(&node, "request_bytes_total", "tenant"),
        figure(&node, "reply_bytes_total", "tenant"),
    ];
    let body = "x".repeat(10_000);
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", &body)])
        .unwrap()
        .success()
        .unwrap();
    let sent = figure(&node, "request_bytes_total", "tenant") - before[0];
    assert!((10_000.0..11_000.0).contains(&sent), "{sent} bytes came in");
    let replied = figure(&node, "reply_bytes_total", "tenant") - before[1];
    assert!((10.0..1_000.0).contains(&replied), "{replied} bytes went out");
    let got = client
        .ask("ReceiveMessage", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let replied = figure(&node, "reply_bytes_total", "tenant") - before[1];
    assert!(replied > 10_000.0, "{replied} bytes went out");
    let handle = [("queueName", "q"), ("receiptHandle", got.text("receiptHandle"))];
    client.ask("DeleteMessage", &handle).unwrap().success().unwrap();
    for (name, label, count) in [
        ("messages_sent_total", "tenant", 1.0),
        ("messages_received_total", "tenant", 1.0),
        ("messages_deleted_total", "tenant", 1.0),
        ("cmq_calls_total", "action=\"SendMessage\",code=\"0\"", 1.0),
        ("cmq_call_duration_seconds_count", "action=\"SendMessage\"", 1.0),
    ] {
        assert_eq!(figure(&node, name, label), count, "{name}");
    }
    // The admin API's bytes are counted as well.
    let before = figure(&node, "reply_bytes_total", "tenant");
    run(&node, &["queue", "list"]);
    assert!(figure(&node, "reply_bytes_total", "tenant") > before);
    assert_eq!(figure(&node, "admin_calls_total", "status=\"200\""), 1.0);
}

#[test]
fn a_calls_duration_is_without_its_wait_for_a_message() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let wait = [("queueName", "q"), ("pollingWaitSeconds", "2")];
    let began = std::time::Instant::now();
    assert_eq!(client.ask("ReceiveMessage", &wait).unwrap().code(), 7000);
    let elapsed = began.elapsed().as_secs_f64();
    let label = "action=\"ReceiveMessage\"";
    assert_eq!(figure(&node, "cmq_call_duration_seconds_count", label), 1.0);
    let took = figure(&node, "cmq_call_duration_seconds_sum", label);
    // Of all that passed, two seconds at least were the wait.
    assert!(
        took <= elapsed - 2.0,
        "the wait of 2 s was counted: {took} s of {elapsed} s"
    );
}

#[test]
fn a_refused_call_is_counted_with_its_code_and_one_over_the_rate_as_throttled() {
    let node = node();
    let mut client = node.client();
    let none = [("queueName", "none"), ("msgBody", "x")];
    assert_eq!(client.ask("SendMessage", &none).unwrap().code(), 4440);
    assert_eq!(
        figure(&node, "cmq_calls_total", "action=\"SendMessage\",code=\"4440\""),
        1.0
    );
    assert_eq!(figure(&node, "calls_throttled_total", "tenant"), 0.0);
    run(&node, &["tenant", "create", "acme"]);
    let key = ["--id", "AKIDacme", "--secret", "acme-secret-0123456789"];
    run(&node, &[&["tenant", "key", "add", "acme"], &key[..]].concat());
    run(&node, &["tenant", "quota", "acme", "--calls-per-second", "0"]);
    let mut acme = Client::new(node.address(), "AKIDacme", b"acme-secret-0123456789");
    assert_eq!(acme.ask("ListQueue", &[]).unwrap().code(), 4420);
    assert_eq!(figure(&node, "calls_throttled_total", "tenant"), 1.0);
}

#[test]
fn a_tenant_that_is_removed_leaves_the_figures_of_plugins() {
    let node = node();
    let tenants = || {
        let (_, figures) = get(&node, "/metrics");
        let of_tenants = figures.lines();
        of_tenants
            .filter(|line| line.starts_with("posthouse_plugin_memory_bytes{"))
            .count()
    };
    let before = tenants();
    run(&node, &["tenant", "create", "acme"]);
    until(|| (tenants() == before + 1).then_some(()));
    run(&node, &["tenant", "remove", "acme"]);
    until(|| (tenants() == before).then_some(()));
}

#[test]
fn sends_are_decided_again_for_what_decides_and_for_nothing_else() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let mut maker = node.client();
    let making = std::thread::spawn(move || {
        for number in 0..200 {
            maker.create_queue(&format!("other-{number}"), &[]);
        }
    });
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let mut sender = node.client();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    sender.send("q", "x");
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    making.join().unwrap();
    assert_eq!(figure(&node, "sends_decided_again_total", ""), 0.0);
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let node = node();
    // The one that asks is open too.
    until(|| (figure(&node, "connections", "") == 1.0).then_some(()));
    let others: Vec<Connection> = (0..3)
        .map(|_| Connection::open(node.address()).unwrap())
        .collect();
    until(|| (figure(&node, "connections", "") >= 4.0).then_some(()));
    drop(others);
    until(|| (figure(&node, "connections", "") == 1.0).then_some(()));
}

#[test]
fn what_is_made_durable_is_counted_with_its_time() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let (syncs, bytes) = ("log_sync_duration_seconds_count", "log_written_bytes_total");
    let before = (figure(&node, syncs, ""), figure(&node, bytes, ""));
    let body = "x".repeat(50_000);
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", &body)])
        .unwrap()
        .success()
        .unwrap();
    assert!(figure(&node, syncs, "") > before.0, "a yes follows a sync");
    assert!(
        figure(&node, bytes, "") >= before.1 + 50_000.0,
        "the body was written"
    );
    assert!(figure(&node, "log_sync_duration_seconds_sum", "") > 0.0);
    assert!(figure(&node, "store_used_bytes", "") > 0.0);
}

#[test]
fn plugins_calls_time_memory_and_failures_are_counted_for_their_tenant() {
    let node = node_with("[plugins]\ncall_micros_max = 20000\n");
    let mut client = node.client();
    client
        .ask("CreateTopic", &[("topicName", "t")])
        .unwrap()
        .success()
        .unwrap();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let subscription = [
        ("topicName", "t"),
        ("subscriptionName", "s"),
        ("protocol", "queue"),
        ("endpoint", "q"),
    ];
    client.ask("Subscribe", &subscription).unwrap().success().unwrap();
    assert_eq!(figure(&node, "plugin_calls_total", "tenant"), 0.0);
    let publish = [("topicName", "t"), ("msgBody", "x")];
    client.ask("PublishMessage", &publish).unwrap().success().unwrap();
    let calls = figure(&node, "plugin_calls_total", "tenant");
    assert!(calls >= 1.0, "the router was asked");
    assert!(figure(&node, "plugin_cpu_seconds_total", "tenant") > 0.0);
    assert!(figure(&node, "plugin_instances", "tenant") >= 1.0);
    assert!(figure(&node, "plugin_memory_bytes", "tenant") >= 65_536.0);
    assert_eq!(figure(&node, "plugin_traps_total", "tenant"), 0.0);
    for (plugin, name) in [
        ("traps", "plugin_traps_total"),
        ("lies", "plugin_bad_answers_total"),
    ] {
        crate::plugins::push(&node, plugin, &format!("tests/plugins/{plugin}"));
        run(
            &node,
            &["plugin", "bind", plugin, "--topic", "t", "--config", "just-past"],
        );
        let before = (
            figure(&node, name, "tenant"),
            figure(&node, "plugin_faults_total", "route"),
        );
        let trap = [("topicName", "t"), ("msgBody", "x"), ("msgTag.1", "trap")];
        assert_eq!(client.ask("PublishMessage", &trap).unwrap().code(), 6000);
        assert!(figure(&node, name, "tenant") > before.0, "{plugin}");
        assert_eq!(
            figure(&node, "plugin_faults_total", "route"),
            before.1 + 1.0,
            "{plugin}"
        );
    }
}

#[test]
fn what_a_plugin_raises_for_its_owner_is_shown_under_its_name() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    crate::plugins::push(&node, "watcher", "tests/plugins/hostile-filter");
    run(
        &node,
        &["plugin", "bind", "watcher", "--queue", "q", "--config", "count"],
    );
    for body in ["guilty", "innocent", "guilty too"] {
        client.send("q", body);
    }
    let own = |name, label| figure(&node, name, &format!("plugin=\"watcher\",{label}"));
    let (counter, histogram) = ("name=\"guilty\"", "name=\"body_bytes\"");
    let version = "version=";
    assert_eq!(figure(&node, "plugin_counter_total", counter), 2.0);
    assert_eq!(own("plugin_counter_total", version), 2.0);
    assert_eq!(figure(&node, "plugin_histogram_sum", histogram), 16.0);
    assert_eq!(own("plugin_histogram_count", version), 2.0);
    let within = |end| format!("le=\"{end}\",tenant=");
    let bucket = "plugin_histogram_bucket";
    assert_eq!(figure(&node, bucket, &within("3.0")), 0.0);
    assert_eq!(figure(&node, bucket, &within("10.0")), 2.0);
    assert_eq!(figure(&node, "plugin_figures_dropped_total", "tenant"), 0.0);
    // What would break the text, and what is more than is kept, is dropped.
    run(
        &node,
        &[
            "plugin",
            "bind",
            "watcher",
            "--queue",
            "q",
            "--config",
            "count-badly",
        ],
    );
    client.send("q", "guilty");
    let (_, text) = get(&node, "/metrics");
    let names = text
        .lines()
        .filter(|line| line.starts_with("posthouse_plugin_counter_total"));
    assert_eq!(names.count(), 31);
    assert_eq!(
        figure(&node, "plugin_figures_dropped_total", "tenant"),
        1_002.0 - 30.0
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn deliveries_are_counted_by_what_became_of_them() {
    let node = node();
    let mut client = node.client();
    let (url, pushes) = crate::push::endpoint(vec![500, 200]);
    crate::push::subscribe(&mut client, &url, "SIMPLIFIED");
    let publish = [("topicName", "t"), ("msgBody", "x")];
    client.ask("PublishMessage", &publish).unwrap().success().unwrap();
    for _ in 0..2 {
        pushes.recv_timeout(crate::push::PUSH).unwrap();
    }
    until(|| (figure(&node, "push_attempts_total", "outcome=\"acknowledged\"") == 1.0).then_some(()));
    assert_eq!(figure(&node, "push_attempts_total", "outcome=\"retry\""), 1.0);
}

/// Returns a figure: the sum of its series whose labels contain a text; nothing yet is zero.
pub(crate) fn figure(node: &Node, name: &str, label: &str) -> f64 {
    let (status, text) = get(node, "/metrics");
    assert_eq!(status, 200);
    let series = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, labels) = series.split_once('{').unwrap_or((series, ""));
        let is_meant = found.strip_prefix("posthouse_") == Some(name) && labels.contains(label);
        is_meant.then(|| value.parse::<f64>().expect("a figure is a number"))
    });
    series.sum()
}
