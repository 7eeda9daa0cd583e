//! What a tenant's plugins and deliveries may use beyond its calls and bytes: set while they run, and counted.

use std::collections::BTreeSet;

use posthouse_tests::{Client, Node};

use crate::plugins::{publish, push, receive, topic_to_queue};
use crate::push::{PUSH, endpoint};
use crate::sealing::run;
use crate::{get, node, until};

#[test]
fn deliveries_go_to_hosts_of_the_tenant_s_list_and_to_no_others() {
    let node = node();
    let (url, pushes) = endpoint(vec![200]);
    let mut client = node.client();
    subscribe(&mut client, &url);
    let told = run(&node, &["tenant", "set", "dev", "--http-host", "*.hooks.example"]);
    assert!(told.contains("*.hooks.example"), "{told}");
    publish(&mut client, "t", "x").success().unwrap();
    until(|| counted(&node, "posthouse_http_requests_failed_total", "reason=\"host\""));
    assert!(pushes.try_recv().is_err(), "it went where it may not");
    run(&node, &["tenant", "set", "dev", "--http-host", "127.0.0.1"]);
    assert_eq!(pushes.recv_timeout(PUSH).unwrap().body, b"x");
    let told = run(&node, &["tenant", "set", "dev", "--any-http-host"]);
    assert!(
        told.lines()
            .any(|line| line.starts_with("HTTP hosts") && line.ends_with("any")),
        "{told}"
    );
    publish(&mut client, "t", "y").success().unwrap();
    assert_eq!(pushes.recv_timeout(PUSH).unwrap().body, b"y");
    assert!(counted(&node, "posthouse_http_requests_total", "tenant=").is_some());
}

#[test]
fn deliveries_over_the_tenant_s_rate_of_requests_wait_and_lose_no_attempt() {
    let node = node();
    let (url, pushes) = endpoint(vec![200]);
    let mut client = node.client();
    subscribe(&mut client, &url);
    run(&node, &["tenant", "set", "dev", "--http-requests", "0"]);
    for number in 0..3 {
        publish(&mut client, "t", &number.to_string()).success().unwrap();
    }
    until(|| counted(&node, "posthouse_http_requests_held_back_total", "tenant="));
    assert!(pushes.try_recv().is_err(), "none may be made");
    assert!(counted(&node, "posthouse_push_attempts_total", "tenant=").is_none());
    run(&node, &["tenant", "set", "dev", "--http-requests", "2"]);
    let bodies: BTreeSet<Vec<u8>> = (0..3).map(|_| pushes.recv_timeout(PUSH).unwrap().body).collect();
    assert_eq!(bodies.len(), 3, "each came");
    until(|| counted(&node, "posthouse_push_attempts_total", "acknowledged").filter(|count| *count == 3.0));
    assert!(counted(&node, "posthouse_push_attempts_total", "retry").is_none());
}

#[test]
fn plugins_that_call_the_host_more_than_their_tenant_may_are_refused_with_the_reason() {
    let node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    run(&node, &["tenant", "set", "dev", "--plugin-host-calls", "0"]);
    assert!(
        publish(&mut client, "t", "x").success().is_err(),
        "its router is not asked"
    );
    until(|| {
        counted(
            &node,
            "posthouse_plugin_calls_refused_total",
            "reason=\"host_calls\"",
        )
    });
    run(&node, &["tenant", "set", "dev", "--plugin-host-calls", "1000000"]);
    run(&node, &["tenant", "set", "dev", "--plugin-output", "0"]);
    assert!(
        publish(&mut client, "t", "x").success().is_err(),
        "its router is not asked"
    );
    until(|| counted(&node, "posthouse_plugin_calls_refused_total", "reason=\"output\""));
    run(&node, &["tenant", "set", "dev", "--plugin-output", "1000000"]);
    publish(&mut client, "t", "y").success().unwrap();
    assert_eq!(receive(&mut client, "q"), "y");
    until(|| counted(&node, "posthouse_plugin_output_bytes_total", "tenant="));
}

#[test]
fn a_plugin_that_may_not_be_asked_now_has_not_failed() {
    let node = node();
    let mut client = node.client();
    for name in ["q", "parked"] {
        client
            .ask("CreateQueue", &[("queueName", name)])
            .unwrap()
            .success()
            .unwrap();
    }
    push(&node, "guard", "examples/plugins/json-filter");
    push(&node, "bell", "plugins/http-push");
    let (url, pushes) = endpoint(vec![503, 200, 503, 200]);
    subscribe(&mut client, &url);
    for policy in ["park", "fallback"] {
        let on_failure = ["--on-failure", policy];
        let rule = r#"{"when":{"field":"/price","above":100},"not-json":"drop"}"#;
        let guard = ["plugin", "bind", "guard", "--queue", "q", "--config", rule];
        run(&node, &[&guard[..], &on_failure].concat());
        run(
            &node,
            &[&["plugin", "bind", "bell", "--topic", "t"][..], &on_failure].concat(),
        );
        publish(&mut client, "t", policy).success().unwrap();
        assert_eq!(
            pushes.recv_timeout(PUSH).unwrap().body,
            policy.as_bytes(),
            "answered 503"
        );

        let refused = || counted(&node, "posthouse_plugin_calls_refused_total", "reason=\"output\"");
        let before = refused();
        run(&node, &["tenant", "set", "dev", "--plugin-output", "0"]);
        let message = [("queueName", "q"), ("msgBody", "not JSON")];
        let told = client.ask("SendMessage", &message).unwrap().success();
        let told = told.unwrap_err().to_string();
        assert!(told.contains("was not asked"), "{told}");
        // The filter was refused once, and the next attempt to deliver.
        until(|| refused().filter(|count| *count >= before.unwrap_or(0.0) + 2.0));
        run(&node, &["tenant", "set", "dev", "--plugin-output", "1000000"]);
        assert_eq!(
            pushes.recv_timeout(PUSH).unwrap().body,
            policy.as_bytes(),
            "delivered"
        );
        client.ask("SendMessage", &message).unwrap().success().unwrap();
        for queue in ["q", "parked"] {
            let counts = client.ask("GetQueueAttributes", &[("queueName", queue)]).unwrap();
            let counts = counts.success().unwrap();
            assert_eq!(
                counts.0["activeMsgNum"], 0,
                "{policy}, {queue}: what decides is the filter, which drops it"
            );
        }
    }
}

/// Subscribes an endpoint to a new topic, to be tried again soon.
fn subscribe(client: &mut Client, url: &str) {
    let topic = [("topicName", "t")];
    client.ask("CreateTopic", &topic).unwrap().success().unwrap();
    let subscription = [
        ("topicName", "t"),
        ("subscriptionName", "s"),
        ("protocol", "http"),
        ("endpoint", url),
        ("notifyContentFormat", "SIMPLIFIED"),
        ("notifyStrategy", "EXPONENTIAL_DECAY_RETRY"),
    ];
    client.ask("Subscribe", &subscription).unwrap().success().unwrap();
}

/// Returns a count that is not zero, of the first series of a figure with such a label.
fn counted(node: &Node, figure: &str, label: &str) -> Option<f64> {
    let (_, metrics) = get(node, "/metrics");
    let series = metrics.lines().find(|line| {
        line.strip_prefix(figure)
            .is_some_and(|rest| rest.starts_with('{'))
            && line.contains(label)
    })?;
    let count: f64 = series.rsplit(' ').next()?.parse().ok()?;
    (count > 0.0).then_some(count)
}
