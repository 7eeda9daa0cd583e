//! Plugins of one's own: pushed, bound, configured, put back; and what becomes of messages when they misbehave.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use posthouse_tests::{Answer, Client, Node};
use serde_json::Value;

use crate::push::endpoint;
use crate::sealing::run;
use crate::{get, node, node_with, program, until};

/// How long a push is waited for.
const PUSH: Duration = Duration::from_secs(60);

#[test]
fn a_router_of_ones_own_decides_where_it_is_bound_and_nowhere_else() {
    let node = node();
    let mut client = node.client();
    for topic in ["t", "other"] {
        topic_to_queue(
            &mut client,
            topic,
            &[("filterType", "2")],
            &format!("{topic}-queue"),
            "lazy.#",
        );
    }
    // To the built-in, `#` is one word or more.
    assert_eq!(publish_key(&mut client, "t", "lazy").codes(), (6030, 10730));
    push(&node, "router", "examples/plugins/zero-or-more-router");
    run(&node, &["plugin", "bind", "router", "--topic", "t"]);
    publish_key(&mut client, "t", "lazy").success().unwrap();
    assert_eq!(receive(&mut client, "t-queue"), "x");
    assert_eq!(publish_key(&mut client, "other", "lazy").codes(), (6030, 10730));
    run(&node, &["plugin", "unbind", "--topic", "t", "--world", "route"]);
    assert_eq!(publish_key(&mut client, "t", "lazy").codes(), (6030, 10730));
}

#[test]
fn a_version_is_activated_for_all_bindings_of_its_plugin_and_rolled_back() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[("filterType", "2")], "q", "lazy.#");
    push(&node, "router", "plugins/topic-router");
    run(&node, &["plugin", "bind", "router", "--topic", "t"]);
    assert_eq!(publish_key(&mut client, "t", "lazy").codes(), (6030, 10730));
    push(&node, "router", "examples/plugins/zero-or-more-router");
    assert_eq!(
        publish_key(&mut client, "t", "lazy").codes(),
        (6030, 10730),
        "pushed is not in use"
    );
    run(&node, &["plugin", "activate", "router"]);
    publish_key(&mut client, "t", "lazy").success().unwrap();
    run(&node, &["plugin", "rollback", "router"]);
    assert_eq!(publish_key(&mut client, "t", "lazy").codes(), (6030, 10730));
}

