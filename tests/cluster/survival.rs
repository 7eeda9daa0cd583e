//! What a set promises beside its messages survives its leader: counts, delays, tokens, rewinds, and how far pushes got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use posthouse_tests::{Client, Cluster, Endpoint, Node};

use crate::{WITHIN, cluster, command, create_queue, done, kill_leader, send, take, until};

/// How much faster set time may run than the machine's clock, with room: 500 ppm of some seconds.
const SLEW: Duration = Duration::from_millis(20);

/// Kills the leader of the only set, and returns a node that goes on.
fn fail_over(cluster: &mut Cluster) -> usize {
    kill_leader(cluster, 0) % 3 + 1
}

/// Receives the only message of a queue, and returns how often it was received by now.
fn receive_count(client: &mut Client, queue: &str) -> u64 {
    let wait = [("queueName", queue), ("pollingWaitSeconds", "30")];
    done(client, "ReceiveMessage", &wait)["dequeueCount"]
        .as_u64()
        .unwrap()
}

/// Makes a topic with a subscription that posts to an endpoint.
fn push_to(client: &mut Client, topic: &str, endpoint: &Endpoint) {
    done(client, "CreateTopic", &[("topicName", topic)]);
    let url = endpoint.url();
    let subscription = [
        ("topicName", topic),
        ("subscriptionName", "s"),
        ("protocol", "http"),
        ("endpoint", url.as_str()),
        ("notifyContentFormat", "SIMPLIFIED"),
        ("notifyStrategy", "EXPONENTIAL_DECAY_RETRY"),
    ];
    done(client, "Subscribe", &subscription);
}

/// Returns how many messages a topic's subscription still has to deliver.
fn backlog(node: &Node, topic: &str) -> u64 {
    let subscription = [("topicName", topic), ("subscriptionName", "s")];
    let shown = done(&mut node.client(), "GetSubscriptionAttributes", &subscription);
    shown["msgCount"].as_u64().unwrap()
}

#[test]
fn counts_delays_tokens_and_rewinds_survive_a_leader() {
    let mut cluster = cluster(1);
    let mut client = cluster.node(1).client();
    let brief = [("queueName", "counted"), ("visibilityTimeout", "1")];
    done(&mut client, "CreateQueue", &brief);
    send(&mut client, "counted", "x");
    assert_eq!(receive_count(&mut client, "counted"), 1);
    assert_eq!(receive_count(&mut client, "counted"), 2);

    let kept = [("queueName", "rewound"), ("rewindSeconds", "3600")];
    done(&mut client, "CreateQueue", &kept);
    for body in ["a", "b", "c"] {
        send(&mut client, "rewound", body);
    }
    for body in ["a", "b", "c"] {
        assert_eq!(take(&mut client, "rewound").as_deref(), Some(body));
    }
    let shown = done(&mut client, "GetQueueAttributes", &[("queueName", "rewound")]);
    let begin = shown["createTime"].as_u64().unwrap().to_string();
    let rewind = [("queueName", "rewound"), ("startConsumeTime", begin.as_str())];
    done(&mut client, "RewindQueue", &rewind);
    assert_eq!(take(&mut client, "rewound").as_deref(), Some("a"));

    create_queue(&mut client, "once");
    let letter = [("queueName", "once"), ("msgBody", "letter")];
    let first = client
        .ask_once("token-1", "SendMessage", &letter)
        .unwrap()
        .success()
        .unwrap();

    create_queue(&mut client, "later");
    let sent = Instant::now();
    let delayed = [("queueName", "later"), ("msgBody", "late"), ("delaySeconds", "6")];
    done(&mut client, "SendMessage", &delayed);

    let survivor = fail_over(&mut cluster);
    let mut client = cluster.node(survivor).client();
    assert_eq!(receive_count(&mut client, "counted"), 3);
    for body in ["b", "c"] {
        assert_eq!(take(&mut client, "rewound").as_deref(), Some(body));
    }
    assert_eq!(take(&mut client, "rewound"), None);
    done(&mut client, "RewindQueue", &rewind);
    for body in ["a", "b", "c"] {
        assert_eq!(take(&mut client, "rewound").as_deref(), Some(body));
    }

    let again = client
        .ask_once("token-1", "SendMessage", &letter)
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(again.text("msgId"), first.text("msgId"));
    assert_eq!(take(&mut client, "once").as_deref(), Some("letter"));
    assert_eq!(take(&mut client, "once"), None);

    let wait = [("queueName", "later"), ("pollingWaitSeconds", "30")];
    let late = done(&mut client, "ReceiveMessage", &wait);
    assert_eq!(late["msgBody"], "late");
    assert!(
        sent.elapsed() + SLEW >= Duration::from_secs(6),
        "it was seen early"
    );
}

