//! One machine's clock is set an hour ahead or back: no lease, delay or retention ends early, and none stands still.

use std::time::{Duration, Instant};

use posthouse_tests::{Client, Cluster};

use crate::{cluster, done, leader, until};

/// How long leases and delays of these tests are.
const LENGTH: Duration = Duration::from_secs(6);
/// How much a group's time may run ahead of a stopwatch, with all that is rounded.
const SLACK: Duration = Duration::from_millis(100);
const HOUR_MILLIS: i64 = 3_600_000;

/// Sets a node's clock so many milliseconds ahead.
fn set_clock(cluster: &Cluster, node: usize, ahead: i64) {
    std::fs::write(cluster.node(node).data().join("clock-shift"), ahead.to_string()).unwrap();
}

/// Starts three nodes whose clocks can be set.
fn cluster_with_clocks() -> Cluster {
    let mut cluster = cluster(1);
    for node in 1..=3 {
        set_clock(&cluster, node, 0);
        cluster.node_mut(node).terminate().unwrap();
        cluster.node_mut(node).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    cluster
}

/// Receives a message and deletes it, if one is visible; returns its body.
fn take_visible(client: &mut Client) -> Option<String> {
    let got = client.ask("ReceiveMessage", &[("queueName", "q")]).unwrap();
    let got = got.success().ok()?;
    let handle = got.text("receiptHandle").to_owned();
    done(
        client,
        "DeleteMessage",
        &[("queueName", "q"), ("receiptHandle", &handle)],
    );
    Some(got.text("msgBody").to_owned())
}

#[test]
fn a_clock_that_is_set_ends_nothing_early_and_freezes_nothing() {
    let cluster = cluster_with_clocks();
    let seconds = LENGTH.as_secs().to_string();
    let mut client = cluster.node(1).client();
    done(
        &mut client,
        "CreateQueue",
        // Kept for a minute, the least there is: an hour ahead would end it.
        &[
            ("queueName", "q"),
            ("visibilityTimeout", &seconds),
            ("msgRetentionSeconds", "60"),
        ],
    );
    for (round, ahead) in [HOUR_MILLIS, -HOUR_MILLIS, HOUR_MILLIS, -HOUR_MILLIS]
        .into_iter()
        .enumerate()
    {
        let leads = leader(cluster.node(1), 0);
        // The leader's clock twice, another's twice.
        let set = if round < 2 { leads } else { leads % 3 + 1 };
        let mut client = cluster.node(set % 3 + 1).client();
        let (leased, delayed) = (format!("leased {round}"), format!("delayed {round}"));
        done(
            &mut client,
            "SendMessage",
            &[("queueName", "q"), ("msgBody", &leased)],
        );
        let began = Instant::now();
        let sent = [
            ("queueName", "q"),
            ("msgBody", delayed.as_str()),
            ("delaySeconds", &seconds),
        ];
        done(&mut client, "SendMessage", &sent);
        let got = done(&mut client, "ReceiveMessage", &[("queueName", "q")]);
        assert_eq!(got["msgBody"], leased.as_str());
        set_clock(&cluster, set, ahead);
        let mut seen = Vec::new();
        until("lease and delay end", || {
            if let Some(body) = take_visible(&mut client) {
                assert!(
                    began.elapsed() + SLACK > LENGTH,
                    "{body} after {:?}",
                    began.elapsed()
                );
                seen.push(body);
            }
            seen.len() == 2
        });
        assert!(seen.contains(&leased) && seen.contains(&delayed), "{seen:?}");
        set_clock(&cluster, set, 0);
    }
}