#[test]
fn a_filter_on_a_subscription_decides_by_its_configuration_and_explain_tells() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "all", "");
    subscribe(&mut client, "t", "dear", "");
    push(&node, "prices", "examples/plugins/json-filter");
    let config = r#"{"when":{"field":"/price","above":100}}"#;
    run(
        &node,
        &[
            "plugin",
            "bind",
            "prices",
            "--topic",
            "t",
            "--subscription",
            "dear",
            "--config",
            config,
        ],
    );
    let cheap = publish(&mut client, "t", r#"{"price":50}"#).success().unwrap();
    let dear = publish(&mut client, "t", r#"{"price":150}"#).success().unwrap();
    // In order of arrival: had the cheap one passed, it would come first.
    assert_eq!(receive(&mut client, "dear"), r#"{"price":150}"#);
    assert_eq!(receive(&mut client, "all"), r#"{"price":50}"#);
    let told = decisions(&explain(&node, cheap.text("msgId")));
    assert!(
        told.contains(&(
            "topic-router".into(),
            "routed".into(),
            vec!["all".into(), "dear".into()]
        )),
        "{told:?}"
    );
    assert!(
        told.contains(&("prices".into(), "dropped".into(), vec!["dear".into()])),
        "{told:?}"
    );
    let told = decisions(&explain(&node, dear.text("msgId")));
    assert!(
        told.contains(&("prices".into(), "passed".into(), vec!["dear".into()])),
        "{told:?}"
    );
    let dear = ["--topic", "t", "--subscription", "dear", "--world", "filter"];
    quarantine(&node, &dear, &["--reason", "slow"]);
    let refused = publish(&mut client, "t", r#"{"price":150}"#);
    assert_eq!(refused.code(), 6000);
    assert!(refused.text("message").contains("slow"), "{refused:?}");
}

#[test]
fn a_push_of_ones_own_changes_method_header_body_and_retry_and_explain_tells_each_try() {
    let node = node();
    let (url, pushes) = endpoint(vec![500, 200]);
    let mut client = node.client();
    client
        .ask("CreateTopic", &[("topicName", "t")])
        .unwrap()
        .success()
        .unwrap();
    let hook = [
        ("topicName", "t"),
        ("subscriptionName", "s"),
        ("protocol", "http"),
        ("endpoint", &*url),
    ];
    client.ask("Subscribe", &hook).unwrap().success().unwrap();
    push(&node, "altered", "tests/plugins/altered-http-push");
    run(
        &node,
        &["plugin", "bind", "altered", "--topic", "t", "--config", "50"],
    );
    let sent = publish(&mut client, "t", "x").success().unwrap();
    for attempt in ["1", "2"] {
        let push = pushes.recv_timeout(PUSH).unwrap();
        assert!(
            push.headers.contains(&"PUT /hook HTTP/1.1".to_owned()),
            "{:?}",
            push.headers
        );
        assert!(
            push.headers.contains(&format!("x-altered: {attempt}")),
            "{:?}",
            push.headers
        );
        assert_eq!(
            String::from_utf8(push.body).unwrap(),
            format!("altered {}: x", sent.text("msgId"))
        );
    }
    let delivery = until(|| {
        let delivery = explain(&node, sent.text("msgId"))["deliveries"][0].clone();
        (delivery["state"] == "acknowledged").then_some(delivery)
    });
    assert_eq!(
        (&delivery["subscription"], &delivery["attempts"]),
        (&"s".into(), &2.into())
    );
    let tries: Vec<(&Value, &Value)> = delivery["tries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["status"], &one["outcome"]))
        .collect();
    assert_eq!(
        tries,
        [
            (&500.into(), &"retry".into()),
            (&200.into(), &"acknowledged".into())
        ]
    );
}

#[test]
fn routers_that_loop_hoard_trap_and_lie_fail_their_own_publish_and_no_other() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    topic_to_queue(&mut client, "other", &[], "other-queue", "");
    for (plugin, tag, told) in [
        ("loops", "loop", "time"),
        ("hoards", "hoard", "memory"),
        ("traps", "trap", "trapped"),
    ] {
        push(&node, plugin, &format!("tests/plugins/{plugin}"));
        run(&node, &["plugin", "bind", plugin, "--topic", "t"]);
        let refused = publish_tag(&mut client, "t", tag);
        assert_eq!(refused.code(), 6000, "{plugin}: {refused:?}");
        let text = refused.text("message");
        assert!(text.contains("route") && text.contains(told), "{plugin}: {text}");
        publish(&mut client, "other", "x").success().unwrap();
        // What the guilty message used up of the tenant's CPU time comes back.
        until(|| (publish(&mut client, "t", "x").code() == 0).then_some(()));
    }
    push(&node, "lies", "tests/plugins/lies");
    run(
        &node,
        &["plugin", "bind", "lies", "--topic", "t", "--config", "just-past"],
    );
    let refused = publish(&mut client, "t", "x");
    assert!(refused.text("message").contains("makes no sense"), "{refused:?}");
    publish(&mut client, "other", "x").success().unwrap();
    let logs = run(&node, &["plugin", "logs", "traps"]);
    assert!(logs.contains("about to trap"), "{logs}");
}

#[test]
fn a_binding_whose_plugin_traps_too_often_is_taken_out_of_use_and_the_tenant_is_told() {
    let node = node_with("[plugins]\nbreaker_traps = 3\nbreaker_seconds = 86400\n");
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    topic_to_queue(&mut client, "other", &[], "other-queue", "");
    push(&node, "traps", "tests/plugins/traps");
    for topic in ["t", "other"] {
        run(&node, &["plugin", "bind", "traps", "--topic", topic]);
    }
    for _ in 0..2 {
        let refused = publish_tag(&mut client, "t", "trap");
        assert!(refused.text("message").contains("trapped"), "{refused:?}");
    }
    publish(&mut client, "t", "x").success().unwrap();
    publish_tag(&mut client, "t", "trap");
    let refused = until(|| {
        let answer = publish(&mut client, "t", "x");
        (answer.code() != 0).then_some(answer)
    });
    let told = "3 traps within 86400 s; at the last it trapped";
    assert!(refused.text("message").contains(told), "{refused:?}");
    let bindings: Value = serde_json::from_str(&run(&node, &["plugin", "bindings", "--json"])).unwrap();
    let of = |topic: &str| {
        let bindings = bindings.as_array().unwrap().iter();
        let mut of = bindings.filter(|binding| binding["place"]["topic"] == topic);
        of.next().unwrap()["quarantined"].clone()
    };
    assert_eq!((of("t"), of("other")), (told.into(), Value::Null), "{bindings}");
    publish(&mut client, "other", "x").success().unwrap();
    // Counted once the binding is out of use, so perhaps not yet.
    let broken = "posthouse_plugin_bindings_broken_total{tenant=\"1\",world=\"route\"} 1";
    until(|| get(&node, "/metrics").1.contains(broken).then_some(()));
    quarantine(&node, &["--topic", "t", "--world", "route"], &["--release"]);
    publish(&mut client, "t", "x").success().unwrap();
    let refused = publish_tag(&mut client, "t", "trap");
    assert!(
        refused.text("message").contains("plugin trapped"),
        "it counts anew: {refused:?}"
    );
}

#[test]
fn a_breaker_is_set_for_a_binding_and_who_looks_at_its_plugin_sees_what_it_did() {
    let node = node_with("[plugins]\nbreaker_traps = 1000\n");
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    topic_to_queue(&mut client, "other", &[], "other-queue", "");
    push(&node, "traps", "tests/plugins/traps");
    let bind = ["plugin", "bind", "traps", "--topic"];
    let breaker = ["t", "--breaker-traps", "2", "--breaker-seconds", "86400"];
    let bound = run(&node, &[&bind[..], &breaker].concat());
    assert!(bound.contains("2 in 86400 s"), "{bound}");
    let bound = run(&node, &[&bind[..], &["other"]].concat());
    assert!(bound.contains("1000 in 60 s"), "{bound}");
    for topic in ["other", "other", "t", "t"] {
        let refused = publish_tag(&mut client, topic, "trap");
        assert!(refused.text("message").contains("trapped"), "{refused:?}");
    }
    let shown = until(|| {
        let shown: Value = serde_json::from_str(&run(&node, &["plugin", "show", "traps", "--json"])).unwrap();
        shown["quarantined"].is_array().then_some(shown)
    });
    let out = shown["quarantined"].as_array().unwrap();
    assert_eq!(
        (out.len(), &out[0]["place"]["topic"]),
        (1, &"t".into()),
        "{shown}"
    );
    let reason = out[0]["quarantined"].as_str().unwrap();
    assert!(reason.starts_with("2 traps within 86400 s"), "{reason}");
    let since = out[0]["quarantined_ms"].as_u64().unwrap();
    let pushed = shown["versions"][0]["pushed_ms"].as_u64().unwrap();
    assert!(since >= pushed, "{shown}");
    let shown = run(&node, &["plugin", "show", "traps"]);
    assert!(shown.contains("OUT OF USE") && shown.contains(reason), "{shown}");
    let listed = run(&node, &["plugin", "list"]);
    let row = listed.lines().find(|row| row.starts_with("traps")).unwrap();
    assert_eq!(row.split_whitespace().last(), Some("1"), "{listed}");
    quarantine(&node, &["--topic", "t", "--world", "route"], &["--release"]);
    let shown: Value = serde_json::from_str(&run(&node, &["plugin", "show", "traps", "--json"])).unwrap();
    assert_eq!(shown["quarantined"], Value::Null, "{shown}");
    for wrong in [["--breaker-traps", "0"], ["--breaker-seconds", "86401"]] {
        let output = output(&node, &[], &[&bind[..], &["t"], &wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_trap_is_in_the_log_with_the_functions_that_were_running() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    push(&node, "traps", "tests/plugins/traps");
    run(&node, &["plugin", "bind", "traps", "--topic", "t"]);
    publish_tag(&mut client, "t", "trap");
    let logs: Value = serde_json::from_str(&run(&node, &["plugin", "logs", "traps", "--json"])).unwrap();
    let lines = logs["lines"].as_array().unwrap();
    let traps: Vec<&Value> = lines.iter().filter(|line| line["level"] == "trap").collect();
    assert_eq!(traps.len(), 1, "{logs}");
    let text = traps[0]["text"].as_str().unwrap();
    let (first, frames) = text.split_once('\n').unwrap();
    assert!(first.starts_with("the plugin trapped: "), "{text}");
    assert!(frames.lines().count() > 1, "{text}");
    assert!(frames.lines().all(|frame| frame.contains(" at 0x")), "{text}");
    let shown = run(&node, &["plugin", "logs", "traps"]);
    assert!(shown.contains(&format!("trap   {first}\n    ")), "{shown}");
}

#[test]
fn a_log_is_followed_as_it_is_written() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    push(&node, "traps", "tests/plugins/traps");
    run(&node, &["plugin", "bind", "traps", "--topic", "t"]);
    publish_tag(&mut client, "t", "trap");
    let mut follower = Command::new(program())
        .args(["plugin", "logs", "traps", "--follow"])
        .env("POSTHOUSE_URL", node.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    // Beside what the plugin writes, its traps are shown.
    let mut written = lines.map(Result::unwrap).filter(|line| line.contains("about to"));
    for _ in 0..2 {
        written.next().unwrap();
        publish_tag(&mut client, "t", "trap");
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_policy_of_fallback_lets_the_built_in_decide_and_one_of_park_puts_the_message_aside() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    push(&node, "traps", "tests/plugins/traps");
    run(
        &node,
        &[
            "plugin",
            "bind",
            "traps",
            "--topic",
            "t",
            "--on-failure",
            "fallback",
        ],
    );
    let sent = publish_tag(&mut client, "t", "trap").success().unwrap();
    assert_eq!(receive(&mut client, "q"), "x");
    let verdicts: Vec<String> = decisions(&explain(&node, sent.text("msgId")))
        .into_iter()
        .map(|(_, verdict, _)| verdict)
        .collect();
    assert_eq!(verdicts, ["failed", "routed"]);
    run(
        &node,
        &["plugin", "bind", "traps", "--topic", "t", "--on-failure", "park"],
    );
    let parked = publish_tag(&mut client, "t", "trap").success().unwrap();
    assert_eq!(receive(&mut client, "parked"), "x");
    assert_eq!(
        client
            .ask("ReceiveMessage", &[("queueName", "q")])
            .unwrap()
            .code(),
        7000
    );
    let explanation = explain(&node, parked.text("msgId"));
    let hop = &explanation["moves"][0];
    assert_eq!(
        (&hop["from"], &hop["to"]),
        (&"t".into(), &"parked".into()),
        "{explanation}"
    );
    assert!(
        hop["cause"].as_str().unwrap().contains("trapped"),
        "{explanation}"
    );
}

#[test]
fn what_is_no_plugin_is_refused_and_says_why() {
    let node = node();
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.wasm");
    std::fs::write(&garbage, b"\0asm garbage").unwrap();
    let told = refused(
        &node,
        &[],
        &["plugin", "push", "garbage", garbage.to_str().unwrap()],
    );
    assert!(told.contains("WebAssembly component"), "{told}");
    let clock = component("tests/plugins/grabs-clock");
    let told = refused(&node, &[], &["plugin", "push", "clock", clock.to_str().unwrap()]);
    assert!(told.contains("wasi:clocks"), "{told}");
    let router = component("plugins/topic-router");
    let told = refused(
        &node,
        &[],
        &[
            "plugin",
            "push",
            "router",
            router.to_str().unwrap(),
            "--world",
            "filter",
        ],
    );
    assert!(told.contains("filtering"), "{told}");
}

#[test]
fn a_tenant_binds_its_own_plugins_to_its_own_places() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "ours", &[], "q", "");
    push(&node, "traps", "tests/plugins/traps");
    run(&node, &["tenant", "create", "acme"]);
    run(
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
        ],
    );
    let acme = [
        ("POSTHOUSE_SECRET_ID", "AKIDacme"),
        ("POSTHOUSE_SECRET_KEY", "acme-secret-0123456789"),
    ];
    let refusals: [(&[&str], &str); 6] = [
        (&["plugin", "bind", "traps", "--whole-tenant"], "no plugin traps"),
        (&["plugin", "bind", "topic-router", "--topic", "ours"], "no topic"),
        (&["plugin", "bind", "topic-router", "--whole-platform"], "root"),
        (&["plugin", "activate", "topic-router"], "root"),
        (&["plugin", "bindings", "--tenant", "dev"], "root"),
        (
            &["tenant", "key", "disable", "acme", "AKIDdev"],
            "no such access key",
        ),
    ];
    for (command, told) in refusals {
        let text = refused(&node, &acme, command);
        assert!(text.contains(told), "{command:?}: {text}");
    }
    let sent = publish(&mut client, "ours", "x").success().unwrap();
    let ours = explain(&node, sent.text("msgId"));
    assert_eq!(ours["places"][0]["name"], "ours", "{ours}");
    let id = sent.text("msgId");
    let theirs = output(&node, &acme, &["explain", id, "--json"]);
    let theirs: Value = serde_json::from_slice(&theirs.stdout).unwrap();
    assert_eq!(
        (&theirs["places"], &theirs["decisions"]),
        (&Value::Array(vec![]), &Value::Array(vec![])),
        "{theirs}"
    );
}

#[test]
fn explain_follows_a_sealed_message_and_a_plain_one_to_their_ends() {
    let mut node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let send = |client: &mut Client| {
        let sent = client
            .ask("SendMessage", &[("queueName", "q"), ("msgBody", "x")])
            .unwrap()
            .success()
            .unwrap();
        sent.text("msgId").to_owned()
    };
    let plain = send(&mut client);
    let told = explain(&node, &plain);
    assert_eq!(
        (&told["places"][0]["name"], &told["places"][0]["state"]),
        (&"q".into(), &"waiting".into()),
        "{told}"
    );
    run(&node, &["key", "create", "k"]);
    run(&node, &["queue", "seal", "q", "--key", "k"]);
    let sealed = send(&mut client);
    let told = explain(&node, &sealed);
    let decision = &told["decisions"][0];
    assert_eq!(
        (&decision["plugin"], &decision["verdict"]),
        (&"kms-envelope".into(), &"sealed".into()),
        "{told}"
    );
    assert_eq!(decision["digest"].as_str().unwrap().len(), 64);
    assert_eq!(told["places"][0]["sealed"], true);
    for _ in 0..2 {
        let got = client
            .ask("ReceiveMessage", &[("queueName", "q")])
            .unwrap()
            .success()
            .unwrap();
        let delete = [("queueName", "q"), ("receiptHandle", got.text("receiptHandle"))];
        client.ask("DeleteMessage", &delete).unwrap().success().unwrap();
    }
    assert_eq!(explain(&node, &sealed)["places"][0]["state"], "deleted");
    assert!(
        explain(&node, &plain)["remark"]
            .as_str()
            .unwrap()
            .contains("nothing is known")
    );
    let before = explain(&node, &sealed);
    node.kill();
    node.launch().unwrap();
    assert_eq!(
        explain(&node, &sealed),
        before,
        "a node that was killed tells the same"
    );
}

/// Takes the binding of a place out of use, or puts it back.
fn quarantine(node: &Node, binding: &[&str], verdict: &[&str]) {
    run(node, &[&["plugin", "quarantine"], binding, verdict].concat());
}

pub(crate) fn component(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder)
        .join("component.wasm")
}

pub(crate) fn push(node: &Node, name: &str, folder: &str) {
    run(
        node,
        &["plugin", "push", name, component(folder).to_str().unwrap()],
    );
}

pub(crate) fn topic_to_queue(
    client: &mut Client,
    topic: &str,
    settings: &[(&str, &str)],
    queue: &str,
    key: &str,
) {
    let mut parameters = vec![("topicName", topic)];
    parameters.extend_from_slice(settings);
    client.ask("CreateTopic", &parameters).unwrap().success().unwrap();
    subscribe(client, topic, queue, key);
}

/// Subscribes a new queue under its own name; without a key, it gets everything.
pub(crate) fn subscribe(client: &mut Client, topic: &str, queue: &str, key: &str) {
    client
        .ask("CreateQueue", &[("queueName", queue)])
        .unwrap()
        .success()
        .unwrap();
    let mut parameters = vec![
        ("topicName", topic),
        ("subscriptionName", queue),
        ("protocol", "queue"),
        ("endpoint", queue),
    ];
    if !key.is_empty() {
        parameters.push(("bindingKey.1", key));
    }
    client.ask("Subscribe", &parameters).unwrap().success().unwrap();
}

pub(crate) fn publish(client: &mut Client, topic: &str, body: &str) -> Answer {
    client
        .ask("PublishMessage", &[("topicName", topic), ("msgBody", body)])
        .unwrap()
}

pub(crate) fn publish_tag(client: &mut Client, topic: &str, tag: &str) -> Answer {
    client
        .ask(
            "PublishMessage",
            &[("topicName", topic), ("msgBody", "x"), ("msgTag.1", tag)],
        )
        .unwrap()
}

fn publish_key(client: &mut Client, topic: &str, key: &str) -> Answer {
    client
        .ask(
            "PublishMessage",
            &[("topicName", topic), ("msgBody", "x"), ("routingKey", key)],
        )
        .unwrap()
}

pub(crate) fn receive(client: &mut Client, queue: &str) -> String {
    let got = client
        .ask(
            "ReceiveMessage",
            &[("queueName", queue), ("pollingWaitSeconds", "20")],
        )
        .unwrap();
    got.success().unwrap().text("msgBody").to_owned()
}

pub(crate) fn explain(node: &Node, message: &str) -> Value {
    serde_json::from_str(&run(node, &["explain", message, "--json"])).unwrap()
}

/// Returns plugin, verdict and subscriptions of each decision.
pub(crate) fn decisions(explanation: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| {
        value
            .as_array()
            .map(|all| all.iter().map(text).collect())
            .unwrap_or_default()
    };
    let all = explanation["decisions"].as_array().unwrap();
    all.iter()
        .map(|one| {
            (
                text(&one["plugin"]),
                text(&one["verdict"]),
                texts(&one["subscriptions"]),
            )
        })
        .collect()
}

/// Does a client command that is to be refused; returns what it says.
pub(crate) fn refused(node: &Node, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = output(node, environment, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "posthouse {arguments:?}: {told}");
    told
}

fn output(node: &Node, environment: &[(&str, &str)], arguments: &[&str]) -> std::process::Output {
    Command::new(program())
        .args(arguments)
        .env("POSTHOUSE_URL", node.url())
        .envs(environment.iter().copied())
        .output()
        .expect("the program starts")
}