#[test]
fn pushes_go_on_where_they_were_when_their_leader_dies() {
    const MESSAGES: usize = 20;
    const ACCEPTED: usize = 8;
    let mut cluster = cluster(1);
    let accepts_all = Arc::new(AtomicBool::new(false));
    let accepts = Arc::clone(&accepts_all);
    let endpoint = Endpoint::serve(move |body| {
        let number: usize = String::from_utf8_lossy(body).parse().ok()?;
        (number < ACCEPTED || accepts.load(Ordering::SeqCst)).then_some(200)
    })
    .unwrap();
    let failing = Endpoint::serve(|_| Some(500)).unwrap();

    let mut client = cluster.node(1).client();
    push_to(&mut client, "failing", &failing);
    push_to(&mut client, "half", &endpoint);
    let refused = done(
        &mut client,
        "PublishMessage",
        &[("topicName", "failing"), ("msgBody", "x")],
    );
    for number in 0..MESSAGES {
        let body = number.to_string();
        done(
            &mut client,
            "PublishMessage",
            &[("topicName", "half"), ("msgBody", &body)],
        );
    }
    let left = (MESSAGES - ACCEPTED) as u64;
    until("what is accepted is acknowledged", || {
        backlog(cluster.node(1), "half") == left
    });
    // The third attempt is followed by a pause of four seconds.
    let [_, _, third] = [(); 3].map(|()| failing.next(WITHIN).unwrap());
    until("the third attempt is noted", || {
        let explained = command(cluster.node(1), &["explain", refused["msgId"].as_str().unwrap()]);
        let delivery = &explained["deliveries"][0];
        delivery["attempts"] == 3 && delivery["state"] == "retry"
    });

    accepts_all.store(true, Ordering::SeqCst);
    let survivor = fail_over(&mut cluster);
    until("the rest is delivered", || {
        backlog(cluster.node(survivor), "half") == 0
    });
    let mut pushed: BTreeMap<String, Vec<Option<u16>>> = BTreeMap::new();
    for push in endpoint.so_far() {
        let body = String::from_utf8(push.body).unwrap();
        pushed.entry(body).or_default().push(push.status);
    }
    for number in 0..MESSAGES {
        let pushes = &pushed[&number.to_string()];
        match number < ACCEPTED {
            true => assert_eq!(pushes[..], [Some(200)], "{number} was acknowledged"),
            false => assert!(pushes.contains(&Some(200)), "{number} was in flight: {pushes:?}"),
        }
    }

    let fourth = failing.next(WITHIN).unwrap();
    let fifth = failing.next(WITHIN).unwrap();
    let (pause, next_pause) = (fourth.at - third.at, fifth.at - fourth.at);
    assert!(pause + SLEW >= Duration::from_secs(4), "tried after {pause:?}");
    assert!(
        next_pause + SLEW >= Duration::from_secs(8),
        "tried after {next_pause:?}"
    );
}

#[test]
fn a_plugin_is_there_when_the_node_that_took_it_is_gone() {
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let component = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/plugins/json-filter/component.wasm"
    );
    for taker in 1..=3 {
        let name = format!("filter-{taker}");
        command(cluster.node(taker), &["plugin", "push", &name, component]);
        cluster.node_mut(taker).kill();
        let other = cluster.node(taker % 3 + 1);
        // Another node leads by then.
        send(&mut other.client(), "q", "{}");
        let bound = [
            "plugin",
            "bind",
            &name,
            "--queue",
            "q",
            "--config",
            r#"{"when":{"field":"/x","exists":true}}"#,
        ];
        command(other, &bound);
        command(other, &["plugin", "unbind", "--queue", "q", "--world", "filter"]);
        cluster.node_mut(taker).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
}
